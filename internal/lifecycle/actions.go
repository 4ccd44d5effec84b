package lifecycle

import (
	"cmp"
	"slices"
)

// Kind is how an action is done.
type Kind string

// Kinds of actions.
const (
	// Holds the server's lock: a workflow under the server's own id, which ends what it began or gives it back.
	Holds Kind = "workflow"
	// Writes is a compare-and-set of the server's row, whatever else is done to it.
	Writes Kind = "write"
	// Ends whatever holds the lock, which gives back what it took, and goes on from there.
	Ends Kind = "end"
	// Beside asks the guest's host for something, beside whatever holds the lock.
	Beside Kind = "beside"
)

// Action is one thing that can be done to a server. The API's dispatch and its 409s, the store's compare-and-set, the
// instance action, docs/server-actions.md and the tests of policy and faults derive from its row. What one that holds the lock
// does is a table of steps of its own, in workflows/actions.
type Action struct {
	Name   string    // of the row, and in the body of POST /servers/{id}/action
	Word   string    // in the body, where several rows share it: the arguments say which is meant
	Method string    // Nova's name for it, in texts and as the instance action
	Event  string    // Nova's name for it in notifications (nova/objects/fields.py, NotificationAction); "" is Method
	Kind   Kind      // how it is done; "" is Holds
	Since  int       // the minor microversion that brought it; 1 is always
	Until  int       // the last that has it; 0 is any
	Policy string    // the rule that decides who may
	Admin  bool      // the rule asks for an admin, and else for a member of the project
	From   []VMState // that it may begin in; a server on which something is done is in none of them
	Task   string    // task_state while it runs
	Then   []Phase   // that follow that, where what is done has several
	To     VMState   // that it ends in; "" is the one that it began in
	Power  int       // power_state that it ends in; AsItWas where it changes none
	Locked bool      // may be done to a server that its owner has locked, by whoever may otherwise
	NoHost bool      // begins on a server that has no host
	Does   string    // for the documents

	Workflow string // the type of the workflow that does it
	Awaited  bool   // its answer tells how it ended, as where Nova calls a host instead of sending it word
}

// Phase is a part of an action that users can tell from what was before.
type Phase struct {
	Task  string  // task_state
	Event string  // Nova's name for it in notifications; "" is that of the phase before
	State VMState // that the server is in from there on; "" is that of before
}

// Rules that several rows have.
const (
	RemoteConsoles = "os_compute_api:os-remote-consoles" // who may open a console
	Unshelve       = "os_compute_api:os-shelve:unshelve" // who may end what a shelve began
	// UnshelveToHost is who may say on which host.
	UnshelveToHost = "os_compute_api:os-shelve:unshelve_to_host"
)

// Actions is the table.
var Actions = []Action{
	{
		Name: "os-stop", Method: "stop", Event: "power_off", Since: 1, Policy: "os_compute_api:servers:stop",
		From: []VMState{Active, Error}, Task: PoweringOff, To: Stopped, Power: Shutdown,
		Workflow: "StopServer",
		Does:     "asks the guest to shut down by ACPI, and turns it off if it has not within the image's os_shutdown_timeout (60 s)",
	},
	{
		Name: "os-start", Method: "start", Event: "power_on", Since: 1, Policy: "os_compute_api:servers:start",
		From: []VMState{Stopped}, Task: PoweringOn, To: Active, Power: Running,
		Workflow: "StartServer",
		Does:     "starts the guest on the host where its disks are",
	},
	{
		Name: "changePassword", Method: "changePassword", Event: Untold, Since: 1, Policy: "os_compute_api:os-admin-password",
		From: []VMState{Active}, Task: UpdatingPassword, Power: AsItWas,
		Workflow: "ChangePassword", Awaited: true,
		Does: "has the guest's agent set the password of root, or of the image's os_admin_user; answered when that is done",
	},
	{
		Name: "trigger_crash_dump", Method: "trigger_crash_dump", Kind: Beside, Since: 17, Policy: "os_compute_api:servers:trigger_crash_dump",
		From: []VMState{Active, Paused, Rescued, Error}, Power: AsItWas,
		Does: "interrupts the guest by an NMI: one that is set up for it dumps its memory and crashes",
	},
	{
		Name: "reboot-soft", Word: "reboot", Method: "reboot", Since: 1, Policy: "os_compute_api:servers:reboot",
		From: []VMState{Active}, Task: Rebooting, To: Active, Power: Running,
		Workflow: "SoftRebootServer",
		Does:     "`{\"type\": \"SOFT\"}`: asks the guest to shut down by ACPI, turns it off if it has not within the image's os_shutdown_timeout (60 s), and starts it again",
	},
	{
		Name: "reboot-hard", Word: "reboot", Method: "reboot", Since: 1, Policy: "os_compute_api:servers:reboot",
		From: []VMState{Active, Stopped, Paused, Suspended, Error}, Task: RebootingHard, To: Active, Power: Running,
		Workflow: "HardRebootServer",
		Does:     "`{\"type\": \"HARD\"}`: turns the guest off, makes its domain anew from what the build kept beside it, and starts it; memory that was paused or suspended is lost",
	},
	{
		Name: "pause", Method: "pause", Since: 1, Policy: "os_compute_api:os-pause-server:pause",
		From: []VMState{Active}, Task: Pausing, To: Paused, Power: PausedGuest,
		Workflow: "PauseServer",
		Does:     "stops the guest's processors; its memory stays in the host's",
	},
	{
		Name: "unpause", Method: "unpause", Since: 1, Policy: "os_compute_api:os-pause-server:unpause",
		From: []VMState{Paused}, Task: Unpausing, To: Active, Power: Running,
		Workflow: "UnpauseServer",
		Does:     "lets them go on",
	},
	{
		Name: "suspend", Method: "suspend", Since: 1, Policy: "os_compute_api:os-suspend-server:suspend",
		From: []VMState{Active}, Task: Suspending, To: Suspended, Power: Shutdown,
		Workflow: "SuspendServer",
		Does:     "writes the guest's memory to its host's disk, where it outlives a restart of the host, and ends it",
	},
	{
		Name: "resume", Method: "resume", Since: 1, Policy: "os_compute_api:os-suspend-server:resume",
		From: []VMState{Suspended}, Task: Resuming, To: Active, Power: Running,
		Workflow: "ResumeServer",
		Does:     "starts the guest from there",
	},
	{
		Name: "rebuild", Method: "rebuild", Since: 1, Policy: "os_compute_api:servers:rebuild",
		From: []VMState{Active, Stopped, Error}, Task: Rebuilding, Power: AsItWas,
		Workflow: "RebuildServer",
		Does: "makes the server anew of an image, with its id, its addresses and its host; one in error becomes active. " +
			"The old guest's disks stay until the new one runs, and it is the old one again where that fails",
	},
	{
		Name: "rescue", Method: "rescue", Since: 1, Policy: "os_compute_api:os-rescue",
		From: []VMState{Active, Stopped, Error}, Task: Rescuing, To: Rescued, Power: Running,
		Workflow: "RescueServer",
		Does:     "boots the server of a disk of another image, or of its own anew, with its root disk as the second one",
	},
	{
		Name: "unrescue", Method: "unrescue", Since: 1, Policy: "os_compute_api:os-rescue",
		From: []VMState{Rescued}, Task: Unrescuing, To: Active, Power: Running,
		Workflow: "UnrescueServer",
		Does:     "boots the server of its own disk again, and removes the other",
	},
	{
		Name: "createImage", Method: "createImage", Event: Snapshot, Since: 1, Policy: "os_compute_api:servers:create_image",
		From: InUse(), Task: ImageSnapshot, Power: AsItWas, Locked: true,
		Workflow: "CreateImage",
		Does: "makes an image of the root disk as it is at one moment, while the guest goes on: quiesced by its agent where the image of the build " +
			"has hw_qemu_guest_agent. The lock of a server does not keep anybody from it, as in Nova. EC2's CreateImage has the guest shut down for it, " +
			"and started again, where it does not say NoReboot",
	},
	{
		Name: "createBackup", Method: "createBackup", Event: Snapshot, Since: 1, Policy: "os_compute_api:os-create-backup",
		From: InUse(), Task: ImageBackup, Power: AsItWas, Locked: true,
		Workflow: "CreateBackup",
		Does:     "makes such an image and then deletes the server's oldest of the same backup_type, until there are no more than rotation says",
	},
	{
		Name: "resize", Method: "resize", Event: "resize_prep", Since: 1, Policy: "os_compute_api:servers:resize",
		From: []VMState{Active, Stopped}, Task: ResizePrep, To: Resized, Power: AsItWas,
		Then:     []Phase{{Task: ResizeMigrating, Event: "resize"}, {Task: ResizeFinish, Event: "resize_finish"}},
		Workflow: "ResizeServer",
		Does: "shuts the guest down and makes it anew by another flavor, of copies of its disks, which grow: on its host, or where that has not " +
			"the room (or `build.allow_resize_to_same_host` is off) on another. The old guest and its room stay until that is confirmed or reverted",
	},
	{
		Name: "confirmResize", Method: "confirmResize", Event: "resize_confirm", Since: 1, Policy: "os_compute_api:servers:confirm_resize",
		From: []VMState{Resized}, Task: ResizeConfirming, To: Active, Power: AsItWas,
		Workflow: "ConfirmResize",
		Does:     "removes the old guest and gives its room back, on another host as soon as that is there; a server whose guest is off becomes stopped",
	},
	{
		Name: "revertResize", Method: "revertResize", Event: "resize_revert", Since: 1, Policy: "os_compute_api:servers:revert_resize",
		From: []VMState{Resized}, Task: ResizeReverting, To: Active, Power: AsItWas,
		Workflow: "RevertResize",
		Does:     "makes the server the old guest's again, as it was shut down, and removes the new one; one that was stopped stays so",
	},
	{
		Name: "shelve", Method: "shelve", Since: 1, Policy: "os_compute_api:os-shelve:shelve",
		From: InUse(), Task: Shelving, To: Shelved, Power: Shutdown,
		Then:     []Phase{{Task: ShelvingImagePending}, {Task: ShelvingImageUploading}},
		Workflow: "ShelveServer",
		Does: "shuts the guest down and makes an image of its root disk, named after the server. The guest stays on its host, off, for " +
			"build.shelved_offload_time",
	},
	{
		Name: "shelveOffload", Method: "shelveOffload", Event: "shelve_offload", Since: 1, Policy: "os_compute_api:os-shelve:shelve_offload", Admin: true,
		From: []VMState{Shelved}, Task: ShelvingOffloading, To: ShelvedOffloaded, Power: Shutdown,
		Workflow: "ShelveOffloadServer",
		Does: "removes the guest of a shelved server, with its disks, and gives its room on the host back. Quota, ports and addresses stay the server's; " +
			"what its ephemeral and swap disks held is lost, as in Nova",
	},
	{
		Name: "shelve-at-once", Word: "shelve", Method: "shelve", Since: 1, Policy: "os_compute_api:os-shelve:shelve",
		From: InUse(), Task: Shelving, To: ShelvedOffloaded, Power: Shutdown,
		Then: []Phase{
			{Task: ShelvingImagePending}, {Task: ShelvingImageUploading}, {Task: ShelvingOffloading, Event: "shelve_offload", State: Shelved},
		},
		Workflow: "ShelveServerAtOnce",
		Does:     "both in one, where build.shelved_offload_time is 0, which is the default",
	},
	{
		Name: "unshelve", Method: "unshelve", Since: 1, Policy: Unshelve,
		From: []VMState{Shelved}, Task: Unshelving, To: Active, Power: Running,
		Workflow: "UnshelveServer",
		Does:     "starts the guest of a shelved server where it is, and deletes the image that was made of it",
	},
	{
		Name: "unshelve-offloaded", Word: "unshelve", Method: "unshelve", Since: 1, Policy: Unshelve, NoHost: true,
		From: []VMState{ShelvedOffloaded}, Task: Unshelving, To: Active, Power: Running,
		Then:     []Phase{{Task: Spawning}},
		Workflow: "UnshelveOffloadedServer",
		Does: "builds the guest of a server that has left its host anew, of the image that was made of it, on a host that the scheduler chooses: since 2.77 in an " +
			"`availability_zone`, since 2.91 on a `host` that an admin names. Its id, ports, addresses and password are what they were",
	},
	{
		Name: "migrate", Method: "migrate", Event: "resize_prep", Since: 1, Policy: "os_compute_api:os-migrate-server:migrate", Admin: true,
		From: []VMState{Active, Stopped}, Task: ResizePrep, To: Resized, Power: AsItWas,
		Then:     []Phase{{Task: ResizeMigrating, Event: "resize"}, {Task: ResizeFinish, Event: "resize_finish"}},
		Workflow: "MigrateServer",
		Does: "shuts the guest down and makes it anew on another host, of its disks, which travel there; since 2.56 on the one that is named. " +
			"The old guest and its room stay until that is confirmed or reverted, as those of a resize",
	},
	{
		Name: "os-getConsoleOutput", Method: "get_console_output", Kind: Beside, Since: 1, Policy: "os_compute_api:os-console-output",
		Power: AsItWas, Locked: true,
		Does: "answers the end of what the serial console printed",
	},
	{
		Name: "os-getVNCConsole", Method: "get_vnc_console", Kind: Beside, Since: 1, Until: 5, Policy: RemoteConsoles,
		Power: AsItWas, Locked: true,
		Does: "answers the address of the screen's console, for a browser; later microversions have `POST …/remote-consoles`",
	},
	{
		Name: "os-getSerialConsole", Method: "get_serial_console", Kind: Beside, Since: 1, Until: 5, Policy: RemoteConsoles,
		Power: AsItWas, Locked: true,
		Does: "answers the address of the serial console, for a websocket; later microversions have `POST …/remote-consoles`",
	},
	{
		Name: "lock", Method: "lock", Kind: Writes, Since: 1, Policy: "os_compute_api:os-lock-server:lock",
		Power: AsItWas, Locked: true,
		Does: "keeps all but admins from changing and deleting the server; since 2.73 with a reason",
	},
	{
		Name: "unlock", Method: "unlock", Kind: Writes, Since: 1, Policy: "os_compute_api:os-lock-server:unlock",
		Power: AsItWas, Locked: true,
		Does: "takes that back; what an admin of another project has locked, admins alone",
	},
	{
		Name: "addSecurityGroup", Method: "addSecurityGroup", Event: Untold, Kind: Writes, Since: 1, Policy: "os_compute_api:os-security-groups:add",
		Power: AsItWas, Locked: true,
		Does: "puts all ports of the server into a security group, by name or id",
	},
	{
		Name: "removeSecurityGroup", Method: "removeSecurityGroup", Event: Untold, Kind: Writes, Since: 1, Policy: "os_compute_api:os-security-groups:remove",
		Power: AsItWas, Locked: true,
		Does: "takes them out of it",
	},
	{
		Name: "os-resetState", Method: "resetState", Kind: Ends, Since: 1, Policy: "os_compute_api:os-admin-actions:reset_state", Admin: true,
		Power: AsItWas, Locked: true,
		Does: "ends what is being done to the server, a delete excepted, and makes it `active` or `error`, as the body says",
	},
	{
		Name: "forceDelete", Method: "force_delete", Kind: Ends, Since: 1, Policy: "os_compute_api:os-deferred-delete:force",
		To: Deleted, Power: NoState,
		Does: "deletes the server at once, whatever it is and whatever is being done to it, also where deletes are deferred",
	},
	{
		Name: "restore", Method: "restore", Since: 1, Policy: "os_compute_api:os-deferred-delete:restore",
		From: []VMState{SoftDeleted}, Task: Restoring, To: Active, Power: Running,
		Workflow: "StartServer",
		Does:     "takes a delete that was deferred back, and starts the guest",
	},
}

// ResumeGuest is what a host asks for after its machine was started anew, and no user: the server is active, and its guest is off.
var ResumeGuest = Action{
	Name: "resume-guest", Method: "start", Event: "power_on", From: []VMState{Active, Rescued, Resized}, Task: PoweringOn, Power: Running, Workflow: "StartServer",
	Locked: true,
	Does:   "starts the guest of a server that should run, after its host was away",
}

// SoftDeletes are what a delete does where deletes are deferred (build.reclaim_interval): the one that the server's state allows.
var SoftDeletes = []Action{
	{
		Name: "soft-delete", Method: "delete", Event: "soft_delete", From: append(InUse(), Error), Task: SoftDeleting, To: SoftDeleted, Power: Shutdown,
		Workflow: "SoftDeleteServer",
		Does:     "shuts the guest down, and leaves the server to be restored or reclaimed",
	},
	{
		Name: "soft-delete-rescued", Method: "delete", Event: "soft_delete", From: []VMState{Rescued}, Task: SoftDeleting, To: SoftDeleted, Power: Shutdown,
		Workflow: "SoftDeleteRescuedServer",
		Does:     "shuts the guest that rescues down and ends the rescue: what is restored, as in Nova, is the server's own guest",
	},
	{
		Name: "soft-delete-resized", Method: "delete", Event: "soft_delete", From: []VMState{Resized}, Task: SoftDeleting, To: SoftDeleted, Power: Shutdown,
		Workflow: "SoftDeleteResizedServer",
		Does:     "shuts the guest down and, as in Nova, confirms the resize: what is restored is what the server was resized to",
	},
	{
		Name: "soft-delete-shelved", Method: "delete", Event: "soft_delete", From: []VMState{Shelved}, Task: SoftDeleting, To: SoftDeleted, Power: Shutdown,
		Workflow: "SoftDeleteShelvedServer",
		Does:     "leaves the guest, which is off, to be restored, and deletes the image that was made of it, as Nova does",
	},
}

// SoftDelete is that of a server in a state; for a state that allows none, one that is refused.
func SoftDelete(state VMState) Action {
	for _, a := range SoftDeletes {
		if a.Allows(state) {
			return a
		}
	}
	return SoftDeletes[0]
}

// Find is the action of a name, whoever may ask for it.
func Find(name string) (Action, bool) {
	for _, a := range slices.Concat([]Action{ResumeGuest}, SoftDeletes, Actions) {
		if a.Name == name {
			return a, true
		}
	}
	return Action{}, false
}

// OfUsers are the actions that users mean by a word, with a minor microversion; several where its arguments say which.
func OfUsers(word string, minor int) []Action {
	var all []Action
	for _, a := range Actions {
		if a.Says() == word && a.Since <= minor && (a.Until == 0 || minor <= a.Until) {
			all = append(all, a)
		}
	}
	return all
}

// Known says whether a word means an action with any microversion.
func Known(word string) bool {
	return slices.ContainsFunc(Actions, func(a Action) bool { return a.Says() == word })
}

// Says is the action's word in a body.
func (a Action) Says() string {
	return cmp.Or(a.Word, a.Name)
}

// GuestStopped is told of a guest that went down by itself.
const GuestStopped = "power_off"

// Snapshot is told of an image that is made of a server.
const Snapshot = "snapshot"

// Untold is the event of an action of which Nova notifies nobody.
const Untold = "-"

// Told is the action's name in notifications.
func (a Action) Told() string { return cmp.Or(a.Event, a.Method) }

// ToldIn is its name in the n-th of its phases; the first is 0.
func (a Action) ToldIn(n int) string {
	event := a.Told()
	for _, p := range a.Then[:n] {
		event = cmp.Or(p.Event, event)
	}
	return event
}

// ToldLast is the name of its end.
func (a Action) ToldLast() string { return a.ToldIn(len(a.Then)) }

// ToldFailed is the name of its failure: Nova has one, whatever part of it failed.
func (a Action) ToldFailed() string {
	if len(a.Then) > 0 {
		return a.Method
	}
	return a.Told()
}

// Tasks are the task_states while it runs.
func (a Action) Tasks() []string {
	all := []string{a.Task}
	for _, p := range a.Then {
		all = append(all, p.Task)
	}
	return all
}

// How the action is done.
func (a Action) How() Kind { return cmp.Or(a.Kind, Holds) }

// Holding are the actions that hold the server's lock.
func Holding() []Action {
	var all []Action
	for _, a := range Actions {
		if a.How() == Holds {
			all = append(all, a)
		}
	}
	return all
}

// Tabled are all that the API begins and that have a table of steps: those that hold the server's lock, and deferred deletes.
func Tabled() []Action { return append(Holding(), SoftDeletes...) }
