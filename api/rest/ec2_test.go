package rest

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/labstack/echo/v4"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ids"
)

func TestEveryFaultHasACodeOfEC2s(t *testing.T) {
	for _, kind := range fault.Kinds() {
		err := fault.New(kind, "what happened")
		code := ec2CodeOf(err)
		require.NotEmpty(t, code, kind)
		if kind == fault.Internal {
			require.Empty(t, ec2Text(err), "what is inside stays there")
			continue
		}
		require.Equal(t, "what happened", ec2Text(err))
		own := fault.Wrap(kind, ids.EC2Code("OfItsOwn"), "what happened")
		require.Equal(t, ids.EC2Code("OfItsOwn"), ec2CodeOf(own))
		require.Equal(t, http.StatusBadRequest, ec2Status(own))
	}
	for _, c := range []struct {
		err    error
		code   ids.EC2Code
		status int
	}{
		{Status(http.StatusTooManyRequests, "too often"), "RequestLimitExceeded", http.StatusServiceUnavailable},
		{Status(http.StatusMethodNotAllowed, "not so"), "InvalidAction", http.StatusBadRequest},
		{echo.ErrNotFound, "InvalidAction", http.StatusBadRequest},
		{fault.New(fault.Unauthorized, "who"), "AuthFailure", http.StatusUnauthorized},
		{fault.New(fault.Forbidden, "no"), "UnauthorizedOperation", http.StatusForbidden},
		{fault.New(fault.Unavailable, "not now"), "Unavailable", http.StatusServiceUnavailable},
		{fault.New(fault.NoValidHost, "nowhere"), "InsufficientInstanceCapacity", http.StatusInternalServerError},
		{context.DeadlineExceeded, "Unavailable", http.StatusServiceUnavailable},
		{errors.New("a bug"), "InternalError", http.StatusInternalServerError},
		{&unexpected{fault.New(fault.NotFound, "undeclared")}, "InternalError", http.StatusInternalServerError},
		{fault.Wrap(fault.Internal, ids.EC2Code("Secret"), "a bug"), "InternalError", http.StatusInternalServerError},
	} {
		require.Equal(t, c.code, ec2CodeOf(c.err), "%v", c.err)
		require.Equal(t, c.status, ec2Status(c.err), "%v", c.err)
	}
}
