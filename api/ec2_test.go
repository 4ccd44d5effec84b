package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/api/ec2"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/policy"
	"github.com/slipway-cloud/slipway/internal/sigv4"
	"github.com/slipway-cloud/slipway/models"
)

// accessKey is a new one of somebody who has a token, for a project.
func (w *world) accessKey(who, user, project string) aws.Credentials {
	w.t.Helper()
	a := w.do(who, "POST", "/v3/users/"+user+"/credentials/OS-EC2", map[string]any{"tenant_id": project})
	require.Equal(w.t, http.StatusCreated, a.status, a.body)
	var made struct {
		Credential struct{ Access, Secret string }
	}
	require.NoError(w.t, json.Unmarshal([]byte(a.body), &made))
	return aws.Credentials{AccessKeyID: made.Credential.Access, SecretAccessKey: made.Credential.Secret}
}

// ec2Answer is what came back, as any of EC2's and STS's answers.
type ec2Answer struct {
	status int
	body   string
	code   string
	text   string
	id     string
}

// into reads the answer's body.
func (a ec2Answer) into(t testing.TB, v any) {
	t.Helper()
	require.Equal(t, http.StatusOK, a.status, a.body)
	require.NoError(t, xml.Unmarshal([]byte(a.body), v), a.body)
}

// signed is a request as the SDK signs it: POST of a form.
func (w *world) signed(key aws.Credentials, at time.Time, parameters ...string) *http.Request {
	w.t.Helper()
	form := url.Values{"Version": {"2016-11-15"}}
	for i := 0; i < len(parameters); i += 2 {
		form.Set(parameters[i], parameters[i+1])
	}
	body := form.Encode()
	r, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.url+"/ec2/", strings.NewReader(body))
	require.NoError(w.t, err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	service := "ec2"
	if form.Get("Action") == "GetCallerIdentity" {
		service = "sts"
	}
	require.NoError(w.t, v4.NewSigner().SignHTTP(context.Background(), key, r, sigv4.HashBody([]byte(body)), service, "RegionOne", at))
	return r
}

func (w *world) ec2(key aws.Credentials, parameters ...string) ec2Answer {
	w.t.Helper()
	return w.sent(w.signed(key, time.Now(), parameters...))
}

func (w *world) sent(r *http.Request) ec2Answer {
	w.t.Helper()
	res, err := http.DefaultClient.Do(r)
	require.NoError(w.t, err)
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	require.NoError(w.t, err)
	a := ec2Answer{status: res.StatusCode, body: string(raw)}
	require.Equal(w.t, "text/xml;charset=UTF-8", res.Header.Get("Content-Type"), a.body)
	var failed struct {
		XMLName xml.Name
		Code    string `xml:"Errors>Error>Code"`
		Text    string `xml:"Errors>Error>Message"`
		Code2   string `xml:"Error>Code"`
		Text2   string `xml:"Error>Message"`
		ID      string `xml:"RequestID"`
		ID2     string `xml:"requestId"`
		ID3     string `xml:"RequestId"`
		ID4     string `xml:"ResponseMetadata>RequestId"`
	}
	require.NoError(w.t, xml.Unmarshal(raw, &failed), a.body)
	a.code, a.text, a.id = failed.Code+failed.Code2, failed.Text+failed.Text2, failed.ID+failed.ID2+failed.ID3+failed.ID4
	require.Equal(w.t, res.Header.Get("X-Openstack-Request-Id"), a.id, a.body)
	require.Equal(w.t, a.status != http.StatusOK, a.code != "", a.body)
	return a
}

func TestEveryEC2ActionIsItsRolesAndNobodyElses(t *testing.T) {
	w := newWorld(t)
	keys := []struct {
		who policy.Who
		key aws.Credentials
	}{
		{policy.Project, w.accessKey("reader", readerUser, demoProject)}, {policy.Member, w.accessKey("demo", demoUser, demoProject)},
		{policy.Admin, w.accessKey("admin", adminUser, adminProject)},
	}
	asked := 0
	for _, r := range policy.Routes() {
		if r.Path != policy.EC2Path || r.Action == "" {
			continue
		}
		asked++
		version := "2016-11-15"
		if r.Action == "GetCallerIdentity" {
			version = "2011-06-15"
		}
		for _, k := range keys {
			a := w.ec2(k.key, "Action", r.Action, "Version", version, "NoParameter", "x")
			require.NotContains(t, []string{"InvalidAction", "NoSuchVersion", "AuthFailure", "InternalError"}, a.code, a.body)
			require.Equal(t, !allows(k.who, r.Who), a.code == "UnauthorizedOperation", "%s asked by %s: %s", r.Action, k.who, a.body)
		}
	}
	require.Greater(t, asked, 30)
	require.Len(t, ec2.Actions(), asked, "rows of internal/policy without an action")
}

func TestARequestIsLetInByItsSignatureAlone(t *testing.T) {
	w := newWorld(t)
	key := w.accessKey("demo", demoUser, demoProject)
	now := time.Now()
	const action = "DescribeRegions"
	require.Equal(t, http.StatusOK, w.ec2(key, "Action", action).status)
	for what, c := range map[string]struct {
		code  string
		alter func(r *http.Request) *http.Request
	}{
		"not signed": {"AuthFailure", func(r *http.Request) *http.Request { r.Header.Del("Authorization"); return r }},
		"a token": {"AuthFailure", func(r *http.Request) *http.Request {
			r.Header.Del("Authorization")
			r.Header.Set("X-Auth-Token", w.tokens["demo"])
			return r
		}},
		"another's secret": {"SignatureDoesNotMatch", func(*http.Request) *http.Request {
			return w.signed(aws.Credentials{AccessKeyID: key.AccessKeyID, SecretAccessKey: "x"}, now, "Action", action)
		}},
		"no such key": {"AuthFailure", func(*http.Request) *http.Request {
			return w.signed(aws.Credentials{AccessKeyID: "AKIA0", SecretAccessKey: key.SecretAccessKey}, now, "Action", action)
		}},
		"another body": {"SignatureDoesNotMatch", func(r *http.Request) *http.Request {
			body := "Action=DescribeInstances&Version=2016-11-15"
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
			return r
		}},
		"a parameter in the address": {"SignatureDoesNotMatch", func(r *http.Request) *http.Request { r.URL.RawQuery = "RegionName.1=RegionOne"; return r }},
		"another address":            {"SignatureDoesNotMatch", func(r *http.Request) *http.Request { r.URL.Path = "/ec2"; return r }},
		"another host":               {"SignatureDoesNotMatch", func(r *http.Request) *http.Request { r.Host = "ec2.example.org"; return r }},
		"another method":             {"SignatureDoesNotMatch", func(r *http.Request) *http.Request { r.Method = "GET"; return r }},
		"an hour old":                {"RequestExpired", func(*http.Request) *http.Request { return w.signed(key, now.Add(-time.Hour), "Action", action) }},
		"of tomorrow":                {"RequestExpired", func(*http.Request) *http.Request { return w.signed(key, now.Add(24*time.Hour), "Action", action) }},
		"made younger": {"SignatureDoesNotMatch", func(*http.Request) *http.Request {
			r := w.signed(key, now.Add(-time.Minute), "Action", action)
			r.Header.Set("X-Amz-Date", now.UTC().Format("20060102T150405Z"))
			return r
		}},
		"Signature 2": {"AuthFailure", func(r *http.Request) *http.Request {
			r.Header.Del("Authorization")
			r.URL.RawQuery = "AWSAccessKeyId=x&SignatureVersion=2&SignatureMethod=HmacSHA256&Signature=x"
			return r
		}},
		"temporary credentials": {"AuthFailure", func(*http.Request) *http.Request {
			return w.signed(aws.Credentials{AccessKeyID: key.AccessKeyID, SecretAccessKey: key.SecretAccessKey, SessionToken: "x"}, now, "Action", action)
		}},
		"half a signature": {"IncompleteSignature", func(r *http.Request) *http.Request {
			r.Header.Set("Authorization", strings.Split(r.Header.Get("Authorization"), ", Signature=")[0])
			return r
		}},
	} {
		a := w.sent(c.alter(w.signed(key, now, "Action", action)))
		require.Equal(t, c.code, a.code, "%s: %s", what, a.body)
		if what == "Signature 2" {
			require.Contains(t, a.text, "Signature Version 4")
		}
	}
}

func TestAServiceLearnsWhoseASignedRequestIsByAToken(t *testing.T) {
	w := newWorld(t)
	key := w.accessKey("demo", demoUser, demoProject)
	of := func(key aws.Credentials, at time.Time) object {
		r := w.signed(key, at, "Action", "DescribeStacks")
		body, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		headers := object{}
		for name := range r.Header {
			headers[strings.ToLower(name)] = r.Header.Get(name)
		}
		headers["content-length"] = strconv.Itoa(len(body))
		return object{
			"access": key.AccessKeyID, "host": r.URL.Host, "verb": "POST", "path": r.URL.Path, "headers": headers, "params": object{"Action": "DescribeStacks"},
			"body_hash": sigv4.HashBody(body), "signature": "",
		}
	}
	signed := of(key, time.Now())
	for _, name := range []string{"ec2Credentials", "credentials"} {
		a := w.do("admin", "POST", "/v3/ec2tokens", object{name: signed})
		require.Equal(t, 200, a.status, string(a.body))
		token := a.json(t)["token"].(object)
		require.Equal(t, []any{"ec2credential"}, token["methods"])
		require.Equal(t, []any{demoUser, demoProject}, []any{token["user"].(object)["id"], token["project"].(object)["id"]})
		w.tokens["bought"] = a.header.Get("X-Subject-Token")
		require.Equal(t, 200, w.do("bought", "GET", "/compute/v2.1/servers", nil).status)
	}
	require.Equal(t, 403, w.do("demo", "POST", "/v3/ec2tokens", object{"credentials": signed}).status, "whoever sees it could log in with it")
	require.Equal(t, 401, w.do("", "POST", "/v3/ec2tokens", object{"credentials": signed}).status)
	require.Equal(t, 400, w.do("admin", "POST", "/v3/ec2tokens", object{"credentials": object{}}).status)
	for name, wrong := range map[string]object{
		"another secret":  of(aws.Credentials{AccessKeyID: key.AccessKeyID, SecretAccessKey: "guessed"}, time.Now()),
		"of an hour ago":  of(key, time.Now().Add(-time.Hour)),
		"another path":    other(signed, "path", "/"),
		"another body":    other(signed, "body_hash", sigv4.HashBody([]byte("x"))),
		"another key":     other(signed, "access", w.accessKey("other", otherUser, otherProject).AccessKeyID),
		"no signature":    other(signed, "headers", object{}),
		"a key of nobody": of(aws.Credentials{AccessKeyID: "x", SecretAccessKey: "y"}, time.Now()),
	} {
		require.Equal(t, 401, w.do("admin", "POST", "/v3/ec2tokens", object{"credentials": wrong}).status, name)
	}
}

// other is an object with another member.
func other(o object, name string, value any) object {
	it := maps.Clone(o)
	it[name] = value
	return it
}

func TestAPresignedAddressHoldsUntilItExpires(t *testing.T) {
	w := newWorld(t)
	key := w.accessKey("demo", demoUser, demoProject)
	at := func(at time.Time, seconds string) string {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+"/ec2?Action=DescribeRegions&Version=2012-12-01&X-Amz-Expires="+seconds, nil)
		require.NoError(t, err)
		address, _, err := v4.NewSigner().PresignHTTP(t.Context(), key, r, sigv4.HashBody(nil), "ec2", "RegionOne", at)
		require.NoError(t, err)
		return address
	}
	get := func(address string) ec2Answer {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
		require.NoError(t, err)
		return w.sent(r)
	}
	a := get(at(time.Now(), "60"))
	require.Equal(t, http.StatusOK, a.status, a.body)
	require.Contains(t, a.body, `<DescribeRegionsResponse xmlns="http://ec2.amazonaws.com/doc/2012-12-01/">`)
	require.Equal(t, http.StatusOK, get(at(time.Now().Add(-time.Hour), "7200")).status)
	require.Equal(t, "RequestExpired", get(at(time.Now().Add(-time.Hour), "60")).code)
	require.Equal(t, "SignatureDoesNotMatch", get(strings.Replace(at(time.Now(), "60"), "X-Amz-Expires=60", "X-Amz-Expires=61", 1)).code)
	require.Equal(t, "SignatureDoesNotMatch", get(strings.Replace(at(time.Now(), "60"), "DescribeRegions", "DescribeVpcs", 1)).code)
	require.Equal(t, "IncompleteSignature", get(at(time.Now(), "0")).code)
}

func TestWhatARequestSaysIsReadByItsActionAndTheRestRefused(t *testing.T) {
	w := newWorld(t)
	key := w.accessKey("demo", demoUser, demoProject)
	for _, c := range []struct {
		code, text string
		parameters []string
	}{
		{"MissingParameter", "The request must contain the parameter Action", nil},
		{"InvalidAction", "The action Describe is not valid for this web service.", []string{"Action", "Describe"}},
		{"NoSuchVersion", "", []string{"Action", "DescribeRegions", "Version", "1999-01-01"}},
		{"MissingParameter", "", []string{"Action", "DescribeRegions", "Version", ""}},
		{"UnknownParameter", "The parameter InstanceIds.1 is not recognized", []string{"Action", "DescribeInstances", "InstanceIds.1", "i-0"}},
		{"UnknownParameter", "", []string{"Action", "DescribeInstances", "InstanceId", "i-0"}},
		{"UnknownParameter", "", []string{"Action", "DescribeInstances", "InstanceId.x", "i-0"}},
		{"UnknownParameter", "", []string{"Action", "DescribeInstances", "InstanceId.1.2", "i-0"}},
		{"InvalidInstanceID.Malformed", `Invalid id: "i-0" (expecting "i-...")`, []string{"Action", "DescribeInstances", "InstanceId.1", "i-0"}},
		{"InvalidInstanceID.NotFound", "", []string{"Action", "DescribeInstances", "InstanceId.1", "i-0123456789abcdef0"}},
		{"InvalidParameterValue", "The filter 'x' is invalid", []string{"Action", "DescribeInstances", "Filter.1.Name", "x", "Filter.1.Value.1", "y"}},
		{"MissingParameter", "The request must contain the parameter Filter.1.Name", []string{"Action", "DescribeInstances", "Filter.1.Value.1", "y"}},
		{"InvalidParameterValue", "", []string{"Action", "DescribeInstances", "MaxResults", "4"}},
		{"InvalidParameterValue", "", []string{"Action", "DescribeInstances", "MaxResults", "many"}},
		{"InvalidParameterValue", "", []string{"Action", "DescribeInstances", "NextToken", "?"}},
		{"InvalidParameterValue", "", []string{"Action", "DescribeInstances", "DryRun", "perhaps"}},
		{"DryRunOperation", "Request would have succeeded, but DryRun flag is set.", []string{"Action", "DescribeInstances", "DryRun", "true"}},
		{"InvalidAMIID.Malformed", "", []string{"Action", "DescribeImages", "ImageId.1", "i-0123456789abcdef0"}},
		{"InvalidAMIID.NotFound", "", []string{"Action", "DescribeImages", "ImageId.1", "ami-0123456789abcdef0"}},
		{"InvalidAMIID.NotFound", "", []string{"Action", "DescribeImages", "ImageId.1", "ami-0000000f"}},
		{"InvalidVpcID.NotFound", "", []string{"Action", "DescribeVpcs", "VpcId.1", "vpc-0123456789abcdef0"}},
		{"InvalidSubnetID.Malformed", "", []string{"Action", "DescribeSubnets", "SubnetId.1", "vpc-0123456789abcdef0"}},
		{"InvalidGroup.NotFound", "", []string{"Action", "DescribeSecurityGroups", "GroupName.1", "web"}},
		{"InvalidVolume.NotFound", "", []string{"Action", "DescribeVolumes", "VolumeId.1", "vol-0123456789abcdef0"}},
		{"UnsupportedOperation", "", []string{"Action", "CreateVolume", "Size", "1"}},
		{"InvalidInstanceType", "", []string{"Action", "DescribeInstanceTypes", "InstanceType.1", "m1.none"}},
		{"InvalidKeyPair.NotFound", "The key pair 'none' does not exist", []string{"Action", "DescribeKeyPairs", "KeyName.1", "none"}},
		{"InvalidKey.Format", "", []string{"Action", "ImportKeyPair", "KeyName", "k", "PublicKeyMaterial", "AAAA"}},
		{"InvalidPublicKeyMaterial.Malformed", "", []string{"Action", "ImportKeyPair", "KeyName", "k", "PublicKeyMaterial", "?"}},
		{"UnsupportedOperation", "", []string{"Action", "CreateKeyPair", "KeyName", "k", "TagSpecification.1.ResourceType", "key-pair"}},
	} {
		a := w.ec2(key, c.parameters...)
		require.Equal(t, c.code, a.code, "%v: %s", c.parameters, a.body)
		if c.text != "" {
			require.Equal(t, c.text, a.text)
		}
	}
	a := w.ec2(key, "Action", "GetCallerIdentity", "Version", "2011-06-15")
	require.Contains(t, a.body, "<Account>"+demoProject+"</Account>")
	a = w.ec2(aws.Credentials{AccessKeyID: "x", SecretAccessKey: "y"}, "Action", "GetCallerIdentity", "Version", "2011-06-15")
	require.Contains(t, a.body, "<ErrorResponse")
	require.Equal(t, "AuthFailure", a.code)
}

func TestWhoAsksTooOftenIsToldToWaitAndNobodyElse(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, w.stop())
	w.ec2Rate = ec2.Config{RequestsPerSecond: 0.001, RequestBurst: 3}
	w.serve()
	key, other := w.accessKey("demo", demoUser, demoProject), w.accessKey("other", otherUser, otherProject)
	second := w.accessKey("demo", demoUser, demoProject)
	w.ec2(aws.Credentials{AccessKeyID: key.AccessKeyID, SecretAccessKey: "guessed"}, "Action", "DescribeRegions") // takes nothing of whoever it says to be
	for range 3 {
		require.Equal(t, http.StatusOK, w.ec2(key, "Action", "DescribeRegions").status)
	}
	for _, of := range []aws.Credentials{key, second} {
		a := w.ec2(of, "Action", "DescribeRegions")
		require.Equal(t, http.StatusServiceUnavailable, a.status)
		require.Equal(t, []string{"RequestLimitExceeded", "Request limit exceeded."}, []string{a.code, a.text})
	}
	require.Equal(t, http.StatusOK, w.ec2(other, "Action", "DescribeRegions").status)
}

func TestAProtectedInstanceIsNotTerminated(t *testing.T) {
	w := newWorld(t)
	key := w.accessKey("demo", demoUser, demoProject)
	_, v, _ := w.someInstance()
	id := ids.EC2(ids.EC2Instance, v.ID)
	protect := func(value string) {
		t.Helper()
		a := w.ec2(key, "Action", "ModifyInstanceAttribute", "InstanceId", id, "DisableApiTermination.Value", value)
		require.Equal(t, http.StatusOK, a.status, a.body)
		a = w.ec2(key, "Action", "DescribeInstanceAttribute", "InstanceId", id, "Attribute", "disableApiTermination")
		require.Contains(t, a.body, "<disableApiTermination><value>"+value+"</value></disableApiTermination>")
	}
	protect("true")
	a := w.ec2(key, "Action", "TerminateInstances", "InstanceId.1", id)
	require.Equal(t, "OperationNotPermitted", a.code, a.body)
	require.Equal(t, "The instance '"+id+"' may not be terminated. Modify its 'disableApiTermination' instance attribute and try again.", a.text)
	protect("false")
	require.Equal(t, "Unavailable", w.ec2(key, "Action", "TerminateInstances", "InstanceId.1", id).code, "it is asked for, where nothing is built")
}

func TestKeyPairsHaveEC2sFingerprints(t *testing.T) {
	w := newWorld(t)
	key := w.accessKey("demo", demoUser, demoProject)
	type pair struct {
		ID          string `xml:"keyPairId"`
		Name        string `xml:"keyName"`
		Fingerprint string `xml:"keyFingerprint"`
		Material    string `xml:"keyMaterial"`
		Type        string `xml:"keyType"`
		Public      string `xml:"publicKey"`
	}
	var made, imported pair
	w.ec2(key, "Action", "CreateKeyPair", "KeyName", "one").into(t, &made)
	require.True(t, strings.HasPrefix(made.Material, "-----BEGIN RSA PRIVATE KEY-----"))
	require.Regexp(t, `^key-[0-9a-f]{17}$`, made.ID)
	require.Regexp(t, `^([0-9a-f]{2}:){19}[0-9a-f]{2}$`, made.Fingerprint, "SHA-1 of the private half")
	require.Equal(t, "InvalidKeyPair.Duplicate", w.ec2(key, "Action", "CreateKeyPair", "KeyName", "one").code)
	w.ec2(key, "Action", "CreateKeyPair", "KeyName", "two", "KeyType", "ed25519").into(t, &pair{})

	var all struct {
		Keys []pair `xml:"keySet>item"`
	}
	w.ec2(key, "Action", "DescribeKeyPairs", "IncludePublicKey", "true").into(t, &all)
	require.Len(t, all.Keys, 2)
	require.Equal(t, []string{"rsa", "ed25519"}, []string{all.Keys[0].Type, all.Keys[1].Type})
	require.Equal(t, made.Fingerprint, all.Keys[0].Fingerprint)
	require.Regexp(t, `^[A-Za-z0-9+/]{43}=$`, all.Keys[1].Fingerprint)

	// The same key imported has the fingerprint of its public half, as `ssh-keygen -ef FILE -m PEM | openssl rsa -RSAPublicKey_in -outform DER | openssl md5 -c` tells.
	w.ec2(key, "Action", "ImportKeyPair", "KeyName", "three", "PublicKeyMaterial", base64Of(all.Keys[0].Public)).into(t, &imported)
	require.Regexp(t, `^([0-9a-f]{2}:){15}[0-9a-f]{2}$`, imported.Fingerprint)

	// It is the same key pair in Nova's API, and its id is not another's of that name.
	require.Equal(t, http.StatusOK, w.do("demo", "GET", "/compute/v2.1/os-keypairs/one", nil).status)
	require.Equal(t, http.StatusOK, w.ec2(key, "Action", "DeleteKeyPair", "KeyName", "one").status)
	require.Equal(t, http.StatusNotFound, w.do("demo", "GET", "/compute/v2.1/os-keypairs/one", nil).status)
	require.Equal(t, http.StatusOK, w.ec2(key, "Action", "DeleteKeyPair", "KeyName", "one").status, "again")
	var again pair
	w.ec2(key, "Action", "CreateKeyPair", "KeyName", "one").into(t, &again)
	require.NotEqual(t, made.ID, again.ID)
	w.ec2(key, "Action", "DescribeKeyPairs", "KeyPairId.1", again.ID).into(t, &all)
	require.Equal(t, "InvalidKeyPair.NotFound", w.ec2(key, "Action", "DescribeKeyPairs", "KeyPairId.1", made.ID).code)
}

func base64Of(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

// someInstance is a server of the demo project that is built, of an image that only that sees, and a network of its own.
func (w *world) someInstance() (models.Image, models.Server, models.Network) {
	w.t.Helper()
	t, ctx := w.t, w.t.Context()
	_, err := w.store.CreateFlavor(ctx, models.Flavor{ID: "1", Name: "m1.tiny", VCPUs: 1, RAMMiB: 64, DiskGiB: 1, EphemeralGiB: 1, RxTxFactor: 1, Public: true})
	require.NoError(t, err)
	image, err := w.store.CreateImage(ctx, models.Image{
		ID: uuid.NewString(), Name: new("image"), OwnerID: demoProject, Status: models.ImageActive, Visibility: "shared", ContainerFormat: new("bare"),
	}, nil)
	require.NoError(t, err)
	server := models.Server{
		ID: uuid.NewString(), ProjectID: demoProject, UserID: demoUser, Name: "web", Hostname: "web", ImageID: image.ID, FlavorID: "1", ReservationID: "r-1",
		Flavor: models.FlavorSnapshot{ID: "1", Name: "m1.tiny"},
	}
	require.NoError(t, w.store.RecordServer(ctx, server, models.InstanceAction{ServerID: server.ID, RequestID: "req-1", Action: "create", UserID: demoUser, ProjectID: demoProject}))
	network, err := w.store.EnsureNetwork(ctx, models.Network{ProjectID: demoProject, Name: "net", MTU: 1500}, models.Subnet{Name: "sub", CIDR: "10.0.0.0/24"})
	require.NoError(t, err)
	return image, server, network
}

// fill makes an image one that instances are run of.
func (w *world) fill(image models.Image) {
	w.t.Helper()
	for _, move := range []models.ImageMove{
		{To: models.ImageSaving}, {To: models.ImageActive, Bytes: &models.ImageBytes{Size: 1, Virtual: 1, SHA512: strings.Repeat("0", 128)}},
	} {
		_, err := w.store.MoveImage(w.t.Context(), image.ID, move)
		require.NoError(w.t, err)
	}
}

func TestAPlacementGroupIsAServerGroupByItsName(t *testing.T) {
	w := newWorld(t)
	key := w.accessKey("demo", demoUser, demoProject)
	image, server, _ := w.someInstance()
	w.fill(image)
	run := func() ec2Answer {
		return w.ec2(key, "Action", "RunInstances", "ImageId", *image.Name, "InstanceType", "m1.tiny", "MinCount", "1", "MaxCount", "1", "Placement.GroupName", "apart")
	}
	group := func(project string) models.ServerGroup {
		g, err := w.store.CreateServerGroup(t.Context(), models.ServerGroup{ProjectID: project, UserID: demoUser, Name: "apart", Policy: models.AntiAffinity}, -1)
		require.NoError(t, err)
		return g
	}
	group(otherProject)
	require.Equal(t, "InvalidPlacementGroup.Unknown", run().code, "another project's")
	own := group(demoProject)
	require.Contains(t, run().text, "may build at most 0 servers", "it is known, and what refuses it is a limit of these tests")

	member := server
	member.ID, member.Hostname, member.ReservationID, member.GroupID, member.GroupLimit = uuid.NewString(), "two", "r-2", &own.ID, -1
	require.NoError(t, w.store.RecordServer(t.Context(), member, models.InstanceAction{ServerID: member.ID, RequestID: "req-2", Action: "create", UserID: demoUser, ProjectID: demoProject}))
	var told struct {
		IDs    []string `xml:"reservationSet>item>instancesSet>item>instanceId"`
		Groups []string `xml:"reservationSet>item>instancesSet>item>placement>groupName"`
	}
	w.ec2(key, "Action", "DescribeInstances", "Filter.1.Name", "placement-group-name", "Filter.1.Value.1", "apart").into(t, &told)
	require.Equal(t, []string{ids.EC2(ids.EC2Instance, member.ID)}, told.IDs)
	require.Equal(t, []string{"apart"}, told.Groups)

	set := w.do("admin", "PUT", "/compute/v2.1/os-quota-sets/"+demoProject, map[string]any{"quota_set": map[string]any{"server_group_members": 1}})
	require.Equal(t, http.StatusOK, set.status, set.body)
	require.Equal(t, "InstanceLimitExceeded", run().code, "the group is full")
	group(demoProject)
	require.Contains(t, run().text, "several server groups", "there are two")
}

func TestAnotherProjectsThingsAreAsAbsentAsWhatNeverWas(t *testing.T) {
	w := newWorld(t)
	image, server, network := w.someInstance()
	i, vpc, subnet := ids.EC2(ids.EC2Instance, server.ID), ids.EC2(ids.EC2VPC, network.ID), ids.EC2(ids.EC2Subnet, network.Subnets[0].ID)
	names, err := w.store.EC2ImageIDs(t.Context(), []string{image.ID})
	require.NoError(t, err)
	ami := names[image.ID]
	asked := map[string][]string{
		"InvalidInstanceID.NotFound": {"DescribeInstances", "InstanceId.1", i}, "InvalidVpcID.NotFound": {"DescribeVpcs", "VpcId.1", vpc},
		"InvalidSubnetID.NotFound": {"DescribeSubnets", "SubnetId.1", subnet}, "InvalidAMIID.NotFound": {"DescribeImages", "ImageId.1", ami},
	}
	own := w.accessKey("demo", demoUser, demoProject)
	others, admins := w.accessKey("other", otherUser, otherProject), w.accessKey("admin", adminUser, adminProject)
	for _, key := range []aws.Credentials{others, admins} {
		for code, ask := range asked {
			require.Equal(t, http.StatusOK, w.ec2(own, append([]string{"Action"}, ask...)...).status)
			if ask[0] == "DescribeImages" && key == admins {
				continue // the image service shows an admin all
			}
			a := w.ec2(key, append([]string{"Action"}, ask...)...)
			require.Equal(t, code, a.code, a.body)
		}
		for _, ask := range [][]string{
			{"TerminateInstances", "InstanceId.1", i}, {"StopInstances", "InstanceId.1", i}, {"GetConsoleOutput", "InstanceId", i},
			{"CreateTags", "ResourceId.1", i, "Tag.1.Key", "x"}, {"CreateImage", "InstanceId", i, "Name", "of-another"},
		} {
			require.Equal(t, "InvalidInstanceID.NotFound", w.ec2(key, append([]string{"Action"}, ask...)...).code, ask)
		}
	}
}

func TestAProjectHasTheInstanceTypesThatItWasGiven(t *testing.T) {
	w := newWorld(t)
	ctx, key := t.Context(), w.accessKey("demo", demoUser, demoProject)
	_, err := w.store.CreateFlavor(ctx, models.Flavor{ID: "own", Name: "m1.own", VCPUs: 1, RAMMiB: 64, DiskGiB: 1, RxTxFactor: 1})
	require.NoError(t, err)
	asked := []string{"Action", "DescribeInstanceTypes", "InstanceType.1", "m1.own"}
	require.Equal(t, "InvalidInstanceType", w.ec2(key, asked...).code)
	require.NoError(t, w.store.GiveFlavor(ctx, "own", demoProject))
	require.Contains(t, w.ec2(key, asked...).body, "<instanceType>m1.own</instanceType>")
}

// TestNoParameterMakesTheServerFail asks for every action with parameters that are its own and values that are mostly not.
func TestNoParameterMakesTheServerFail(t *testing.T) {
	w := newWorld(t)
	key := w.accessKey("demo", demoUser, demoProject)
	image, server, network := w.someInstance()
	var images struct {
		IDs []string `xml:"imagesSet>item>imageId"`
	}
	w.ec2(key, "Action", "DescribeImages").into(t, &images)
	require.Len(t, images.IDs, 1)

	values := []string{
		"", "0", "1", "-1", "5", "99999999999", "1e9", "true", "false", "x", "é", "*", "?", `\`, "%", "' OR 1=1 --", "{}", "[", "(", "nova", "default", "m1.tiny", "all", "self",
		"image", images.IDs[0], "ami-00000000", "ami-7fffffffffffffff", "aki-00000001", "ami-" + strings.Repeat("f", 17), ids.EC2(ids.EC2Machine, image.ID),
		ids.EC2(ids.EC2Instance, server.ID), "i-00000001", "i-", ids.EC2(ids.EC2VPC, network.ID), ids.EC2(ids.EC2Subnet, network.Subnets[0].ID),
		"10.0.0.9", "::1", "2016-11-15", "rsa", "add", "remove", "launchPermission", "description", "instance", "tag:Name", "instance-id", "tag-key", "aGVsbG8=",
		strings.Repeat("a", 300), "a\nb", "\x01", "\u2028", "r-1", "stop", "availability-zone", "name", "state", "running",
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	pick := func(of []string) string { return of[random.IntN(len(of))] }
	codes := map[string]int{}
	for _, a := range ec2.Actions() {
		for range 60 {
			asked := []string{"Action", a.Name, "Version", "2016-11-15"}
			if a.Name == "GetCallerIdentity" {
				asked[3] = "2011-06-15"
			}
			for _, name := range a.Takes {
				name = strings.Trim(name, "*")
				// Half of what is taken where there is much, and nearly all that has to be there.
				if random.IntN(len(a.Takes)+1) > 3 && !slices.Contains(a.Takes, "**"+name+"**") {
					continue
				}
				for strings.Contains(name, ".N") {
					name = strings.Replace(name, ".N", "."+pick([]string{"1", "1", "1", "2", "x"}), 1)
				}
				value := pick(values)
				switch { // sometimes what gets further
				case random.IntN(2) == 0:
				case name == "ImageId":
					value = images.IDs[0]
				case strings.HasPrefix(name, "InstanceId"), strings.HasPrefix(name, "ResourceId"):
					value = ids.EC2(ids.EC2Instance, server.ID)
				case name == "InstanceType":
					value = "m1.tiny"
				case strings.HasSuffix(name, "Count"):
					value = "1"
				}
				asked = append(asked, name, value)
			}
			answer := w.ec2(key, asked...)
			require.NotEqual(t, http.StatusInternalServerError, answer.status, "%q: %s\n%s", asked, answer.body, w.log)
			codes[answer.code]++
		}
	}
	t.Log(codes)
	require.NotZero(t, codes[""], "some are answered")
	require.NotZero(t, codes["Unavailable"], "some get as far as to the engine, which there is none of")
}

func TestAnAttributeIsChangedInEitherSpelling(t *testing.T) {
	w := newWorld(t)
	key := w.accessKey("demo", demoUser, demoProject)
	_, v, _ := w.someInstance()
	id := ids.EC2(ids.EC2Instance, v.ID)
	modify := func(said ...string) ec2Answer {
		t.Helper()
		return w.ec2(key, append([]string{"Action", "ModifyInstanceAttribute", "InstanceId", id}, said...)...)
	}
	is := func(attribute, value string) {
		t.Helper()
		a := w.ec2(key, "Action", "DescribeInstanceAttribute", "InstanceId", id, "Attribute", attribute)
		require.Contains(t, a.body, "<"+attribute+"><value>"+value+"</value></"+attribute+">")
	}
	is("instanceInitiatedShutdownBehavior", "stop")
	require.Equal(t, http.StatusOK, modify("InstanceInitiatedShutdownBehavior.Value", "terminate").status)
	is("instanceInitiatedShutdownBehavior", "terminate")
	require.Equal(t, http.StatusOK, modify("Attribute", "instanceInitiatedShutdownBehavior", "Value", "stop").status)
	is("instanceInitiatedShutdownBehavior", "stop")
	require.Equal(t, http.StatusOK, modify("Attribute", "disableApiTermination", "Value", "true").status)
	is("disableApiTermination", "true")
	for _, c := range []struct {
		code string
		said []string
	}{
		{"InvalidParameterValue", []string{"InstanceInitiatedShutdownBehavior.Value", "hibernate"}},
		{"MissingParameter", []string{"InstanceInitiatedShutdownBehavior.Value", ""}},
		{"MissingParameter", []string{"Attribute", "disableApiTermination"}},
		{"MissingParameter", []string{"Value", "true"}},
		{"InvalidParameterValue", []string{"Attribute", "disableApiTermination", "Value", "perhaps"}},
		{"UnsupportedOperation", []string{"Attribute", "disableApiStop", "Value", "true"}},
		{"UnsupportedOperation", []string{"Attribute", "userData", "Value", "x"}},
		{"InvalidParameterCombination", []string{"Attribute", "disableApiTermination", "Value", "true", "DisableApiTermination.Value", "true"}},
	} {
		require.Equal(t, c.code, modify(c.said...).code, c.said)
	}
	for code, said := range map[string][]string{
		"IncorrectInstanceState": {"Attribute", "kernel"}, "UnsupportedOperation": {"Attribute", "sourceDestCheck"}, "InvalidParameterValue": {"Attribute", "x"},
	} {
		require.Equal(t, code, w.ec2(key, append([]string{"Action", "ResetInstanceAttribute", "InstanceId", id}, said...)...).code, said)
	}
	for code, said := range map[string][]string{
		"IncorrectInstanceState": {"Status", "ok", "ReasonCode.1", "other"}, "MissingParameter": {"Status", "ok"}, "InvalidParameterValue": {"Status", "bad", "ReasonCode.1", "other"},
	} {
		require.Equal(t, code, w.ec2(key, append([]string{"Action", "ReportInstanceStatus", "InstanceId.1", id}, said...)...).code, said)
	}
	require.Equal(t, "InvalidParameterValue", w.ec2(key, "Action", "ReportInstanceStatus", "InstanceId.1", id, "Status", "ok", "ReasonCode.1", "x").code)
	require.Equal(t, "InvalidParameterValue", w.ec2(key, "Action", "ReportInstanceStatus", "InstanceId.1", id, "Status", "ok", "ReasonCode.1", "other", "StartTime", "now").code)
	require.Equal(t, "IncorrectInstanceState", w.ec2(key, "Action", "GetConsoleScreenshot", "InstanceId", id).code)
	require.Contains(t, w.ec2(key, "Action", "GetPasswordData", "InstanceId", id).body, "<passwordData></passwordData>", "its guest has posted none")
}
