package sigv4

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The key of Amazon's examples.
const (
	exampleAccess = "AKIDEXAMPLE"
	exampleSecret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
)

// published are requests with their signatures from Amazon's own documents: the signing example of the IAM User Guide, and some of
// the Signature Version 4 test suite.
var published = map[string]struct {
	method, path, query, body string
	header                    map[string][]string
	service, signed, hex      string
}{
	"IAM's ListUsers": {
		method: "GET", path: "/", query: "Action=ListUsers&Version=2010-05-08", service: "iam", signed: "content-type;host;x-amz-date",
		header: map[string][]string{"Host": {"iam.amazonaws.com"}, "Content-Type": {"application/x-www-form-urlencoded; charset=utf-8"}},
		hex:    "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
	},
	"get-vanilla": {
		method: "GET", path: "/", service: "service", signed: "host;x-amz-date", header: map[string][]string{"Host": {"example.amazonaws.com"}},
		hex: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
	},
	"get-vanilla-query-order-key-case": {
		method: "GET", path: "/", query: "Param2=value2&Param1=value1", service: "service", signed: "host;x-amz-date",
		header: map[string][]string{"Host": {"example.amazonaws.com"}},
		hex:    "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
	},
	"post-x-www-form-urlencoded": {
		method: "POST", path: "/", body: "Param1=value1", service: "service", signed: "content-type;host;x-amz-date",
		header: map[string][]string{"Host": {"example.amazonaws.com"}, "Content-Type": {"application/x-www-form-urlencoded"}},
		hex:    "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
	},
}

func example(t *testing.T, name string) Request {
	t.Helper()
	p := published[name]
	query, err := url.ParseQuery(p.query)
	require.NoError(t, err)
	r := Request{Method: p.method, Path: p.path, Query: query, BodyHash: HashBody([]byte(p.body)), Header: map[string][]string{
		"X-Amz-Date": {"20150830T123600Z"},
		"Authorization": {Algorithm + " Credential=" + exampleAccess + "/20150830/us-east-1/" + p.service + "/aws4_request, SignedHeaders=" + p.signed +
			", Signature=" + p.hex},
	}}
	for k, v := range p.header {
		r.Header[k] = v
	}
	return r
}

func TestAmazonsPublishedExamplesMatch(t *testing.T) {
	for name, p := range published {
		r := example(t, name)
		s, err := Of(r)
		require.NoError(t, err, name)
		require.Equal(t, exampleAccess, s.Access)
		require.Equal(t, "us-east-1", s.Region)
		require.Equal(t, p.service, s.Service)
		require.True(t, s.Matches(r, exampleSecret), "%s:\n%s", name, s.canonical(r))
		require.False(t, s.Matches(r, exampleSecret+"x"), name)
	}
}

func TestWhateverIsAlteredDoesNotMatch(t *testing.T) {
	const name = "IAM's ListUsers"
	for what, alter := range map[string]func(r *Request){
		"the method":          func(r *Request) { r.Method = "POST" },
		"the path":            func(r *Request) { r.Path = "/ec2" },
		"a parameter":         func(r *Request) { r.Query.Set("Action", "DeleteUser") },
		"one parameter more":  func(r *Request) { r.Query.Set("UserName", "x") },
		"one parameter twice": func(r *Request) { r.Query.Add("Action", "ListUsers") },
		"the body":            func(r *Request) { r.BodyHash = HashBody([]byte("x")) },
		"a signed header":     func(r *Request) { r.Header["Host"] = []string{"other.example.org"} },
		"a header's absence":  func(r *Request) { delete(r.Header, "Content-Type") },
		"the time":            func(r *Request) { r.Header["X-Amz-Date"] = []string{"20150830T123601Z"} },
		"the region":          replaced("us-east-1", "us-east-2"),
		"the service":         replaced("/iam/", "/ec2/"),
		"the key's name":      replaced(exampleAccess, exampleAccess), // is nothing that is signed: the secret is another's
		"the signed headers":  replaced("content-type;host", "host"),
		"the signature":       replaced("5d672d79", "5d672d78"),
		"its length":          replaced("b5d7", "b5"),
		"its digits":          replaced("5d672d79", "zd672d79"),
	} {
		r := example(t, name)
		alter(&r)
		s, err := Of(r)
		require.NoError(t, err, what)
		require.Equal(t, what == "the key's name", s.Matches(r, exampleSecret), what)
	}
}

func replaced(old, with string) func(*Request) {
	return func(r *Request) {
		r.Header["Authorization"] = []string{strings.Replace(r.Header["Authorization"][0], old, with, 1)}
	}
}

func TestASignatureThatCannotBeCheckedIsRefused(t *testing.T) {
	for what, alter := range map[string]func(r *Request){
		"another algorithm":      replaced(Algorithm, "AWS4-HMAC-SHA512"),
		"no terminator":          replaced("aws4_request", "aws5_request"),
		"no scope":               replaced("/20150830/us-east-1/iam", ""),
		"another day":            replaced("20150830", "20150829"),
		"host is not signed":     replaced("content-type;host;", "content-type;"),
		"the date is not signed": replaced(";x-amz-date", ""),
		"no signature":           replaced("Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7", "Signature="),
		"a field twice":          replaced("SignedHeaders", "Credential"),
		"no field":               replaced("Credential=", "Credential"),
		"no date":                func(r *Request) { delete(r.Header, "X-Amz-Date") },
		"two dates":              func(r *Request) { r.Header["X-Amz-Date"] = []string{"20150830T123600Z", "20150830T123600Z"} },
		"a date that is none":    func(r *Request) { r.Header["X-Amz-Date"] = []string{"2015-08-30"} },
		"in both places":         func(r *Request) { r.Query.Set("X-Amz-Signature", "00") },
	} {
		r := example(t, "IAM's ListUsers")
		alter(&r)
		_, err := Of(r)
		var bad Incomplete
		require.ErrorAs(t, err, &bad, what)
	}
	r := example(t, "IAM's ListUsers")
	delete(r.Header, "Authorization")
	_, err := Of(r)
	require.ErrorIs(t, err, ErrNone)
	r.Query.Set("SignatureVersion", "2")
	_, err = Of(r)
	require.ErrorIs(t, err, ErrVersion2)
	r = example(t, "IAM's ListUsers")
	replaced(Algorithm+" ", "AWS AKID:")(&r)
	_, err = Of(r)
	require.ErrorIs(t, err, ErrVersion2)
}

func TestASignatureHoldsForAWhile(t *testing.T) {
	at := time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC)
	const skew = 5 * time.Minute
	for _, c := range []struct {
		expires time.Duration
		now     time.Time
		holds   bool
	}{
		{0, at, true}, {0, at.Add(skew), true}, {0, at.Add(-skew), true}, {0, at.Add(skew + 1), false}, {0, at.Add(-skew - 1), false},
		{time.Minute, at.Add(time.Minute), true}, {time.Minute, at.Add(time.Minute + 1), false}, {time.Hour, at.Add(time.Hour), true},
		{time.Hour, at.Add(-skew), true}, {time.Hour, at.Add(-skew - 1), false},
	} {
		require.Equal(t, c.holds, Signature{At: at, Expires: c.expires}.Holds(c.now, skew), "%v", c)
	}
}

func TestASignedQueryStringSaysAllOfItOnce(t *testing.T) {
	whole := url.Values{
		"Action": {"DescribeInstances"}, "X-Amz-Algorithm": {Algorithm}, "X-Amz-Credential": {"AKID/20150830/us-east-1/ec2/aws4_request"},
		"X-Amz-Date": {"20150830T123600Z"}, "X-Amz-Expires": {"60"}, "X-Amz-SignedHeaders": {"host"}, "X-Amz-Signature": {"00"},
	}
	read := func(change func(url.Values)) error {
		query := url.Values{}
		for k, v := range whole {
			query[k] = append([]string(nil), v...)
		}
		change(query)
		_, err := Of(Request{Method: "GET", Path: "/", Query: query, Header: map[string][]string{"Host": {"x"}}})
		return err
	}
	require.NoError(t, read(func(url.Values) {}))
	for name := range whole {
		if name == "Action" || name == "X-Amz-Algorithm" {
			continue
		}
		require.Error(t, read(func(v url.Values) { v.Del(name) }), name)
		require.Error(t, read(func(v url.Values) { v.Add(name, v.Get(name)) }), name)
	}
	for _, expires := range []string{"0", "-1", "604801", "x", "18446744074", "99999999999999999999", ""} {
		require.Error(t, read(func(v url.Values) { v.Set("X-Amz-Expires", expires) }), expires)
	}
	require.NoError(t, read(func(v url.Values) { v.Set("X-Amz-Expires", "604800") }))
	require.Error(t, read(func(v url.Values) { v.Set("X-Amz-Algorithm", "AWS4-ECDSA-P256-SHA256") }))
}
