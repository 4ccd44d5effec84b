package payload

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// HostOptions say where a host has its keys from.
type HostOptions struct {
	Hostname string
	// File is where they are kept, so that the host starts while the API is away; mode 0600.
	File string
	// Shared is the control plane's key file, which hosts had until each had keys of its own. What was sealed for the host with it
	// still opens where it is there. "" is none.
	Shared string
	// Ask the API. None without an error is an API of before there was the question.
	Ask    func(context.Context) ([]Key, error)
	Logger *slog.Logger
}

// HostKeys are a host's keys: those that the API gives it, and those that it needs besides.
type HostKeys struct {
	*Keys
	o HostOptions

	mu           sync.Mutex
	given, other []Key // what the API says; what is left from before it said so
	shared       []Key
	asked        time.Time
}

const (
	askTimeout = 10 * time.Second
	askRest    = 5 * time.Second // between two tries at the start, without which there is nothing to start with
	askPause   = time.Second     // between two questions for keys that are not there
)

// OpenHostKeys asks the API for the host's keys. It goes on with those that are kept where the API does not answer, and without
// any it asks until ctx ends.
func OpenHostKeys(ctx context.Context, o HostOptions) (*HostKeys, error) {
	h := &HostKeys{o: o}
	var err error
	if h.other, err = readIfThere(o.File); err != nil {
		return nil, fmt.Errorf("payload keys of host %s: %w", o.Hostname, err)
	}
	if h.shared, err = readIfThere(o.Shared); err != nil {
		return nil, fmt.Errorf("payload keys: %w", err)
	}
	for {
		err := h.ask(ctx)
		switch {
		case err == nil && len(h.ring()) == 0:
			return nil, fmt.Errorf("the API gives hosts no payload keys: it is older than this host. Until it is not, temporal.payload_keys has to name the key file that it has (%s is not there)", o.Shared)
		case len(h.ring()) > 0:
			if err != nil {
				o.Logger.Warn("The API did not say which payload keys this host has; going on with those that are kept.", "error", err)
			}
			if len(h.shared) > 0 {
				o.Logger.Warn("This host can read what is for other hosts. Remove the control plane's key file from here when all that it was begun with has ended.", "file", o.Shared)
			}
			if h.Keys, err = newKeys(h.ring()); err != nil {
				return nil, fmt.Errorf("payload keys of host %s: %w", o.Hostname, err)
			}
			h.Keys.more = h.more
			return h, nil
		}
		o.Logger.Warn("The API did not say which payload keys this host has, without which it can read nothing; asking again.", "error", err)
		select {
		case <-ctx.Done():
			return nil, errors.Join(err, ctx.Err())
		case <-time.After(askRest):
		}
	}
}

func readIfThere(path string) ([]Key, error) {
	if path == "" {
		return nil, nil
	}
	ring, err := readKeys(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return ring, err
}

// ring is in the order of what is tried to encrypt with.
func (h *HostKeys) ring() []Key { return slices.Concat(h.given, h.other, h.shared) }

// ask takes in what the API says, durably first: what is sealed with a key has to open after a restart.
func (h *HostKeys) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	given, err := h.o.Ask(ctx)
	if err != nil || len(given) == 0 {
		return err
	}
	before := slices.DeleteFunc(slices.Concat(h.given, h.other), func(k Key) bool { return has(given, k.ID) })
	if err := writeKeys(h.o.File, slices.Concat(given, before)); err != nil {
		return err
	}
	h.given, h.other = given, before
	return nil
}

// more asks for a key that came into use since.
func (h *HostKeys) more(id string) {
	if _, host := ownerOf(id); host != h.o.Hostname {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.known(id) != nil || time.Since(h.asked) < askPause {
		return
	}
	h.asked = time.Now()
	err := h.ask(context.Background())
	if err == nil {
		err = h.set(h.ring())
	}
	if err != nil {
		h.o.Logger.Warn("The API did not say which payload keys this host has.", "wanted", id, "error", err)
		return
	}
	h.o.Logger.Info("The payload keys have changed.", "first", h.First())
}

// Settle forgets the keys that the API does not give any more, once nothing here needs them.
func (h *HostKeys) Settle() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.given) == 0 || len(h.other) == 0 {
		return nil
	}
	if err := writeKeys(h.o.File, h.given); err != nil {
		return err
	}
	h.other = nil
	return h.set(h.ring())
}
