package stack

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"github.com/slipway-cloud/slipway/internal/pki"
)

const (
	rabbitUser = "rabbitmq"
	// rabbitServer is Debian's; the one on the PATH insists on the folders of a system's broker.
	rabbitServer = "/usr/lib/rabbitmq/bin/rabbitmq-server"
	loopback     = "127.0.0.1"
)

// RabbitMQ is a running broker for tests, on free ports of loopback, of an unprivileged user.
type RabbitMQ struct {
	URL    string // amqp://
	TLSURL string // amqps://, with a certificate of CA
	CA     string // file

	names, broker *Process
}

// StartRabbitMQ starts one in a folder, with nothing that another has left there.
func StartRabbitMQ(ctx context.Context, dir string) (_ *RabbitMQ, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("start RabbitMQ (deploy/dev/install.sh --tests installs it): %w", err)
		}
	}()
	if _, err := os.Stat(rabbitServer); err != nil {
		return nil, err
	}
	owner, err := ownerFor(rabbitUser)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	data, err := placeData(dir, owner)
	if err != nil {
		return nil, err
	}
	ca := filepath.Join(dir, "pki")
	if err := errors.Join(os.RemoveAll(data), os.RemoveAll(ca), privateDir(data, owner)); err != nil {
		return nil, err
	}
	cert, key, err := rabbitCertificate(ctx, ca, data, owner)
	if err != nil {
		return nil, err
	}
	ports, err := freePorts(4)
	if err != nil {
		return nil, err
	}
	plain, secure, nodes, names := ports[0], ports[1], ports[2], ports[3]
	password := rand.Text()
	config := fmt.Sprintf(`listeners.tcp.1 = %[1]s:%[2]d
listeners.ssl.1 = %[1]s:%[3]d
ssl_options.certfile = %[4]s
ssl_options.keyfile = %[5]s
default_user = slipway
default_pass = %[6]s
log.file = false
log.console = true
`, loopback, plain, secure, cert, key, password)
	if err := give(filepath.Join(data, "rabbitmq.conf"), []byte(config), owner); err != nil {
		return nil, err
	}
	env := []string{
		"HOME=" + data, // of Erlang's cookie
		fmt.Sprintf("ERL_EPMD_PORT=%d", names), "ERL_EPMD_ADDRESS=" + loopback,
		"RABBITMQ_NODENAME=slipway@localhost", fmt.Sprintf("RABBITMQ_DIST_PORT=%d", nodes),
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1}",
		"RABBITMQ_MNESIA_BASE=" + filepath.Join(data, "mnesia"), "RABBITMQ_LOG_BASE=" + data, "RABBITMQ_CONF_ENV_FILE=/dev/null",
		"RABBITMQ_CONFIG_FILE=" + filepath.Join(data, "rabbitmq.conf"), "RABBITMQ_ENABLED_PLUGINS_FILE=" + filepath.Join(data, "plugins"),
	}
	r := &RabbitMQ{CA: filepath.Join(ca, pki.CAFile)}
	r.URL = fmt.Sprintf("amqp://slipway:%s@%s:%d/", password, loopback, plain)
	r.TLSURL = fmt.Sprintf("amqps://slipway:%s@%s:%d/", password, loopback, secure)
	// Erlang would start its register of names by itself, and leave it behind.
	r.names, err = Start(ctx, Command{
		Name: "epmd", Path: "/usr/bin/epmd", Args: []string{"-port", fmt.Sprint(names), "-address", loopback}, Credential: owner,
		LogFile: filepath.Join(dir, "epmd.log"), ParentDeathSignal: syscall.SIGKILL, Ready: answers(names),
	})
	if err != nil {
		return nil, err
	}
	r.broker, err = Start(ctx, Command{
		Name: "rabbitmq-server", Path: rabbitServer, Env: env, Credential: owner,
		LogFile: filepath.Join(dir, "rabbitmq.log"), ParentDeathSignal: syscall.SIGTERM, Ready: answers(secure),
	})
	if err != nil {
		return nil, errors.Join(err, r.names.Stop(context.WithoutCancel(ctx)))
	}
	return r, nil
}

// Stop ends it.
func (r *RabbitMQ) Stop(ctx context.Context) error {
	return errors.Join(r.broker.Stop(ctx), r.names.Stop(ctx))
}

// rabbitCertificate makes a CA, and a certificate that the broker's user can read.
func rabbitCertificate(ctx context.Context, dir, data string, owner *syscall.Credential) (cert, key string, err error) {
	ca, err := pki.Init(ctx, dir, "")
	if err == nil {
		_, err = ca.Issue(ctx, pki.Request{Role: pki.Control, Name: rabbitUser, IPs: []string{loopback}})
	}
	if err != nil {
		return "", "", err
	}
	cert, key = filepath.Join(data, "cert.pem"), filepath.Join(data, "key.pem")
	issued, private := pki.Files(dir, pki.Control, rabbitUser)
	for from, to := range map[string]string{issued: cert, private: key} {
		text, err := os.ReadFile(from)
		if err == nil {
			err = give(to, text, owner)
		}
		if err != nil {
			return "", "", err
		}
	}
	return cert, key, nil
}

// give writes a file that its owner alone reads.
func give(path string, text []byte, owner *syscall.Credential) error {
	if err := os.WriteFile(path, text, 0o600); err != nil || owner == nil {
		return err
	}
	return os.Chown(path, int(owner.Uid), int(owner.Gid))
}

// freePorts are ports of loopback on which nobody listens now.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		l, err := net.Listen("tcp", loopback+":0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // when there are all: no two are the same
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// answers is whether somebody listens on a port of loopback.
func answers(port int) func(context.Context) error {
	return func(ctx context.Context) error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", fmt.Sprintf("%s:%d", loopback, port))
		if err != nil {
			return err
		}
		return conn.Close()
	}
}
