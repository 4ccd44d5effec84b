package notify

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/slipway-cloud/slipway/models"
)

// AMQP publishes to a RabbitMQ as oslo.messaging's driver messagingv2 does: what listens for Nova's and Glance's notifications
// gets these. A notification has arrived when the broker has confirmed that it lies in the queue. Close it.
type AMQP struct {
	url     string
	tls     *tls.Config
	durable bool

	mu   sync.Mutex
	link *link // nil until it is needed
}

// NewAMQP makes one for an address that is amqp:// or amqps://, which tls is for. What it has to declare outlives the broker
// where that is durable.
func NewAMQP(address string, tls *tls.Config, durable bool) *AMQP {
	return &AMQP{url: address, tls: tls, durable: durable}
}

// topic is where a listener looks for the notifications of a service.
type topic struct{ exchange, name string }

// topics are oslo.messaging's of a service, by the first word of its events: its control_exchange, and the topic that Nova and
// Glance have preset. The queue, and the key that leads there, has the priority behind it.
var topics = map[string]topic{
	"instance": {"nova", "versioned_notifications"},
	"image":    {"glance", "notifications"},
}

// Name implements Sink.
func (*AMQP) Name() models.NotificationSink { return models.SinkAMQP }

// Deliver implements Sink. No error of it has the address, which holds a password.
func (a *AMQP) Deliver(ctx context.Context, n models.Notification) error {
	kind, _, _ := strings.Cut(n.EventType, ".")
	to, ok := topics[kind]
	if !ok {
		return fmt.Errorf("no listener looks for events of %q", kind)
	}
	body, err := message(n)
	if err != nil {
		return fmt.Errorf("encode notification %d: %w", n.ID, err)
	}
	link, err := a.connected(ctx)
	if err != nil {
		return fmt.Errorf("connect to the message broker: %w", err)
	}
	// Neither a write nor an answer of the protocol ends with a context. A broker that takes too long is left by all.
	defer context.AfterFunc(ctx, link.cut)()
	err = link.publish(to.exchange, to.name+"."+strings.ToLower(priority(n.EventType)), a.durable, amqp.Publishing{
		ContentType: "application/json", ContentEncoding: "utf-8", DeliveryMode: amqp.Persistent, MessageId: n.MessageID, Body: body,
	})
	if err != nil {
		return fmt.Errorf("publish to the message broker: %w", errors.Join(err, ctx.Err()))
	}
	return nil
}

// message is oslo.messaging's envelope 2.0 (oslo_messaging/_drivers/common.py, serialize_msg).
func message(n models.Notification) ([]byte, error) {
	e := envelopeOf(n)
	e.UniqueID = strings.ReplaceAll(n.MessageID, "-", "")
	e.Timestamp = n.CreatedAt.UTC().Format("2006-01-02 15:04:05.000000") // str() of Python's
	inner, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]string{"oslo.version": "2.0", "oslo.message": string(inner)})
}

// connected is the connection that all deliveries share, or a new one in place of one that broke.
func (a *AMQP) connected(ctx context.Context) (*link, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.link != nil && !a.link.conn.IsClosed() {
		return a.link, nil
	}
	l := &link{free: make(chan lane, atOnce), declared: map[string]bool{}}
	properties := amqp.NewConnectionProperties()
	properties.SetClientConnectionName("slipway")
	conn, err := amqp.DialConfig(a.url, amqp.Config{
		TLSClientConfig: a.tls, Properties: properties,
		Dial: func(network, address string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			l.cut = sync.OnceFunc(func() { conn.Close() })
			deadline, _ := ctx.Deadline()
			return conn, conn.SetDeadline(deadline) // of the handshakes; the client takes it off
		},
	})
	if err != nil {
		return nil, err
	}
	l.conn, a.link = conn, l
	return l, nil
}

// Close ends the connection, when nothing is delivered any more.
func (a *AMQP) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.link == nil || a.link.conn.IsClosed() {
		return nil
	}
	return a.link.conn.CloseDeadline(time.Now().Add(time.Second))
}

// link is a connection.
type link struct {
	conn *amqp.Connection
	cut  func()    // breaks it
	free chan lane // that are on no message's way

	mu       sync.Mutex
	declared map[string]bool // queues that were there
}

// lane is a channel of the connection, on which one message at a time is on its way: what comes back is that one.
type lane struct {
	*amqp.Channel
	returned chan amqp.Return
	closed   chan *amqp.Error // why the broker has closed it
}

// publish hands a message to the broker, which answers when it lies in the queue.
func (l *link) publish(exchange, queue string, durable bool, m amqp.Publishing) error {
	if err := l.declare(exchange, queue, durable); err != nil {
		return err
	}
	on, err := l.lane()
	if err != nil {
		return err
	}
	confirmation, err := on.PublishWithDeferredConfirm(exchange, queue, true, false, m)
	if err == nil && !confirmation.Wait() {
		err = errors.New("the message is not confirmed")
		select {
		case why := <-on.closed: // nil where the connection broke without a word
			if why != nil {
				err = why
			}
		default:
		}
	}
	if err != nil {
		l.forget(queue) // of its exchange nothing else tells that it is there no more
		if !on.IsClosed() {
			err = errors.Join(err, on.Close())
		}
		return err
	}
	defer func() { l.free <- on }()
	select {
	case r := <-on.returned: // it comes before the confirmation
		l.forget(queue)
		return fmt.Errorf("the queue %s is there no more: %s", queue, r.ReplyText)
	default:
		return nil
	}
}

// forget has what a queue needs looked for before the next message.
func (l *link) forget(queue string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.declared, queue)
}

// lane is one that is free, or another one.
func (l *link) lane() (lane, error) {
	select {
	case on := <-l.free:
		return on, nil
	default:
	}
	channel, err := l.conn.Channel()
	if err != nil {
		return lane{}, err
	}
	on := lane{channel, channel.NotifyReturn(make(chan amqp.Return, 1)), channel.NotifyClose(make(chan *amqp.Error, 1))}
	if err := channel.Confirm(false); err != nil {
		return lane{}, errors.Join(err, on.Close())
	}
	return on, nil
}

// declare makes what a message needs to be kept until somebody listens, as oslo.messaging does.
func (l *link) declare(exchange, queue string, durable bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.declared[queue] {
		return nil
	}
	err := l.have(
		func(c *amqp.Channel) error {
			return c.ExchangeDeclarePassive(exchange, amqp.ExchangeTopic, durable, false, false, false, nil)
		},
		func(c *amqp.Channel) error {
			return c.ExchangeDeclare(exchange, amqp.ExchangeTopic, durable, false, false, false, nil)
		})
	if err != nil {
		return fmt.Errorf("exchange %s: %w", exchange, err)
	}
	err = l.have(
		func(c *amqp.Channel) error {
			_, err := c.QueueDeclarePassive(queue, durable, false, false, false, nil)
			return err
		},
		func(c *amqp.Channel) error {
			_, err := c.QueueDeclare(queue, durable, false, false, false, nil)
			return err
		})
	if err == nil {
		err = l.on(func(c *amqp.Channel) error { return c.QueueBind(queue, queue, exchange, false, nil) })
	}
	if err != nil {
		return fmt.Errorf("queue %s: %w", queue, err)
	}
	l.declared[queue] = true
	return nil
}

// have makes what is not there. What is there may be a listener's, with settings that are not known here, and a declaration with
// others would be refused.
func (l *link) have(look, make func(*amqp.Channel) error) error {
	err := l.on(look)
	if absent := (*amqp.Error)(nil); errors.As(err, &absent) && absent.Code == amqp.NotFound {
		return l.on(make)
	}
	return err
}

// on does one thing on a channel of its own, since the broker closes the one on which it refuses something.
func (l *link) on(do func(*amqp.Channel) error) error {
	c, err := l.conn.Channel()
	if err != nil {
		return err
	}
	if err := do(c); err != nil {
		return err
	}
	return c.Close()
}
