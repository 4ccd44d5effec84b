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
	isSoftDeleted = "vm_state = '" + string(lifecycle.SoftDeleted) + "'"
	isDeleting    = "task_state = '" + deleting + "'"
)

var wasBuilt = "vm_state IN ('" + strings.Join(statesOf(lifecycle.WasBuilt()), "', '") + "')"
