package keystone

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/smithy-go"
	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/applicationcredentials"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/ec2credentials"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/projects"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/roles"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/tokens"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/users"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/sigv4"
	"github.com/slipway-cloud/slipway/models"
	"github.com/slipway-cloud/slipway/test/system"
)

// rig is a system on a real Keystone.
type rig struct {
	*system.System
	k     *realKeystone
	image string
}

// TestOnTokensOfARealKeystone needs one: `make test-keystone` unpacks it and runs this.
func TestOnTokensOfARealKeystone(t *testing.T) {
	tree := testenv.Keystone()
	if tree == "" {
		fmt.Println("SLIPWAY-NOT-RUN: tokens of Debian's own Keystone: make test-keystone unpacks it and does it")
		return
	}
	k := start(t, tree)
	// Nothing is remembered, so that what Keystone says counts at once.
	r := rig{System: system.Start(t, system.Options{Hypervisor: "fake", Identity: k.identity(t, "0s")}), k: k}
	r.Flavor(t, "small", 64)
	r.image = system.Upload(t, system.Image(t, r.Demo()), images.CreateOpts{Name: "noise"}, bytes.NewReader(make([]byte, 1<<20)))

	for _, part := range []struct {
		name string
		do   func(*testing.T)
	}{
		{"who was seen is recorded as Keystone has it", r.records},
		{"gophercloud builds, lists and deletes", r.gophercloud},
		{"the openstack command builds, lists and deletes", r.openstack},
		{"Slipway's own command finds everything", r.verbs},
		{"roles and scopes are Keystone's", r.scopes},
		{"what ends in Keystone ends here", r.ends},
		{"an application credential is its project's, and none with access rules lets in", r.applications},
		{"requests are signed with Keystone's access keys", r.signed},
		{"a new password of the service user is taken up", r.renewed},
		{"the API's own identity service says where to log in", r.elsewhere},
		{"a Keystone that is away is no wrong password", r.away}, // the last one: it stops Keystone
	} {
		if !t.Run(part.name, part.do) {
			return
		}
	}
}

// login is a client with a token of Keystone's.
func (r rig) login(t *testing.T, user, password string, scope gophercloud.AuthScope) *gophercloud.ProviderClient {
	t.Helper()
	p, err := openstack.NewClient(r.k.url)
	require.NoError(t, err)
	p.HTTPClient = *r.HTTP()
	o := gophercloud.AuthOptions{IdentityEndpoint: r.k.url, Username: user, Password: password, DomainName: "Default"}
	if scope != (gophercloud.AuthScope{}) {
		o.Scope = &scope
	}
	require.NoError(t, openstack.Authenticate(t.Context(), p, o))
	return p
}

func (r rig) demo(t *testing.T) *gophercloud.ProviderClient {
	t.Helper()
	return r.login(t, "demo", system.DemoPassword, gophercloud.AuthScope{ProjectID: r.k.project})
}

// asks is what a token is answered.
func (r rig) asks(t *testing.T, token, path string) (status int, header http.Header) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.APIURL+path, nil)
	require.NoError(t, err)
	request.Header.Set("X-Auth-Token", token)
	answer, err := r.HTTP().Do(request)
	require.NoError(t, err)
	defer answer.Body.Close()
	return answer.StatusCode, answer.Header
}

const (
	serversPath = "/compute/v2.1/servers"
	imagesPath  = "/image/v2/images"
	adminsPath  = "/hosts" // of admins alone
)

func (r rig) answered(t *testing.T, want int, token, path string) {
	t.Helper()
	got, _ := r.asks(t, token, path)
	require.Equal(t, want, got, path)
}

func (r rig) records(t *testing.T) {
	project, err := r.Store.Project(t.Context(), r.k.project)
	require.NoError(t, err)
	require.Equal(t, "demo", project.Name)
	require.Equal(t, models.DefaultDomain, project.DomainID)
	user, err := r.Store.User(t.Context(), r.k.user)
	require.NoError(t, err)
	require.Equal(t, "demo", user.Name)
	require.Empty(t, user.PasswordHash)

	rename := func(name string) {
		_, err := projects.Update(t.Context(), r.k.admin, r.k.project, projects.UpdateOpts{Name: name}).Extract()
		require.NoError(t, err)
		r.answered(t, http.StatusOK, r.demo(t).Token(), serversPath)
		project, err := r.Store.Project(t.Context(), r.k.project)
		require.NoError(t, err)
		require.Equal(t, name, project.Name)
	}
	rename("renamed")
	rename("demo")
}

// running waits until a server is ACTIVE.
func (r rig) running(t *testing.T, as *gophercloud.ServiceClient, id string) {
	t.Helper()
	system.Eventually(t, patience, func() (bool, string) {
		got, err := servers.Get(t.Context(), as, id).Extract()
		if err != nil {
			return false, err.Error()
		}
		require.NotEqual(t, "ERROR", got.Status, "%+v", got.Fault)
		return got.Status == "ACTIVE", got.Status
	})
}

func (r rig) gone(t *testing.T, as *gophercloud.ServiceClient, id string) {
	t.Helper()
	system.Eventually(t, patience, func() (bool, string) {
		_, err := servers.Get(t.Context(), as, id).Extract()
		return gophercloud.ResponseCodeIs(err, http.StatusNotFound), fmt.Sprint(err)
	})
}

func (r rig) gophercloud(t *testing.T) {
	compute := system.Compute(t, r.demo(t))
	made, err := servers.Create(t.Context(), compute, servers.CreateOpts{Name: "first", FlavorRef: "small", ImageRef: r.image, Networks: "none"}, nil).Extract()
	require.NoError(t, err)
	r.running(t, compute, made.ID)
	pages, err := servers.List(compute, nil).AllPages(t.Context())
	require.NoError(t, err)
	all, err := servers.ExtractServers(pages)
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.Equal(t, r.k.project, all[0].TenantID)
	require.Equal(t, r.k.user, all[0].UserID)
	require.NoError(t, servers.Delete(t.Context(), compute, made.ID).ExtractErr())
	r.gone(t, compute, made.ID)
}

func (r rig) openstack(t *testing.T) {
	if _, err := os.Stat(openstackCommand); err != nil {
		fmt.Println("SLIPWAY-NOT-RUN: openstack on a real Keystone: it is not installed (apt-get install python3-openstackclient)")
		return
	}
	run := func(user, password string, arguments ...string) string {
		stdout, stderr, code := r.command(t, user, password, arguments...)
		require.Zero(t, code, "openstack %v: %s%s", arguments, stdout, stderr)
		return stdout
	}
	// Nobody's default network is there: an admin makes a shared one, as operations.md says.
	run("admin", system.AdminPassword, "network", "create", "--share", "private")
	run("admin", system.AdminPassword, "subnet", "create", "--network", "private", "--subnet-range", "10.20.0.0/24", "private")
	demo := func(arguments ...string) string { return run("demo", system.DemoPassword, arguments...) }
	id := demo("server", "create", "--image", "noise", "--flavor", "small", "--network", "private", "--wait", "second", "-f", "value", "-c", "id")
	id = strings.TrimSpace(id)
	require.Equal(t, id+" ACTIVE", demo("server", "list", "-f", "value", "-c", "ID", "-c", "Status"))
	demo("server", "delete", "--wait", id)
	require.Empty(t, demo("server", "list", "-f", "value"))
}

func (r rig) command(t *testing.T, user, password string, arguments ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, openstackCommand, arguments...)
	cmd.Env = append(r.Openrc(user, password), "PATH="+os.Getenv("PATH"), "HOME="+t.TempDir(), "LANG=C.UTF-8", "OS_IDENTITY_API_VERSION=3")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		require.NoError(t, ctx.Err(), "openstack %v: %s", arguments, &errs)
		require.ErrorAs(t, err, new(*exec.ExitError))
	}
	return strings.TrimSpace(out.String()), errs.String(), cmd.ProcessState.ExitCode()
}

func (r rig) verbs(t *testing.T) {
	run := func(arguments ...string) string {
		stdout, stderr, code := r.Slipway(t, arguments...)
		require.Zero(t, code, "slipway %v: %s%s", arguments, stdout, stderr)
		return stdout
	}
	require.Contains(t, run("host", "list"), r.Hosts[0], "what is in no catalog lies beside the compute API")
	require.Contains(t, run("image", "list", "--all"), "noise")
	run("project", "create", "made-by-slipway")
	require.Contains(t, run("project", "list"), "made-by-slipway")
	run("project", "delete", "made-by-slipway")
	_, stderr, code := r.Slipway(t, "project", "delete", "demo", "--purge")
	require.NotZero(t, code)
	require.Contains(t, stderr, "Keystone")
	_, stderr, code = r.Slipway(t, "token", "revoke", "--user", "demo")
	require.NotZero(t, code)
	require.Contains(t, stderr, "Keystone")
	pages, err := projects.List(r.k.admin, projects.ListOpts{Name: "demo"}).AllPages(t.Context())
	require.NoError(t, err)
	left, err := projects.ExtractProjects(pages)
	require.NoError(t, err)
	require.Len(t, left, 1, "nothing was deleted in its place")
}

func (r rig) scopes(t *testing.T) {
	demo := r.demo(t).Token()
	r.answered(t, http.StatusOK, demo, serversPath)
	r.answered(t, http.StatusForbidden, demo, adminsPath)
	admin := r.login(t, "admin", system.AdminPassword, gophercloud.AuthScope{ProjectName: "admin", DomainName: "Default"}).Token()
	r.answered(t, http.StatusOK, admin, adminsPath)
	everywhere := r.login(t, "admin", system.AdminPassword, gophercloud.AuthScope{System: true}).Token()
	r.answered(t, http.StatusOK, everywhere, adminsPath)
	r.answered(t, http.StatusForbidden, everywhere, serversPath) // the compute API asks for a project

	require.NoError(t, roles.Assign(t.Context(), r.k.admin, r.k.roles["admin"], roles.AssignOpts{UserID: r.k.user, DomainID: "default"}).ExtractErr())
	domain := r.login(t, "demo", system.DemoPassword, gophercloud.AuthScope{DomainID: "default"}).Token()
	r.answered(t, http.StatusForbidden, domain, adminsPath) // an admin of a domain is none of everything
	r.answered(t, http.StatusForbidden, domain, serversPath)
	require.NoError(t, roles.Unassign(t.Context(), r.k.admin, r.k.roles["admin"], roles.UnassignOpts{UserID: r.k.user, DomainID: "default"}).ExtractErr())

	r.answered(t, http.StatusForbidden, r.login(t, "demo", system.DemoPassword, gophercloud.AuthScope{}).Token(), serversPath)

	looks, err := users.Create(t.Context(), r.k.admin, users.CreateOpts{Name: "looks", Password: "looks-only", DomainID: "default"}).Extract()
	require.NoError(t, err)
	r.k.gives(t, looks.ID, r.k.project, "reader")
	reader := r.login(t, "looks", "looks-only", gophercloud.AuthScope{ProjectID: r.k.project})
	r.answered(t, http.StatusOK, reader.Token(), serversPath)
	_, err = servers.Create(t.Context(), system.Compute(t, reader), servers.CreateOpts{Name: "no", FlavorRef: "small", ImageRef: r.image, Networks: "none"}, nil).Extract()
	require.True(t, gophercloud.ResponseCodeIs(err, http.StatusForbidden), "%v", err)

	// The role service means nothing to Slipway's policy: the service user reads nothing of others, and makes nothing.
	service := r.login(t, "slipway", servicePassword, gophercloud.AuthScope{ProjectName: "service", DomainName: "Default"}).Token()
	r.answered(t, http.StatusForbidden, service, adminsPath)
}

func (r rig) ends(t *testing.T) {
	token := r.demo(t).Token()
	r.answered(t, http.StatusOK, token, serversPath)
	require.NoError(t, tokens.Revoke(t.Context(), r.k.admin, token).Err)
	status, header := r.asks(t, token, serversPath)
	require.Equal(t, http.StatusUnauthorized, status)
	require.Equal(t, "Keystone uri='"+r.k.url+"'", header.Get("WWW-Authenticate"))
	for _, nobodys := range []string{"", "gAAAAA-nobodys", strings.Repeat("x", 9000)} {
		r.answered(t, http.StatusUnauthorized, nobodys, imagesPath)
	}

	token = r.demo(t).Token()
	disable := func(enabled bool) {
		_, err := users.Update(t.Context(), r.k.admin, r.k.user, users.UpdateOpts{Enabled: &enabled}).Extract()
		require.NoError(t, err)
	}
	disable(false)
	r.answered(t, http.StatusUnauthorized, token, serversPath)
	disable(true)

	r.k.gives(t, r.k.user, r.k.project, "admin")
	token = r.demo(t).Token()
	r.answered(t, http.StatusOK, token, adminsPath)
	r.k.takes(t, r.k.user, r.k.project, "admin")
	got, _ := r.asks(t, token, adminsPath)
	require.Contains(t, []int{http.StatusUnauthorized, http.StatusForbidden}, got)
}

func (r rig) applications(t *testing.T) {
	demo := r.demo(t)
	identity, err := openstack.NewIdentityV3(demo, gophercloud.EndpointOpts{Region: "RegionOne"})
	require.NoError(t, err)
	lets := func(name string, rules ...applicationcredentials.AccessRule) string {
		made, err := applicationcredentials.Create(t.Context(), identity, r.k.user, applicationcredentials.CreateOpts{Name: name, AccessRules: rules}).Extract()
		require.NoError(t, err)
		p, err := openstack.NewClient(r.k.url)
		require.NoError(t, err)
		require.NoError(t, openstack.Authenticate(t.Context(), p, gophercloud.AuthOptions{
			IdentityEndpoint: r.k.url, ApplicationCredentialID: made.ID, ApplicationCredentialSecret: made.Secret,
		}))
		return p.Token()
	}
	r.answered(t, http.StatusOK, lets("plain"), serversPath)
	narrow := lets("narrow", applicationcredentials.AccessRule{Service: "image", Method: "GET", Path: "/v2/images"})
	for _, path := range []string{serversPath, imagesPath} {
		got, _ := r.asks(t, narrow, path)
		require.Contains(t, []int{http.StatusUnauthorized, http.StatusForbidden}, got, path)
	}
}

func (r rig) signed(t *testing.T) {
	identity, err := openstack.NewIdentityV3(r.demo(t), gophercloud.EndpointOpts{Region: "RegionOne"})
	require.NoError(t, err)
	key, err := ec2credentials.Create(t.Context(), identity, r.k.user, ec2credentials.CreateOpts{TenantID: r.k.project}).Extract()
	require.NoError(t, err)
	client := func(secret string) *ec2.Client {
		return ec2.New(ec2.Options{
			Region: "RegionOne", BaseEndpoint: new(r.APIURL + "/ec2"), HTTPClient: r.HTTP(), RetryMaxAttempts: 1,
			Credentials: credentials.NewStaticCredentialsProvider(key.Access, secret, ""),
		})
	}
	all, err := client(key.Secret).DescribeImages(t.Context(), &ec2.DescribeImagesInput{Owners: []string{"self"}})
	require.NoError(t, err)
	require.Len(t, all.Images, 1)

	_, err = client(key.Secret+"x").DescribeImages(t.Context(), &ec2.DescribeImagesInput{})
	var refused smithy.APIError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, "AuthFailure", refused.ErrorCode())

	// By hand: parameters in the query string of a GET, of a presigned GET, and added to a POST that somebody else signed.
	send := func(request *http.Request) int {
		answer, err := r.HTTP().Do(request)
		require.NoError(t, err)
		defer answer.Body.Close()
		return answer.StatusCode
	}
	by, empty := aws.Credentials{AccessKeyID: key.Access, SecretAccessKey: key.Secret}, sigv4.HashBody(nil)
	made := func(method, query, body string) *http.Request {
		request, err := http.NewRequestWithContext(t.Context(), method, r.APIURL+"/ec2/"+query, strings.NewReader(body))
		require.NoError(t, err)
		if body != "" {
			request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		return request
	}
	const describe = "Action=DescribeKeyPairs&Version=2016-11-15"
	get := made(http.MethodGet, "?"+describe, "")
	require.NoError(t, v4.NewSigner().SignHTTP(t.Context(), by, get, empty, "ec2", "RegionOne", time.Now()))
	require.Equal(t, http.StatusOK, send(get))

	address, _, err := v4.NewSigner().PresignHTTP(t.Context(), by, made(http.MethodGet, "?"+describe+"&X-Amz-Expires=60", ""), empty, "ec2", "RegionOne", time.Now())
	require.NoError(t, err)
	presigned, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, send(presigned))

	const body = "Version=2016-11-15"
	post := made(http.MethodPost, "", body+"&Action=DescribeKeyPairs")
	require.NoError(t, v4.NewSigner().SignHTTP(t.Context(), by, post, sigv4.HashBody([]byte(body+"&Action=DescribeKeyPairs")), "ec2", "RegionOne", time.Now()))
	require.Equal(t, http.StatusOK, send(post.Clone(t.Context())))
	post = made(http.MethodPost, "", body)
	require.NoError(t, v4.NewSigner().SignHTTP(t.Context(), by, post, sigv4.HashBody([]byte(body)), "ec2", "RegionOne", time.Now()))
	post.URL.RawQuery = "Action=DescribeKeyPairs"
	require.Equal(t, http.StatusBadRequest, send(post), "what was added is not signed")
}

func (r rig) renewed(t *testing.T) {
	token := r.demo(t).Token()
	const password = "another-one-of-the-test"
	require.NoError(t, os.WriteFile(r.k.password, []byte(password), 0o600))
	_, err := users.Update(t.Context(), r.k.admin, r.k.service, users.UpdateOpts{Password: password}).Extract()
	require.NoError(t, err)
	// That ended its tokens, and Keystone, which counts in seconds, ends with them what is issued in the same one.
	system.Eventually(t, patience, func() (bool, string) {
		got, _ := r.asks(t, token, serversPath)
		require.Contains(t, []int{http.StatusOK, http.StatusServiceUnavailable}, got, "the user's token is as good as before")
		return got == http.StatusOK, http.StatusText(got)
	})
}

func (r rig) elsewhere(t *testing.T) {
	for _, path := range []string{"/", "/v3"} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.APIURL+path, nil)
		require.NoError(t, err)
		answer, err := r.HTTP().Do(request)
		require.NoError(t, err)
		var said any
		require.NoError(t, json.NewDecoder(answer.Body).Decode(&said))
		require.NoError(t, answer.Body.Close())
		require.Contains(t, fmt.Sprint(said), r.k.url+"/", path)
	}
	got, _ := r.asks(t, r.demo(t).Token(), "/v3/projects")
	require.Equal(t, http.StatusNotImplemented, got)

	// Who still has the API's own address: gophercloud logs in where discovery says, keystoneauth keeps the host and is told.
	p, err := openstack.NewClient(r.APIURL)
	require.NoError(t, err)
	p.HTTPClient = *r.HTTP()
	require.NoError(t, openstack.Authenticate(t.Context(), p, gophercloud.AuthOptions{
		IdentityEndpoint: r.APIURL, Username: "demo", Password: system.DemoPassword, DomainName: "Default", Scope: &gophercloud.AuthScope{ProjectID: r.k.project},
	}))
	r.answered(t, http.StatusOK, p.Token(), serversPath)
	if _, err := os.Stat(openstackCommand); err != nil {
		return
	}
	_, stderr, code := r.command(t, "demo", system.DemoPassword, "--os-auth-url", r.APIURL, "server", "list", "-f", "value")
	require.NotZero(t, code)
	require.Contains(t, stderr, r.k.url+": set OS_AUTH_URL to that")
}

func (r rig) away(t *testing.T) {
	token := r.demo(t).Token()
	r.answered(t, http.StatusOK, token, serversPath)
	require.NoError(t, r.k.server.Stop())
	status, header := r.asks(t, token, serversPath)
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.NotEmpty(t, header.Get("Retry-After"))
	require.Empty(t, header.Get("WWW-Authenticate"))
}
