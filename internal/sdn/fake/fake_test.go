package fake

import (
	"testing"

	"github.com/slipway-cloud/slipway/internal/sdn"
	"github.com/slipway-cloud/slipway/internal/sdn/sdntest"
)

func TestItIsAnEngine(t *testing.T) {
	n := New()
	sdntest.Engine(t, func(*testing.T) sdn.Engine { return n.Open() })
}
