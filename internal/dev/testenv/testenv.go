// Package testenv gives tests the real parts that they stand on: a Postgres database of their own, the Temporal server,
// libvirtd. internal/dev/testenv/with starts them once for a whole test run (make test does) and tells of them in the
// environment; a test that needs a part which is not there fails and says how to get it, it never skips.
package testenv

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
)

// Variables that internal/dev/testenv/with sets.
const (
	PKIVariable              = "SLIPWAY_TEST_PKI"
	PostgresVariable         = "SLIPWAY_TEST_POSTGRES"
	TemporalVariable         = "SLIPWAY_TEST_TEMPORAL"
	TemporalInternalVariable = "SLIPWAY_TEST_TEMPORAL_INTERNAL"
	LibvirtVariable          = "SLIPWAY_TEST_LIBVIRT_SOCKET"
	NetNSVariable            = "SLIPWAY_TEST_LIBVIRT_NETNS"
	GuestVariable            = "SLIPWAY_TEST_GUEST"
	CloudInitVariable        = "SLIPWAY_TEST_CLOUD_INIT"
	CloudGuestVariable       = "SLIPWAY_TEST_CLOUD_GUEST"
	LibguestfsVariable       = "SLIPWAY_TEST_LIBGUESTFS"
	KeystoneVariable         = "SLIPWAY_TEST_KEYSTONE"
	UIVariable               = "SLIPWAY_TEST_TEMPORAL_UI"
	RabbitMQVariable         = "SLIPWAY_TEST_RABBITMQ"
	RabbitMQTLSVariable      = "SLIPWAY_TEST_RABBITMQ_TLS"
	RabbitMQCAVariable       = "SLIPWAY_TEST_RABBITMQ_CA"
	OVNVariable              = "SLIPWAY_TEST_OVN"
)

func need(t testing.TB, variable string) string {
	t.Helper()
	value := os.Getenv(variable)
	if value == "" {
		t.Fatalf("%s is not set: this test needs real parts. Run `make test`, or for one package:\n"+
			"\tgo run ./internal/dev/testenv/with go test ./this/package", variable)
	}
	return value
}

// Database makes an empty database for one test and gives its DSN. It goes with the test.
func Database(t testing.TB) string {
	t.Helper()
	return database(t, "")
}

func database(t testing.TB, like string) string {
	t.Helper()
	maintenance := need(t, PostgresVariable)
	admin, err := sql.Open("pgx", maintenance)
	if err != nil {
		t.Fatalf("opening %s: %v", PostgresVariable, err)
	}
	name := "test_" + strings.ReplaceAll(uuid.NewString(), "-", "")
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := admin.ExecContext(ctx, "CREATE DATABASE "+name+like); err != nil {
		t.Fatalf("making a database: %v", err)
	}
	t.Cleanup(func() {
		defer admin.Close()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if _, err := admin.ExecContext(ctx, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Errorf("dropping the test's database: %v", err)
		}
	})
	return withDatabase(maintenance, name)
}

// Maintenance is the DSN of the run's Postgres, for a test that copies a database.
func Maintenance(t testing.TB) string {
	t.Helper()
	return need(t, PostgresVariable)
}

// OVN is the folder of OVN's programs (deploy/dev/fetch-ovn.sh), for a test that starts a central part or chassis of its own.
func OVN(t testing.TB) string {
	t.Helper()
	return need(t, OVNVariable)
}

// RabbitMQ is the address of the run's broker, amqp://; over TLS it is another, and the file of the CA that its certificate is of.
func RabbitMQ(t testing.TB) (plain, tls, ca string) {
	t.Helper()
	return need(t, RabbitMQVariable), need(t, RabbitMQTLSVariable), need(t, RabbitMQCAVariable)
}

// withDatabase is the DSN for another database of the same server.
func withDatabase(dsn, name string) string {
	if u, err := url.Parse(dsn); err == nil && u.Scheme != "" {
		u.Path = "/" + name
		return u.String()
	}
	kept := strings.Fields(dsn)
	for i, pair := range kept {
		if strings.HasPrefix(pair, "dbname=") {
			kept[i] = ""
		}
	}
	return strings.Join(strings.Fields(strings.Join(kept, " ")+" dbname="+name), " ")
}

// Temporal is the address of the server's frontend, which answers who has a certificate (Control, Host); its namespace is
// "slipway". Tests keep apart by task queues of their own (Queue) and by ids.
func Temporal(t testing.TB) string {
	t.Helper()
	return need(t, TemporalVariable)
}

// TemporalInternal is the address of the frontend that asks nobody who they are: for what no certificate may do.
func TemporalInternal(t testing.TB) string {
	t.Helper()
	return need(t, TemporalInternalVariable)
}

// Queue makes a name that no other test has: for task queues and hostnames.
func Queue(t testing.TB, prefix string) string {
	t.Helper()
	return fmt.Sprintf("%s-%s", prefix, uuid.NewString()[:8])
}

// LibvirtEnv is a libvirtd with the network namespace that it runs in ("" is the machine's own).
type LibvirtEnv struct{ Socket, NetNS string }

// Libvirt is the libvirtd of the run. Tests share it: they name domains by ids of their own and remove them.
func Libvirt(t testing.TB) LibvirtEnv {
	t.Helper()
	return LibvirtEnv{Socket: need(t, LibvirtVariable), NetNS: os.Getenv(NetNSVariable)}
}

// GuestDir is a folder that QEMU's own user can pass, for files of guests. It goes with the test.
func GuestDir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{filepath.Dir(dir), dir} { // the outer one is made for this process alone
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// CloudInit is a folder with this release's cloud-init unpacked (deploy/dev/fetch-cloud-init.sh).
func CloudInit(t testing.TB) string {
	t.Helper()
	return need(t, CloudInitVariable)
}

// CloudGuest is the folder with the image of Debian and its cloud-init (deploy/dev/cloud-guest).
func CloudGuest(t testing.TB) string {
	t.Helper()
	return need(t, CloudGuestVariable)
}

// Guest is the folder with the demo guest's images (deploy/dev/guest).
func Guest(t testing.TB) string {
	t.Helper()
	return need(t, GuestVariable)
}

// Libguestfs says whether it is to be used: `make test-libguestfs` has installed it.
func Libguestfs() bool { return os.Getenv(LibguestfsVariable) != "" }

// Keystone is the folder with this release's Keystone (deploy/dev/fetch-keystone.sh); "" where `make test-keystone` did not unpack it.
func Keystone() string { return os.Getenv(KeystoneVariable) }
