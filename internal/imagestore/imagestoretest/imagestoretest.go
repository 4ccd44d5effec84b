// Package imagestoretest is the contract of the port imagestore.Store as tests, which every implementation passes.
package imagestoretest

import (
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/imagestore"
)

// Run runs the contract. newStore makes an empty store and answers how another process opens it too. partBytes is a size
// at which the store begins to do something else, if there is one.
func Run(t *testing.T, partBytes int, newStore func(*testing.T) (open func() imagestore.Store)) {
	s := suite{partBytes, newStore}
	t.Run("committed bytes are read in any range", s.ranges)
	t.Run("images of every size come back as they were", s.sizes)
	t.Run("nothing shows before it is committed", s.unseen)
	t.Run("bytes are replaced all at once", s.replaced)
	t.Run("an upload that ends without commit leaves nothing", s.leavesNothing)
	t.Run("abort withdraws what was published", s.withdraws)
	t.Run("only one upload of an image is under way", s.oneUpload)
	t.Run("a hold keeps uploads out and cleans up", s.hold)
	t.Run("deleting twice is deleting once", s.deleteTwice)
	t.Run("images with equal bytes live and die on their own", s.equalBytes)
	t.Run("concurrent uploads and deletes of equal bytes lose no image", s.race)
	t.Run("a sweep touches nothing that is published or alive", s.sweep)
	t.Run("what is set aside stays as it is and is no image", s.aside)
	t.Run("nothing is set aside where nothing is published", s.asideNothing)
	t.Run("what is absent is not found", s.absent)
	t.Run("an id cannot leave the store", s.badIDs)
	t.Run("the store says where it keeps an image", s.location)
}

type suite struct {
	partBytes int
	newStore  func(*testing.T) func() imagestore.Store
}

// Noise is n bytes that do not compress and are the same for the same seed.
func Noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)}).Read(b)
	return b
}

// SHA512 in hexadecimal.
func SHA512(b []byte) string {
	sum := sha512.Sum512(b)
	return hex.EncodeToString(sum[:])
}

// Put stores an image.
func Put(ctx context.Context, store imagestore.Store, id string, data []byte) error {
	u, err := store.Create(ctx, id)
	if err != nil {
		return err
	}
	if _, err := io.Copy(u, bytes.NewReader(data)); err != nil {
		return fmt.Errorf("%w (ended: %v)", err, u.Abort())
	}
	if err := u.Commit(SHA512(data)); err != nil {
		return fmt.Errorf("%w (ended: %v)", err, u.Abort())
	}
	return u.Close()
}

// Get reads a range of an image.
func Get(ctx context.Context, store imagestore.Reader, id string, offset, length int64) ([]byte, error) {
	r, err := store.Open(ctx, id, offset, length)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func same(t *testing.T, store imagestore.Reader, id string, want []byte) {
	t.Helper()
	got, err := Get(t.Context(), store, id, 0, -1)
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got), "%d bytes came back, %d were stored; or others", len(got), len(want))
	size, err := store.Size(t.Context(), id)
	require.NoError(t, err)
	require.EqualValues(t, len(want), size)
}

func empty(t *testing.T, store imagestore.Store) {
	t.Helper()
	ids, err := store.IDs(t.Context())
	require.NoError(t, err)
	require.Empty(t, ids)
	removed, err := store.Sweep(t.Context(), nil)
	require.NoError(t, err)
	require.Zero(t, removed, "nothing was left to sweep")
}

// Sweep is a sweep by somebody who knows every image.
func Sweep(ctx context.Context, store imagestore.Store) (int, error) {
	ids, err := store.IDs(ctx)
	if err != nil {
		return 0, err
	}
	return store.Sweep(ctx, ids)
}

func notFound(t *testing.T, err error) {
	t.Helper()
	require.True(t, fault.Is(err, fault.NotFound), "%v", err)
}

func (s suite) ranges(t *testing.T) {
	store, id, ctx := s.newStore(t)(), uuid.NewString(), t.Context()
	require.NoError(t, store.Ready(ctx))
	data := Noise(1, 10_000)
	require.NoError(t, Put(ctx, store, id, data))
	for _, c := range []struct{ offset, length, end int64 }{
		{0, -1, 10_000}, {0, 10_000, 10_000}, {0, 99_999, 10_000}, {0, 1, 1}, {1, 1, 2}, {9_999, 1, 10_000}, {9_999, -1, 10_000},
		{5_000, 100, 5_100}, {5_000, 0, 5_000}, {10_000, -1, 10_000}, {10_000, 5, 10_000},
	} {
		got, err := Get(ctx, store, id, c.offset, c.length)
		require.NoError(t, err, c)
		require.Equal(t, data[c.offset:c.end], got[:len(got):len(got)], c)
	}
	got, err := Get(ctx, store, id, 20_000, 1)
	require.NoError(t, err)
	require.Empty(t, got)
}

func (s suite) sizes(t *testing.T) {
	store, ctx := s.newStore(t)(), t.Context()
	p := s.partBytes
	for _, size := range []int{0, 1, p - 1, p, p + 1, 2 * p, 3*p + 12345} {
		id, data := uuid.NewString(), Noise(uint64(size), size)
		u, err := store.Create(ctx, id)
		require.NoError(t, err)
		for rest := data; len(rest) > 0; { // in pieces that fit nothing
			n := min(len(rest), 777_777)
			written, err := u.Write(rest[:n])
			require.NoError(t, err)
			require.Equal(t, n, written)
			rest = rest[n:]
		}
		require.NoError(t, u.Commit(SHA512(data)))
		require.NoError(t, u.Close())
		same(t, store, id, data)
	}
}

func (s suite) unseen(t *testing.T) {
	store, id, ctx := s.newStore(t)(), uuid.NewString(), t.Context()
	u, err := store.Create(ctx, id)
	require.NoError(t, err)
	_, err = u.Write(Noise(2, s.partBytes+100))
	require.NoError(t, err)
	_, err = store.Size(ctx, id)
	notFound(t, err)
	_, err = store.Open(ctx, id, 0, -1)
	notFound(t, err)
	require.NoError(t, u.Close())
	empty(t, store)
}

func (s suite) replaced(t *testing.T) {
	store, id, ctx := s.newStore(t)(), uuid.NewString(), t.Context()
	old, young := Noise(3, 5000), Noise(4, s.partBytes+5000)
	require.NoError(t, Put(ctx, store, id, old))
	u, err := store.Create(ctx, id)
	require.NoError(t, err)
	_, err = u.Write(young)
	require.NoError(t, err)
	same(t, store, id, old)
	require.NoError(t, u.Commit(SHA512(young)))
	same(t, store, id, young)
	require.NoError(t, u.Close())
	same(t, store, id, young)
	require.NoError(t, Put(ctx, store, id, young), "by the same bytes")
	same(t, store, id, young)
}

func (s suite) leavesNothing(t *testing.T) {
	for name, end := range map[string]func(imagestore.Upload) error{"close": imagestore.Upload.Close, "abort": imagestore.Upload.Abort} {
		for _, size := range []int{0, 1000, 2*s.partBytes + 1} {
			t.Run(fmt.Sprintf("%s after %d bytes", name, size), func(t *testing.T) {
				store, id := s.newStore(t)(), uuid.NewString()
				u, err := store.Create(t.Context(), id)
				require.NoError(t, err)
				_, err = u.Write(Noise(5, size))
				require.NoError(t, err)
				require.NoError(t, end(u))
				require.NoError(t, end(u), "ending twice is ending")
				empty(t, store)
			})
		}
	}
}

func (s suite) withdraws(t *testing.T) {
	store, id := s.newStore(t)(), uuid.NewString()
	u, err := store.Create(t.Context(), id)
	require.NoError(t, err)
	_, err = u.Write(Noise(6, 1000))
	require.NoError(t, err)
	require.NoError(t, u.Commit(SHA512(Noise(6, 1000))))
	require.NoError(t, u.Abort())
	empty(t, store)
}

func (s suite) oneUpload(t *testing.T) {
	open, id, ctx := s.newStore(t), uuid.NewString(), t.Context()
	mine, other := open(), open()
	u, err := mine.Create(ctx, id)
	require.NoError(t, err)
	_, err = u.Write(Noise(7, s.partBytes+1))
	require.NoError(t, err)
	for name, store := range map[string]imagestore.Store{"the same process": mine, "another": other} {
		_, err = store.Create(ctx, id)
		require.True(t, fault.Is(err, fault.Conflict), "%s: %v", name, err)
		_, err = store.Hold(ctx, id)
		require.True(t, fault.Is(err, fault.Conflict), "%s: %v", name, err)
	}
	require.NoError(t, u.Commit(""))
	_, err = other.Create(ctx, id)
	require.True(t, fault.Is(err, fault.Conflict), "the lock outlives the commit: %v", err)
	ids, err := other.IDs(ctx)
	require.NoError(t, err)
	require.Equal(t, []string{id}, ids)
	require.NoError(t, u.Close())
	u, err = other.Create(ctx, id)
	require.NoError(t, err)
	require.NoError(t, u.Close())
	same(t, mine, id, Noise(7, s.partBytes+1))
}

func (s suite) hold(t *testing.T) {
	store, id, ctx := s.newStore(t)(), uuid.NewString(), t.Context()
	data := Noise(8, 1000)
	require.NoError(t, Put(ctx, store, id, data))
	h, err := store.Hold(ctx, id)
	require.NoError(t, err)
	_, err = store.Create(ctx, id)
	require.True(t, fault.Is(err, fault.Conflict), "%v", err)
	require.NoError(t, h.Close())
	same(t, store, id, data)
	h, err = store.Hold(ctx, id)
	require.NoError(t, err)
	require.NoError(t, h.Abort())
	empty(t, store)
}

func (s suite) deleteTwice(t *testing.T) {
	store, id, ctx := s.newStore(t)(), uuid.NewString(), t.Context()
	require.NoError(t, Put(ctx, store, id, Noise(9, s.partBytes+1)))
	require.NoError(t, store.Delete(ctx, id))
	require.NoError(t, store.Delete(ctx, id))
	_, err := store.Size(ctx, id)
	notFound(t, err)
	empty(t, store)
}

func (s suite) equalBytes(t *testing.T) {
	open, a, b, ctx := s.newStore(t), uuid.NewString(), uuid.NewString(), t.Context()
	store, data := open(), Noise(10, 50_000)
	require.NoError(t, Put(ctx, store, a, data))
	require.NoError(t, Put(ctx, open(), b, data))
	same(t, store, a, data)
	same(t, store, b, data)
	require.NoError(t, store.Delete(ctx, a))
	_, err := store.Size(ctx, a)
	notFound(t, err)
	same(t, store, b, data)
	_, err = Sweep(ctx, store)
	require.NoError(t, err)
	same(t, store, b, data)
	require.NoError(t, store.Delete(ctx, b))
	empty(t, store)
}

func (s suite) race(t *testing.T) {
	open, ctx := s.newStore(t), t.Context()
	const workers, rounds = 4, 8
	datas := [][]byte{Noise(11, 20_000), Noise(12, 20_000)}
	bystander := uuid.NewString()
	require.NoError(t, Put(ctx, open(), bystander, datas[0]))
	var all sync.WaitGroup
	problems := make(chan error, workers+1)
	kept := make([]string, workers)
	stop := make(chan struct{})
	for w := range workers {
		store := open()
		all.Go(func() {
			for round := range rounds {
				data := datas[(w+round)%2]
				kept[w] = uuid.NewString() // an image takes data once; a sweep may have an old one's lock for a moment
				if err := Put(ctx, store, kept[w], data); err != nil {
					problems <- err
					return
				}
				got, err := Get(ctx, store, kept[w], 0, -1)
				if err != nil || !bytes.Equal(got, data) {
					problems <- fmt.Errorf("round %d: %d bytes came back, or others: %w", round, len(got), err)
					return
				}
				if round < rounds-1 {
					if err := store.Delete(ctx, kept[w]); err != nil {
						problems <- err
						return
					}
				}
			}
		})
	}
	sweeper := open()
	var sweeps sync.WaitGroup
	sweeps.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := Sweep(ctx, sweeper); err != nil {
				problems <- err
				return
			}
		}
	})
	all.Wait()
	close(stop)
	sweeps.Wait()
	close(problems)
	for err := range problems {
		require.NoError(t, err)
	}
	same(t, open(), bystander, datas[0])
	require.NoError(t, open().Delete(ctx, bystander))
	for w, id := range kept {
		same(t, open(), id, datas[(w+rounds-1)%2])
		require.NoError(t, open().Delete(ctx, id))
	}
	_, err := Sweep(ctx, sweeper) // two last deletes at once may both have seen the other's name
	require.NoError(t, err)
	empty(t, sweeper)
}

func (s suite) sweep(t *testing.T) {
	open, published, alive, ctx := s.newStore(t), uuid.NewString(), uuid.NewString(), t.Context()
	store := open()
	data, more := Noise(13, 30_000), Noise(14, 2*s.partBytes+1)
	require.NoError(t, Put(ctx, store, published, data))
	u, err := store.Create(ctx, alive)
	require.NoError(t, err)
	_, err = u.Write(more[:s.partBytes+10])
	require.NoError(t, err)
	removed, err := Sweep(ctx, open())
	require.NoError(t, err)
	require.Zero(t, removed)
	_, err = u.Write(more[s.partBytes+10:])
	require.NoError(t, err)
	require.NoError(t, u.Commit(SHA512(more)))
	require.NoError(t, u.Close())
	same(t, store, published, data)
	same(t, store, alive, more)
}

// orphans are the ids of what is set aside. The times are now.
func orphans(t *testing.T, store imagestore.Store) []string {
	t.Helper()
	all, err := store.Orphans(t.Context())
	require.NoError(t, err)
	ids := []string{}
	for _, o := range all {
		require.WithinDuration(t, time.Now(), o.Since, time.Minute)
		size, err := store.Size(t.Context(), o.ID)
		require.NoError(t, err)
		require.Equal(t, size, o.Bytes)
		ids = append(ids, o.ID)
	}
	return ids
}

func (s suite) aside(t *testing.T) {
	open, id, other, ctx := s.newStore(t), uuid.NewString(), uuid.NewString(), t.Context()
	store, data := open(), Noise(15, s.partBytes+1)
	require.NoError(t, Put(ctx, store, id, data))
	require.NoError(t, Put(ctx, store, other, data))
	hold, err := store.Hold(ctx, id)
	require.NoError(t, err)
	require.NoError(t, hold.SetAside(ctx, true))
	before, err := open().Orphans(ctx)
	require.NoError(t, err)
	require.NoError(t, hold.SetAside(ctx, true))
	require.NoError(t, hold.Close())
	for _, store := range []imagestore.Store{store, open()} {
		require.Equal(t, []string{id}, orphans(t, store))
		again, err := store.Orphans(ctx)
		require.NoError(t, err)
		require.Equal(t, before, again, "the time stays")
		ids, err := store.IDs(ctx)
		require.NoError(t, err)
		require.Equal(t, []string{other}, ids)
		_, err = Sweep(ctx, store)
		require.NoError(t, err)
		same(t, store, id, data) // for who knows of it
		_, err = store.Create(ctx, id)
		require.True(t, fault.Is(err, fault.Conflict), "%v", err)
		require.Contains(t, fault.Public(err), "slipway image orphans")
	}
	hold, err = store.Hold(ctx, id)
	require.NoError(t, err)
	require.NoError(t, hold.SetAside(ctx, false))
	require.NoError(t, hold.SetAside(ctx, false))
	require.NoError(t, hold.Close())
	require.Empty(t, orphans(t, open()))
	ids, err := store.IDs(ctx)
	require.NoError(t, err)
	require.Len(t, ids, 2)
	same(t, store, id, data)

	for _, end := range []func() error{
		func() error { return store.Delete(ctx, id) },
		func() error {
			hold, err := store.Hold(ctx, other)
			require.NoError(t, err)
			return hold.Abort()
		},
	} {
		for _, id := range []string{id, other} {
			hold, err := store.Hold(ctx, id)
			require.NoError(t, err)
			require.NoError(t, hold.SetAside(ctx, true))
			require.NoError(t, hold.Close())
		}
		require.NoError(t, end())
	}
	require.Empty(t, orphans(t, store))
	empty(t, store)
	require.NoError(t, Put(ctx, store, id, data), "nothing of it is left in the way")
	same(t, store, id, data)
}

func (s suite) asideNothing(t *testing.T) {
	store, id, ctx := s.newStore(t)(), uuid.NewString(), t.Context()
	u, err := store.Create(ctx, id)
	require.NoError(t, err)
	_, err = u.Write(Noise(16, 100))
	require.NoError(t, err)
	require.NoError(t, u.SetAside(ctx, true))
	require.NoError(t, u.Commit(""))
	require.NoError(t, u.Close())
	require.Empty(t, orphans(t, store))
	same(t, store, id, Noise(16, 100))
}

func (s suite) absent(t *testing.T) {
	store, id := s.newStore(t)(), uuid.NewString()
	_, err := store.Open(t.Context(), id, 0, -1)
	notFound(t, err)
	_, err = store.Size(t.Context(), id)
	notFound(t, err)
	require.NoError(t, store.Delete(t.Context(), id))
	empty(t, store)
}

func (s suite) badIDs(t *testing.T) {
	store, ctx := s.newStore(t)(), t.Context()
	for _, bad := range []string{"", ".", "..", "../x", "a/b", "/etc/passwd", "a.part", "-a", "a\x00b"} {
		_, err := store.Create(ctx, bad)
		require.True(t, fault.Is(err, fault.Invalid), "%q: %v", bad, err)
		_, err = store.Hold(ctx, bad)
		require.True(t, fault.Is(err, fault.Invalid), "%q: %v", bad, err)
		_, err = store.Open(ctx, bad, 0, -1)
		require.True(t, fault.Is(err, fault.Invalid), "%q: %v", bad, err)
		_, err = store.Size(ctx, bad)
		require.True(t, fault.Is(err, fault.Invalid), "%q: %v", bad, err)
		require.True(t, fault.Is(store.Delete(ctx, bad), fault.Invalid), bad)
	}
}

func (s suite) location(t *testing.T) {
	store, id := s.newStore(t)(), uuid.NewString()
	require.Contains(t, store.Location(id), id)
	require.Contains(t, []string{"file", "s3"}, store.Kind())
}
