// Package installation keeps together what belongs to one installation, and answers whether this process may clean up.
//
// The database has an id (models.Installation). Each image store and Temporal's namespace say whose they are; hosts say it by
// themselves (workers.Member). A process whose parts belong to different installations does not start, and stops when it
// finds out later: the error says what belongs to what, and which command makes it right. What belongs to nobody yet is
// joined by itself where nothing speaks against it.
//
// Whoever is about to remove something because the database does not know it asks MaySweep first: nil means that the stores
// are this installation's, and that nothing tells of a later state of the database than it has itself. After a restore
// from a backup it refuses until an administrator acknowledges that.
package installation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/imagestore"
	"github.com/slipway-cloud/slipway/models"
)

// Engine is Temporal's namespace, as far as it says whose it is.
type Engine interface {
	Name() string // for texts
	// Owner is the id of the installation; "" where it says nothing.
	Owner(ctx context.Context) (string, error)
	SetOwner(ctx context.Context, id string) error
	// Settings tells what holds there.
	Settings(ctx context.Context) (EngineSettings, error)
}

// EngineSettings are what holds in Temporal's namespace; 0 and "" are not known.
type EngineSettings struct {
	Retention     time.Duration // of workflows that have ended
	HistoryEvents int64         // at which a workflow is ended
	HistoryBytes  int64         // the same
	Visibility    string        // the kind of store of the index of workflows
}

// Every is how often a process looks again whose its parts are, and how often the generation rises: what was written within
// so long before a backup was taken cannot be told from what was written after it.
const Every = 15 * time.Second

// Keeper keeps the parts of one process together.
type Keeper struct {
	rows   *models.Store
	stores *imagestore.Stores
	engine Engine
	id     string
	log    *slog.Logger
	said   map[string]string // by part, what was logged last
}

// Mismatch is the error of parts that belong to different installations. It ends the process.
type Mismatch struct{ text string }

func (m *Mismatch) Error() string { return m.text }

// Mismatched makes one: what belongs to what, and what to do.
func Mismatched(format string, args ...any) error { return &Mismatch{fmt.Sprintf(format, args...)} }

// Load makes a Keeper that has looked at nothing yet. Without an engine none is looked at.
func Load(ctx context.Context, rows *models.Store, stores *imagestore.Stores, engine Engine, log *slog.Logger) (*Keeper, error) {
	i, err := rows.Installation(ctx)
	if err != nil {
		return nil, err
	}
	return &Keeper{rows: rows, stores: stores, engine: engine, id: i.ID, log: log, said: map[string]string{}}, nil
}

// ID of the installation.
func (k *Keeper) ID() string { return k.id }

// Engine is what the Keeper looks at, or nil.
func (k *Keeper) Engine() Engine { return k.engine }

// Check looks whose everything is, and joins what belongs to nobody. Its error is a Mismatch; what does not answer is logged
// and looked at the next time. One goroutine calls it at a time.
func (k *Keeper) Check(ctx context.Context) error {
	var wrong []error
	note := func(part string, err error) {
		text := ""
		switch {
		case errors.As(err, new(*Mismatch)):
			wrong = append(wrong, err)
		case err != nil && ctx.Err() == nil:
			if text = err.Error(); text != k.said[part] {
				k.log.Warn("Whose it is could not be looked at; it is tried again.", "part", part, "error", err)
			}
		}
		k.said[part] = text
	}
	for _, name := range k.stores.Names() {
		_, err := k.checkStore(ctx, name)
		note("image store "+name, err)
	}
	if k.engine != nil {
		note(k.engine.Name(), k.checkEngine(ctx))
	}
	return errors.Join(wrong...)
}

// Run looks again and lets the generation rise until ctx ends, or until something belongs to another installation.
func (k *Keeper) Run(ctx context.Context) error {
	tick := time.NewTicker(Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := k.rows.AdvanceGeneration(ctx, Every); err != nil && ctx.Err() == nil {
			k.log.Warn("The generation of the database does not rise.", "error", err)
			continue
		}
		if err := k.Check(ctx); err != nil {
			return err
		}
	}
}

// MaySweep says whether what the database does not know may be removed, from the named stores and altogether: nil, or why not
// now. It looks at that moment.
func (k *Keeper) MaySweep(ctx context.Context, stores ...string) error {
	i, err := k.rows.Installation(ctx)
	if err != nil {
		return err
	}
	if i.ID != k.id {
		return Mismatched("The database is installation %s now, and was %s when this process started: start it anew.", i.ID, k.id)
	}
	for _, name := range stores {
		if i, err = k.checkStore(ctx, name); err != nil {
			return err
		}
	}
	return i.Stopped()
}

// mark is what an image store says.
type mark struct {
	Installation string `json:"installation"`
	Store        string `json:"store"`
	Generation   int64  `json:"generation"`
}

func (m mark) bytes() []byte {
	text, err := json.Marshal(m)
	if err != nil {
		panic(err) // strings and a number
	}
	return append(text, '\n')
}

func (k *Keeper) store(name string) (imagestore.Marked, error) {
	store, err := k.stores.Store(name)
	if err != nil {
		return nil, err
	}
	marked, ok := store.(imagestore.Marked)
	if !ok {
		return nil, fmt.Errorf("image store %s (%s) cannot say whose it is", name, store.Kind())
	}
	return marked, nil
}

// read is what a store says; the text is nil where it says nothing.
func (k *Keeper) read(ctx context.Context, name string, store imagestore.Marked) (m mark, text []byte, err error) {
	if text, err = store.Mark(ctx); err != nil || text == nil {
		return m, nil, err
	}
	if json.Unmarshal(text, &m) != nil || m.Installation == "" || m.Store == "" {
		return m, text, Mismatched("What image store %s at %s says of whose it is cannot be read. If it is this installation's (%s): slipway installation join --store %s", name, store.Root(), k.id, name)
	}
	return m, text, nil
}

func (k *Keeper) checkStore(ctx context.Context, name string) (models.Installation, error) {
	store, err := k.store(name)
	if err != nil {
		return models.Installation{}, err
	}
	said, text, err := k.read(ctx, name, store)
	if err == nil && text == nil {
		if err = k.adoptable(ctx, name, store); err == nil {
			if err = k.join(ctx, name, store, nil); fault.Is(err, fault.Conflict) {
				err = nil // another process was faster: what it says counts
			}
		}
		if err == nil {
			said, text, err = k.read(ctx, name, store)
		}
	}
	switch {
	case err != nil:
		return models.Installation{}, err
	case said.Installation != k.id:
		return models.Installation{}, Mismatched("Image store %s at %s belongs to installation %s, and this database is installation %s: correct images.stores or database.dsn; "+
			"or give the store to this installation: slipway installation join --store %s", name, store.Root(), said.Installation, k.id, name)
	}
	i, err := k.rows.ImageStoreHolds(ctx, models.ImageStore{ID: said.Store, Name: name, Location: store.Root(), Generation: said.Generation})
	if err != nil || i.Restored() || said.Generation >= i.Generation {
		return i, err
	}
	said.Generation = i.Generation
	if err = store.SetMark(ctx, text, said.bytes()); fault.Is(err, fault.Conflict) {
		err = nil // another process wrote it, or another installation: the next look tells
	}
	return i, err
}

// adoptable says why a store that belongs to nobody may not be joined by itself: it was this installation's and is empty
// now, or it has images that this database does not know. Stores of before there were marks are joined.
func (k *Keeper) adoptable(ctx context.Context, name string, store imagestore.Marked) error {
	known, err := k.rows.ImageStores(ctx)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(known, func(s models.ImageStore) bool { return s.SeenAt != nil && s.ID == ids.Store(k.id, store.Root()) }) {
		if said, err := store.Mark(ctx); err != nil || said != nil {
			return err // another process of this installation was faster
		}
		return Mismatched("Image store %s at %s belonged to this installation (%s) and does not say so any more: is its folder mounted, is it the right bucket? "+
			"If it is: slipway installation join --store %s", name, store.Root(), k.id, name)
	}
	ids, err := store.IDs(ctx)
	if err != nil {
		return err
	}
	ids = slices.DeleteFunc(ids, func(id string) bool { return uuid.Validate(id) != nil }) // staged bytes say nothing
	images, err := k.rows.KnownImages(ctx, ids)
	if err != nil {
		return err
	}
	if ours := len(images); ours < len(ids)-ours {
		return Mismatched("Image store %s at %s does not say whose it is, and of the %d images in it this database (installation %s) knows %d: correct images.stores or database.dsn; "+
			"or give the store to this installation: slipway installation join --store %s", name, store.Root(), len(ids), k.id, ours, name)
	}
	return nil
}

// join says in the store that it is this installation's. was is what it said before.
func (k *Keeper) join(ctx context.Context, name string, store imagestore.Marked, was []byte) error {
	i, err := k.rows.Installation(ctx)
	if err != nil {
		return err
	}
	m := mark{Installation: k.id, Store: ids.Store(k.id, store.Root()), Generation: i.Generation}
	if err := k.rows.KeepImageStore(ctx, models.ImageStore{ID: m.Store, Name: name, Location: store.Root(), Generation: m.Generation}); err != nil {
		return err
	}
	if err := store.SetMark(ctx, was, m.bytes()); err != nil {
		return err
	}
	k.log.Info("An image store belongs to this installation now.", "store", name, "location", store.Root(), "installation", k.id)
	return nil
}

// JoinStore gives a store to this installation, whosever it was. It answers the id of the one before, "" where there was none.
func (k *Keeper) JoinStore(ctx context.Context, name string) (was string, err error) {
	store, err := k.store(name)
	if err != nil {
		return "", err
	}
	said, text, err := k.read(ctx, name, store)
	if err != nil && !errors.As(err, new(*Mismatch)) {
		return "", err
	}
	if said.Installation == k.id {
		return k.id, nil // it keeps what it holds: that may be the evidence of a restore
	}
	return said.Installation, k.join(ctx, name, store, text)
}

func (k *Keeper) checkEngine(ctx context.Context) error {
	owner, err := k.engine.Owner(ctx)
	if err == nil && owner == "" {
		if err = k.engine.SetOwner(ctx, k.id); err == nil {
			k.log.Info("Temporal's namespace belongs to this installation now.", "engine", k.engine.Name(), "installation", k.id)
			owner, err = k.engine.Owner(ctx)
		}
	}
	if err == nil && owner != k.id {
		err = Mismatched("%s belongs to installation %s, and this database is installation %s: correct temporal.address, temporal.namespace, temporal.control_queue or database.dsn; "+
			"or give it to this installation: slipway installation join --temporal", k.engine.Name(), owner, k.id)
	}
	return err
}

// JoinEngine gives Temporal's namespace to this installation, whosever it was.
func (k *Keeper) JoinEngine(ctx context.Context) (was string, err error) {
	if was, err = k.engine.Owner(ctx); err != nil || was == k.id {
		return was, err
	}
	return was, k.engine.SetOwner(ctx, k.id)
}
