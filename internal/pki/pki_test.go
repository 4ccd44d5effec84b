package pki

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func newCA(t *testing.T) (*Authority, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "pki")
	ca, err := Init(t.Context(), dir, "")
	require.NoError(t, err)
	return ca, dir
}

func read(t *testing.T, dir, name string) *x509.Certificate {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name))
	require.NoError(t, err)
	c, err := parseCertificate(text)
	require.NoError(t, err)
	return c
}

func verify(t *testing.T, dir string, c *x509.Certificate, name string, usage x509.ExtKeyUsage) error {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(read(t, dir, CAFile))
	_, err := c.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, KeyUsages: []x509.ExtKeyUsage{usage}})
	return err
}

func revoked(t *testing.T, dir string) (serials []*big.Int) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, CRLFile))
	require.NoError(t, err)
	block, _ := pem.Decode(text)
	require.NotNil(t, block)
	list, err := x509.ParseRevocationList(block.Bytes)
	require.NoError(t, err)
	require.NoError(t, list.CheckSignatureFrom(read(t, dir, CAFile)))
	for _, e := range list.RevokedCertificateEntries {
		serials = append(serials, e.SerialNumber)
	}
	return serials
}

func TestACertificateSaysWhoItsHolderIsAndWhatItServes(t *testing.T) {
	ca, dir := newCA(t)
	_, err := ca.Issue(t.Context(), Request{Role: Host, Name: "hv1", IPs: []string{"10.0.0.2", "fd00::2"}})
	require.NoError(t, err)
	c := read(t, dir, "host-hv1.pem")
	role, name := Holder(c)
	require.Equal(t, []string{Host, "hv1"}, []string{role, name})
	require.NoError(t, verify(t, dir, c, "hv1", x509.ExtKeyUsageServerAuth))
	require.NoError(t, verify(t, dir, c, "10.0.0.2", x509.ExtKeyUsageServerAuth))
	require.NoError(t, verify(t, dir, c, "fd00::2", x509.ExtKeyUsageServerAuth))
	require.NoError(t, verify(t, dir, c, "", x509.ExtKeyUsageClientAuth))
	require.ErrorContains(t, verify(t, dir, c, "hv2", x509.ExtKeyUsageServerAuth), "is valid for")
	require.WithinDuration(t, time.Now().Add(Year), c.NotAfter, time.Hour)

	_, err = ca.Issue(t.Context(), Request{Role: Operator, Name: "ada"})
	require.NoError(t, err)
	c = read(t, dir, "operator-ada.pem")
	require.NoError(t, verify(t, dir, c, "", x509.ExtKeyUsageClientAuth))
	require.ErrorContains(t, verify(t, dir, c, "", x509.ExtKeyUsageServerAuth), "key usage")

	_, err = tls.LoadX509KeyPair(filepath.Join(dir, "host-hv1.pem"), filepath.Join(dir, "host-hv1.key"))
	require.NoError(t, err)
	for _, key := range []string{caKeyFile, "host-hv1.key", "operator-ada.key"} {
		info, err := os.Stat(filepath.Join(dir, key))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), key)
	}
	root := read(t, dir, CAFile)
	require.True(t, root.IsCA)
	require.True(t, root.MaxPathLenZero, "it signs no other CA")
}

func TestOfSeveralUnitsNoneIsTheRole(t *testing.T) {
	c := &x509.Certificate{}
	c.Subject.CommonName, c.Subject.OrganizationalUnit = "x", []string{Control, Host}
	role, name := Holder(c)
	require.Equal(t, []string{"", "x"}, []string{role, name})
}

func TestARequestThatCannotBeIsRefusedAndLeavesNothing(t *testing.T) {
	ca, dir := newCA(t)
	for want, r := range map[string]Request{
		`there is no role "admin"`:       {Role: "admin", Name: "x"},
		`"../x" cannot be the name`:      {Role: Host, Name: "../x"},
		`"" cannot be the name`:          {Role: Host},
		`"a_b" is no DNS name`:           {Role: Host, Name: "a_b"},
		`"*" is no DNS name`:             {Role: Control, Name: "x", DNS: []string{"*"}},
		"10.0.0.1 is an address":         {Role: Control, Name: "x", DNS: []string{"10.0.0.1"}},
		`"10.0.0" is no IP address`:      {Role: Control, Name: "x", IPs: []string{"10.0.0"}},
		"serves nothing":                 {Role: Operator, Name: "x", DNS: []string{"a"}},
		"the CA itself ends on":          {Role: Control, Name: "x", Validity: 11 * Year},
		"valid for more than no time":    {Role: Control, Name: "x", Validity: -1},
		`"x/../../y" cannot be the name`: {Role: Control, Name: "x/../../y"},
	} {
		_, err := ca.Issue(t.Context(), r)
		require.ErrorContains(t, err, want)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*-*"))
	require.NoError(t, err)
	require.Empty(t, files)
	shown, err := ca.Show()
	require.NoError(t, err)
	require.Len(t, shown, 1, "the CA alone")
}

func TestACAThatIsThereIsNeverOverwritten(t *testing.T) {
	ca, dir := newCA(t)
	before, err := os.ReadFile(filepath.Join(dir, caKeyFile))
	require.NoError(t, err)
	_, err = Init(t.Context(), dir, "")
	require.ErrorContains(t, err, "is not overwritten")
	require.NoError(t, os.Remove(filepath.Join(dir, CAFile)))
	_, err = Init(t.Context(), dir, "")
	require.ErrorContains(t, err, "has no certificate beside it")
	after, err := os.ReadFile(filepath.Join(dir, caKeyFile))
	require.NoError(t, err)
	require.Equal(t, before, after)
	require.NotNil(t, ca)
}

func TestAFolderThatIsNoCAsIsRefusedWithWhatToDo(t *testing.T) {
	_, err := Open(t.TempDir())
	require.ErrorContains(t, err, "`slipway pki init` makes one")

	_, dir := newCA(t)
	_, err = Open(dir)
	require.NoError(t, err)
	key := filepath.Join(dir, caKeyFile)
	require.NoError(t, os.Chmod(key, 0o640))
	_, err = Open(dir)
	require.ErrorContains(t, err, "chmod 600 "+key)
	_, other := newCA(t)
	text, err := os.ReadFile(filepath.Join(other, caKeyFile))
	require.NoError(t, err)
	require.NoError(t, os.Chmod(key, 0o600))
	require.NoError(t, os.WriteFile(key, text, 0o600))
	_, err = Open(dir)
	require.ErrorContains(t, err, "is not the key of")
}

func TestAHolderHasOneCertificateThatIsRenewedForTheSameNames(t *testing.T) {
	ca, dir := newCA(t)
	first, err := ca.Issue(t.Context(), Request{Role: Control, Name: "c1", DNS: []string{"Cloud.example.org"}, IPs: []string{"10.0.0.1"}, Validity: 20 * 24 * time.Hour})
	require.NoError(t, err)
	_, err = ca.Issue(t.Context(), Request{Role: Control, Name: "c1"})
	require.ErrorContains(t, err, "slipway pki renew control c1")
	second, err := ca.Renew(t.Context(), Control, "c1", 0)
	require.NoError(t, err)
	require.Equal(t, first.DNS, second.DNS)
	require.Equal(t, []string{"cloud.example.org"}, second.DNS)
	require.Equal(t, first.IPs, second.IPs)
	require.NotEqual(t, first.Serial, second.Serial)
	require.Equal(t, second.Serial, read(t, dir, "control-c1.pem").SerialNumber.Text(16))
	_, err = ca.Renew(t.Context(), Host, "c1", 0)
	require.ErrorContains(t, err, "has issued nothing to host c1")

	shown, err := ca.Show()
	require.NoError(t, err)
	require.Equal(t, []string{Valid, Valid, Replaced}, []string{shown[0].State, shown[1].State, shown[2].State})
	require.False(t, shown[2].Soon, "what is replaced asks for nothing")
}

func TestARevokedHolderIsOnTheListWithAllItsCertificates(t *testing.T) {
	ca, dir := newCA(t)
	first, err := ca.Issue(t.Context(), Request{Role: Host, Name: "hv1"})
	require.NoError(t, err)
	second, err := ca.Renew(t.Context(), Host, "hv1", 0)
	require.NoError(t, err)
	_, err = ca.Issue(t.Context(), Request{Role: Host, Name: "hv2"})
	require.NoError(t, err)
	require.Empty(t, revoked(t, dir))

	_, err = ca.Revoke(t.Context(), Host, "hv3", "")
	require.ErrorContains(t, err, "has issued nothing to host hv3")
	_, err = ca.Revoke(t.Context(), Host, "hv1", "ab")
	require.ErrorContains(t, err, "has the serial ab")
	ended, err := ca.Revoke(t.Context(), Host, "hv1", "")
	require.NoError(t, err)
	require.Len(t, ended, 2)
	var serials []string
	for _, s := range revoked(t, dir) {
		serials = append(serials, s.Text(16))
	}
	require.ElementsMatch(t, []string{first.Serial, second.Serial}, serials)

	require.NoError(t, os.Remove(filepath.Join(dir, CRLFile)), "as if it had died before")
	ended, err = ca.Revoke(t.Context(), Host, "hv1", "")
	require.NoError(t, err)
	require.Empty(t, ended)
	require.Len(t, revoked(t, dir), 2)

	_, err = ca.Renew(t.Context(), Host, "hv1", 0)
	require.ErrorContains(t, err, "slipway pki issue host hv1")
	third, err := ca.Issue(t.Context(), Request{Role: Host, Name: "hv1"})
	require.NoError(t, err)
	ended, err = ca.Revoke(t.Context(), Host, "hv1", third.Serial)
	require.NoError(t, err)
	require.Equal(t, third.Serial, ended[0].Serial)
}

func TestWhatEndsSoonIsToldUntilItIsRenewed(t *testing.T) {
	ca, _ := newCA(t)
	_, err := ca.Issue(t.Context(), Request{Role: Host, Name: "hv1", Validity: ExpiresSoon + time.Hour})
	require.NoError(t, err)
	state := func() Shown {
		shown, err := ca.Show()
		require.NoError(t, err)
		return shown[1]
	}
	require.Equal(t, Shown{State: Valid, DaysLeft: 30}, Shown{State: state().State, DaysLeft: state().DaysLeft, Soon: state().Soon})
	ca.now = func() time.Time { return time.Now().Add(2 * time.Hour) }
	require.True(t, state().Soon)
	ca.now = func() time.Time { return time.Now().Add(31 * 24 * time.Hour) }
	require.Equal(t, Expired, state().State)
	require.True(t, state().Soon)
	_, err = ca.Issue(t.Context(), Request{Role: Host, Name: "hv1"})
	require.NoError(t, err, "what has expired is issued anew")
	require.Equal(t, Valid, state().State)
	ca.now = func() time.Time { return time.Now().Add(11 * Year) }
	_, err = ca.Issue(t.Context(), Request{Role: Host, Name: "hv2"})
	require.ErrorContains(t, err, "the CA has ended on")
}

func TestAnIndexThatIsGoneIsNotTakenForNothingIssued(t *testing.T) {
	dir := t.TempDir()
	ca, err := Init(t.Context(), dir, "")
	require.NoError(t, err)
	_, err = ca.Issue(t.Context(), Request{Role: Host, Name: "hv1"})
	require.NoError(t, err)
	_, err = ca.Revoke(t.Context(), Host, "hv1", "")
	require.NoError(t, err)
	list, err := os.ReadFile(filepath.Join(dir, CRLFile))
	require.NoError(t, err)
	require.NoError(t, os.Remove(filepath.Join(dir, indexFile)))
	_, err = ca.Issue(t.Context(), Request{Role: Host, Name: "hv2"})
	require.ErrorContains(t, err, "put it back from a backup")
	after, err := os.ReadFile(filepath.Join(dir, CRLFile))
	require.NoError(t, err)
	require.Equal(t, list, after, "what is revoked stays so")
}

func TestCommandsAtOnceLoseNothing(t *testing.T) {
	_, dir := newCA(t)
	var running sync.WaitGroup
	for n := range 8 {
		running.Go(func() {
			ca, err := Open(dir)
			if err == nil {
				_, err = ca.Issue(t.Context(), Request{Role: Host, Name: "hv" + strconv.Itoa(n)})
			}
			if err == nil && n%2 == 0 {
				_, err = ca.Revoke(t.Context(), Host, "hv"+strconv.Itoa(n), "")
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()
	ca, err := Open(dir)
	require.NoError(t, err)
	shown, err := ca.Show()
	require.NoError(t, err)
	require.Len(t, shown, 9)
	require.Len(t, revoked(t, dir), 4)
	left, err := filepath.Glob(filepath.Join(dir, ".*"))
	require.NoError(t, err)
	require.Empty(t, left, "no halves of files")
}

func TestOneThatIsInterruptedWhileAnotherWorksSaysSo(t *testing.T) {
	ca, dir := newCA(t)
	release, err := lock(t.Context(), dir)
	require.NoError(t, err)
	defer release()
	ctx, stop := context.WithCancel(t.Context())
	stop()
	_, err = ca.Issue(ctx, Request{Role: Host, Name: "hv1"})
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "another command works in the folder")
}

func TestWhoeverHasACertificateThatWillDoGetsNoOther(t *testing.T) {
	ca, dir := newCA(t)
	r := Request{Role: Control, Name: "cloud", DNS: []string{"Cloud.example.org"}, IPs: []string{"10.0.0.1", "10.0.0.1", "0:0:0:0:0:0:0:1"}}
	certFile, keyFile := Files(dir, r.Role, r.Name)
	ensure := func(want bool, why string) Certificate {
		t.Helper()
		c, issued, err := ca.Ensure(t.Context(), r)
		require.NoError(t, err)
		require.Equal(t, want, issued, why)
		pair, err := tls.LoadX509KeyPair(certFile, keyFile)
		require.NoError(t, err)
		require.Equal(t, c.Serial, pair.Leaf.SerialNumber.Text(16), why)
		return c
	}
	c := ensure(true, "it has none")
	require.Equal(t, []string{"10.0.0.1", "::1"}, c.IPs)
	index, err := os.Stat(filepath.Join(dir, indexFile))
	require.NoError(t, err)
	require.Equal(t, c, ensure(false, "it will do"))
	r.IPs = r.IPs[:1]
	ensure(false, "it does for less, too")
	unchanged, err := os.Stat(filepath.Join(dir, indexFile))
	require.NoError(t, err)
	require.True(t, os.SameFile(index, unchanged), "nothing was written")

	r.DNS = append(r.DNS, "other.example.org")
	ensure(true, "it is not for this name")
	r.IPs = append(r.IPs, "10.0.0.2")
	ensure(true, "it is not for this address")
	had, err := os.ReadFile(certFile)
	require.NoError(t, err)
	_, err = ca.Renew(t.Context(), r.Role, r.Name, 0)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(certFile, had, 0o644))
	ensure(true, "a death between the key and the certificate left one of before")
	require.NoError(t, os.Remove(keyFile))
	ensure(true, "its key is gone")
	_, err = ca.Revoke(t.Context(), r.Role, r.Name, "")
	require.NoError(t, err)
	ensure(true, "it is revoked")
	ca.now = func() time.Time { return time.Now().Add(Year - ExpiresSoon - time.Hour) }
	ensure(false, "it ends in more than a month")
	ca.now = func() time.Time { return time.Now().Add(Year - ExpiresSoon + time.Hour) }
	ensure(true, "it ends within a month")
}
