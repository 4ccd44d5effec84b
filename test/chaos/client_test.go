package chaos

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"sync"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"
)

const (
	// buildPatience bounds a build from its request to its end, deletePatience the way from DELETE to 404. An undo is tried
	// once a minute at worst.
	buildPatience  = 3 * time.Minute
	deletePatience = 3 * time.Minute
	// lookPatience is how long a client without a key looks for the server of a request whose answer was lost.
	lookPatience = 10 * time.Second
	lookEvery    = 150 * time.Millisecond
)

// outcome is how a boot ended.
type outcome struct {
	boot
	id           string
	portID       string
	asked, ended time.Time
	state        string // ACTIVE, ERROR, deleted, refused, lost
	cause        string // of ERROR
	tries        int    // of the request
}

// tally counts the errors that clients met, by cause.
type tally struct {
	mu     sync.Mutex
	causes map[string]int
}

func (y *tally) add(cause string) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.causes[cause]++
}

var (
	addresses = regexp.MustCompile(`(\d+\.\d+\.\d+\.\d+|\[[0-9a-f:]+\]):\d+(->(\d+\.\d+\.\d+\.\d+):\d+)?`)
	ids       = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}`)
	quoted    = regexp.MustCompile(`^(Get|Post|Delete) "[^"]*": `)
)

// causeOf is an error without what differs from one to the next.
func causeOf(err error) string {
	var code gophercloud.ErrUnexpectedResponseCode
	if errors.As(err, &code) {
		return fmt.Sprintf("%s %d %s", code.Method, code.Actual, ids.ReplaceAllString(string(code.Body), "ID"))
	}
	return ids.ReplaceAllString(addresses.ReplaceAllString(quoted.ReplaceAllString(err.Error(), ""), "ADDRESS"), "ID")
}

// transient says whether a sensible user asks again: no answer, or one that says that the service has a problem.
func transient(err error) bool {
	var code gophercloud.ErrUnexpectedResponseCode
	return !errors.As(err, &code) || code.Actual >= http.StatusInternalServerError
}

// retry asks until there is an answer that another try would not change.
func (y *tally) retry(ctx context.Context, ask func(context.Context) error) error {
	pause := 100 * time.Millisecond
	for {
		err := ask(ctx)
		if err == nil || !transient(err) {
			return err
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
		y.add(causeOf(err))
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
		pause = min(2*pause, time.Second)
	}
}

func within(ctx context.Context, patience time.Duration, what string) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, patience, fmt.Errorf("%s: not after %s", what, patience))
}

// do is one client's work: it creates the server, waits for the build's end, and deletes it where the plan says so.
func (c *cloud) do(ctx context.Context, b boot, y *tally) (outcome, error) {
	o := outcome{boot: b}
	ctx, cancel := within(ctx, buildPatience+deletePatience, "boot "+b.name)
	defer cancel()
	if b.port {
		var err error
		if o.portID, err = c.makePort(ctx, b.name, y); err != nil {
			return o, fmt.Errorf("port of %s: %w", b.name, err)
		}
	}
	building, stop := within(ctx, buildPatience, "build "+b.name)
	defer stop()
	o.asked = time.Now()
	switch err := c.create(building, &o, y); {
	case b.refused && gophercloud.ResponseCodeIs(err, http.StatusForbidden):
		o.state, o.ended = "refused", time.Now()
		return o, nil
	case err == nil && b.refused:
		return o, fmt.Errorf("server %s was accepted beyond the quota", o.id)
	case err == nil && o.id == "":
		o.state = "lost" // it may turn up yet; whoever looks at the end finds it by its name
		return o, nil
	case err != nil:
		return o, fmt.Errorf("create %s: %w", b.name, err)
	}
	if b.deleteAfter >= 0 {
		select {
		case <-time.After(b.deleteAfter): // the moment is what varies
		case <-ctx.Done():
			return o, context.Cause(ctx)
		}
		o.state = "deleted"
		return o, c.remove(ctx, o.id, y)
	}
	if err := c.built(building, &o, y); err != nil {
		return o, err
	}
	if o.state == "ACTIVE" && b.short {
		return o, c.remove(ctx, o.id, y)
	}
	return o, nil
}

// create asks for the server. With a key it asks again until it is answered; without one it looks for the server by its
// name instead, and leaves the id empty when there is none.
func (c *cloud) create(ctx context.Context, o *outcome, y *tally) error {
	as := *c.compute
	if o.key != "" {
		as.MoreHeaders = map[string]string{"Idempotency-Key": o.key}
	}
	config := true
	ask := servers.CreateOpts{
		Name: o.name, ImageRef: c.images[o.image], FlavorRef: nano, AvailabilityZone: o.zone, ConfigDrive: &config,
		Networks: []servers.Network{{UUID: c.netID}}, Metadata: map[string]string{"n": fmt.Sprint(o.n)},
	}
	if o.portID != "" {
		ask.Networks = []servers.Network{{Port: o.portID}}
	}
	if o.refused {
		ask.FlavorRef = tooLarge
	}
	once := func(ctx context.Context) error {
		o.tries++
		s, err := servers.Create(ctx, &as, ask, nil).Extract()
		if err == nil {
			o.id = s.ID
		}
		return err
	}
	if o.key != "" {
		return y.retry(ctx, once)
	}
	err := once(ctx)
	if err == nil || !transient(err) {
		return err
	}
	y.add(causeOf(err))
	looking, cancel := within(ctx, lookPatience, "looking for "+o.name)
	defer cancel()
	for looking.Err() == nil {
		all, err := c.named(looking, o.name, y)
		if err != nil {
			break // the patience has ended
		}
		if len(all) > 0 {
			o.id = all[0].ID
			break
		}
		select {
		case <-time.After(lookEvery):
		case <-looking.Done():
		}
	}
	if o.id == "" && o.refused {
		// Nothing is what there is to be.
		return gophercloud.ErrUnexpectedResponseCode{Actual: http.StatusForbidden}
	}
	return nil
}

// named are the servers of that name.
func (c *cloud) named(ctx context.Context, name string, y *tally) (all []servers.Server, err error) {
	err = y.retry(ctx, func(ctx context.Context) error {
		pages, err := servers.List(c.compute, servers.ListOpts{Name: "^" + name + "$"}).AllPages(ctx)
		if err != nil {
			return err
		}
		all, err = servers.ExtractServers(pages)
		return err
	})
	return all, err
}

// built waits until the build has ended.
func (c *cloud) built(ctx context.Context, o *outcome, y *tally) error {
	for {
		var s *servers.Server
		if err := y.retry(ctx, func(ctx context.Context) (err error) {
			s, err = servers.Get(ctx, c.compute, o.id).Extract()
			return err
		}); err != nil {
			return fmt.Errorf("server %s (%s): %w", o.id, o.name, err)
		}
		if s.Status != "BUILD" {
			o.state, o.ended, o.cause = s.Status, time.Now(), s.Fault.Message
			if s.Status != "ACTIVE" && s.Status != "ERROR" {
				return fmt.Errorf("server %s (%s) is %s", o.id, o.name, s.Status)
			}
			return nil
		}
		select {
		case <-time.After(lookEvery):
		case <-ctx.Done():
			return fmt.Errorf("server %s is still %s/%s: %w", o.id, s.Status, s.TaskState, context.Cause(ctx))
		}
	}
}

// remove deletes a server and waits until it is gone.
func (c *cloud) remove(ctx context.Context, id string, y *tally) error {
	ctx, cancel := within(ctx, deletePatience, "delete "+id)
	defer cancel()
	gone := func(err error) bool { return gophercloud.ResponseCodeIs(err, http.StatusNotFound) }
	err := y.retry(ctx, func(ctx context.Context) error { return servers.Delete(ctx, c.compute, id).ExtractErr() })
	for !gone(err) {
		if err != nil {
			return fmt.Errorf("deleting server %s: %w", id, err)
		}
		var s *servers.Server
		err = y.retry(ctx, func(ctx context.Context) (err error) {
			s, err = servers.Get(ctx, c.compute, id).Extract()
			return err
		})
		if err != nil {
			continue
		}
		select {
		case <-time.After(lookEvery):
		case <-ctx.Done():
			return fmt.Errorf("server %s is still %s/%s: %w", id, s.Status, s.TaskState, context.Cause(ctx))
		}
	}
	return nil
}

// makePort makes a port of the user's own. A request whose answer was lost is not repeated before the client has looked.
func (c *cloud) makePort(ctx context.Context, name string, y *tally) (id string, err error) {
	err = y.retry(ctx, func(ctx context.Context) error {
		pages, err := ports.List(c.network, ports.ListOpts{Name: name}).AllPages(ctx)
		if err != nil {
			return err
		}
		all, err := ports.ExtractPorts(pages)
		if err != nil {
			return err
		}
		if len(all) > 0 {
			id = all[0].ID
			return nil
		}
		p, err := ports.Create(ctx, c.network, ports.CreateOpts{NetworkID: c.netID, Name: name}).Extract()
		if err == nil {
			id = p.ID
		}
		return err
	})
	return id, err
}

func (c *cloud) removePort(ctx context.Context, id string, y *tally) error {
	ctx, cancel := within(ctx, deletePatience, "delete port "+id)
	defer cancel()
	err := y.retry(ctx, func(ctx context.Context) error { return ports.Delete(ctx, c.network, id).ExtractErr() })
	if gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
		return nil
	}
	return err
}
