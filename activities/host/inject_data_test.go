package host

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
)

func TestAHostThatCannotInjectSaysWhyAndWhatToDo(t *testing.T) {
	a := &Activities{o: Options{InstancesDir: t.TempDir(), CannotInject: errors.New("no FUSE here")}, servers: map[string]*turn{}}
	err := a.InjectData(t.Context(), contract.InjectDataInput{ServerID: "83679162-1378-4288-a2d4-70e13ec132aa"})
	require.True(t, fault.Is(err, fault.HostUnfit))
	require.ErrorContains(t, err, "the server needs a config drive: no FUSE here")
}
