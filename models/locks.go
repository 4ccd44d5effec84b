package models

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// Locks are Postgres' advisory locks, all of a process on one connection of its own: whoever has one works outside the
// database for as long as it takes, and Postgres frees it when the process dies. A process whose connection breaks has
// lost them all: Held tells.
type Locks struct {
	space string
	cfg   *pgx.ConnConfig

	mu    sync.Mutex
	conn  *pgx.Conn
	epoch int // of connections
	held  map[string]bool
}

// Locks opens a space of names; nothing is connected before the first lock.
func (s *Store) Locks(space string) *Locks {
	return &Locks{space: space, cfg: s.standing(), held: map[string]bool{}}
}

// standing is for a connection outside of the pool, that stays open while nothing is sent.
func (s *Store) standing() *pgx.ConnConfig {
	cfg := s.pool.Config().ConnConfig.Copy()
	// A machine that vanished is found out within a minute, where Postgres would wait for two hours.
	for setting, value := range map[string]string{"tcp_keepalives_idle": "30", "tcp_keepalives_interval": "10", "tcp_keepalives_count": "3"} {
		cfg.RuntimeParams[setting] = value
	}
	return cfg
}

// lockPatience is how long the database may take for a lock. The caller's own deadline does not count: a statement that is
// cancelled costs the connection, and so the locks of everybody else.
const lockPatience = 10 * time.Second

// Lock takes a lock; Conflict when somebody has it, in this process or another.
func (l *Locks) Lock(ctx context.Context, name string) (*Lock, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held[name] { // Postgres would give it once more to the same connection
		return nil, lockTaken(name)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lockPatience)
	defer cancel()
	if l.conn == nil || l.conn.IsClosed() {
		l.lose(ctx)
		conn, err := pgx.ConnectConfig(ctx, l.cfg)
		if err != nil {
			return nil, failed(err, "connect for the lock of %s", name)
		}
		l.conn = conn
	}
	var got bool
	if err := l.conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1)", l.key(name)).Scan(&got); err != nil {
		l.lose(ctx)
		return nil, failed(err, "take the lock of %s", name)
	}
	if !got {
		return nil, lockTaken(name)
	}
	l.held[name] = true
	return &Lock{locks: l, name: name, epoch: l.epoch}, nil
}

func lockTaken(name string) error {
	return fault.New(fault.Conflict, "Something else works on %s now. Please try again later.", name)
}

// lose gives up the connection and with it every lock.
func (l *Locks) lose(ctx context.Context) {
	if l.conn != nil {
		_ = l.conn.Close(ctx)
		l.conn = nil
	}
	l.epoch++
	clear(l.held)
}

func (l *Locks) key(name string) int64 {
	sum := sha256.Sum256([]byte(l.space + "\x00" + name))
	return int64(binary.BigEndian.Uint64(sum[:8]))
}

// Close ends the connection and frees every lock.
func (l *Locks) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), lockPatience)
	defer cancel()
	l.lose(ctx)
}

// Lock is one lock that was got.
type Lock struct {
	locks *Locks
	name  string
	epoch int
}

var errLockLost = errors.New("the connection to the database that held the lock broke")

// Held says whether the lock is still this one's: Unavailable when it was lost.
func (k *Lock) Held(ctx context.Context) error {
	l := k.locks
	l.mu.Lock()
	defer l.mu.Unlock()
	lost := func(cause error) error {
		return fault.Wrap(fault.Unavailable, fmt.Errorf("the lock of %s: %w", k.name, cause), "The lock of %s was lost. Please try again.", k.name)
	}
	if k.epoch != l.epoch {
		return lost(errLockLost)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lockPatience)
	defer cancel()
	if err := l.conn.Ping(ctx); err != nil {
		l.lose(ctx)
		return lost(errors.Join(errLockLost, err))
	}
	return nil
}

// Unlock frees the lock; one that was lost is free.
func (k *Lock) Unlock() error {
	l := k.locks
	l.mu.Lock()
	defer l.mu.Unlock()
	if k.epoch != l.epoch || !l.held[k.name] {
		return nil
	}
	delete(l.held, k.name)
	ctx, cancel := context.WithTimeout(context.Background(), lockPatience)
	defer cancel()
	if _, err := l.conn.Exec(ctx, "SELECT pg_advisory_unlock($1)", l.key(k.name)); err != nil {
		l.lose(ctx) // so it is free all the same
	}
	return nil
}
