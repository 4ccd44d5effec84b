package contract

// Consoles of a guest, in the words of the API's protocols.
const (
	ConsoleSerial = "serial"
	ConsoleVNC    = "vnc"
)

// OpenConsoleInput asks a server's host for a console of its guest. The host brings it to a session of the API, over a connection
// that it makes itself; without a session it only says whether there is one.
type OpenConsoleInput struct {
	ServerID string `json:"server_id"`
	Hostname string `json:"hostname"`
	Type     string `json:"type"` // ConsoleSerial, ConsoleVNC
	Session  string `json:"session,omitempty"`
	// API is the address of the API process that holds the session; "" is the one that the host knows.
	API string `json:"api,omitempty"`
}
