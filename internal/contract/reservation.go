package contract

import "github.com/slipway-cloud/slipway/internal/ids"

// WorkflowReserve admits several servers that were asked for in one request and starts a build for each.
const WorkflowReserve = "ReserveServers"

// QueryReservation answers a ReservationState. A reservation's submission is UpdateSubmit, like a server's; it answers
// Admitted.
const QueryReservation = "reservation"

// Activities of a reservation.
const (
	AdmitServers = "AdmitServers"
	DropServers  = "DropServers"
	StartBuilds  = "StartBuilds"
)

// ReserveInput is one request for several servers that differ in nothing but their ids, names and places. It is the whole
// input of the ReserveServers workflow.
type ReserveInput struct {
	Boot BootInput `json:"boot"` // of the first server, with the name that was asked for
	Min  int       `json:"min"`
	Max  int       `json:"max"`
}

// ReservedServer is the input of the build of the i-th server, of so many that were admitted. boot is the request's.
func ReservedServer(boot BootInput, i, admitted int) BootInput {
	first := boot.ServerID
	boot.ServerID = ids.ReservedServer(first, i)
	boot.Name, boot.Hostname = ids.Reserved(boot.ServerID, boot.Name, boot.Hostname, i, admitted)
	boot.ReservationID, boot.LaunchIndex, boot.Reserved = ids.Reservation(first), i, true
	boot.Submission = Submission{} // it was accepted
	return boot
}

// ReservationState is a reservation as its workflow sees it: how many servers were admitted, and how many of their builds
// have been started. How they end, the servers say.
type ReservationState struct {
	Admitted int  `json:"admitted"`          // 0 until the submission is accepted
	Started  int  `json:"started"`           // or were deleted before
	Dropped  int  `json:"dropped,omitempty"` // failed, because their builds could not be started
	Settled  bool `json:"settled"`           // nothing is left to start
}

// Admitted answers the submission of a reservation.
type Admitted struct {
	Servers int `json:"servers"`
}

// AdmitServersInput claims quota for as many servers as fit between Min and Max, and makes their rows. Server is the first
// one's, with the names that were asked for.
type AdmitServersInput struct {
	Server RecordServerInput `json:"server"`
	Min    int               `json:"min"`
	Max    int               `json:"max"`
	Limits Quota             `json:"limits"`
}

// StartBuildsInput names the servers from one place up to another, whose rows exist and whose builds are to begin. Boot is
// the request's, so what servers have in common is recorded once for all of them.
type StartBuildsInput struct {
	Boot     BootInput `json:"boot"`
	Admitted int       `json:"admitted"`
	From     int       `json:"from"`
	To       int       `json:"to"` // not this one any more
}

// StartedBuilds are the places of those that the engine refuses for good, and why the first of them; the others have begun.
type StartedBuilds struct {
	Refused []int  `json:"refused,omitempty"`
	Reason  string `json:"reason,omitempty"`
}

// DropServersInput is the undo of AdmitServers for the servers at these places, whose builds were never started: the rows
// become ERROR and their claims are released. What another request made, or deletes, is left alone.
type DropServersInput struct {
	FirstServerID string `json:"first_server_id"`
	RequestID     string `json:"request_id"`
	Places        []int  `json:"places"`
	Code          int    `json:"code"`    // as Nova's fault code
	Message       string `json:"message"` // for the user
	Details       string `json:"details"` // for admins
}
