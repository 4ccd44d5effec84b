package metadata

import "github.com/slipway-cloud/slipway/internal/contract"

// Instance is whose port has an address on a network, and what its guest is told: what the API answers a host at InstancePath. Hosts and
// APIs of two versions talk: fields are added, never renamed or retyped.
type Instance struct {
	ServerID string `json:"server_id"`
	PortID   string `json:"port_id"`
	MAC      string `json:"mac"` // of the port
	// Unguarded says that the port has no port security, so whoever has the address may be another. Nothing is told then.
	Unguarded bool `json:"unguarded,omitempty"`
	// Unkept says that the server was built before what its guest is told was kept. Nothing is told then either.
	Unkept   bool                      `json:"unkept,omitempty"`
	Password string                    `json:"password,omitempty"` // that its guest has posted
	Metadata contract.InstanceMetadata `json:"metadata"`
}

// InstancePath with the queries "network" and "address" is where a host asks for an Instance; PasswordPath, with a port's id before it
// and PortsPath before that, where it brings the password that a guest has posted.
const (
	InstancePath = "/hosts/self/metadata"
	PortsPath    = "/hosts/self/ports/"
	PasswordPath = "/password"
)

// MostPassword is how many bytes a posted password may have (nova/api/metadata/password.py).
const MostPassword = 4 * 255
