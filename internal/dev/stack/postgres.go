package stack

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	postgresUser = "postgres" // superuser of the cluster; also the system user that runs it when this process is root
	postgresPort = 5432       // a part of the socket's name; no TCP port is taken unless ListenAddr is set

	// A unix socket's path has 107 bytes and a terminator: unix(7).
	maxSocketPath = 107
)

// PostgresOptions says where a private cluster lives.
type PostgresOptions struct {
	// Dir is the cluster's folder: data, log, socket. It is created. Where the system user postgres or the length of a
	// socket's path does not allow that, data or socket move to a folder of their own and Dir has a symbolic link to it.
	Dir string
	// ListenAddr, ip:port, additionally serves TCP; it needs Password. Empty: unix socket only.
	ListenAddr string
	// Password of user postgres over TCP. The unix socket asks for none: its folder is closed to every other user.
	Password string
	// Volatile leaves writing to the kernel (fsync=off): a power cut may end the cluster, a death of processes does not. For tests.
	Volatile bool
	Logger   *slog.Logger
}

// Postgres is a running private cluster.
type Postgres struct {
	DataDir   string
	SocketDir string
	LogFile   string

	port       int
	log        *slog.Logger
	supervised *Supervised
	lock       *os.File
}

// StartPostgres starts the cluster in o.Dir, creating it the first time, keeps it running, and returns when it answers.
//
// One process at a time owns a cluster: a second one gets an error that says so. A postmaster whose owner has died
// (kill -9) is stopped and started anew, so its settings are those asked for now.
func StartPostgres(ctx context.Context, o PostgresOptions) (_ *Postgres, err error) {
	log := logger(o.Logger)
	port := postgresPort
	if o.ListenAddr != "" {
		if o.Password == "" {
			return nil, errors.New("start Postgres: ListenAddr needs a Password")
		}
		addr, err := net.ResolveTCPAddr("tcp", o.ListenAddr)
		if err != nil || addr.Port == 0 {
			return nil, fmt.Errorf("start Postgres: ListenAddr %q is not ip:port (%v)", o.ListenAddr, err)
		}
		port = addr.Port
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("start Postgres in %s: %w", o.Dir, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("start Postgres: %w", err)
	}
	owner, err := ownerFor(postgresUser)
	if err != nil {
		return nil, fmt.Errorf("start Postgres: %w", err)
	}
	p := &Postgres{port: port, log: log, LogFile: filepath.Join(dir, "postgres.log")}
	if p.lock, err = lockFile(filepath.Join(dir, "lock")); err != nil {
		return nil, fmt.Errorf("start Postgres in %s: %w", dir, err)
	}
	defer func() {
		if err != nil {
			p.lock.Close()
		}
	}()
	if p.DataDir, err = placeData(dir, owner); err != nil {
		return nil, fmt.Errorf("choose a folder for Postgres's data: %w", err)
	}
	if p.SocketDir, err = placeSocket(dir, owner); err != nil {
		return nil, fmt.Errorf("choose a folder for Postgres's socket: %w", err)
	}
	bin, err := postgresBin(p.DataDir)
	if err != nil {
		return nil, err
	}
	if err := p.clear(ctx); err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(p.DataDir, "PG_VERSION")); errors.Is(err, fs.ErrNotExist) {
		log.Info("creating a Postgres cluster", "data", p.DataDir)
		if err := initCluster(ctx, bin, p.DataDir, owner); err != nil {
			return nil, err
		}
	}
	p.supervised, err = Supervise(ctx, Command{
		Name:       "postgres",
		Path:       filepath.Join(bin, "postgres"),
		Prepare:    p.clear,
		Args:       p.settings(o),
		LogFile:    p.LogFile,
		Credential: owner,
		// SIGINT is Postgres's fast shutdown: it ends connections and leaves a clean cluster.
		StopSignal:        syscall.SIGINT,
		ParentDeathSignal: syscall.SIGINT,
		StopTimeout:       30 * time.Second,
		Ready:             p.ping,
	}, log)
	if err != nil {
		return nil, err
	}
	if o.Password != "" {
		if err := p.exec(ctx, "ALTER ROLE postgres PASSWORD "+quoteSQL(o.Password)); err != nil {
			return nil, errors.Join(fmt.Errorf("set the password of Postgres: %w", err), p.supervised.Stop())
		}
	}
	return p, nil
}

// clear ends what an earlier postmaster has left: processes, pid file, socket. The caller's lock says that nobody else's
// postmaster lives here.
func (p *Postgres) clear(ctx context.Context) error {
	if err := endOrphans(ctx, p.DataDir, p.log); err != nil {
		return fmt.Errorf("stop the Postgres that an earlier process left in %s: %w", p.DataDir, err)
	}
	// Postgres takes a lock file for a living postmaster's while a dead one waits to be reaped. Nobody lives here by now.
	stale, err := fs.Glob(os.DirFS(p.SocketDir), ".s.PGSQL.*")
	for _, name := range stale {
		err = errors.Join(err, os.Remove(filepath.Join(p.SocketDir, name)))
	}
	if err != nil {
		return fmt.Errorf("clear the socket of an earlier Postgres: %w", err)
	}
	return nil
}

// settings are passed as arguments, so that the cluster's own postgresql.conf stays as initdb wrote it and free for
// whoever wants to try a setting.
func (p *Postgres) settings(o PostgresOptions) []string {
	fsync := "on"
	if o.Volatile {
		fsync = "off"
	}
	host, _, _ := net.SplitHostPort(o.ListenAddr) // "" where there is none
	args := []string{"-D", p.DataDir}
	for _, s := range []string{
		"listen_addresses=" + host,
		"port=" + strconv.Itoa(p.port),
		"unix_socket_directories=" + p.SocketDir,
		"unix_socket_permissions=0700",
		"max_connections=200",
		"shared_buffers=128MB",
		"fsync=" + fsync,
		"synchronous_commit=on", // an acknowledged build must survive a power cut
		"max_wal_size=1GB",
		"checkpoint_timeout=15min",
		"wal_compression=on",
		"jit=off", // every query here is short
		"log_timezone=UTC",
		"timezone=UTC",
	} {
		args = append(args, "-c", s)
	}
	return args
}

// Pid is the postmaster's process id, 0 while it is being started again.
func (p *Postgres) Pid() int { return p.supervised.Pid() }

// Restarts counts how often the postmaster died and was started again.
func (p *Postgres) Restarts() int { return p.supervised.Restarts() }

// Port is the port in the socket's name, which clients have to give together with SocketDir.
func (p *Postgres) Port() int { return p.port }

// User is the superuser as which DSN connects.
func (p *Postgres) User() string { return postgresUser }

// DSN is a connection string over the unix socket, in libpq's keyword form.
func (p *Postgres) DSN(database string) string {
	quote := func(v string) string { return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(v) + "'" }
	return fmt.Sprintf("host=%s port=%d user=%s dbname=%s sslmode=disable", quote(p.SocketDir), p.Port(), postgresUser, quote(database))
}

// EnsureDatabase creates a database where it is missing.
func (p *Postgres) EnsureDatabase(ctx context.Context, name string) error {
	conn, err := pgx.Connect(ctx, p.DSN("postgres"))
	if err != nil {
		return fmt.Errorf("create database %q: %w", name, err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var exists bool
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name).Scan(&exists); err != nil {
		return fmt.Errorf("look for database %q: %w", name, err)
	}
	if exists {
		return nil
	}
	if _, err := conn.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize()); err != nil {
		return fmt.Errorf("create database %q: %w", name, err)
	}
	return nil
}

// Stop is a fast shutdown: connections are ended, everything committed is on disk. It takes at most the postmaster's
// StopTimeout, however long ctx lasts.
func (p *Postgres) Stop(context.Context) error {
	err := p.supervised.Stop()
	if lockErr := p.lock.Close(); !errors.Is(lockErr, os.ErrClosed) { // stopped twice
		err = errors.Join(err, lockErr)
	}
	return err
}

func (p *Postgres) ping(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, p.DSN("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	return conn.Ping(ctx)
}

func (p *Postgres) exec(ctx context.Context, sql string) error {
	conn, err := pgx.Connect(ctx, p.DSN("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	_, err = conn.Exec(ctx, sql)
	return err
}

func quoteSQL(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// PurgePostgres deletes the cluster in dir, the folders that it had to place elsewhere included. It refuses while the
// cluster is in use.
func PurgePostgres(ctx context.Context, dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("delete the Postgres cluster: %w", err)
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	lock, err := lockFile(filepath.Join(dir, "lock"))
	if err != nil {
		return fmt.Errorf("delete the Postgres cluster in %s: %w", dir, err)
	}
	defer lock.Close()
	for _, name := range []string{"data", "run"} {
		at := filepath.Join(dir, name)
		target, err := os.Readlink(at)
		if err != nil {
			target = at
		}
		if err := endOrphans(ctx, target, slog.New(slog.DiscardHandler)); err != nil {
			return fmt.Errorf("stop the Postgres in %s: %w", target, err)
		}
		// Only what placeData and placeSocket made: a link to anywhere else is somebody's own doing.
		if target != at && !slices.Contains(standInFolders(dir, name), target) {
			return fmt.Errorf("delete the Postgres cluster: %s points to %s, which Slipway did not make", at, target)
		}
		if err := os.RemoveAll(target); err != nil {
			return fmt.Errorf("delete the Postgres cluster: %w", err)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("delete the Postgres cluster: %w", err)
	}
	return nil
}

// ownerFor is whose processes those of a part are that refuses to run as root: of the system user of its package. Nil: this user.
func ownerFor(name string) (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return nil, fmt.Errorf("it can't run as root, and there is no user %s, whom its package makes: %w", name, err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("user %s: %w", name, err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("user %s: %w", name, err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// standInFolders lists the folders that may stand in for dir/name, best first.
func standInFolders(dir, name string) []string {
	sum := sha256.Sum256([]byte(dir))
	id := "slipway-" + hex.EncodeToString(sum[:6])
	if name == "run" {
		return []string{filepath.Join("/run", id), filepath.Join("/tmp", id)}
	}
	return []string{filepath.Join("/var/lib", id)}
}

// placeData is the cluster's data folder: dir/data, or, where the owner can't reach that (a checkout below /root),
// a folder below /var/lib that dir/data then links to.
func placeData(dir string, owner *syscall.Credential) (string, error) {
	at := filepath.Join(dir, "data")
	if target, err := os.Readlink(at); err == nil {
		return target, nil
	}
	if reachable(dir, owner) {
		return at, nil
	}
	for _, target := range standInFolders(dir, "data") {
		parent := filepath.Dir(target)
		if !reachable(parent, owner) {
			continue
		}
		return target, os.Symlink(target, at)
	}
	return "", fmt.Errorf("the part's user can reach neither %s nor /var/lib", dir)
}

// placeSocket is the folder of the unix socket, closed to other users: dir/run, or, where that is too long for a
// socket, out of the owner's reach, or has the comma at which libpq begins another host, one below /run or /tmp that
// dir/run then links to.
func placeSocket(dir string, owner *syscall.Credential) (string, error) {
	at := filepath.Join(dir, "run")
	name := ".s.PGSQL." + "65535" // the longest name it can get
	if len(at)+1+len(name) <= maxSocketPath && !strings.Contains(at, ",") && reachable(dir, owner) {
		if target, err := os.Readlink(at); err == nil && target != at {
			if err := os.Remove(at); err != nil {
				return "", err
			}
		}
		return at, privateDir(at, owner)
	}
	var errs []error
	for _, target := range standInFolders(dir, "run") {
		if err := privateDir(target, owner); err != nil {
			errs = append(errs, err)
			continue
		}
		if old, err := os.Readlink(at); err != nil || old != target {
			if err := os.RemoveAll(at); err != nil {
				return "", err
			}
			if err := os.Symlink(target, at); err != nil {
				return "", err
			}
		}
		return target, nil
	}
	return "", errors.Join(errs...)
}

// privateDir makes sure of a folder that only the owner can enter. A folder that another user made at that place (in
// /tmp anybody could) is refused.
func privateDir(path string, owner *syscall.Credential) error {
	uid, gid := os.Geteuid(), os.Getegid()
	if owner != nil {
		uid, gid = int(owner.Uid), int(owner.Gid)
	}
	switch err := os.Mkdir(path, 0o700); {
	case err == nil:
		return os.Chown(path, uid, gid)
	case !errors.Is(err, fs.ErrExist):
		return err
	}
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() || (int(st.Uid) != uid && int(st.Uid) != os.Geteuid()) {
		return fmt.Errorf("%s exists and is not a folder of this user", path)
	}
	if err := os.Chown(path, uid, gid); err != nil {
		return err
	}
	return os.Chmod(path, 0o700)
}

// reachable asks the kernel whether the owner may traverse to dir.
func reachable(dir string, owner *syscall.Credential) bool {
	cmd := exec.Command("test", "-x", dir)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: owner}
	return cmd.Run() == nil
}

// postgresBin finds the programs of the version that wrote the cluster, or the newest one for a cluster that does not
// exist yet. Debian keeps each version apart and off the PATH.
func postgresBin(dataDir string) (string, error) {
	version := ""
	if b, err := os.ReadFile(filepath.Join(dataDir, "PG_VERSION")); err == nil {
		version = strings.TrimSpace(string(b))
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil {
		return "", fmt.Errorf("look for Postgres: %w", err)
	}
	best, bestVersion := "", 0
	for _, f := range found {
		v := filepath.Base(filepath.Dir(filepath.Dir(f)))
		if v == version {
			return filepath.Dir(f), nil
		}
		if n, err := strconv.Atoi(v); err == nil && n > bestVersion {
			best, bestVersion = filepath.Dir(f), n
		}
	}
	if version == "" && best != "" {
		return best, nil
	}
	if onPath, err := exec.LookPath("initdb"); err == nil {
		if resolved, err := filepath.EvalSymlinks(onPath); err == nil {
			return filepath.Dir(resolved), nil
		}
	}
	if version != "" && best != "" {
		return "", fmt.Errorf("the cluster in %s was written by Postgres %s, and only %d is installed", dataDir, version, bestVersion)
	}
	return "", errors.New("Postgres is not installed: neither /usr/lib/postgresql/*/bin nor the PATH has initdb (install the package postgresql)")
}

// initCluster creates the cluster beside its place and moves it there when it is whole, so that an interrupted one is
// never taken for a cluster.
func initCluster(ctx context.Context, bin, dataDir string, owner *syscall.Credential) error {
	fresh := dataDir + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return fmt.Errorf("create a Postgres cluster: %w", err)
	}
	if err := privateDir(fresh, owner); err != nil {
		return fmt.Errorf("create a Postgres cluster: %w", err)
	}
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "initdb"),
		"-D", fresh, "-U", postgresUser, "--encoding=UTF8", "--locale=C.UTF-8",
		"--auth-local=trust", "--auth-host=scram-sha-256")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: owner}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("create a Postgres cluster in %s: %w\n%s", dataDir, err, out)
	}
	// An empty data folder is what an earlier, interrupted start may have left.
	if err := os.Remove(dataDir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("create a Postgres cluster: %w", err)
	}
	if err := os.Rename(fresh, dataDir); err != nil {
		return fmt.Errorf("create a Postgres cluster: %w", err)
	}
	return nil
}

// endOrphans ends the Postgres processes that still work on dataDir and clears a stale pid file. The caller holds the
// cluster's lock, so whatever runs there has lost its owner. A postmaster and its backends have the data folder as
// their working directory, which tells them from a process that merely got a recycled id.
func endOrphans(ctx context.Context, dataDir string, log *slog.Logger) error {
	const fastShutdown, immediateShutdown = 10 * time.Second, 5 * time.Second
	deadline := time.Now()
	signals := []struct {
		sig  syscall.Signal
		wait time.Duration
	}{{syscall.SIGINT, fastShutdown}, {syscall.SIGQUIT, immediateShutdown}, {syscall.SIGKILL, immediateShutdown}}
	next := 0
	for {
		pids, err := processesIn(dataDir)
		if err != nil {
			return err
		}
		if len(pids) == 0 {
			break
		}
		if !time.Now().Before(deadline) {
			if next == len(signals) {
				return fmt.Errorf("processes %v survived SIGKILL", pids)
			}
			s := signals[next]
			next++
			deadline = time.Now().Add(s.wait)
			targets := pids
			if postmaster := postmasterPid(dataDir); s.sig == syscall.SIGINT && slices.Contains(pids, postmaster) {
				targets = []int{postmaster} // it ends its backends in order
			}
			log.Warn("stopping a Postgres whose owner has died", "data", dataDir, "pids", targets, "signal", s.sig)
			for _, pid := range targets {
				if err := syscall.Kill(pid, s.sig); err != nil && !errors.Is(err, syscall.ESRCH) {
					return fmt.Errorf("signal process %d: %w", pid, err)
				}
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(readyPoll):
		}
	}
	if err := os.Remove(filepath.Join(dataDir, "postmaster.pid")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func postmasterPid(dataDir string) int {
	b, err := os.ReadFile(filepath.Join(dataDir, "postmaster.pid"))
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(b), "\n")
	pid, _ := strconv.Atoi(strings.TrimSpace(first))
	return pid
}

// processesIn lists the Postgres processes whose working directory is dir.
func processesIn(dir string) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	if resolved, err := filepath.EvalSymlinks(dir); err == nil {
		dir = resolved
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		cwd, err := os.Readlink(filepath.Join("/proc", e.Name(), "cwd"))
		if err != nil || cwd != dir {
			continue // gone, or not ours to look at
		}
		if exe, err := os.Readlink(filepath.Join("/proc", e.Name(), "exe")); err == nil && strings.HasPrefix(filepath.Base(exe), "postgres") {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

var errLocked = errors.New("another process is using it")

// lockFile takes a lock that the kernel releases when this process dies, however it dies.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w (it holds %s)", errLocked, path)
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}
