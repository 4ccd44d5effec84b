package images

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/imagestore"
	"github.com/slipway-cloud/slipway/internal/imagestore/s3test"
	"github.com/slipway-cloud/slipway/internal/service/images"
	"github.com/slipway-cloud/slipway/models"
	"github.com/slipway-cloud/slipway/test/system"
)

// stores is a site with a store of each kind, and a line to its database of the test's own.
type stores struct {
	*site
	db    *pgx.Conn
	names []string
}

func newStores(t *testing.T) *stores {
	t.Helper()
	server := s3test.Start(t)
	plain, equal := t.TempDir(), t.TempDir()
	specs := "plain=file:" + plain + ",equal=file:" + equal + "?content=yes,objects=s3:" + server.URL + "/" + server.Bucket("images") + "?region=" + s3test.Region + "&part_mib=5"
	keys := "objects " + s3test.AccessKey + " " + s3test.SecretKey
	s := &stores{site: newSite(t, map[string]any{"stores": specs, "credentials": keys}, imagestore.Settings{Stores: specs, Credentials: keys})}
	s.names = s.site.stores.Names()
	s.db = s.connect(t)
	return s
}

func (s *stores) connect(t *testing.T) *pgx.Conn {
	t.Helper()
	db, err := pgx.Connect(t.Context(), s.DSN)
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close(context.Background()) })
	return db
}

func (s *stores) count(t *testing.T, sql string) int {
	t.Helper()
	var n int
	require.NoError(t, s.db.QueryRow(t.Context(), sql).Scan(&n))
	return n
}

// What a process has in the database: its locks, its statements, and those of them that wait for a row.
const (
	lockedSQL  = `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`
	busySQL    = `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state <> 'idle' AND pid <> pg_backend_pid()`
	blockedSQL = `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`
)

// die kills the API where it is, lets go of what kept it there, and starts it again when nothing of it is left. Then
// the stores are settled.
func (s *stores) die(t *testing.T, release func()) {
	t.Helper()
	s.Lose("api")
	if release != nil {
		release()
	}
	system.Eventually(t, patience, func() (bool, string) {
		locks, busy := s.count(t, lockedSQL), s.count(t, busySQL)
		return locks+busy == 0, fmt.Sprintf("the dead process has %d locks and %d statements", locks, busy)
	})
	s.HTTP().CloseIdleConnections()
	s.Restart("api")
	_, err := images.New(s.Store, s.stores, images.Config{}, slog.New(slog.DiscardHandler)).Settle(t.Context()) // as a worker does
	require.NoError(t, err)
}

// hold keeps everybody from the rows that the statement chooses, until release.
func (s *stores) hold(t *testing.T, sql string, args ...any) (release func()) {
	t.Helper()
	db := s.connect(t)
	tx, err := db.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), sql, args...)
	require.NoError(t, err)
	return func() { require.NoError(t, tx.Rollback(context.Background())) }
}

const holdImages = "SELECT FROM images WHERE id = ANY($1) FOR UPDATE"

// blocked waits until so many statements wait for a hold.
func (s *stores) blocked(t *testing.T, want int) {
	t.Helper()
	system.Eventually(t, patience, func() (bool, string) {
		n := s.count(t, blockedSQL)
		return n == want, fmt.Sprintf("%d statements wait, not %d", n, want)
	})
}

const half = 6 << 20 // more than the part of an object store

// uploads sends to every store at once: the first half, and the second one when it is told to. What becomes of the
// requests is not their matter: the server dies.
type uploads struct {
	ids  []string
	data [][]byte
	rest []*io.PipeWriter
	all  sync.WaitGroup
}

func (s *stores) upload(t *testing.T, into string) *uploads {
	u := &uploads{}
	for i := range s.names {
		u.ids = append(u.ids, s.queued(t, "raw"))
		u.data = append(u.data, noise(rand.Uint64N(1<<20), 2*half+i))
	}
	for i, name := range s.names {
		from, to := io.Pipe()
		u.rest = append(u.rest, to)
		u.all.Go(func() {
			body := io.MultiReader(bytes.NewReader(u.data[i][:half]), from)
			_, _ = s.try("PUT", "/images/"+u.ids[i]+"/"+into, body, "X-Image-Meta-Store", name)
			from.Close()
		})
	}
	return u
}

// finish sends the second half.
func (u *uploads) finish() {
	for i, to := range u.rest {
		u.all.Go(func() {
			_, _ = to.Write(u.data[i][half:])
			to.Close()
		})
	}
	u.rest = nil
}

// wait ends what is not finished, and waits for the requests.
func (u *uploads) wait() {
	for _, to := range u.rest {
		to.Close()
	}
	u.all.Wait()
}

// again holds that what was interrupted takes its data now.
func (s *stores) again(t *testing.T, u *uploads) {
	t.Helper()
	for i, id := range u.ids {
		require.Equal(t, "queued", s.status(t, id))
		a := s.do(t, "PUT", "/images/"+id+"/file", u.data[i], "X-Image-Meta-Store", s.names[i])
		require.Equal(t, 204, a.status, string(a.body))
	}
}

// clear deletes what was not there before.
func (s *stores) clear(t *testing.T, before []models.Image) {
	t.Helper()
	for _, now := range s.settled(t) {
		if !slices.ContainsFunc(before, func(i models.Image) bool { return i.ID == now.ID }) {
			require.Equal(t, 204, s.do(t, "DELETE", "/images/"+now.ID, nil).status)
		}
	}
}

func (s *stores) awaitAll(t *testing.T, u *uploads, status string) {
	t.Helper()
	for _, id := range u.ids {
		s.await(t, id, status)
	}
}

// The API is killed at the points of an upload and of a delete that can be told apart from outside, each in all kinds of
// store at once. When it has started again and the stores are settled, every image that was active is whole, no byte is there that no image owns, and
// what was interrupted is queued and takes its data.
func TestAnAPIThatIsKilledAtAnyPointLosesNoImageAndLeaksNoBytes(t *testing.T) {
	t.Parallel()
	s := newStores(t)
	for i, name := range s.names { // bystanders; two of them with equal bytes
		for range 2 {
			id := s.queued(t, "raw")
			require.Equal(t, 204, s.do(t, "PUT", "/images/"+id+"/file", noise(uint64(i), half), "X-Image-Meta-Store", name).status)
		}
	}
	active := func(t *testing.T) *uploads {
		u := s.upload(t, "file")
		u.finish()
		u.wait()
		s.awaitAll(t, u, "active")
		return u
	}
	for _, c := range []struct {
		point string
		kill  func(t *testing.T)
	}{
		{"before the image says that bytes come", func(t *testing.T) {
			u := &uploads{}
			for i := range s.names {
				u.ids, u.data = append(u.ids, s.queued(t, "raw")), append(u.data, noise(uint64(i), half))
			}
			release := s.hold(t, holdImages, u.ids)
			for i, name := range s.names {
				u.all.Go(func() { _, _ = s.try("PUT", "/images/"+u.ids[i]+"/file", u.data[i], "X-Image-Meta-Store", name) })
			}
			s.blocked(t, len(s.names))
			s.die(t, release)
			u.wait()
			s.settled(t)
			s.again(t, u)
		}},
		{"while bytes come", func(t *testing.T) {
			u := s.upload(t, "file")
			s.awaitAll(t, u, "saving")
			s.die(t, nil)
			u.wait()
			s.settled(t)
			s.again(t, u)
		}},
		{"when all bytes are stored and nobody knows", func(t *testing.T) {
			u := s.upload(t, "file")
			s.awaitAll(t, u, "saving")
			release := s.hold(t, holdImages, u.ids)
			u.finish()
			s.blocked(t, len(s.names))
			s.die(t, release)
			u.wait()
			s.settled(t)
			s.again(t, u)
		}},
		{"when the image has just become active", func(t *testing.T) {
			u := s.upload(t, "file")
			u.finish()
			s.awaitAll(t, u, "active")
			s.die(t, nil)
			u.wait()
			s.awaitAll(t, u, "active")
		}},
		{"while bytes are staged", func(t *testing.T) {
			u := s.upload(t, "stage")
			s.awaitAll(t, u, "uploading")
			s.die(t, nil)
			u.wait()
			s.settled(t)
			s.again(t, u)
		}},
		{"when all bytes are staged and nobody knows", func(t *testing.T) {
			u := s.upload(t, "stage")
			s.awaitAll(t, u, "uploading")
			release := s.hold(t, holdImages, u.ids)
			u.finish()
			s.blocked(t, len(s.names))
			s.die(t, release)
			u.wait()
			s.settled(t)
			s.again(t, u)
		}},
		{"when a delete has removed the bytes and not the record", func(t *testing.T) {
			u := active(t)
			release := s.hold(t, "SELECT FROM image_locations WHERE image_id = ANY($1) FOR UPDATE", u.ids)
			for _, id := range u.ids {
				u.all.Go(func() { _, _ = s.try("DELETE", "/images/"+id, nil) })
			}
			s.blocked(t, len(s.names))
			s.die(t, release)
			u.wait()
			s.awaitAll(t, u, "gone")
		}},
	} {
		t.Run(c.point, func(t *testing.T) {
			before := s.settled(t)
			c.kill(t)
			s.clear(t, before)
		})
	}
	for round := range 5 {
		t.Run(fmt.Sprintf("at some moment %d", round), func(t *testing.T) {
			before := s.settled(t)
			u, old := s.upload(t, "file"), active(t)
			u.finish()
			for _, id := range old.ids {
				u.all.Go(func() { _, _ = s.try("DELETE", "/images/"+id, nil) })
			}
			<-time.After(time.Duration(rand.Int64N(int64(100 * time.Millisecond)))) // the moment, not a wait for anything
			s.die(t, nil)
			u.wait()
			s.settled(t)
			for i, id := range u.ids {
				if s.status(t, id) == string(models.ImageQueued) {
					require.Equal(t, 204, s.do(t, "PUT", "/images/"+id+"/file", u.data[i], "X-Image-Meta-Store", s.names[i]).status)
				}
			}
			s.clear(t, before)
		})
	}
}
