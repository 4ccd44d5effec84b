package cli

import (
	"bytes"
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
)

// request is one call of the API.
type request struct {
	service string // type in the catalog
	method  string
	path    string // below the service's address, escaped, without a leading slash
	query   url.Values
	body    any       // written as JSON
	raw     io.Reader // or written as it is
	headers map[string]string
	version microversion // of the compute API; zero is the newest that both sides know
}

var success = []int{http.StatusOK, http.StatusCreated, http.StatusAccepted, http.StatusNoContent, http.StatusPartialContent}

// send makes a call and gives the open answer. What is not a success is an *apiError.
func (s *session) send(ctx context.Context, r request) (*http.Response, error) {
	base, err := s.base(r.service)
	if err != nil {
		return nil, err
	}
	address := base + r.path
	if len(r.query) > 0 {
		address += "?" + r.query.Encode()
	}
	headers := map[string]string{}
	for k, v := range r.headers {
		headers[k] = v
	}
	if r.service == "compute" {
		version := r.version
		if version == (microversion{}) {
			if version, err = s.computeVersion(ctx); err != nil {
				return nil, err
			}
		}
		headers["OpenStack-API-Version"] = "compute " + version.String()
		headers["X-OpenStack-Nova-API-Version"] = version.String()
	}
	options := &gophercloud.RequestOpts{JSONBody: r.body, RawBody: r.raw, MoreHeaders: headers, OkCodes: success, KeepResponseBody: true}
	response, err := s.provider.Request(ctx, r.method, address, options)
	if err != nil {
		return nil, s.answer(r.service, err)
	}
	return response, nil
}

// call makes a call whose answer is a JSON object, or nothing.
func (s *session) call(ctx context.Context, r request) (object, http.Header, error) {
	response, err := s.send(ctx, r)
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the answer of the %s API: %w", r.service, err)
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, response.Header, nil
	}
	answer, err := decode(body)
	if err != nil {
		return nil, nil, fmt.Errorf("the %s API answered something that is not JSON: %w", r.service, err)
	}
	return answer, response.Header, nil
}

func decode(body []byte) (object, error) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var o object
	if err := d.Decode(&o); err != nil {
		return nil, err
	}
	return o, nil
}

// pages reads a whole list: page after page by the marker of each page's "next" link (Nova's <plural>_links, Glance's
// "next", Neutron's <plural>_links). A limit in the query is that of the whole, however small the pages are.
func (s *session) pages(ctx context.Context, r request, plural string) ([]object, error) {
	r.method = http.MethodGet
	limit, err := strconv.Atoi(r.query.Get("limit"))
	if err != nil {
		limit = 0
	}
	var all []object
	seen := map[string]bool{}
	for {
		answer, _, err := s.call(ctx, r)
		if err != nil {
			return nil, err
		}
		all = append(all, objects(answer[plural])...)
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
		r.query = u.Query()
	}
}

func nextLink(answer object, plural string) string {
	if next := text(answer, "next"); next != "" {
		return next
	}
	for _, link := range objects(answer[plural+"_links"]) {
		if text(link, "rel") == "next" {
			return text(link, "href")
		}
	}
	return ""
}

// answer turns gophercloud's errors into ours.
func (s *session) answer(service string, err error) error {
	var again *gophercloud.ErrUnableToReauthenticate
	if errors.As(err, &again) {
		return s.answer("identity", again.ErrReauth)
	}
	var after *gophercloud.ErrErrorAfterReauthentication
	if errors.As(err, &after) {
		return s.answer(service, after.ErrOriginal)
	}
	var code gophercloud.ErrUnexpectedResponseCode
	if !errors.As(err, &code) {
		return err
	}
	return &apiError{service: service, status: code.Actual, message: messageOf(code.Body, code.Actual),
		requestID: first(code.ResponseHeader.Get("X-Openstack-Request-Id"), code.ResponseHeader.Get("X-Compute-Request-Id"))}
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
		return first(http.StatusText(status), "no reason given")
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

func textIn(o object) string {
	if m := text(o, "message"); m != "" {
		return m
	}
	for _, value := range o {
		switch v := value.(type) {
		case object:
			if m := text(v, "message"); m != "" {
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

// microversion is a version of the compute API, 2.minor.
type microversion struct{ major, minor int }

func (v microversion) String() string { return fmt.Sprintf("%d.%d", v.major, v.minor) }

func (v microversion) older(than microversion) bool {
	return v.major < than.major || v.major == than.major && v.minor < than.minor
}

func parseMicroversion(s string) (microversion, error) {
	major, minor, ok := strings.Cut(s, ".")
	if !ok {
		return microversion{}, fmt.Errorf("%q is no microversion", s)
	}
	a, err := strconv.Atoi(major)
	if err != nil {
		return microversion{}, fmt.Errorf("%q is no microversion", s)
	}
	b, err := strconv.Atoi(minor)
	if err != nil {
		return microversion{}, fmt.Errorf("%q is no microversion", s)
	}
	return microversion{a, b}, nil
}

var (
	// newestCompute is what these verbs are written for: it takes any printable name of a key pair (2.92), and has the
	// details of events (2.84), their hosts (2.62), tags at creation (2.52) and "networks": "none" and "auto" (2.37).
	newestCompute = microversion{2, 96}
	// personalityCompute is the last version that takes files in the request.
	personalityCompute = microversion{2, 56}
)

// computeVersion is the newest microversion that both sides know, from the version document at the endpoint.
func (s *session) computeVersion(ctx context.Context) (microversion, error) {
	if s.computeSeen {
		return s.computeMax, nil
	}
	answer, _, err := s.call(ctx, request{service: "compute", method: http.MethodGet, version: microversion{2, 1}})
	if err != nil {
		return microversion{}, fmt.Errorf("asking the compute API for its version: %w", err)
	}
	chosen := newestCompute
	if newest := text(answer, "version", "version"); newest != "" {
		offered, err := parseMicroversion(newest)
		if err != nil {
			return microversion{}, fmt.Errorf("the compute API's version: %w", err)
		}
		if offered.older(chosen) {
			chosen = offered
		}
	}
	s.computeMax, s.computeSeen = chosen, true
	return chosen, nil
}
