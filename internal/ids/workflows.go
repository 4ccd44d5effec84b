package ids

import (
	"strconv"
	"strings"
)

const serverWorkflow = "server/"

// ServerWorkflow is the id under which everything that changes a server's lifecycle runs. It is the server's lock: two such
// workflows never run at once.
func ServerWorkflow(serverID string) string { return serverWorkflow + serverID }

// ServerOfWorkflow is the reverse of ServerWorkflow; ok is false for other workflows.
func ServerOfWorkflow(workflowID string) (serverID string, ok bool) {
	return strings.CutPrefix(workflowID, serverWorkflow)
}

// CleanUpWorkflow is the id of the one workflow that waits for the hosts on which a server left something. It runs beside
// the server's own and locks nothing.
func CleanUpWorkflow(serverID string) string { return "cleanup/" + serverID }

// ConsoleWorkflow is the id of one reading of a server's console; any number run at once.
func ConsoleWorkflow(serverID, reading string) string { return "console/" + serverID + "/" + reading }

// DiagnosticsWorkflow is that of one look at what was counted of a server's guest.
func DiagnosticsWorkflow(serverID, reading string) string {
	return "diagnostics/" + serverID + "/" + reading
}

// ScreenshotWorkflow is that of one look at the screen of a server's guest.
func ScreenshotWorkflow(serverID, reading string) string {
	return "screenshot/" + serverID + "/" + reading
}

// CrashDumpWorkflow is that of one request to interrupt a server's guest.
func CrashDumpWorkflow(serverID, asking string) string {
	return "crash-dump/" + serverID + "/" + asking
}

// OpenConsoleWorkflow is that of one order to bring a server's console to whoever wants to type on it.
func OpenConsoleWorkflow(serverID, asking string) string {
	return "open-console/" + serverID + "/" + asking
}

// HostNetworkWorkflow is that of one look at what switches a host's guests.
func HostNetworkWorkflow(hostname, reading string) string {
	return "host-network/" + hostname + "/" + reading
}

// ReservationWorkflow is the id under which a reservation runs, by its first server's id.
func ReservationWorkflow(first string) string { return "reservation/" + first }

// ImageWorkflow is the id under which an image is imported. It is the image's lock: two imports never run at once.
func ImageWorkflow(imageID string) string { return "image/" + imageID }

// ForgetWorkflow is the id under which a host is given up for good, once.
func ForgetWorkflow(hostID string) string { return "forget/" + hostID }

// DrainWorkflow is the id under which a host is emptied: one drain of it runs at a time.
func DrainWorkflow(hostID string) string { return "drain/" + hostID }

// RepairWorkflow is the id of an operator's repair.
func RepairWorkflow(repairID string) string { return "audit-repair/" + repairID }

// DefaultControlQueue is the control queue of an installation that has a namespace for itself. What is one for each
// installation bears the name of every other queue: installations that share a namespace differ in their control queues.
const DefaultControlQueue = "control"

func ofInstallation(name, controlQueue string) string {
	if controlQueue == DefaultControlQueue {
		return name
	}
	return name + "/" + controlQueue
}

// AuditWorkflow is the id of the one audit of an installation.
func AuditWorkflow(controlQueue string) string { return ofInstallation("audit", controlQueue) }

// AuditGroup is the id of a part of an audit: of the audit's run, and which part.
func AuditGroup(runID string, group int) string {
	return "audit-hosts/" + runID + "/" + strconv.Itoa(group)
}

// AuditSchedule is the id of the schedule of an installation's audits.
func AuditSchedule(controlQueue string) string { return ofInstallation("audit", controlQueue) }

// HousekeepingSchedule is the id of the schedule of an installation's KeepHouse.
func HousekeepingSchedule(controlQueue string) string {
	return ofInstallation("housekeeping", controlQueue)
}

// StoresSchedule is the id of the schedule of an installation's SettleImageStores.
func StoresSchedule(controlQueue string) string { return ofInstallation("image-stores", controlQueue) }

// ReclaimSchedule is the id of the schedule of an installation's ReclaimServers.
func ReclaimSchedule(controlQueue string) string { return ofInstallation("reclaim", controlQueue) }

// ConfirmSchedule is the id of the schedule of an installation's ConfirmResizes.
func ConfirmSchedule(controlQueue string) string {
	return ofInstallation("confirm-resizes", controlQueue)
}

// PurgeSchedule is the id of the schedule of an installation's PurgeProjects.
func PurgeSchedule(controlQueue string) string { return ofInstallation("purge-projects", controlQueue) }

// OffloadSchedule is the id of the schedule of an installation's OffloadShelvedServers.
func OffloadSchedule(controlQueue string) string {
	return ofInstallation("offload-shelved", controlQueue)
}

// Tick is what the id of each workflow begins with that a schedule starts; the engine adds the time.
func Tick(scheduleID string) string { return scheduleID + "-tick" }

// InstallationKey is where a namespace's data says whose the workflows of a control queue are.
func InstallationKey(controlQueue string) string {
	return ofInstallation("slipway-installation", controlQueue)
}

// Submission is the id of the update by which a request's build, reservation or action is submitted: sent again it means
// the same.
func Submission(requestID string) string { return "submit-" + requestID }

// ImportSubmission is that of an import, by its task.
func ImportSubmission(taskID string) string { return "import-" + taskID }

// OperatorAct is that of an operator's act (retry, skip) on undos that wait.
func OperatorAct(act, requestID string) string { return act + "-" + requestID }
