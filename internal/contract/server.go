package contract

// What a host's steps work on: their payloads name the server, so that the host keeps an undo of a server behind its dos
// whatever workflow asks for it (a clean-up's id is not the server's). ConsoleInput names none: reading changes nothing and
// waits for nobody.

// Server is the id of the server that the step works on.
func (in FetchImageInput) Server() string { return in.ServerID }

// Server is the id of the server that the step works on.
func (in BuildDiskInput) Server() string { return in.ServerID }

// Server is the id of the server that the step works on.
func (in BuildConfigDriveInput) Server() string { return in.ServerID }

// Server is the id of the server that the step works on.
func (in InjectDataInput) Server() string { return in.ServerID }

// Server is the id of the server that the step works on.
func (in DefineDomainInput) Server() string { return in.ServerID }

// Server is the id of the server that the step works on.
func (in StartDomainInput) Server() string { return in.ServerID }

// Server is the id of the server whose takings the undo gives back.
func (in Undo) Server() string { return in.ServerID }
