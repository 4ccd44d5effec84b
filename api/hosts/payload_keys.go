package hosts

import (
	"context"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/hostapi"
)

// payloadKeys gives a host the keys of what is sealed for it, and of nothing else.
func (a *API) payloadKeys(c echo.Context) error {
	own, err := a.config.Keys.OfHost(hostOf(c).Hostname)
	if err != nil {
		return err
	}
	answer := hostapi.PayloadKeys{Keys: []hostapi.PayloadKey{}}
	for _, k := range own {
		answer.Keys = append(answer.Keys, hostapi.PayloadKey(k))
	}
	c.Response().Header().Set(echo.HeaderCacheControl, "no-store")
	return c.JSON(http.StatusOK, answer)
}

// nameIsClean refuses the name of a host that was given up while what is sealed for a host of that name is sealed with keys that
// it had.
func (a *API) nameIsClean(ctx context.Context, hostname string) error {
	last, err := a.store.ForgottenHost(ctx, hostname)
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	if err == nil && last.PayloadKey == a.config.Keys.First() {
		err = fault.New(fault.Conflict, "A host %[1]s was given up (%[2]s), and has keys that open what is sealed for a new host %[1]s. "+
			"Choose another name, or rotate the payload keys first: slipway keys add.", hostname, last.Reason)
	}
	return err
}
