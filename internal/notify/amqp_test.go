package notify

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/models"
)

const infos, errs = "versioned_notifications.info", "versioned_notifications.error"

// broker is an own way to the run's broker, on which nothing is left of earlier tests.
type broker struct {
	*amqp.Channel
	url string
}

func newBroker(t *testing.T) broker {
	t.Helper()
	plain, _, _ := testenv.RabbitMQ(t)
	conn, err := amqp.Dial(plain)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	channel, err := conn.Channel()
	require.NoError(t, err)
	for _, queue := range []string{infos, errs, "notifications.info"} {
		_, err := channel.QueueDelete(queue, false, false, false)
		require.NoError(t, err)
	}
	for _, exchange := range []string{"nova", "glance"} {
		require.NoError(t, channel.ExchangeDelete(exchange, false, false))
	}
	return broker{channel, plain}
}

// sink is one that publishes there.
func (b broker) sink(t *testing.T) *AMQP {
	t.Helper()
	a := NewAMQP(b.url, nil, false)
	t.Cleanup(func() { require.NoError(t, a.Close()) })
	return a
}

// took is what lies in a queue, the oldest first.
func (b broker) took(t *testing.T, queue string) (events []string) {
	t.Helper()
	for {
		m, ok, err := b.Get(queue, true)
		require.NoError(t, err)
		if !ok {
			return events
		}
		require.Equal(t, "application/json", m.ContentType)
		var outer map[string]string
		require.NoError(t, json.Unmarshal(m.Body, &outer))
		require.Equal(t, "2.0", outer["oslo.version"])
		var inner envelope
		require.NoError(t, json.Unmarshal([]byte(outer["oslo.message"]), &inner))
		require.Equal(t, strings.ReplaceAll(inner.MessageID, "-", ""), inner.UniqueID)
		events = append(events, inner.EventType)
	}
}

func tells(event string) models.Notification {
	n := sample
	n.EventType = event
	return n
}

// listener is what reads OpenStack's notifications: oslo.messaging's own.
const listener = `
import json, sys
from oslo_config import cfg
import oslo_messaging

conf = cfg.ConfigOpts()
conf([])
transport = oslo_messaging.get_notification_transport(conf, url=sys.argv[1])

def say(priority, ctxt, *args):
    ctxt.pop('client_timeout', None)  # its own
    print(json.dumps([priority, ctxt, *args]), flush=True)

class Endpoint:
    def info(self, *args):
        say('info', *args)
    def error(self, *args):
        say('error', *args)

oslo_messaging.get_notification_listener(transport, [
    oslo_messaging.Target(exchange='nova', topic='versioned_notifications'),
    oslo_messaging.Target(exchange='glance', topic='notifications'),
], [Endpoint()], executor='threading').start()
sys.stdin.read()
`

func TestOslosListenerReadsWhatWasPublishedBeforeAndAfterItCame(t *testing.T) {
	b := newBroker(t)
	a := b.sink(t)
	require.NoError(t, a.Deliver(t.Context(), tells("instance.create.start")))

	cmd := exec.CommandContext(t.Context(), "/usr/bin/python3", "-c", listener, "rabbit"+strings.TrimPrefix(b.url, "amqp"))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	defer func() {
		require.NoError(t, in.Close())
		require.NoError(t, cmd.Process.Kill())
		_ = cmd.Wait()
	}()
	heard := bufio.NewScanner(out)
	hears := func(priority, event string) {
		require.True(t, heard.Scan(), "the listener ended")
		require.JSONEq(t, `["`+priority+`", {"request_id": "req-1", "project_id": "p1", "user_id": "u1"}, "image.node1", "`+event+`",
			{"id": "i1", "name": "<cirros>"},
			{"message_id": "b6a7a6a6-8f7a-4f3f-9d55-0b8a3c1f6f11", "timestamp": "2026-03-04 05:06:07.000089"}]`, heard.Text())
	}
	hears("info", "instance.create.start")
	for _, event := range []string{"instance.create.error", "image.update"} { // each with an id of its own: oslo drops what comes twice
		n := tells(event)
		n.MessageID = strings.Replace(n.MessageID, "b6", map[string]string{"instance.create.error": "c6", "image.update": "d6"}[event], 1)
		require.NoError(t, a.Deliver(t.Context(), n))
		require.True(t, heard.Scan())
		require.Contains(t, heard.Text(), `"`+event+`"`)
		require.Equal(t, strings.HasSuffix(event, ".error"), strings.HasPrefix(heard.Text(), `["error"`))
	}
}

func TestWhatABrokenConnectionLostIsPublishedAgainInOrder(t *testing.T) {
	b, o := newBroker(t), newOutbox(t)
	a := b.sink(t)
	require.NoError(t, a.Deliver(t.Context(), tells("instance.lock")))
	a.link.cut()
	o.announce(t, 0, "s1", "instance.create.start", "instance.create.end", "instance.delete.start", "instance.delete.end")
	stop := run(t, New(o, []Sink{a}, quiet, quick))
	deliveries, err := b.Consume(infos, "", true, false, false, false, nil)
	require.NoError(t, err)
	for _, want := range []string{"instance.lock", "instance.create.start", "instance.create.end", "instance.delete.start", "instance.delete.end"} {
		require.Contains(t, string((<-deliveries).Body), want)
	}
	stop()
	require.True(t, a.link.conn.IsClosed(), "the dispatcher closes its sinks")
}

func TestAQueueThatWasRemovedIsMissedAndMadeAgain(t *testing.T) {
	b := newBroker(t)
	a := b.sink(t)
	require.NoError(t, a.Deliver(t.Context(), tells("instance.lock")))
	_, err := b.QueueDelete(infos, false, false, false)
	require.NoError(t, err)
	require.ErrorContains(t, a.Deliver(t.Context(), tells("instance.lock")), "the queue versioned_notifications.info is there no more: NO_ROUTE")
	require.NoError(t, a.Deliver(t.Context(), tells("instance.unlock")))
	require.Equal(t, []string{"instance.unlock"}, b.took(t, infos))
}

func TestAnExchangeThatWasRemovedIsMissedAndMadeAgain(t *testing.T) {
	b := newBroker(t)
	a := b.sink(t)
	require.NoError(t, a.Deliver(t.Context(), tells("instance.lock")))
	require.NoError(t, b.ExchangeDelete("nova", false, false))
	require.ErrorContains(t, a.Deliver(t.Context(), tells("instance.lock")), "no exchange 'nova'")
	require.NoError(t, a.Deliver(t.Context(), tells("instance.unlock")))
	require.Equal(t, []string{"instance.lock", "instance.unlock"}, b.took(t, infos))
}

func TestQueuesThatAListenerMadeStayAsTheyAre(t *testing.T) {
	b := newBroker(t)
	require.NoError(t, b.ExchangeDeclare("nova", amqp.ExchangeTopic, true, false, false, false, nil))
	_, err := b.QueueDeclare(infos, true, false, false, false, amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum})
	require.NoError(t, err)
	require.NoError(t, b.sink(t).Deliver(t.Context(), tells("instance.lock")))
	require.Equal(t, []string{"instance.lock"}, b.took(t, infos))
}

func TestABrokerIsKnownByItsCAAndNoErrorTellsThePassword(t *testing.T) {
	newBroker(t)
	_, address, ca := testenv.RabbitMQ(t)
	pem, err := os.ReadFile(ca)
	require.NoError(t, err)
	trust := x509.NewCertPool()
	require.True(t, trust.AppendCertsFromPEM(pem))
	known := NewAMQP(address, &tls.Config{RootCAs: trust, MinVersion: tls.VersionTLS12}, true)
	require.NoError(t, known.Deliver(t.Context(), tells("instance.lock")))
	require.NoError(t, known.Close())

	u, err := url.Parse(address)
	require.NoError(t, err)
	password, _ := u.User.Password()
	u.User = url.UserPassword("slipway", "hunter2")
	for want, other := range map[string]*AMQP{
		"certificate signed by unknown authority": NewAMQP(address, &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}, true),
		"username or password not allowed":        NewAMQP(u.String(), &tls.Config{RootCAs: trust, MinVersion: tls.VersionTLS12}, true),
	} {
		err := other.Deliver(t.Context(), tells("instance.lock"))
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), password)
		require.NotContains(t, err.Error(), "hunter2")
	}
}

func TestABrokerThatSaysNothingIsLeft(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	require.ErrorContains(t, NewAMQP("amqp://u:p@"+silent.Addr().String(), nil, false).Deliver(ctx, tells("instance.lock")), "timeout")
}
