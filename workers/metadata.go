package workers

import (
	"context"
	"net/http"
	"net/netip"
	"net/url"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/metadata"
)

// Metadata asks the API what a guest of this host is told that has an address on a network; NotFound where it has none, and where the
// API is of before there was the question.
func (r *Registration) Metadata(ctx context.Context, network string, address netip.Addr) (told metadata.Instance, err error) {
	status, err := r.ask(ctx, http.MethodGet, metadata.InstancePath+"?"+url.Values{"network": {network}, "address": {address.String()}}.Encode(), nil, &told)
	return told, asked(status, err)
}

// SetPassword brings what the guest behind a port has posted; Conflict where something else is kept.
func (r *Registration) SetPassword(ctx context.Context, portID, password string) error {
	return asked(r.ask(ctx, http.MethodPut, metadata.PortsPath+portID+metadata.PasswordPath, map[string]string{"password": password}, nil))
}

// asked is the fault in which the API has refused, or was not reached.
func asked(status int, err error) error {
	switch {
	case err == nil:
		return nil
	case status == http.StatusNotFound:
		return fault.Wrap(fault.NotFound, err, "the API knows of none")
	case status == http.StatusConflict:
		return fault.Wrap(fault.Conflict, err, "the API refuses it as things are")
	}
	return fault.Wrap(fault.Unavailable, err, "the API does not answer")
}
