package lifecycle

// Action is one thing that can be done to a server. The API's dispatch and its 409s, the store's compare-and-set, the
// instance action, docs/server-actions.md and the tests of policy and faults derive from its row. What it does is a table of
// steps of its own, in workflows/actions.
type Action struct {
	Name   string    // in the body of POST /servers/{id}/action
	Method string    // Nova's name for it, in texts and as the instance action
	Since  int       // the minor microversion that brought it; 1 is always
	Policy string    // the rule that decides who may
	From   []VMState // that it may begin in; a server on which something is done is in none of them
	Task   string    // task_state while it runs
	To     VMState   // that it ends in
	Power  int       // power_state that it ends in
	Does   string    // for the documents

	Workflow string // the type of the workflow that does it
}

// Actions hold the server's lock: each is a workflow under the server's own id, and ends what it began or gives it back.
var Actions = []Action{
	{
		Name: "os-stop", Method: "stop", Since: 1, Policy: "os_compute_api:servers:stop",
		From: []VMState{Active, Error}, Task: PoweringOff, To: Stopped, Power: Shutdown,
		Workflow: "StopServer",
		Does:     "asks the guest to shut down by ACPI, and turns it off if it has not within the image's os_shutdown_timeout (60 s)",
	},
	{
		Name: "os-start", Method: "start", Since: 1, Policy: "os_compute_api:servers:start",
		From: []VMState{Stopped}, Task: PoweringOn, To: Active, Power: Running,
		Workflow: "StartServer",
		Does:     "starts the guest on the host where its disks are",
	},
}

// ResumeGuest is what a host asks for after its machine was started anew, and no user: the server is active, and its guest is off.
var ResumeGuest = Action{
	Name: "resume-guest", Method: "start", From: []VMState{Active}, Task: PoweringOn, To: Active, Power: Running, Workflow: "StartServer",
	Does: "starts the guest of a server that should run, after its host was away",
}

// Find is the action of a name, whoever may ask for it.
func Find(name string) (Action, bool) {
	for _, a := range append([]Action{ResumeGuest}, Actions...) {
		if a.Name == name {
			return a, true
		}
	}
	return Action{}, false
}

// OfUsers is the action that users may ask for by a name, with a minor microversion.
func OfUsers(name string, minor int) (Action, bool) {
	for _, a := range Actions {
		if a.Name == name && a.Since <= minor {
			return a, true
		}
	}
	return Action{}, false
}
