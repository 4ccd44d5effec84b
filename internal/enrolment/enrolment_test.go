package enrolment

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/pki"
)

// made is an enrolment of hv2 by a CA of the test's.
func made(t *testing.T) Enrolment {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "pki")
	ca, err := pki.Init(t.Context(), dir, "")
	require.NoError(t, err)
	_, err = ca.Issue(t.Context(), pki.Request{Role: pki.Host, Name: "hv2"})
	require.NoError(t, err)
	text := func(name string) string {
		t.Helper()
		is, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		return string(is)
	}
	e := Enrolment{Token: "tok-1", CA: text("ca.pem"), CRL: text("crl.pem"), Certificate: text("host-hv2.pem"), Key: text("host-hv2.key")}
	e.Settings.Host.Hostname, e.Settings.Host.APIURL = "hv2", "https://10.99.0.1:8774"
	e.Settings.Temporal.Address, e.Settings.Temporal.Namespace = "10.99.0.1:7233", "slipway"
	return e
}

func written(t *testing.T, e Enrolment) string {
	t.Helper()
	var text bytes.Buffer
	require.NoError(t, e.Write(&text))
	return text.String()
}

func TestWhatIsWrittenIsReadAgainAndShownWithoutSecrets(t *testing.T) {
	e := made(t)
	got, err := Read(strings.NewReader(written(t, e)))
	require.NoError(t, err)
	e.Version = version
	require.Equal(t, e, got)
	require.Equal(t, "hv2, which asks the API at https://10.99.0.1:8774, and Temporal at 10.99.0.1:7233", e.String())
}

func TestAFileThatIsCutOffAnywhereIsRefused(t *testing.T) {
	text := written(t, made(t))
	for n := range len(text) - 1 { // the last line's end alone may be missing
		_, err := Read(strings.NewReader(text[:n]))
		require.Error(t, err, "%d of %d bytes", n, len(text))
	}
}

func TestAnEnrolmentThatDoesNotFitTogetherIsRefused(t *testing.T) {
	other := made(t)
	for want, change := range map[string]func(e *Enrolment){
		"it has no token":                         func(e *Enrolment) { e.Token = "" },
		"it has no settings.host.api_url":         func(e *Enrolment) { e.Settings.Host.APIURL = "" },
		"the name \"hv2\", and has to be for the": func(e *Enrolment) { e.Settings.Host.Hostname = "hv3" },
		"which is no hostname":                    func(e *Enrolment) { e.Settings.Host.Hostname = "../hv2" },
		"private key does not match public key":   func(e *Enrolment) { e.Key = other.Key },
		"unknown authority":                       func(e *Enrolment) { e.CA = other.CA },
		"there is no certificate":                 func(e *Enrolment) { e.CA = e.CRL },
	} {
		e := made(t)
		change(&e)
		require.ErrorContains(t, e.Write(new(bytes.Buffer)), want)
	}
	_, err := Read(strings.NewReader(strings.Replace(written(t, made(t)), "enrolment: 1\n", "enrolment: 2\n", 1)))
	require.ErrorContains(t, err, "an enrolment of version 2")
	_, err = Read(strings.NewReader("host: {}\n"))
	require.ErrorContains(t, err, "it is no enrolment")
}
