// Package sigv4 checks Amazon's Signature Version 4 (AWS4-HMAC-SHA256) of a request, in its headers or in its query string: who
// says to have signed it, when, and whether the secret was the signer's (docs.aws.amazon.com/IAM/latest/UserGuide,
// "Signing AWS API requests").
package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Algorithm is the only one that is known here.
const Algorithm = "AWS4-HMAC-SHA256"

const (
	stamp      = "20060102T150405Z"
	terminator = "aws4_request"
	maxExpires = 7 * 24 * time.Hour
)

// What a request may lack. An Incomplete error says what is missing or wrong.
var (
	ErrNone     = errors.New("the request is not signed")
	ErrVersion2 = errors.New("the request is signed with Signature Version 2")
)

// Incomplete is a signature that cannot be checked; it is the reason.
type Incomplete string

func (e Incomplete) Error() string { return string(e) }

func incomplete(format string, args ...any) error { return Incomplete(fmt.Sprintf(format, args...)) }

// Request is what a signature is made over.
type Request struct {
	Method   string
	Path     string              // escaped, as it was sent
	Query    url.Values          // of the address
	Header   map[string][]string // in MIME's canonical form, Host among them
	BodyHash string              // SHA-256 of the body, in hexadecimal digits
}

// HashBody is a Request's BodyHash.
func HashBody(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// Signature is what a request says of its signature; nothing of it is true before Matches says so.
type Signature struct {
	Access  string // the key's name
	Region  string
	Service string
	At      time.Time
	Expires time.Duration // of one in a query string, which holds as long from At; 0 is one in headers

	Headers []string // that were signed, by name in lower case
	Hex     string   // the signature itself

	day string
}

// Authorization is the header that says so.
func (s Signature) Authorization() string {
	return fmt.Sprintf("%s Credential=%s, SignedHeaders=%s, Signature=%s", Algorithm,
		strings.Join([]string{s.Access, s.day, s.Region, s.Service, terminator}, "/"), strings.Join(s.Headers, ";"), s.Hex)
}

// Of reads the signature of a request. ErrNone, ErrVersion2 or Incomplete where there is none that could be checked.
func Of(r Request) (Signature, error) {
	header := r.one("Authorization")
	inQuery := r.Query.Has("X-Amz-Algorithm") || r.Query.Has("X-Amz-Signature")
	switch {
	case r.Query.Has("SignatureVersion"), r.Query.Has("SignatureMethod"), r.Query.Has("Signature"),
		strings.HasPrefix(header, "AWS "), strings.HasPrefix(header, "AWS3"):
		return Signature{}, ErrVersion2
	case strings.HasPrefix(header, "AWS") && inQuery:
		return Signature{}, incomplete("a signature is either in the Authorization header or in the query string, not in both")
	case inQuery:
		return ofQuery(r)
	case !strings.HasPrefix(header, "AWS"):
		return Signature{}, ErrNone
	}
	return ofHeader(r, header)
}

func ofHeader(r Request, header string) (Signature, error) {
	algorithm, rest, _ := strings.Cut(header, " ")
	if algorithm != Algorithm {
		return Signature{}, incomplete("the Authorization header has to begin with %s", Algorithm)
	}
	fields := map[string]string{}
	for part := range strings.SplitSeq(rest, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		if _, twice := fields[name]; !ok || twice {
			return Signature{}, incomplete("the Authorization header is no list of Credential, SignedHeaders and Signature")
		}
		fields[name] = value
	}
	date, dated := r.one("X-Amz-Date"), "x-amz-date"
	if date == "" {
		date, dated = r.one("Date"), "date"
	}
	return read(fields["Credential"], date, fields["SignedHeaders"], fields["Signature"], dated)
}

func ofQuery(r Request) (Signature, error) {
	var values [6]string
	for i, name := range []string{"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature"} {
		if len(r.Query[name]) != 1 {
			return Signature{}, incomplete("a signed query string has %s once", name)
		}
		values[i] = r.Query.Get(name)
	}
	if values[0] != Algorithm {
		return Signature{}, incomplete("X-Amz-Algorithm has to be %s", Algorithm)
	}
	s, err := read(values[1], values[2], values[4], values[5], "")
	if err != nil {
		return s, err
	}
	const most = int(maxExpires / time.Second)
	seconds, err := strconv.Atoi(values[3])
	if err != nil || seconds < 1 || seconds > most {
		return s, incomplete("X-Amz-Expires is from 1 to %d seconds", most)
	}
	s.Expires = time.Duration(seconds) * time.Second
	return s, nil
}

// read puts a signature together; dated is the header that the date came in, which has to be signed, "" for the query string.
func read(credential, date, headers, signature, dated string) (Signature, error) {
	s := Signature{Headers: strings.Split(headers, ";"), Hex: signature}
	scope := strings.Split(credential, "/")
	n := len(scope)
	if n < 5 || scope[n-1] != terminator { // a key's name may have slashes
		return s, incomplete("Credential has to be a key, a date, a region, a service and %s, with slashes between them", terminator)
	}
	s.Access, s.day, s.Region, s.Service = strings.Join(scope[:n-4], "/"), scope[n-4], scope[n-3], scope[n-2]
	var err error
	if s.At, err = at(date); err != nil {
		return s, err
	}
	switch {
	case s.At.Format("20060102") != s.day:
		return s, incomplete("the date in Credential's scope is another than the request's")
	case !slices.Contains(s.Headers, "host"):
		return s, incomplete("the header host has to be signed")
	case dated != "" && !slices.Contains(s.Headers, dated):
		return s, incomplete("the header %s has to be signed", dated)
	case signature == "":
		return s, incomplete("there is no Signature")
	}
	return s, nil
}

// at reads a date in ISO 8601's basic form, or, of the header Date, in HTTP's.
func at(date string) (time.Time, error) {
	for _, form := range []string{stamp, time.RFC1123} {
		if t, err := time.Parse(form, date); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, incomplete("X-Amz-Date has to be as in 20060102T150405Z")
}

// Holds says whether a signature holds at a time, with clocks that may differ by skew.
func (s Signature) Holds(now time.Time, skew time.Duration) bool {
	from, to := s.At.Add(-skew), s.At.Add(skew)
	if s.Expires > 0 {
		to = s.At.Add(s.Expires)
	}
	return !now.Before(from) && !now.After(to)
}

// Matches says whether the request was signed as it is, with the secret.
func (s Signature) Matches(r Request, secret string) bool {
	given, err := hex.DecodeString(s.Hex)
	return err == nil && hmac.Equal(given, s.of(r, secret))
}

func (s Signature) of(r Request, secret string) []byte {
	canonical := sha256.Sum256([]byte(s.canonical(r)))
	scope := strings.Join([]string{s.day, s.Region, s.Service, terminator}, "/")
	toSign := strings.Join([]string{Algorithm, s.At.Format(stamp), scope, hex.EncodeToString(canonical[:])}, "\n")
	key := []byte("AWS4" + secret)
	for _, part := range []string{s.day, s.Region, s.Service, terminator, toSign} {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	return key
}

// canonical is the request in the form in which every signer and checker writes it.
func (s Signature) canonical(r Request) string {
	path := strings.Split(r.Path, "/")
	for i, part := range path {
		path[i] = escape(part)
	}
	var query []string
	for _, name := range slices.Sorted(maps.Keys(r.Query)) {
		if name == "X-Amz-Signature" {
			continue
		}
		for _, value := range r.Query[name] {
			query = append(query, escape(name)+"="+escape(value))
		}
	}
	slices.Sort(query)
	lines := []string{r.Method, strings.Join(path, "/"), strings.Join(query, "&")}
	for _, name := range s.Headers {
		lines = append(lines, name+":"+r.Value(name))
	}
	return strings.Join(append(lines, "", strings.Join(s.Headers, ";"), r.BodyHash), "\n")
}

// Value is a header in the form in which it is signed.
func (r Request) Value(name string) string {
	values := slices.Clone(r.Header[HeaderName(name)])
	for i, v := range values {
		values[i] = strings.Join(strings.Fields(v), " ")
	}
	return strings.Join(values, ",")
}

// HeaderName is a header's name as http.Header has it.
func HeaderName(name string) string {
	parts := strings.Split(strings.ToLower(name), "-")
	for i, p := range parts {
		if p != "" {
			parts[i] = strings.ToUpper(p[:1]) + p[1:]
		}
	}
	return strings.Join(parts, "-")
}

// one is a header that is there once; "" is none, and one that is there twice is none either.
func (r Request) one(name string) string {
	if v := r.Header[name]; len(v) == 1 {
		return v[0]
	}
	return ""
}

// escape encodes all but RFC 3986's unreserved characters.
func escape(text string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(text) {
		switch c := text[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("-._~", c) >= 0:
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&15])
		}
	}
	return b.String()
}
