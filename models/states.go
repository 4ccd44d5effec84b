package models

import (
	"strings"

	"github.com/slipway-cloud/slipway/internal/lifecycle"
)

// What queries say of a server's state. The words are internal/lifecycle's; a query that wrote them itself would go on
// compiling after they changed.
const (
	building = string(lifecycle.Building)
	deleting = lifecycle.Deleting

	isBuilding    = "vm_state = '" + building + "'"
	isActive      = "vm_state = '" + string(lifecycle.Active) + "'"
	isError       = "vm_state = '" + string(lifecycle.Error) + "'"
	isDeleted     = "vm_state = '" + string(lifecycle.Deleted) + "'"
	isResized     = "vm_state = '" + string(lifecycle.Resized) + "'"
	isShelved     = "vm_state = '" + string(lifecycle.Shelved) + "'"
	isOffloaded   = "vm_state = '" + string(lifecycle.ShelvedOffloaded) + "'"
	isSoftDeleted = "vm_state = '" + string(lifecycle.SoftDeleted) + "'"
	isDeleting    = "task_state = '" + deleting + "'"

	// isUnshelved is one that is built anew, from where a host is chosen until its guest runs.
	isUnshelved = "(" + isOffloaded + " AND task_state IN ('" + lifecycle.Unshelving + "', '" + lifecycle.Spawning + "'))"
)

var (
	wasBuilt = isOneOf(lifecycle.WasBuilt())
	stands   = isOneOf(lifecycle.Stands())
)

func isOneOf(states []lifecycle.VMState) string {
	return "vm_state IN ('" + strings.Join(statesOf(states), "', '") + "')"
}
