package ec2

import (
	"errors"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/sigv4"
)

// skew is how much a client's clock may differ (Amazon's requests "must reach us within five minutes of the time stamp").
const skew = 5 * time.Minute

// maxBody is the most that a request may hold.
const maxBody = rest.MaxBody

const formType = "application/x-www-form-urlencoded"

// read reads a request whole: what it is signed over, and its parameters, of the query string and of a form.
func read(c echo.Context) (sigv4.Request, url.Values, error) {
	r := c.Request()
	body, err := io.ReadAll(http.MaxBytesReader(c.Response(), r.Body, maxBody))
	if err != nil {
		if errors.As(err, new(*http.MaxBytesError)) {
			return sigv4.Request{}, nil, fault.Wrap(fault.TooLarge, malformedQuery, "A request may have at most %d bytes.", maxBody)
		}
		return sigv4.Request{}, nil, fault.Wrap(fault.Invalid, malformedQuery, "The request ended too early.")
	}
	// As it was sent: what serves the request has written the address in another form.
	path, raw, _ := strings.Cut(r.RequestURI, "?")
	if at := strings.Index(path, "://"); at >= 0 { // an absolute address, as for a proxy
		path = path[at+3:]
		path = path[max(strings.IndexByte(path, '/'), 0):]
	}
	query, err := parse(raw)
	if err != nil {
		return sigv4.Request{}, nil, err
	}
	header := maps.Clone(r.Header)
	header["Host"] = []string{r.Host}
	if r.ContentLength >= 0 && len(header["Content-Length"]) == 0 {
		header["Content-Length"] = []string{strconv.FormatInt(r.ContentLength, 10)}
	}
	signed := sigv4.Request{Method: r.Method, Path: path, Query: query, Header: header, BodyHash: sigv4.HashBody(body)}

	values := url.Values{}
	maps.Copy(values, query)
	if len(body) > 0 {
		if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != formType {
			return signed, nil, fault.Wrap(fault.Invalid, malformedQuery, "A request's body has to be a form (Content-Type: %s).", formType)
		}
		form, err := parse(string(body))
		if err != nil {
			return signed, nil, err
		}
		for name, value := range form {
			values[name] = append(values[name], value...)
		}
	}
	for name, value := range values {
		if len(value) > 1 {
			return signed, nil, fault.Wrap(fault.Invalid, malformedQuery, "The parameter %s is there more than once.", name)
		}
	}
	return signed, values, nil
}

const malformedQuery ids.EC2Code = "MalformedQueryString"

// parse reads parameters, of text that can be kept and compared: UTF-8 without null characters.
func parse(raw string) (url.Values, error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, malformedQuery, "The request's parameters are not a query string.")
	}
	for name, list := range values {
		for _, text := range append(list, name) {
			if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
				return nil, fault.Wrap(fault.Invalid, malformedQuery, "A parameter is not UTF-8 text.")
			}
		}
	}
	return values, nil
}

// authenticate finds out who signed a request, for a service ("ec2").
func (a *API) authenticate(c echo.Context, r sigv4.Request, service string) (asker, error) {
	signature, err := sigv4.Of(r)
	var bad sigv4.Incomplete
	switch {
	case errors.Is(err, sigv4.ErrNone):
		return asker{}, fault.New(fault.Unauthorized, "The request is not signed: sign it with an access key, by Signature Version 4 (%s).", sigv4.Algorithm)
	case errors.Is(err, sigv4.ErrVersion2):
		return asker{}, fault.New(fault.Unauthorized, "Signature Version 2 is not supported: sign with Signature Version 4 (%s).", sigv4.Algorithm)
	case errors.As(err, &bad):
		return asker{}, fault.Wrap(fault.Invalid, rest.EC2NoSignature, "The signature cannot be checked: %s.", bad)
	case err != nil:
		return asker{}, err
	case signature.Service != service:
		return asker{}, fault.Wrap(fault.Forbidden, rest.EC2BadSignature, "Credential should be scoped to correct service: '%s'.", service)
	case !signature.Holds(a.now(), skew):
		return asker{}, fault.Wrap(fault.Invalid, ids.EC2Code("RequestExpired"), "Request has expired: it is from %s, and it is %s here.",
			signature.At.Format(time.RFC3339), a.now().UTC().Format(time.RFC3339))
	case r.Query.Get("X-Amz-Security-Token") != "" || len(r.Header["X-Amz-Security-Token"]) > 0:
		return asker{}, fault.New(fault.Unauthorized, "There are no temporary credentials here: X-Amz-Security-Token cannot be checked.")
	}
	caller, matches, err := a.keys.Signer(c.Request().Context(), r, signature)
	if fault.Is(err, fault.Unauthorized) {
		return asker{}, fault.Wrap(fault.Unauthorized, err, "AWS was not able to validate the provided access credentials")
	}
	if err != nil {
		return asker{}, err
	}
	if !matches {
		return asker{}, fault.Wrap(fault.Forbidden, rest.EC2BadSignature, "The request signature we calculated does not match the signature you provided. "+
			"Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")
	}
	who := asker{Caller: rest.Caller{Caller: caller}, requestID: rest.RequestID(c), endpoint: rest.URL(c, Path), log: rest.Logger(c)}
	rest.SetCaller(c, who.Caller)
	return who, nil
}
