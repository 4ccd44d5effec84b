package contract

// Unshelve is where a server that has left its host is to be.
type Unshelve struct {
	// Zone is the availability zone that it is in from now on, "" any; nil is the one that was asked for before.
	Zone *string `json:"zone,omitempty"`
	Host string  `json:"host,omitempty"` // the only one that will do; "" is any
	// MaxHosts is how many may be tried.
	MaxHosts int `json:"max_hosts"`
}

// RemoveShelvedImageInput takes the image away that a shelve makes, whatever has become of it.
type RemoveShelvedImageInput struct {
	ServerID  string `json:"server_id"`
	ImageID   string `json:"image_id"`
	ProjectID string `json:"project_id"`
	UserID    string `json:"user_id"`
	RequestID string `json:"request_id"`
}

// ShowPhaseInput shows how far an action is.
type ShowPhaseInput struct {
	Action    string `json:"action"`
	ServerID  string `json:"server_id"`
	RequestID string `json:"request_id"`
}

// RecordShelveInput keeps of which image a server can be built anew.
type RecordShelveInput struct {
	Action    string `json:"action"`
	ServerID  string `json:"server_id"`
	RequestID string `json:"request_id"`
	ImageID   string `json:"image_id"`
}

// CheckShelvedInput asks whether there is an image of which a server can be built anew.
type CheckShelvedInput struct {
	ServerID string `json:"server_id"`
}

// LeaveHostInput has a server be on no host any more. Its undo has the same.
type LeaveHostInput struct {
	Action    string `json:"action"`
	ServerID  string `json:"server_id"`
	RequestID string `json:"request_id"`
	Hostname  string `json:"hostname"`
}

// PlanUnshelveInput asks of what a server is built anew.
type PlanUnshelveInput struct {
	ServerID string   `json:"server_id"`
	Unshelve Unshelve `json:"unshelve"`
}

// UnshelvePlan is what a server is, with the disk that it is built of.
type UnshelvePlan struct {
	Facts ServerFacts `json:"facts"`
	Disk  Image       `json:"disk"`
	Zone  string      `json:"zone"` // that was asked for before
	// Left are the hosts on which something of the server may still be, since they did not answer when it left them.
	Left []string `json:"left,omitempty"`
}

// BindPortsInput binds a server's ports to its host.
type BindPortsInput struct {
	ServerID string `json:"server_id"`
	Hostname string `json:"hostname"`
}

// RecordUnshelveInput keeps the availability zone that was asked for. Its undo has the one of before.
type RecordUnshelveInput struct {
	ServerID  string `json:"server_id"`
	RequestID string `json:"request_id"`
	Zone      string `json:"zone"`
}

// DropShelvedImageInput deletes the image that a server needs no more.
type DropShelvedImageInput struct {
	ServerID  string `json:"server_id"`
	UserID    string `json:"user_id"`
	RequestID string `json:"request_id"`
}
