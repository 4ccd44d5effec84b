package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	"github.com/slipway-cloud/slipway/internal/config"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/enrolment"
	"github.com/slipway-cloud/slipway/internal/payload"
	"github.com/slipway-cloud/slipway/internal/pki"
	"github.com/slipway-cloud/slipway/test/system"
)

// prepare is a host's file as `slipway host create hv2` with such flags makes it, read again.
func prepare(t *testing.T, api string, args ...string) (e enrolment.Enrolment, err error) {
	t.Helper()
	var maker enroller
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	maker.Flags(flags)
	require.NoError(t, flags.Parse(args))
	prepared, err := maker.Prepare(flags, "hv2", api)
	if err != nil {
		return e, err
	}
	path := filepath.Join(t.TempDir(), "file")
	file, err := os.Create(path)
	require.NoError(t, err)
	require.NoError(t, prepared.Write(t.Context(), file, "tok-1"))
	require.NoError(t, file.Close())
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	e, err = enrolment.Read(bytes.NewReader(text))
	require.NoError(t, err)
	return e, nil
}

func TestWhatAHostIsToldComesFromFlagsThenSettingsThenTheCommandLine(t *testing.T) {
	_, file := authority(t)
	pkiDir := filepath.Dir(file("ca.pem"))
	settings := filepath.Join(t.TempDir(), "slipway.yaml")
	require.NoError(t, os.WriteFile(settings, []byte("temporal: {address: 'temporal.example.org:7234', namespace: other, tls_server_name: cloud}\n"), 0o600))
	told := func(args ...string) []string {
		t.Helper()
		e, err := prepare(t, "https://10.99.0.1:8774/", append(args, "--pki", pkiDir)...)
		require.NoError(t, err)
		s := e.Settings
		require.Equal(t, []string{"hv2", "tok-1"}, []string{s.Host.Hostname, e.Token})
		return []string{s.Host.APIURL, s.Temporal.Address, s.Temporal.Namespace, s.Temporal.TLSServerName}
	}
	require.Equal(t, []string{"https://10.99.0.1:8774", "10.99.0.1:7233", "slipway", ""}, told())
	require.Equal(t, []string{"https://api.example.org", "api.example.org:7233", "slipway", ""}, told("--host.api_url", "https://api.example.org"))
	require.Equal(t, []string{"https://10.99.0.1:8774", "temporal.example.org:7234", "other", "cloud"}, told("--config", settings))
	t.Setenv("SLIPWAY_TEMPORAL_ADDRESS", "10.99.0.2:7233")
	require.Equal(t, []string{"https://10.99.0.1:8774", "10.99.0.2:7233", "other", "cloud"}, told("--config", settings))
	require.Equal(t, []string{"https://10.99.0.1:8774", "10.99.0.3:7233", "other", "cloud"}, told("--config", settings, "--temporal.address", "10.99.0.3:7233"))

	_, err := prepare(t, "http://10.99.0.1:8774/", "--pki", pkiDir)
	require.ErrorContains(t, err, "host.api_url is plain http to another machine")
	_, err = prepare(t, "https://10.99.0.1:8774/", "--pki", t.TempDir())
	require.ErrorContains(t, err, "`slipway pki init` makes one")
}

func TestAHostsCertificateIsNewEachTimeOrFromElsewhere(t *testing.T) {
	ca, file := authority(t)
	pkiDir := filepath.Dir(file("ca.pem"))
	const api = "https://10.99.0.1:8774/"
	first, err := prepare(t, api, "--pki", pkiDir)
	require.NoError(t, err)
	second, err := prepare(t, api, "--pki", pkiDir)
	require.NoError(t, err)
	require.NotEqual(t, first.Key, second.Key)
	_, err = ca.Revoke(t.Context(), pki.Host, "hv2", "")
	require.NoError(t, err)
	third, err := prepare(t, api, "--pki", pkiDir)
	require.NoError(t, err)
	require.NotEqual(t, second.CRL, third.CRL)

	elsewhere := func(holder string) []string {
		return []string{"--cert", file(holder + ".pem"), "--key", file(holder + ".key"), "--ca", file("ca.pem")}
	}
	same, err := prepare(t, api, elsewhere("host-hv2")...)
	require.NoError(t, err)
	require.Equal(t, []string{third.Certificate, third.Key, third.CA, third.CRL}, []string{same.Certificate, same.Key, same.CA, same.CRL})
	_, err = prepare(t, api, elsewhere("host-hv1")...)
	require.ErrorContains(t, err, `the name "hv1", and has to be for the role host and the name hv2`)
	_, err = prepare(t, api, elsewhere("control-c1")...)
	require.ErrorContains(t, err, `is for the role "control"`)
	_, err = prepare(t, api, "--cert", file("host-hv2.pem"))
	require.ErrorContains(t, err, "--cert, --key and --ca go together")
}

// guarded is a Temporal that asks for certificates, until the test ends: the addresses of its frontend and of its Web UI, which asks for
// a password.
func guarded(t *testing.T, file func(string) string, codec string) (frontend, ui string) {
	t.Helper()
	engine, err := filepath.Abs("../../.slipway/bin/slipway-temporal")
	require.NoError(t, err)
	require.FileExists(t, engine, "`make temporal` builds it")
	at, err := pgconn.ParseConfig(testenv.Database(t))
	require.NoError(t, err)
	visibility, err := pgconn.ParseConfig(testenv.Database(t))
	require.NoError(t, err)
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file("passwords"), append([]byte("ada:"), hash...), 0o600))
	cmd := exec.Command(engine, "--postgres-host", at.Host, "--postgres-port", strconv.Itoa(int(at.Port)), "--postgres-user", at.User,
		"--database", at.Database, "--visibility-database", visibility.Database,
		"--frontend", "127.0.0.1:0", "--frontend-cert", file("control-c1.pem"), "--frontend-key", file("control-c1.key"),
		"--frontend-client-ca", file("ca.pem"), "--task-token-keys", file("task-tokens"),
		"--ui", "127.0.0.1:0", "--ui-cert", file("control-c1.pem"), "--ui-key", file("control-c1.key"), "--ui-passwords", file("passwords"),
		"--ui-client-cert", file("operator-ada.pem"), "--ui-client-key", file("operator-ada.key"),
		"--codec-upstream", codec, "--codec-cert", file("operator-ada.pem"), "--codec-key", file("operator-ada.key"), "--codec-ca", file("ca.pem"))
	cmd.Env = []string{"SLIPWAY_TEMPORAL_POSTGRES_PASSWORD=" + at.Password}
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	run(t, cmd)
	line, err := bufio.NewReader(out).ReadBytes('\n')
	require.NoError(t, err, "it did not get ready")
	var ready struct{ Frontend, UI string }
	require.NoError(t, json.Unmarshal(line, &ready))
	return ready.Frontend, "https://" + ready.UI
}

// run starts a process that is told to stop when the test ends, and whose log is shown where that failed.
func run(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	require.NoError(t, err)
	cmd.Stderr = log
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
		err := cmd.Wait()
		if text, readErr := os.ReadFile(log.Name()); t.Failed() || err != nil {
			t.Errorf("%v: %v\n%s", cmd.Args, err, text)
			require.NoError(t, readErr)
		}
		require.NoError(t, log.Close())
	})
}

func TestAnEnrolledHostBuildsAServerWhereAllAskForCertificatesAndTheWebUIShowsItToWhoIsLoggedIn(t *testing.T) {
	t.Setenv("SLIPWAY_CONFIG", "")
	_, file := authority(t)
	self, err := os.Executable()
	require.NoError(t, err)
	dir := openFolder(t)
	port := freePorts(t, 2)
	api, operators := fmt.Sprintf("127.0.0.1:%d", port), fmt.Sprintf("127.0.0.1:%d", port+1)
	temporal, ui := guarded(t, file, "https://"+operators+"/codec")
	keys := filepath.Join(dir, "payload.keys")
	require.NoError(t, payload.EnsureKeys(keys))
	start := func(env []string, args ...string) {
		t.Helper()
		cmd := exec.Command(self, args...)
		cmd.Env = append(env, asProgram+"=yes", "PATH="+os.Getenv("PATH"))
		run(t, cmd)
	}
	control := []string{
		"SLIPWAY_DATABASE_DSN=" + testenv.Database(t), "SLIPWAY_API_ADMIN_PASSWORD=secret", "SLIPWAY_API_DEFAULT_NETWORK=10.20.0.0/24",
		"SLIPWAY_IMAGES_DIR=" + filepath.Join(dir, "images"),
		"SLIPWAY_API_LISTEN=" + api, "SLIPWAY_API_TLS_CERT=" + file("control-c1.pem"), "SLIPWAY_API_TLS_KEY=" + file("control-c1.key"), "SLIPWAY_API_TLS_CLIENT_CA=" + file("ca.pem"),
		"SLIPWAY_TEMPORAL_ADDRESS=" + temporal, "SLIPWAY_TEMPORAL_TLS_CA=" + file("ca.pem"), "SLIPWAY_TEMPORAL_TLS_CERT=" + file("control-c1.pem"),
		"SLIPWAY_TEMPORAL_TLS_KEY=" + file("control-c1.key"), "SLIPWAY_TEMPORAL_PAYLOAD_KEYS=" + keys,
	}
	start(control, "api", "--operator.listen", operators, "--operator.tls_client_ca", file("ca.pem"),
		"--operator.tls_cert", file("control-c1.pem"), "--operator.tls_key", file("control-c1.key"))
	start(control, "worker", "--operator.listen", "")
	slipway := func(args ...string) (out, errs string, code int) {
		cmd := exec.CommandContext(t.Context(), self, args...)
		cmd.Env = []string{
			asProgram + "=yes", "PATH=" + os.Getenv("PATH"), "HOME=" + dir, "OS_AUTH_URL=https://" + api + "/v3", "OS_USERNAME=admin", "OS_PASSWORD=secret",
			"OS_PROJECT_NAME=admin", "OS_CACERT=" + file("ca.pem"), "OS_CERT=" + file("operator-ada.pem"), "OS_KEY=" + file("operator-ada.key"),
		}
		var o, e bytes.Buffer
		cmd.Stdout, cmd.Stderr = &o, &e
		if err := cmd.Run(); err != nil {
			require.ErrorAs(t, err, new(*exec.ExitError))
		}
		return o.String(), e.String(), cmd.ProcessState.ExitCode()
	}
	done := func(args ...string) string {
		t.Helper()
		out, errs, code := slipway(args...)
		require.Equal(t, 0, code, "slipway %v: %s%s", args, out, errs)
		return out
	}
	system.Eventually(t, time.Minute, func() (bool, string) {
		_, errs, code := slipway("host", "list")
		return code == 0, errs
	})

	enrolled, etc := filepath.Join(dir, "hv2.enrolment"), filepath.Join(dir, "etc")
	done("host", "create", "hv2", "--enrolment", enrolled, "--pki", filepath.Dir(file("ca.pem")), "--temporal.address", temporal)
	require.Contains(t, done("host", "enrol", enrolled, "--dir", etc), "slipway host --config "+etc+"/slipway.yaml")
	start([]string{
		"SLIPWAY_HOST_STATE_DIR=" + filepath.Join(dir, "state"), "SLIPWAY_HOST_HYPERVISOR=fake", "SLIPWAY_HOST_LIBGUESTFS=false", "SLIPWAY_HOST_HEARTBEAT_EVERY=1s",
	}, "host", "--config", filepath.Join(etc, "slipway.yaml"), "--operator.listen", "")
	system.Eventually(t, time.Minute, func() (bool, string) {
		var host struct {
			Ready bool
			Ends  time.Time `json:"certificate_expires_at"`
		}
		text := done("host", "show", "hv2", "-o", "json")
		require.NoError(t, json.Unmarshal([]byte(text), &host))
		return host.Ready && host.Ends.After(time.Now().Add(pki.Year-24*time.Hour)), text
	})

	disk := filepath.Join(dir, "disk.raw")
	require.NoError(t, os.WriteFile(disk, make([]byte, 1<<20), 0o600))
	done("image", "create", "demo", "--file", disk, "--disk-format", "raw")
	done("flavor", "create", "tiny", "--vcpus", "1", "--ram", "64", "--disk", "1")
	id := strings.TrimSpace(done("boot", "web", "--image", "demo", "--flavor", "tiny", "--wait", "--quiet"))

	transport, err := apiTransport(config.Host{APIURL: ui, APICA: file("ca.pem")}, files())
	require.NoError(t, err)
	defer transport.CloseIdleConnections()
	ask := func(method, path, body, password string) (string, int) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, ui+path, strings.NewReader(body))
		require.NoError(t, err)
		r.Header.Set("Content-Type", "application/json")
		r.SetBasicAuth("ada", password)
		answer, err := (&http.Client{Transport: transport}).Do(r)
		require.NoError(t, err)
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		return string(text), answer.StatusCode
	}
	history, code := ask(http.MethodGet, "/api/v1/namespaces/slipway/workflows/server%2F"+id+"/history", "", "secret")
	require.Equal(t, http.StatusOK, code, history)
	var is struct {
		History struct {
			Events []struct {
				Started struct{ Input json.RawMessage } `json:"workflowExecutionStartedEventAttributes"`
			}
		}
	}
	require.NoError(t, json.Unmarshal([]byte(history), &is))
	input := string(is.History.Events[0].Started.Input)
	_, code = ask(http.MethodPost, "/codec/decode", input, "wrong")
	require.Equal(t, http.StatusUnauthorized, code)
	decoded, code := ask(http.MethodPost, "/codec/decode", input, "secret")
	require.Equal(t, http.StatusOK, code, decoded)
	var payloads struct{ Payloads []struct{ Data []byte } }
	require.NoError(t, json.Unmarshal([]byte(decoded), &payloads))
	require.Contains(t, string(payloads.Payloads[0].Data), id)
}

func TestTheSettingsOfAnEnrolledHostAreSettings(t *testing.T) {
	_, file := authority(t)
	e, err := prepare(t, "https://10.99.0.1:8774/", "--pki", filepath.Dir(file("ca.pem")), "--temporal.tls_server_name", "cloud")
	require.NoError(t, err)
	settings, err := e.Unpack(t.TempDir(), false)
	require.NoError(t, err)
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	config.Flags(flags, "host")
	require.NoError(t, flags.Parse([]string{"--config", settings}))
	c, err := config.Load(flags)
	require.NoError(t, err)
	require.Empty(t, c.InClear("host"))
	require.Equal(t, []string{"hv2", "10.99.0.1:7233", "cloud"}, []string{c.Host.Hostname, c.Temporal.Address, c.Temporal.TLSServerName})
	token, err := hostToken(c.Host)
	require.NoError(t, err)
	require.Equal(t, "tok-1", token())
	_, err = apiTransport(c.Host, files())
	require.NoError(t, err)
	_, err = temporalTLS(c.Temporal, files())
	require.NoError(t, err)
}

func TestWhatIsNoEnrolmentIsRefusedAndNothingIsWritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etc")
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, []byte(strings.Repeat("x", 100)), 0o600))
	_, errs, code := say(t, "host", "enrol", path, "--dir", dir)
	require.Equal(t, 1, code)
	require.Contains(t, errs, path+": it is no enrolment")
	require.NoDirExists(t, dir)
}
