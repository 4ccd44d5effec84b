// Package attributes is the search attributes that workflows set, and the phases that one of them names. deploy/temporal makes
// them known to the engine.
package attributes

import (
	"go.temporal.io/sdk/temporal"

	"github.com/slipway-cloud/slipway/internal/contract"
)

// Keys of the search attributes.
var (
	Server      = temporal.NewSearchAttributeKeyKeyword(contract.AttrServer)
	Project     = temporal.NewSearchAttributeKeyKeyword(contract.AttrProject)
	Host        = temporal.NewSearchAttributeKeyKeyword(contract.AttrHost)
	Image       = temporal.NewSearchAttributeKeyKeyword(contract.AttrImage)
	Phase       = temporal.NewSearchAttributeKeyKeyword(contract.AttrPhase)
	Overdue     = temporal.NewSearchAttributeKeyKeyword(contract.AttrOverdue)
	Reservation = temporal.NewSearchAttributeKeyKeyword(contract.AttrReservation)
)

// What Phase says when no step runs.
const (
	PhaseActive  = "active"
	PhaseFailed  = "failed"
	PhaseParked  = "parked" // an undo does not succeed, or waits for a host: an operator may have to look
	PhaseDeleted = "deleted"
	PhaseClean   = "clean"
	PhaseReset   = "reset"   // a server's state was set by an operator
	PhaseStarted = "started" // of a reservation that has nothing left to start

	PhaseImporting = "importing" // of an import while the bytes are on their way
)
