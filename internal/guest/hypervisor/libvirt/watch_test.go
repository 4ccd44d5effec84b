package libvirt

import (
	"testing"

	golibvirt "github.com/digitalocean/go-libvirt"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

func TestAGuestIsHeardToShutItselfDownUntilItStartsAgain(t *testing.T) {
	var s shutDown
	id := uuid.New()
	hear := func(event golibvirt.DomainEventType, detail golibvirt.DomainEventShutdownDetailType) {
		s.heard(golibvirt.DomainEventLifecycleMsg{Dom: golibvirt.Domain{UUID: golibvirt.UUID(id)}, Event: int32(event), Detail: int32(detail)})
	}
	for what, forgets := range map[string]func(){
		"it started again":               func() { hear(golibvirt.DomainEventStarted, 0) },
		"its QEMU was ended by a signal": func() { hear(golibvirt.DomainEventShutdown, golibvirt.DomainEventShutdownHost) },
		"it is gone":                     func() { hear(golibvirt.DomainEventUndefined, 0) },
		"nobody listened":                s.forget,
		"Slipway turned it off":          func() { s.byUs(id.String()); hear(golibvirt.DomainEventShutdown, golibvirt.DomainEventShutdownGuest) },
	} {
		s.runs(id.String())
		hear(golibvirt.DomainEventShutdown, golibvirt.DomainEventShutdownGuest)
		hear(golibvirt.DomainEventStopped, 0)
		require.True(t, s.byGuest(id.String()), what)
		forgets()
		require.False(t, s.byGuest(id.String()), what)
	}
}
