package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/auth"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/models"
)

// serve answers one request to a handler that stands in a group of the style, and returns the log with the answer.
func serve(style Style, req *http.Request, h echo.HandlerFunc, m ...echo.MiddlewareFunc) (*httptest.ResponseRecorder, string) {
	return serveTo(Options{}, style, req, h, m...)
}

func serveTo(o Options, style Style, req *http.Request, h echo.HandlerFunc, m ...echo.MiddlewareFunc) (*httptest.ResponseRecorder, string) {
	var log bytes.Buffer
	o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	e := echo.New()
	e.Use(Begin(o))
	e.Group("/v1", Fail(style)).Any("/things", h, m...)
	rec := httptest.NewRecorder()
	e.ServeHTTP(rec, req)
	return rec, log.String()
}

func post(body string) *http.Request {
	req := httptest.NewRequest(http.MethodPost, "/v1/things", strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	return req
}

var thing = Schema(`{"type": "object", "properties": {"thing": {
	"type": "object",
	"properties": {
		"name": {"type": "string", "minLength": 1, "maxLength": 5},
		"count": {"type": "integer", "minimum": 1, "maximum": 9},
		"on": {"type": "boolean"},
		"id": {"type": "string", "format": "uuid"},
		"kind": {"enum": ["a", "b"]},
		"word": {"type": "string", "pattern": "^[a-z]*$"},
		"list": {"type": "array", "items": {"type": "string"}, "uniqueItems": true, "maxItems": 3},
		"any": {"anyOf": [{"type": "string"}, {"type": "null"}]}
	},
	"required": ["name"], "additionalProperties": false}},
	"required": ["thing"], "additionalProperties": false}`)

func TestABadBodyIsRefusedInNovasWords(t *testing.T) {
	deep := strings.Repeat("[", 5000) + strings.Repeat("]", 5000)
	for name, c := range map[string]struct {
		body, text string
	}{
		"empty":             {"", "Malformed request body"},
		"blank":             {" \n", "Malformed request body"},
		"no JSON":           {"thing=1", "Malformed request body"},
		"cut off":           {`{"thing": {"name": "x"`, "Malformed request body"},
		"two documents":     {`{"thing": {"name": "x"}} {}`, "Malformed request body"},
		"trailing text":     {`{"thing": {"name": "x"}} x`, "Malformed request body"},
		"not an object":     {`[]`, "[] is not of type 'object'"},
		"null":              {`null`, "None is not of type 'object'"},
		"missing":           {`{}`, "'thing' is a required property"},
		"missing inside":    {`{"thing": {}}`, "Invalid input for field/attribute thing. Value: {}. 'name' is a required property"},
		"unknown":           {`{"thing": {"name": "x"}, "foo": 1}`, "Additional properties are not allowed ('foo' was unexpected)"},
		"two unknown":       {`{"thing": {"name": "x"}, "foo": 1, "bar": 2}`, "Additional properties are not allowed ('bar', 'foo' were unexpected)"},
		"wrong case":        {`{"thing": {"name": "x", "Name": "y"}}`, "Invalid input for field/attribute thing. Value: {'Name': 'y', 'name': 'x'}. Additional properties are not allowed ('Name' was unexpected)"},
		"wrong type":        {`{"thing": {"name": 5}}`, "Invalid input for field/attribute name. Value: 5. 5 is not of type 'string'"},
		"list for a text":   {`{"thing": {"name": ["it's", true]}}`, `Invalid input for field/attribute name. Value: ["it's", True]. ["it's", True] is not of type 'string'`},
		"too long":          {`{"thing": {"name": "abcdef"}}`, "Invalid input for field/attribute name. Value: abcdef. 'abcdef' is too long"},
		"too short":         {`{"thing": {"name": ""}}`, "Invalid input for field/attribute name. Value: . '' is too short"},
		"too large":         {`{"thing": {"name": "x", "count": 10}}`, "Invalid input for field/attribute count. Value: 10. 10 is greater than the maximum of 9"},
		"too small":         {`{"thing": {"name": "x", "count": 0}}`, "Invalid input for field/attribute count. Value: 0. 0 is less than the minimum of 1"},
		"a fraction":        {`{"thing": {"name": "x", "count": 1.5}}`, "Invalid input for field/attribute count. Value: 1.5. 1.5 is not of type 'integer'"},
		"text for a number": {`{"thing": {"name": "x", "count": "1"}}`, "Invalid input for field/attribute count. Value: 1. '1' is not of type 'integer'"},
		"text for a truth":  {`{"thing": {"name": "x", "on": "true"}}`, "Invalid input for field/attribute on. Value: true. 'true' is not of type 'boolean'"},
		"no uuid":           {`{"thing": {"name": "x", "id": "1"}}`, "Invalid input for field/attribute id. Value: 1. '1' is not a 'uuid'"},
		"not of the enum":   {`{"thing": {"name": "x", "kind": "c"}}`, "Invalid input for field/attribute kind. Value: c. 'c' is not one of ['a', 'b']"},
		"no match":          {`{"thing": {"name": "x", "word": "A"}}`, "Invalid input for field/attribute word. Value: A. 'A' does not match '^[a-z]*$'"},
		"inside a list":     {`{"thing": {"name": "x", "list": ["a", 2]}}`, "Invalid input for field/attribute 1. Value: 2. 2 is not of type 'string'"},
		"not unique":        {`{"thing": {"name": "x", "list": ["a", "a"]}}`, "Invalid input for field/attribute list. Value: ['a', 'a']. ['a', 'a'] has non-unique elements"},
		"none of several":   {`{"thing": {"name": "x", "any": 1}}`, "Invalid input for field/attribute any. Value: 1. 1 is not valid under any of the given schemas"},
		"twice":             {`{"thing": {"name": "x", "name": "y"}}`, "Malformed request body: the key 'name' occurs twice"},
		"huge number":       {`{"thing": {"name": "x", "count": 1e999999999}}`, "Malformed request body: the number 1e999999999 is out of range"},
		"tiny number":       {`{"thing": {"name": "x", "count": 1E-999999999}}`, "Malformed request body: the number 1E-999999999 is out of range"},
		"long number":       {`{"thing": {"name": "x", "count": 12345678901234567890123456789012345678901}}`, "Malformed request body: the number 12345678901234567890123456789012345678901 is out of range"},
		"deep":              {`{"thing": ` + deep + `}`, "Malformed request body: it nests deeper than 64 levels"},
		"no text":           {"{\"thing\": {\"name\": \"a\xff\"}}", "Malformed request body"},
		"half a character":  {`{"thing": {"name": "a\ud83d"}}`, "Malformed request body"},
		"null character":    {`{"thing": {"name": "a\u0000"}}`, "Malformed request body: a text holds a null character"},
		"echo of a novel":   {`{"thing": {"name": "` + strings.Repeat("ä", 1000) + `"}}`, "Invalid input for field/attribute name. Value: " + strings.Repeat("ä", 300) + ".... '" + strings.Repeat("ä", 300) + "...' is too long"},
	} {
		t.Run(name, func(t *testing.T) {
			rec, log := serve(Nova, post(c.body), func(c echo.Context) error {
				var dst struct{ Thing struct{ Name string } }
				if err := Bind(c, thing, &dst); err != nil {
					return err
				}
				return c.NoContent(http.StatusOK)
			}, Expect(400))
			require.Equal(t, 400, rec.Code, rec.Body.String())
			var got struct {
				BadRequest struct {
					Code    int
					Message string
				}
			}
			require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &got))
			require.Equal(t, 400, got.BadRequest.Code)
			require.Equal(t, c.text, got.BadRequest.Message)
			require.NotContains(t, log, "level=ERROR")
		})
	}
}

func TestAGoodBodyIsRead(t *testing.T) {
	var dst struct {
		Thing struct {
			Name  string
			Count int
		}
	}
	rec, _ := serve(Nova, post(`{"thing": {"name": "x", "count": 7, "list": []}}`), func(c echo.Context) error {
		if err := Bind(c, thing, &dst); err != nil {
			return err
		}
		return c.NoContent(http.StatusNoContent)
	})
	require.Equal(t, 204, rec.Code)
	require.Equal(t, "x", dst.Thing.Name)
	require.Equal(t, 7, dst.Thing.Count)
}

func TestABodyOverTheLimitIs413WhetherItSaysSoOrNot(t *testing.T) {
	bind := func(c echo.Context) error { return Bind(c, nil, nil) }
	big := `{"a": "` + strings.Repeat("x", MaxBody) + `"}`
	for name, size := range map[string]int64{"announced": int64(len(big)), "chunked": -1} {
		t.Run(name, func(t *testing.T) {
			req := post(big)
			req.ContentLength = size
			rec, _ := serve(Nova, req, bind, Expect())
			require.Equal(t, 413, rec.Code)
			require.JSONEq(t, `{"overLimit": {"code": 413, "message": "Request is too large.", "retryAfter": ""}}`, rec.Body.String())
		})
	}
}

func TestABodyOfAnotherTypeIs415(t *testing.T) {
	for _, contentType := range []string{"text/plain", "application/x-www-form-urlencoded", "nonsense;;"} {
		req := post(`{}`)
		req.Header.Set("Content-Type", contentType)
		rec, _ := serve(Nova, req, func(c echo.Context) error { return Bind(c, nil, nil) }, Expect(400))
		require.Equal(t, 415, rec.Code, contentType)
		require.JSONEq(t, `{"badMediaType": {"code": 415, "message": "Unsupported Content-Type"}}`, rec.Body.String())
	}
}

func TestEachServiceAnswersErrorsInItsOwnForm(t *testing.T) {
	missing := fault.New(fault.NotFound, "Thing <1> could not be found.")
	for name, c := range map[string]struct {
		style  Style
		err    error
		status int
		accept string
		body   string
	}{
		"nova 404":         {Nova, missing, 404, "", `{"itemNotFound": {"code": 404, "message": "Thing <1> could not be found."}}`},
		"nova 409":         {Nova, fault.New(fault.Conflict, "busy"), 409, "", `{"conflictingRequest": {"code": 409, "message": "busy"}}`},
		"nova 403":         {Nova, fault.New(fault.Forbidden, "no"), 403, "", `{"forbidden": {"code": 403, "message": "no"}}`},
		"nova over quota":  {Nova, fault.New(fault.OverQuota, "too many"), 403, "", `{"forbidden": {"code": 403, "message": "too many"}}`},
		"nova 401":         {Nova, fault.New(fault.Unauthorized, "who"), 401, "", `{"error": {"code": 401, "message": "who", "title": "Unauthorized"}}`},
		"keystone 404":     {Keystone, missing, 404, "", `{"error": {"code": 404, "message": "Thing <1> could not be found.", "title": "Not Found"}}`},
		"keystone 429":     {Keystone, Status(429, "slow"), 429, "", `{"error": {"code": 429, "message": "slow", "title": "Too Many Requests"}}`},
		"neutron":          {Neutron, missing, 404, "", `{"NeutronError": {"type": "HTTPNotFound", "message": "Thing <1> could not be found.", "detail": ""}}`},
		"neutron typed":    {Neutron, NeutronType("ThingNotFound", missing), 404, "", `{"NeutronError": {"type": "ThingNotFound", "message": "Thing <1> could not be found.", "detail": ""}}`},
		"neutron quota":    {Neutron, NeutronType("OverQuota", fault.New(fault.OverQuota, "q")), 409, "", `{"NeutronError": {"type": "OverQuota", "message": "q", "detail": ""}}`},
		"glance for JSON":  {Glance, missing, 404, "application/json", `{"message": "Thing &lt;1&gt; could not be found.<br /><br />\n\n\n", "code": "404 Not Found", "title": "Not Found"}`},
		"glance otherwise": {Glance, missing, 404, "*/*", "<html>\n <head>\n  <title>404 Not Found</title>\n </head>\n <body>\n  <h1>404 Not Found</h1>\n  Thing &lt;1&gt; could not be found.<br /><br />\n\n\n\n </body>\n</html>"},
	} {
		t.Run(name, func(t *testing.T) {
			req := httptest.NewRequest(http.MethodGet, "/v1/things", nil)
			req.Header.Set("Accept", c.accept)
			rec, log := serve(c.style, req, func(echo.Context) error { return fmt.Errorf("while looking: %w", c.err) }, Expect(404, 409, 403))
			require.Equal(t, c.status, rec.Code)
			if strings.HasPrefix(c.body, "{") {
				require.JSONEq(t, c.body, rec.Body.String())
				require.Equal(t, "application/json", rec.Header().Get("Content-Type"))
			} else {
				require.Equal(t, c.body, rec.Body.String())
				require.Contains(t, rec.Header().Get("Content-Type"), "text/html")
			}
			require.NotContains(t, log, "level=ERROR")
		})
	}
}

func TestWhatARouteDidNotDeclareIsA500ThatOnlyTheLogExplains(t *testing.T) {
	for name, h := range map[string]echo.HandlerFunc{
		"undeclared status": func(echo.Context) error {
			return fault.Wrap(fault.Conflict, errors.New("secret-cause"), "secret-text")
		},
		"unknown error":  func(echo.Context) error { return errors.New("secret-cause") },
		"internal fault": func(echo.Context) error { return fault.Wrap(fault.Internal, errors.New("secret-cause"), "secret-text") },
		"panic":          func(echo.Context) error { panic("secret-cause") },
	} {
		t.Run(name, func(t *testing.T) {
			rec, log := serve(Nova, httptest.NewRequest(http.MethodGet, "/v1/things", nil), h, Expect(404))
			require.Equal(t, 500, rec.Code)
			id := rec.Header().Get("X-Openstack-Request-Id")
			require.Contains(t, rec.Body.String(), `"computeFault"`)
			require.Contains(t, rec.Body.String(), id)
			require.NotContains(t, rec.Body.String(), "secret")
			require.Contains(t, log, "level=ERROR")
			require.Contains(t, log, "secret-cause")
			require.Contains(t, log, id)
			require.Equal(t, name == "panic", strings.Contains(log, "rest_test.go"), "the stack of a panic, only of a panic")
		})
	}
}

func TestAnOutageIs503AndSaysWhenToTryAgain(t *testing.T) {
	for _, err := range []error{fault.New(fault.Unavailable, "The database does not answer."), fmt.Errorf("query: %w", context.DeadlineExceeded)} {
		rec, _ := serve(Nova, httptest.NewRequest(http.MethodGet, "/v1/things", nil), func(echo.Context) error { return err }, Expect())
		require.Equal(t, 503, rec.Code)
		require.Equal(t, "5", rec.Header().Get("Retry-After"))
		require.Contains(t, rec.Body.String(), `"serviceUnavailable"`)
	}
}

func TestARequestKeepsItsOwnIDWhateverTheClientSends(t *testing.T) {
	const global = "req-0c1f3a52-7f55-4c1e-9a0e-0d3f3d1f0a11"
	for sent, want := range map[string]string{global: global, "req-1": "", "x" + global: "", global + "\n": "", "": ""} {
		req := httptest.NewRequest(http.MethodGet, "/v1/things", nil)
		req.Header["X-Openstack-Request-Id"] = []string{sent}
		var own, seen string
		rec, _ := serve(Nova, req, func(c echo.Context) error {
			own, seen = RequestID(c), GlobalRequestID(c)
			return c.NoContent(http.StatusOK)
		})
		require.Regexp(t, `^req-[0-9a-f-]{36}$`, own)
		require.NotEqual(t, global, own)
		require.Equal(t, want, seen)
		require.Equal(t, own, rec.Header().Get("X-Openstack-Request-Id"))
		require.Equal(t, own, rec.Header().Get("X-Compute-Request-Id"))
	}
}

func TestTheLogHoldsNeitherTokensNorQueriesNorBodies(t *testing.T) {
	req := post(`{"password": "secret-1"}`)
	req.URL.RawQuery = "password=secret-2"
	req.Header.Set("X-Auth-Token", "secret-3")
	_, log := serve(Nova, req, func(c echo.Context) error { return c.String(http.StatusOK, "secret-4") })
	require.Contains(t, log, "path=/v1/things")
	require.Contains(t, log, "bytes=8")
	require.NotContains(t, log, "secret")
}

func TestAPathOrQueryThatNoTextCanBeIsRefused(t *testing.T) {
	for _, query := range []string{"a=%00", "a=%ff", "%00=a", "a=%zz"} {
		req := httptest.NewRequest(http.MethodGet, "/v1/things", nil)
		req.URL.RawQuery = query
		rec, _ := serve(Nova, req, func(c echo.Context) error { return c.NoContent(http.StatusOK) })
		require.Equal(t, 400, rec.Code, query)
	}
}

// tokens is a store that knows one token.
type tokens struct {
	text string
	info models.TokenInfo
	err  error
}

func (s tokens) Token(_ context.Context, text string) (models.TokenInfo, error) {
	if s.err != nil || text != s.text {
		return models.TokenInfo{}, cmpErr(s.err, fault.New(fault.NotFound, "no token"))
	}
	return s.info, nil
}

func cmpErr(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

func TestOnlyAGoodTokenComesThrough(t *testing.T) {
	token, _ := auth.NewToken()
	good := tokens{text: token, info: models.TokenInfo{Token: models.Token{Scope: models.Scope{ProjectID: "p"}}, User: models.Named{ID: "u"}, Roles: []string{"member"}}}
	for name, c := range map[string]struct {
		token  string
		store  tokens
		m      echo.MiddlewareFunc
		status int
	}{
		"good":             {token, good, RequireProject, 200},
		"is no admin":      {token, good, RequireAdmin, 403},
		"none":             {"", good, RequireProject, 401},
		"another":          {token + "x", good, RequireProject, 401},
		"unscoped":         {token, tokens{text: token}, RequireProject, 403},
		"database is away": {token, tokens{err: fault.New(fault.Unavailable, "The database does not answer.")}, RequireProject, 503},
	} {
		t.Run(name, func(t *testing.T) {
			req := httptest.NewRequest(http.MethodGet, "http://cloud.example:8774/v1/things", nil)
			req.Header.Set("X-Auth-Token", c.token)
			rec, log := serveTo(Options{Tokens: c.store}, Nova, req, func(e echo.Context) error {
				require.Equal(t, "u", CallerOf(e).UserID)
				require.Equal(t, "p", CallerOf(e).ProjectID)
				return e.NoContent(http.StatusOK)
			}, RequireToken(Nova), c.m)
			require.Equal(t, c.status, rec.Code)
			if c.status == 401 {
				require.Equal(t, "Keystone uri='http://cloud.example:8774/v3'", rec.Header().Get("WWW-Authenticate"))
				require.JSONEq(t, `{"error": {"code": 401, "message": "The request you have made requires authentication.", "title": "Unauthorized"}}`, rec.Body.String())
			}
			require.NotContains(t, log, token)
		})
	}
}

func TestAPageThatIsFullNamesTheNextWithTheSameQuery(t *testing.T) {
	for query, want := range map[string]string{
		"limit=2&name=a%26b&marker=old": "http://example.com/v1/things?limit=2&marker=id2&name=a%26b",
		"limit=3":                       "",
		"":                              "",
	} {
		var next string
		serve(Nova, httptest.NewRequest(http.MethodGet, "/v1/things?"+query, nil), func(c echo.Context) error {
			p, err := PageOf(c, 25)
			require.NoError(t, err)
			next = p.Next(c, 2, "id2")
			return c.NoContent(http.StatusOK)
		})
		require.Equal(t, want, next)
	}
}

func TestLimitsAreCutToTheMostOrRefused(t *testing.T) {
	for limit, want := range map[string]int{"": 25, "0": MaxPage, "7": 7, "1000": 1000, "1001": 1000, "999999999": 1000} {
		serve(Nova, httptest.NewRequest(http.MethodGet, "/v1/things?limit="+limit, nil), func(c echo.Context) error {
			p, err := PageOf(c, 25)
			require.NoError(t, err)
			require.Equal(t, want, p.Limit, limit)
			return nil
		})
	}
	for _, limit := range []string{"-1", "x", "1.5", "99999999999999999999"} {
		rec, _ := serve(Nova, httptest.NewRequest(http.MethodGet, "/v1/things?limit="+limit, nil), func(c echo.Context) error {
			_, err := PageOf(c, 25)
			return err
		}, Expect(400))
		require.Equal(t, 400, rec.Code, limit)
	}
}

func TestLinksFollowTheConfiguredAddressOrTheRequest(t *testing.T) {
	for public, want := range map[string]string{
		"":                           "http://asked.example:1234/compute/v2.1/servers/a%2Fb",
		"https://cloud.example/api/": "https://cloud.example/api/compute/v2.1/servers/a%2Fb",
	} {
		e := echo.New()
		e.Use(Begin(Options{Logger: slog.New(slog.DiscardHandler), PublicURL: public}))
		var got []Link
		e.GET("/", func(c echo.Context) error {
			got = Links(c, "/compute", "v2.1", "servers", "a/b")
			return nil
		})
		req := httptest.NewRequest(http.MethodGet, "http://asked.example:1234/", nil)
		req.Header.Set("X-Forwarded-Host", "evil.example")
		req.Header.Set("X-Forwarded-Proto", "gopher")
		e.ServeHTTP(httptest.NewRecorder(), req)
		require.Equal(t, want, got[0].Href)
		require.Equal(t, strings.Replace(want, "/v2.1", "", 1), got[1].Href)
	}
}

// listen runs the handler behind a server whose whole-body deadlines are very short.
func listen(t *testing.T, h echo.HandlerFunc) string {
	t.Helper()
	e := echo.New()
	e.Use(Begin(Options{Logger: slog.New(slog.DiscardHandler)}))
	e.Any("/", h)
	server := &http.Server{Handler: e, ReadTimeout: 100 * time.Millisecond, WriteTimeout: 100 * time.Millisecond}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	return l.Addr().String()
}

func TestAnUploadMayTakeLongButNotStandStill(t *testing.T) {
	read := make(chan error, 1)
	addr := listen(t, func(c echo.Context) error {
		body, err := IdleReader(c, 300*time.Millisecond)
		require.NoError(t, err)
		n, err := io.Copy(io.Discard, body)
		read <- err
		return c.String(http.StatusOK, fmt.Sprint(n))
	})
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	fmt.Fprint(conn, "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\n")
	for range 6 {
		time.Sleep(100 * time.Millisecond) // the client's pace: 6 bytes take longer than both server deadlines and idle
		fmt.Fprint(conn, "x")
	}
	require.NoError(t, <-read)
	answer := make([]byte, 12)
	_, err = io.ReadFull(conn, answer)
	require.NoError(t, err)
	require.Equal(t, "HTTP/1.1 200", string(answer))

	stalled, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer stalled.Close()
	fmt.Fprint(stalled, "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nx")
	select {
	case err := <-read:
		var timeout net.Error
		require.ErrorAs(t, err, &timeout)
		require.True(t, timeout.Timeout())
	case <-time.After(5 * time.Second):
		t.Fatal("a stalled upload holds its request")
	}
}

func TestADownloadMayTakeLongButNotStandStill(t *testing.T) {
	const size = 64 << 20
	sent := make(chan error, 1)
	addr := listen(t, func(c echo.Context) error {
		c.Response().Header().Set("Content-Length", fmt.Sprint(size))
		c.Response().WriteHeader(http.StatusOK)
		err := CopyIdle(c, io.LimitReader(zeros{}, size), size, 300*time.Millisecond)
		sent <- err
		return nil
	})
	resp, err := http.Get("http://" + addr)
	require.NoError(t, err)
	time.Sleep(200 * time.Millisecond) // longer than the server's whole-answer deadline
	n, err := io.Copy(io.Discard, resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.EqualValues(t, size, n)
	require.NoError(t, <-sent)

	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n") // and never reads
	select {
	case err := <-sent:
		require.Error(t, err)
	case <-time.After(5 * time.Second):
		t.Fatal("a stalled download holds its request")
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func BenchmarkTokenCheck(b *testing.B) {
	token, _ := auth.NewToken()
	e := echo.New()
	good := tokens{text: token, info: models.TokenInfo{User: models.Named{ID: "u"}}}
	e.Use(Begin(Options{Logger: slog.New(slog.DiscardHandler), Tokens: good}))
	e.GET("/", func(c echo.Context) error { return c.NoContent(http.StatusNoContent) }, RequireToken(Nova))
	req := httptest.NewRequest(http.MethodGet, "/", nil)
	req.Header.Set("X-Auth-Token", token)
	b.ReportAllocs()
	for b.Loop() {
		rec := httptest.NewRecorder()
		e.ServeHTTP(rec, req)
		if rec.Code != http.StatusNoContent {
			b.Fatal(rec.Code)
		}
	}
}

func BenchmarkBind(b *testing.B) {
	body := `{"thing": {"name": "x", "count": 7, "list": ["a", "b"], "id": "0c1f3a52-7f55-4c1e-9a0e-0d3f3d1f0a11"}}`
	e := echo.New()
	b.ReportAllocs()
	for b.Loop() {
		c := e.NewContext(post(body), httptest.NewRecorder())
		var dst struct{ Thing struct{ Name string } }
		if err := Bind(c, thing, &dst); err != nil {
			b.Fatal(err)
		}
	}
}
