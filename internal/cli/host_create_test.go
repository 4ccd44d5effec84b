package cli

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/cli/show"
)

// enrolling makes files that hold what it was told.
type enrolling struct {
	refuse error // to prepare
	fail   error // to write, after a part
}

func (e enrolling) Flags(*pflag.FlagSet) {}

func (e enrolling) Prepare(_ *pflag.FlagSet, hostname, api string) (Enrolment, error) {
	return prepared{e, hostname + " at " + api}, e.refuse
}

type prepared struct {
	enrolling
	of string
}

func (p prepared) String() string { return p.of }

func (p prepared) Write(_ context.Context, to *os.File, token string) error {
	_, err := io.WriteString(to, p.of+" "+token)
	return errors.Join(err, p.fail)
}

func TestAHostIsAdmittedWithOneFileThatNobodyElseReads(t *testing.T) {
	a := newAPI(t)
	a.json("POST /hosts", 201, `{"host":{"id":"h-2","hostname":"hv2","availability_zone":"nova","token":"tok-1"}}`)
	a.json("GET /hosts", 200, `{"hosts":[{"id":"h-2","hostname":"hv2"}]}`)
	a.json("POST /hosts/h-2/token", 200, `{"host":{"id":"h-2","hostname":"hv2","availability_zone":"nova","token":"tok-2"}}`)
	path := filepath.Join(t.TempDir(), "hv2.enrolment")
	got := run(t, "host", "create", "hv2", "--enrolment", path)
	require.Equal(t, 0, got.code, got.err)
	require.NotContains(t, got.out+got.err, "tok-1")
	require.Contains(t, got.err, path+" makes a machine hv2 at "+a.URL+"/: copy it there by a way that nobody reads, run `slipway host enrol hv2.enrolment` there")
	is := func(want string) {
		t.Helper()
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, want, string(text))
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	}
	is("hv2 at " + a.URL + "/ tok-1")

	got = run(t, "host", "create", "hv2", "--enrolment", path)
	require.Equal(t, 1, got.code)
	require.Contains(t, got.err, path+" is there already, and is not overwritten")
	require.Contains(t, got.err, "slipway host token hv2 --enrolment "+path)
	require.Len(t, a.made("POST /hosts"), 1, "nobody was admitted for a file that cannot be")

	require.NoError(t, os.Remove(path))
	got = run(t, "host", "token", "hv2", "--enrolment", path)
	require.Equal(t, 0, got.code, got.err)
	is("hv2 at " + a.URL + "/ tok-2")
}

func TestOfAHostWhoseFileDoesNotComeAboutNothingIsLeft(t *testing.T) {
	a := newAPI(t)
	answer, gone := 201, 204
	a.mux.HandleFunc("POST /hosts", func(w http.ResponseWriter, _ *http.Request) {
		body := `{"host":{"id":"h-2","hostname":"hv2","token":"tok-1"}}`
		if answer != 201 {
			body = `{"error":{"code":409,"message":"Host hv2 exists already."}}`
		}
		reply(w, answer, body)
	})
	a.mux.HandleFunc("DELETE /hosts/h-2", func(w http.ResponseWriter, _ *http.Request) { reply(w, gone, "") })
	there := `{"id":"h-2","hostname":"hv2"}`
	a.mux.HandleFunc("GET /hosts", func(w http.ResponseWriter, _ *http.Request) { reply(w, 200, `{"hosts":[`+there+`]}`) })
	path := filepath.Join(t.TempDir(), "file")
	create := func(e enrolling) string {
		t.Helper()
		c := newClient()
		c.enroller = e
		got := runClient(t, t.Context(), c, "", "host", "create", "hv2", "--enrolment", path)
		require.NotEqual(t, show.ExitOK, got.code, got.err)
		require.NotContains(t, got.out+got.err, "tok-1")
		require.NoFileExists(t, path)
		return got.err
	}
	require.Contains(t, create(enrolling{refuse: errors.New("there is no CA")}), "there is no CA")
	require.Empty(t, a.made("POST /hosts"))

	full := create(enrolling{fail: errors.New("no space left")})
	require.Contains(t, full, "no space left")
	require.NotContains(t, full, "host token", "the host is gone, and can be created again")
	require.Len(t, a.made("DELETE /hosts/h-2"), 1)

	again := "slipway host token hv2 --enrolment " + path
	gone = 503
	require.Contains(t, create(enrolling{fail: errors.New("no space left")}), again)
	answer = 409
	refused := create(enrolling{})
	require.Contains(t, refused, "Host hv2 exists already.")
	require.Contains(t, refused, again)
	require.Equal(t, 1, strings.Count(refused, "→"))
	there = ""
	require.NotContains(t, create(enrolling{}), again, "the name is refused for another reason")
	require.Len(t, a.made("DELETE /hosts/h-2"), 2, "a host of before is nobody's to take back")
}
