package cluster

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
)

// attempt is what somebody tries, what has to come of it, and what tells of it.
type attempt struct {
	who, what string
	try       func(context.Context) string // what came of it, in words
	want      string                       // a part of that
	log       string                       // the program whose log tells of it; empty: none does, as the row says why
	says      []string                     // the words of one line of it
}

// tries runs a table of attempts, in order.
func (c *cluster) tries(t *testing.T, table []attempt) {
	for _, a := range table {
		t.Run(a.who+": "+a.what, func(t *testing.T) {
			before := 0
			if a.log != "" {
				before = len(c.log(a.log))
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			require.Contains(t, a.try(ctx), a.want)
			for a.log != "" && !tells(c.log(a.log)[before:], a.says) {
				select {
				case <-ctx.Done():
					t.Fatalf("no line in the log of %s says %q:\n%s", a.log, a.says, c.log(a.log)[before:])
				case <-time.After(10 * time.Millisecond):
				}
			}
		})
	}
}

func tells(log string, words []string) bool {
	for line := range strings.Lines(log) {
		found := true
		for _, word := range words {
			found = found && strings.Contains(line, word)
		}
		if found {
			return true
		}
	}
	return false
}

// somebody is a certificate, or none, and a machine from which it is shown.
type somebody struct {
	role, name string
	machine    machine
	config     *tls.Config // nil: plain text
	engine     *grpc.ClientConn
	web        *http.Client
}

func (c *cluster) somebody(role, name string, m machine, config *tls.Config) *somebody {
	c.t.Helper()
	return &somebody{role: role, name: name, machine: m, config: config, web: c.web(m, config), engine: c.engine(m, frontend, config)}
}

// engine is a client of a frontend, from a machine.
func (c *cluster) engine(m machine, address string, config *tls.Config) *grpc.ClientConn {
	c.t.Helper()
	secret := insecure.NewCredentials()
	if config != nil {
		secret = credentials.NewTLS(config)
	}
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(secret),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) { return m.dial(ctx, "tcp", address) }))
	require.NoError(c.t, err)
	c.t.Cleanup(func() { conn.Close() })
	return conn
}

// Services of Temporal's frontend.
const (
	workflows = "/temporal.api.workflowservice.v1.WorkflowService/"
	operators = "/temporal.api.operatorservice.v1.OperatorService/"
	admins    = "/temporal.server.api.adminservice.v1.AdminService/"
)

// asks is a call of the frontend that is refused to whoever it is by the certificate.
func (s *somebody) asks(what, method string, request proto.Message) attempt {
	a := s.may(what, method, request)
	a.want, a.log = "PermissionDenied", "temporal"
	a.says = []string{fmt.Sprintf(`\"%s\" (role \"%s\") at %s:`, s.name, s.role, s.machine.ip), "may not call " + path.Base(method)}
	return a
}

// may is one that is answered.
func (s *somebody) may(what, method string, request proto.Message) attempt {
	return attempt{who: s.name, what: what, want: "OK", try: func(ctx context.Context) string {
		return outcome(s.engine.Invoke(ctx, method, request, &emptypb.Empty{}))
	}}
}

// outcome is the code of an answer, with its text.
func outcome(err error) string {
	s := status.Convert(err)
	return s.Code().String() + ": " + s.Message()
}

// connects is a call that gets as far as the handshake.
func (s *somebody) connects(what string) attempt {
	a := s.may(what, workflows+"GetSystemInfo", &emptypb.Empty{})
	a.want, a.log, a.says = "Unavailable", "temporal", []string{"A connection was refused", s.machine.ip}
	return a
}

// gets is a request over HTTP, of which a line in the log of a program tells.
func (s *somebody) gets(what, method, url string, header map[string]string, body any, want, log string, says ...string) attempt {
	return attempt{who: s.name, what: what, want: want, log: log, says: says, try: func(ctx context.Context) string {
		return ask(ctx, s.web, method, url, header, body)
	}}
}

// shakes is a connection to a listener that gets as far as the handshake.
func (s *somebody) shakes(what, address, want, log string, says ...string) attempt {
	scheme := "https://"
	if s.config == nil {
		scheme = "http://"
	}
	return s.gets(what, http.MethodGet, scheme+address+"/metrics", nil, nil, want, log, append(says, "TLS handshake error from "+s.machine.ip+":")...)
}

// older is the same with an older TLS.
func older(config *tls.Config, version uint16) *tls.Config {
	c := config.Clone()
	c.MinVersion, c.MaxVersion = version, version
	return c
}
