package servers

// Cause is why a request is refused, where another protocol than Nova's has a word of its own for it: a fault's cause.
type Cause string

func (c Cause) Error() string { return string(c) }

// Causes.
const (
	KeyUsed         Cause = "the key was used for another request"
	SeveralNetworks Cause = "the request names none of several networks"
	AddressInUse    Cause = "somebody has the address"
)
