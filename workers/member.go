package workers

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/slipway-cloud/slipway/internal/durable"
	"github.com/slipway-cloud/slipway/internal/hostapi"
	"github.com/slipway-cloud/slipway/internal/installation"
)

// Member is a host's state folder as a part of an installation: a file in it says whose the folder is, and the highest
// generation of the database that the host has seen. The first API that answers the host makes the folder its own; the API
// of another installation is refused from then on. Requests that go through Client tell the API, and learn, both.
type Member struct {
	path, api string
	transport http.RoundTripper
	log       *slog.Logger

	mu   sync.Mutex
	says membership
}

type membership struct {
	Installation string `json:"installation"`
	Generation   int64  `json:"generation"`
}

const memberFile = "installation"

// OpenMember reads what the folder says. api is for texts; requests go by transport.
func OpenMember(stateDir, api string, transport http.RoundTripper, log *slog.Logger) (*Member, error) {
	m := &Member{path: filepath.Join(stateDir, memberFile), api: api, transport: transport, log: log}
	text, err := os.ReadFile(m.path)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading whose the state folder is: %w", err)
	}
	if err := json.Unmarshal(text, &m.says); err != nil || m.says.Installation == "" {
		return nil, installation.Mismatched("What %s says of whose the state folder is cannot be read. If the folder belongs to the installation of %s: slipway host join", m.path, api)
	}
	return m, nil
}

// LeaveInstallation makes a host's state folder nobody's, whatever it says, and answers the installation that it belonged to;
// "" where that cannot be told.
func LeaveInstallation(stateDir string) (was string, err error) {
	if m, err := OpenMember(stateDir, "", nil, nil); err == nil {
		was = m.says.Installation
	}
	if err := os.Remove(filepath.Join(stateDir, memberFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return was, fmt.Errorf("forgetting whose the state folder is: %w", err)
	}
	return was, durable.SyncDir(stateDir)
}

// Client makes requests to the API. No Member is none of any installation.
func (m *Member) Client() *http.Client {
	if m == nil {
		return http.DefaultClient
	}
	return &http.Client{Transport: m}
}

// RoundTrip implements http.RoundTripper. Its error is an installation.Mismatch where the API is another installation's.
func (m *Member) RoundTrip(r *http.Request) (*http.Response, error) {
	m.mu.Lock()
	says := m.says
	m.mu.Unlock()
	if says.Installation != "" {
		r = r.Clone(r.Context())
		r.Header.Set(hostapi.HeaderInstallation, says.Installation)
		r.Header.Set(hostapi.HeaderGeneration, strconv.FormatInt(says.Generation, 10))
	}
	answer, err := m.transport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode == http.StatusMisdirectedRequest {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 4<<10))
		answer.Body.Close()
		return nil, installation.Mismatched("%s", messageOf(text))
	}
	if err := m.hear(answer.Header); err != nil {
		answer.Body.Close()
		return nil, err
	}
	return answer, nil
}

// hear takes in what an API says. An older one says nothing.
func (m *Member) hear(h http.Header) error {
	id := h.Get(hostapi.HeaderInstallation)
	if id == "" {
		return nil
	}
	generation, _ := strconv.ParseInt(h.Get(hostapi.HeaderGeneration), 10, 64) // none until a restore is acknowledged
	m.mu.Lock()
	defer m.mu.Unlock()
	is := m.says
	switch {
	case is.Installation != "" && is.Installation != id:
		return installation.Mismatched("The state folder %s belongs to installation %s, and the API at %s is that of installation %s: correct host.api_url or host.state_dir; "+
			"or give the folder to this installation: slipway host join", filepath.Dir(m.path), is.Installation, m.api, id)
	case is.Installation == id && is.Generation >= generation:
		return nil
	}
	next := membership{Installation: id, Generation: max(is.Generation, generation)}
	if err := m.write(next); err != nil {
		m.log.Warn("Whose the state folder is, and how far the database is, cannot be kept.", "file", m.path, "error", err)
		return nil // it is told again with the next answer
	}
	m.says = next
	return nil
}

// write replaces the file, durably: what was seen is the evidence of a restore.
func (m *Member) write(says membership) error {
	text, err := json.Marshal(says)
	if err != nil {
		return err
	}
	return durable.WriteFile(m.path, append(text, '\n'), 0o600)
}
