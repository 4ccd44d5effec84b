// Package lifecycle is what states a server can be in, and the table of what can be done to one. It decides and does nothing:
// the store compares and sets by it, the API refuses by it, the documents are written from it.
package lifecycle

import "slices"

// VMState is what a server is, whatever is being done to it (Nova's vm_state, nova/compute/vm_states.py).
type VMState string

// States of a server.
const (
	Building    VMState = "building"
	Active      VMState = "active"
	Paused      VMState = "paused"
	Suspended   VMState = "suspended"
	Stopped     VMState = "stopped"
	Rescued     VMState = "rescued"     // another guest runs, from a disk of its own, with the server's beside it
	Resized     VMState = "resized"     // made anew by another flavor, with the old guest kept until that is confirmed or reverted
	Shelved     VMState = "shelved"     // off, with an image made of its disk, of which it can be built anew
	SoftDeleted VMState = "soft-delete" // stopped, until it is restored or reclaimed
	Error       VMState = "error"
	Deleted     VMState = "deleted"

	// ShelvedOffloaded has no guest and no host: it is built anew, on any, of the image that was made of it.
	ShelvedOffloaded VMState = "shelved_offloaded"
)

// Task states: what is being done (nova/compute/task_states.py). A build's others are its phases.
const (
	Scheduling    = "scheduling"
	Deleting      = "deleting"
	PoweringOff   = "powering-off"
	PoweringOn    = "powering-on"
	Rebooting     = "rebooting"
	RebootingHard = "rebooting_hard"
	Pausing       = "pausing"
	Unpausing     = "unpausing"
	Suspending    = "suspending"
	Resuming      = "resuming"
	Rebuilding    = "rebuilding"
	SoftDeleting  = "soft-deleting"
	Restoring     = "restoring"
	Rescuing      = "rescuing"
	Unrescuing    = "unrescuing"
	ImageSnapshot = "image_snapshot"
	ImageBackup   = "image_backup"

	ResizePrep       = "resize_prep"
	ResizeMigrating  = "resize_migrating"
	ResizeFinish     = "resize_finish"
	ResizeConfirming = "resize_confirming"
	ResizeReverting  = "resize_reverting"

	UpdatingPassword = "updating_password"

	Shelving               = "shelving"
	ShelvingImagePending   = "shelving_image_pending_upload"
	ShelvingImageUploading = "shelving_image_uploading"
	ShelvingOffloading     = "shelving_offloading"
	Unshelving             = "unshelving"
	Spawning               = "spawning"
)

// Power states: what the hypervisor says (nova/compute/power_state.py).
const (
	NoState     = 0
	Running     = 1
	PausedGuest = 3
	Shutdown    = 4
	Crashed     = 6

	// AsItWas is no power state: that of before.
	AsItWas = -1
)

// PowerNames are the power states in Nova's words (nova/objects/fields.py, InstancePowerState).
var PowerNames = map[int]string{NoState: "pending", Running: "running", PausedGuest: "paused", Shutdown: "shutdown", Crashed: "crashed"}

// status is what users see of each state while none of its tasks says otherwise (nova/api/openstack/common.py, _STATE_MAP).
var status = []struct {
	state  VMState
	status string
}{
	{Building, "BUILD"}, {Active, "ACTIVE"}, {Paused, "PAUSED"}, {Suspended, "SUSPENDED"}, {Stopped, "SHUTOFF"}, {Rescued, "RESCUE"},
	{Resized, "VERIFY_RESIZE"}, {Shelved, "SHELVED"}, {ShelvedOffloaded, "SHELVED_OFFLOADED"}, {SoftDeleted, "SOFT_DELETED"},
	{Error, "ERROR"}, {Deleted, "DELETED"},
}

// underway is what users see instead while a task is done to a server in one of the states.
var underway = []struct {
	task   string
	status string
	in     []VMState
}{
	{Rebooting, "REBOOT", []VMState{Active}},
	{RebootingHard, "HARD_REBOOT", []VMState{Active}},
	{Rebuilding, "REBUILD", []VMState{Active, Stopped, Error}},
	{ResizePrep, "RESIZE", []VMState{Active, Stopped}},
	{ResizeMigrating, "RESIZE", []VMState{Active, Stopped}},
	{ResizeFinish, "RESIZE", []VMState{Active, Stopped}},
	{ResizeReverting, "REVERT_RESIZE", []VMState{Resized}},
}

// Status is Nova's status of a state and a task; "UNKNOWN" for a state that it does not know.
func Status(state VMState, task string) string {
	for _, u := range underway {
		if u.task == task && slices.Contains(u.in, state) {
			return u.status
		}
	}
	for _, s := range status {
		if s.state == state {
			return s.status
		}
	}
	return "UNKNOWN"
}

// OfStatus are the states that show as a status, and the tasks with which they do; none for one that no server has, and no
// tasks for one that is shown with any other.
func OfStatus(text string) (states []VMState, tasks []string) {
	for _, s := range status {
		if s.status == text {
			return []VMState{s.state}, nil
		}
	}
	for _, u := range underway {
		if u.status == text {
			states, tasks = append(states, u.in...), append(tasks, u.task)
		}
	}
	return states, tasks
}

// States are all of them.
func States() []VMState {
	var all []VMState
	for _, s := range status {
		all = append(all, s.state)
	}
	return all
}

// Transition is a way from one state to another that is no action of a user.
type Transition struct {
	By   string // for the documents
	From []VMState
	To   VMState
}

// The transitions, besides those of Actions. A server begins as Building, or, where it is adopted, as its guest is Found.
var (
	Built    = Transition{"a build that succeeds", []VMState{Building}, Active}
	Failed   = Transition{"a build that fails, and whatever loses the guest", append(WasBuilt(), Building), Error}
	WentDown = Transition{"a guest that shuts itself down, or crashes", []VMState{Active, Paused}, Stopped}
	Removed  = Transition{"a delete", append(Stands(), Building, Error), Deleted}
	HostLost = Transition{"a host that is given up", []VMState{Shelved}, ShelvedOffloaded}

	Reset       = Transition{"os-resetState", append(Stands(), Building, Error), Error}
	ResetActive = Transition{"os-resetState", append(WasBuilt(), Error), Active}
)

// Transitions are all ways between states, those of actions too.
func Transitions() []Transition {
	all := []Transition{
		Built, Failed, WentDown, Removed, HostLost, Reset, ResetActive,
	}
	for _, a := range SoftDeletes {
		all = append(all, Transition{"a delete, where deletes are deferred", a.From, a.To})
	}
	for _, a := range Actions {
		if a.To != "" {
			all = append(all, Transition{a.Name, a.From, a.To})
		}
	}
	return all
}

// Found is the state of a server whose guest has a power state, and of which nothing else is known.
func Found(power int) VMState {
	switch power {
	case Running:
		return Active
	case PausedGuest:
		return Paused
	}
	return Stopped
}

// WasBuilt are the states of a server that has a guest, whether it runs or not.
func WasBuilt() []VMState { return append(InUse(), Rescued, Resized, Shelved, SoftDeleted) }

// Stands are those of a server that was built and is its user's: one of them has no guest until it is unshelved.
func Stands() []VMState { return append(WasBuilt(), ShelvedOffloaded) }

// InUse are those of them that are their user's as they were built.
func InUse() []VMState { return []VMState{Active, Paused, Suspended, Stopped} }

// Allows says whether the action may begin in a state.
func (a Action) Allows(state VMState) bool { return slices.Contains(a.From, state) }

// Copying are the task states in which a server keeps its host's disks busy, by and large Nova's (nova/compute/stats.py, io_workload).
var Copying = []string{
	Scheduling, "networking", Spawning, Rebuilding, ResizePrep, ResizeMigrating, ResizeFinish, ImageSnapshot, ImageBackup, Rescuing,
	ShelvingImagePending, ShelvingImageUploading, Unshelving,
}
