package enrolment

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/slipway-cloud/slipway/internal/durable"
)

// settingsFile is written last: where it is, all that it names is there and belongs together.
const settingsFile = "slipway.yaml"

type file struct {
	path string
	text []byte
	mode fs.FileMode
}

// Unpack writes the host's files into a folder, and answers its settings' file. Other files in their places are left alone, and nothing
// is written, unless they are to be replaced; settings are then kept beside the new ones, as slipway.yaml.before. Where it dies
// half-way there are no settings, so that no host starts with a part of it, and it can be done again.
func (e Enrolment) Unpack(dir string, replace bool) (settings string, err error) {
	if dir, err = filepath.Abs(dir); err != nil {
		return "", err
	}
	files, err := e.files(dir)
	if err != nil {
		return "", err
	}
	settings = filepath.Join(dir, settingsFile)
	others, err := differing(files)
	if err != nil {
		return "", err
	}
	if len(others) > 0 && !replace {
		return "", fmt.Errorf("%s: other files are there already: --dir names another folder, and --force replaces them, to enrol this host anew or as another",
			strings.Join(others, ", "))
	}
	if len(others) > 0 {
		if err := os.Rename(settings, settings+".before"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("setting aside what is there: %w", err)
		}
	}
	for _, f := range files {
		if err := os.MkdirAll(filepath.Dir(f.path), 0o755); err != nil {
			return "", fmt.Errorf("making a folder: %w", err)
		}
		if err := durable.WriteFile(f.path, f.text, f.mode); err != nil {
			return "", err
		}
	}
	return settings, nil
}

// files are those of the host, in the order in which they are written.
func (e Enrolment) files(dir string) ([]file, error) {
	at := func(name string) string { return filepath.Join(dir, "tls", name) }
	name, ca := "host-"+e.Settings.Host.Hostname, at("ca.pem")
	cert, key, token := at(name+".pem"), at(name+".key"), filepath.Join(dir, "host-token")
	s := e.Settings
	s.Host.TokenFile = token
	s.Temporal.TLSCA, s.Temporal.TLSCert, s.Temporal.TLSKey = ca, cert, key
	if strings.HasPrefix(s.Host.APIURL, "https://") {
		s.Host.APICA, s.Host.APICert, s.Host.APIKey = ca, cert, key
	}
	settings, err := s.encoded()
	if err != nil {
		return nil, err
	}
	files := []file{{ca, []byte(e.CA), 0o644}}
	if e.CRL != "" {
		files = append(files, file{at("crl.pem"), []byte(e.CRL), 0o644})
	}
	return append(files, file{cert, []byte(e.Certificate), 0o644}, file{key, []byte(e.Key), 0o600}, file{token, []byte(e.Token + "\n"), 0o600},
		file{filepath.Join(dir, settingsFile), settings, 0o644}), nil
}

// differing are the files in whose places there are others.
func differing(files []file) (others []string, err error) {
	for _, f := range files {
		is, err := os.ReadFile(f.path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, fmt.Errorf("looking at what is there: %w", err)
		case !bytes.Equal(is, f.text):
			others = append(others, f.path)
		}
	}
	return others, nil
}
