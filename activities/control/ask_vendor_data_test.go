package control

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/models"
)

func TestVendorDataIsKeptSealedAndNotAskedForAgain(t *testing.T) {
	ctx, store := newStore(t)
	_, err := store.EnsureUser(ctx, models.User{ID: "u1", Name: "u1", DomainID: "default", PasswordHash: "x", Enabled: true})
	require.NoError(t, err)
	image, err := store.CreateImage(ctx, models.Image{ID: uuid.NewString(), OwnerID: "p1", Visibility: "public"}, nil)
	require.NoError(t, err)
	a := New(Options{Store: store, Keys: testenv.PayloadKeys(t), Logger: slog.New(slog.DiscardHandler)})

	in := contract.AskVendorDataInput{ServerID: uuid.NewString()}
	in.ConnectTimeout, in.ReadTimeout = 5*time.Second, 10*time.Second
	require.NoError(t, asStep(t, func(ctx context.Context) error {
		return a.RecordServer(ctx, contract.RecordServerInput{
			Server: contract.Server{ServerID: in.ServerID, ProjectID: "p1", UserID: "u1", RequestID: "req-1", Name: "web", Hostname: "web", ImageID: image.ID},
			Phase:  contract.PhaseScheduling, StartedAt: time.Now(), Spec: &contract.ServerSpec{AdminPass: "x"},
		})
	}))
	spec := func() contract.ServerSpec {
		kept, err := store.ServerSpecs(ctx, in.ServerID)
		require.NoError(t, err)
		spec, err := a.openSpec(kept[in.ServerID])
		require.NoError(t, err)
		return spec
	}

	asked := 0
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		_, _ = io.WriteString(w, `{"otp":"1"}`)
	}))
	defer service.Close()
	in.Targets = []contract.VendorTarget{{Name: "join", URL: service.URL}, {Name: "away", URL: "http://127.0.0.1:1/"}}
	in.FailureFatal = true
	_, err = a.AskVendorData(ctx, in)
	require.True(t, fault.Is(err, fault.Internal), "%v", err)
	require.Equal(t, "No vendor data could be had from away, without which servers are not built here (build.vendordata_dynamic_failure_fatal). Try again later.", fault.Public(err))
	require.Nil(t, spec().DynamicVendorData, "the whole is asked for again")

	in.FailureFatal = false
	want := contract.DynamicVendorData{"join": json.RawMessage(`{"otp":"1"}`), "away": json.RawMessage(`{}`)}
	answers, err := a.AskVendorData(ctx, in)
	require.NoError(t, err)
	require.Equal(t, want, answers)
	require.Equal(t, contract.ServerSpec{AdminPass: "x", DynamicVendorData: want}, spec())
	before := asked
	answers, err = a.AskVendorData(ctx, in)
	require.NoError(t, err)
	require.Equal(t, want, answers)
	require.Equal(t, before, asked)

	in.ServerID = uuid.NewString()
	answers, err = a.AskVendorData(ctx, in)
	require.NoError(t, err, "one that is gone: its build hears of it at the next step")
	require.Equal(t, want, answers)
}
