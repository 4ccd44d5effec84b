package session

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/slipway-cloud/slipway/internal/cli/show"
)

// Request is one call of the API.
type Request struct {
	Service string // type in the catalog
	Method  string
	Path    string // below the service's address, escaped, without a leading slash
	Query   url.Values
	Body    any       // written as JSON
	Raw     io.Reader // or written as it is
	Headers map[string]string
	Version Microversion // of the compute API; zero is the newest that both sides know
}

var success = []int{http.StatusOK, http.StatusCreated, http.StatusAccepted, http.StatusNoContent, http.StatusPartialContent}

// Send makes a call and gives the open answer. What is not a success is an *APIError.
func (s *Session) Send(ctx context.Context, r Request) (*http.Response, error) {
	base, err := s.Base(r.Service)
	if err != nil {
		return nil, err
	}
	address := base + r.Path
	if len(r.Query) > 0 {
		address += "?" + r.Query.Encode()
	}
	headers := map[string]string{}
	for k, v := range r.Headers {
		headers[k] = v
	}
	if r.Service == "compute" {
		version := r.Version
		if version == (Microversion{}) {
			if version, err = s.ComputeVersion(ctx); err != nil {
				return nil, err
			}
		}
		headers["OpenStack-API-Version"] = "compute " + version.String()
		headers["X-OpenStack-Nova-API-Version"] = version.String()
	}
	options := &gophercloud.RequestOpts{JSONBody: r.Body, RawBody: r.Raw, MoreHeaders: headers, OkCodes: success, KeepResponseBody: true}
	response, err := s.provider.Request(ctx, r.Method, address, options)
	if err != nil {
		return nil, s.apiError(r.Service, err)
	}
	return response, nil
}

// Call makes a call whose answer is a JSON object, or nothing.
func (s *Session) Call(ctx context.Context, r Request) (show.Object, http.Header, error) {
	response, err := s.Send(ctx, r)
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the answer of the %s API: %w", r.Service, err)
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, response.Header, nil
	}
	answer, err := decode(body)
	if err != nil {
		return nil, nil, fmt.Errorf("the %s API answered something that is not JSON: %w", r.Service, err)
	}
	return answer, response.Header, nil
}

func decode(body []byte) (show.Object, error) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var o show.Object
	if err := d.Decode(&o); err != nil {
		return nil, err
	}
	return o, nil
}

// Pages reads a whole list: page after page by the marker of each page's "next" link (Nova's <plural>_links, Glance's
// "next", Neutron's <plural>_links). A limit in the query is that of the whole, however small the pages are.
func (s *Session) Pages(ctx context.Context, r Request, plural string) ([]show.Object, error) {
	r.Method = http.MethodGet
	limit, err := strconv.Atoi(r.Query.Get("limit"))
	if err != nil {
		limit = 0
	}
	var all []show.Object
	seen := map[string]bool{}
	for {
		answer, _, err := s.Call(ctx, r)
		if err != nil {
			return nil, err
		}
		all = append(all, show.Objects(answer[plural])...)
		next := nextLink(answer, plural)
		if limit > 0 && len(all) >= limit {
			return all[:limit], nil
		}
		if next == "" {
			return all, nil
		}
		u, err := url.Parse(next)
		if err != nil {
			return nil, fmt.Errorf("the next page's address %q: %w", next, err)
		}
		marker := u.Query().Get("marker")
		if marker == "" || seen[marker] {
			return all, nil
		}
		seen[marker] = true
		r.Query = u.Query()
	}
}

func nextLink(answer show.Object, plural string) string {
	if next := show.Text(answer, "next"); next != "" {
		return next
	}
	for _, link := range show.Objects(answer[plural+"_links"]) {
		if show.Text(link, "rel") == "next" {
			return show.Text(link, "href")
		}
	}
	return ""
}

// apiError turns gophercloud's errors into ours.
func (s *Session) apiError(service string, err error) error {
	var again *gophercloud.ErrUnableToReauthenticate
	if errors.As(err, &again) {
		return s.apiError("identity", again.ErrReauth)
	}
	var after *gophercloud.ErrErrorAfterReauthentication
	if errors.As(err, &after) {
		return s.apiError(service, after.ErrOriginal)
	}
	var code gophercloud.ErrUnexpectedResponseCode
	if !errors.As(err, &code) {
		return err
	}
	return &APIError{service: service, Status: code.Actual, message: messageOf(code.Body, code.Actual),
		requestID: cmp.Or(code.ResponseHeader.Get("X-Openstack-Request-Id"), code.ResponseHeader.Get("X-Compute-Request-Id"))}
}

// messageOf finds the text in the error bodies of the APIs: Nova {"itemNotFound":{"message":…}}, Keystone and Slipway's own
// {"error":{"message":…}}, Neutron {"NeutronError":{"message":…}} or {"NeutronError":"…"}, Glance {"message":…} with HTML
// in it, or a page of HTML.
func messageOf(body []byte, status int) string {
	message := string(body)
	if o, err := decode(body); err == nil {
		message = textIn(o)
	}
	message = html.UnescapeString(tags.ReplaceAllString(head.ReplaceAllString(message, ""), " "))
	message = strings.Join(strings.Fields(message), " ")
	if message == "" {
		return cmp.Or(http.StatusText(status), "no reason given")
	}
	const most = 2000
	if len(message) > most {
		message = strings.ToValidUTF8(message[:most], "") + "…"
	}
	return message
}

var (
	head = regexp.MustCompile(`(?s)<head>.*?</head>|<h1>.*?</h1>`)
	// Only the tags that web servers put into error pages: the text itself may well have a "<" in it.
	tags = regexp.MustCompile(`(?i)</?(html|head|body|title|h1|h2|p|br|hr|center|pre)\s*/?>`)
)

func textIn(o show.Object) string {
	if m := show.Text(o, "message"); m != "" {
		return m
	}
	for _, value := range o {
		switch v := value.(type) {
		case show.Object:
			if m := show.Text(v, "message"); m != "" {
				return m
			}
		case string:
			if v != "" {
				return v
			}
		}
	}
	return ""
}

// Microversion is a version of the compute API, 2.minor.
type Microversion struct{ major, minor int }

func (v Microversion) String() string { return fmt.Sprintf("%d.%d", v.major, v.minor) }

// Older says whether v is before than.
func (v Microversion) Older(than Microversion) bool {
	return v.major < than.major || v.major == than.major && v.minor < than.minor
}

func parseMicroversion(s string) (Microversion, error) {
	major, minor, ok := strings.Cut(s, ".")
	if !ok {
		return Microversion{}, fmt.Errorf("%q is no microversion", s)
	}
	a, err := strconv.Atoi(major)
	if err != nil {
		return Microversion{}, fmt.Errorf("%q is no microversion", s)
	}
	b, err := strconv.Atoi(minor)
	if err != nil {
		return Microversion{}, fmt.Errorf("%q is no microversion", s)
	}
	return Microversion{a, b}, nil
}

var (
	// newestCompute is what these verbs are written for: it takes any printable name of a key pair (2.92), and has the
	// details of events (2.84), their hosts (2.62), tags at creation (2.52) and "networks": "none" and "auto" (2.37).
	newestCompute = Microversion{2, 96}
	// PersonalityCompute is the last version that takes files in the request.
	PersonalityCompute = Microversion{2, 56}
)

// ComputeVersion is the newest microversion that both sides know, from the version document at the endpoint.
func (s *Session) ComputeVersion(ctx context.Context) (Microversion, error) {
	if s.computeSeen {
		return s.computeMax, nil
	}
	answer, _, err := s.Call(ctx, Request{Service: "compute", Method: http.MethodGet, Version: Microversion{2, 1}})
	if err != nil {
		return Microversion{}, fmt.Errorf("asking the compute API for its version: %w", err)
	}
	chosen := newestCompute
	if newest := show.Text(answer, "version", "version"); newest != "" {
		offered, err := parseMicroversion(newest)
		if err != nil {
			return Microversion{}, fmt.Errorf("the compute API's version: %w", err)
		}
		if offered.Older(chosen) {
			chosen = offered
		}
	}
	s.computeMax, s.computeSeen = chosen, true
	return chosen, nil
}

// sized is a body that knows how many bytes it has, or -1 where nobody does.
type sized interface{ Length() int64 }

// announcing gives a request the Content-Length of the upload in it, which gophercloud has no place for: the API can refuse
// what is too large before it is sent, and knows when bytes are missing.
type announcing struct{ next http.RoundTripper }

// RoundTrip announces, and hands on.
func (a announcing) RoundTrip(r *http.Request) (*http.Response, error) {
	if body, ok := r.Body.(sized); ok && body.Length() >= 0 {
		r = r.Clone(r.Context())
		r.ContentLength = body.Length()
		if r.ContentLength == 0 {
			r.Body = http.NoBody
		}
	}
	return a.next.RoundTrip(r)
}
