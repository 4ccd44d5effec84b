// Package ec2 answers the EC2 API (version 2016-11-15), and the one call of STS that its clients begin with: requests in the query
// protocol, signed with Signature Version 4, and answers in XML. It is one more face of the services: names, codes, states and ids
// are EC2's (docs.aws.amazon.com/AWSEC2/latest/APIReference), and what becomes of a request is what becomes of Nova's.
//
// What cannot be honoured is refused, and never passed over in silence.
package ec2

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/auth"
	"github.com/slipway-cloud/slipway/internal/service/images"
	"github.com/slipway-cloud/slipway/internal/service/networks"
	"github.com/slipway-cloud/slipway/internal/service/servers"
	"github.com/slipway-cloud/slipway/internal/sigv4"
	"github.com/slipway-cloud/slipway/models"
)

// Keys know who signs with access keys: Unauthorized where that is nobody who is let in.
type Keys interface {
	Signer(ctx context.Context, r sigv4.Request, signature sigv4.Signature) (caller auth.Caller, matches bool, err error)
}

// Config of the API.
type Config struct {
	// RequestsPerSecond is how often a project may ask, and RequestBurst how often at once; 0 is no limit.
	RequestsPerSecond float64
	RequestBurst      int
}

// API serves the EC2 endpoint.
type API struct {
	store    *models.Store
	keys     Keys
	servers  *servers.Service
	images   *images.Service
	networks *networks.Service
	importer images.Importer
	actions  map[string]action
	rates    *rates
	now      func() time.Time
}

// New makes the API; Mount puts it under a path.
func New(
	store *models.Store, keys Keys, servers *servers.Service, images *images.Service, networks *networks.Service, importer images.Importer, config Config,
) *API {
	a := &API{
		store: store, keys: keys, servers: servers, images: images, networks: networks, importer: importer, actions: map[string]action{}, rates: newRates(config),
		now: time.Now,
	}
	for _, one := range table() {
		a.actions[one.name] = one
	}
	return a
}

// Path is where the endpoint is; clients may end it with a slash.
const Path = "/ec2"

// Mount adds the route. What a request may answer is by its code (rest.EC2).
func (a *API) Mount(e *echo.Echo) {
	g := e.Group(Path, rest.Fail(rest.EC2))
	expected := rest.Expect(http.StatusBadRequest, http.StatusForbidden, http.StatusPreconditionFailed)
	g.GET("", a.serve, expected)
	g.POST("", a.serve, expected)
}

// asker is who makes a request, and the request's id.
type asker struct {
	rest.Caller
	requestID string
	endpoint  string // where it reached the API
	log       *slog.Logger
}

// asking is the server service for whoever asks.
func (a *API) asking(who asker) servers.Servers {
	return a.servers.For(servers.Caller{Caller: who.Caller.Caller, RequestID: who.requestID})
}
