package contract

// ForgetHostInput gives a host up for good. It is the whole input of the workflow.
type ForgetHostInput struct {
	HostID    string `json:"host_id"`
	Hostname  string `json:"hostname"`
	Reason    string `json:"reason"`
	UserID    string `json:"user_id"` // the operator
	RequestID string `json:"request_id"`

	Submission
}
