// Package ids makes every id and name that derives from another one: the same in every process, on every host and after
// every upgrade, since rows, histories, guests and users' notes hold them. None of them may change. It makes none up.
package ids

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Namespaces of UUIDs that are made of names.
var (
	servers    = uuid.MustParse("6d2a4b1e-58c0-4f0b-9a6e-3f6f2b0c7d11")
	groups     = uuid.MustParse("b0b7f6a2-5a1d-4f55-8a0e-7a3a0e2f6c55")
	identity   = uuid.MustParse("5f0c2f44-2e0b-4c6e-9a57-6f1d3f0f5a11")
	findings   = uuid.MustParse("6f2f6d0c-5a0e-4c1b-9d55-0f6b2c8f4f2a")
	placements = uuid.MustParse("3c1f0a52-7d34-4f57-9a0b-6f2f3b7d1c90")
	images     = uuid.MustParse("0f8a4f0e-5f0e-4d5b-8f6e-3d0b6d0c9a11")
	keyPairs   = uuid.MustParse("5c7d3e90-1b64-4d0e-b1a7-92f4c6a8de35")
)

func named(space uuid.UUID, name string) string { return uuid.NewSHA1(space, []byte(name)).String() }

// Server is the id of the server that a project asks for under an idempotency key (EC2's ClientToken too). It is part of the
// API: with another one a client's retry would make another server.
func Server(projectID, key string) string { return named(servers, projectID+"\x00"+key) }

// ReservedServer is the id of a reservation's i-th server. The first one's is the request's own.
func ReservedServer(first string, i int) string {
	if i == 0 {
		return first
	}
	return named(uuid.MustParse(first), strconv.Itoa(i))
}

// Reservation is Nova's r-xxxxxxxx, eight digits and letters, of the first server's id.
func Reservation(first string) string {
	const base, length = 36, 8
	sum := sha256.Sum256([]byte(first))
	id := make([]byte, length)
	for i, n := 0, binary.BigEndian.Uint64(sum[:]); i < length; i, n = i+1, n/base {
		id[i] = "0123456789abcdefghijklmnopqrstuvwxyz"[n%base]
	}
	return "r-" + string(id)
}

// Port is the id of the port that a build makes for a server's NIC, by its place from 0.
func Port(serverID string, nic int) (string, error) {
	server, err := uuid.Parse(serverID)
	if err != nil {
		return "", fmt.Errorf("server id %q: %w", serverID, err)
	}
	return named(server, fmt.Sprintf("port/%d", nic)), nil
}

// KeyPair is the id of a user's key pair, which another of that name, made later, does not have.
func KeyPair(userID, name string, created time.Time) string {
	return named(keyPairs, fmt.Sprintf("%s\x00%s\x00%d", userID, name, created.UnixMicro()))
}

// Placement is the id of the room that a server holds on a host in a role.
func Placement(serverID, hostID, role string) string {
	return named(placements, serverID+"\x00"+hostID+"\x00"+role)
}

// SecurityGroup is the id of the one security group that a project has.
func SecurityGroup(projectID string) string { return named(groups, projectID) }

// Identity is the id of a role, service or endpoint in Keystone's form, 32 hexadecimal digits.
func Identity(kind, name string) string {
	return strings.ReplaceAll(named(identity, kind+"/"+name), "-", "")
}

// Finding is the id of what an audit found: of that kind, about that object.
func Finding(kind, object string) string { return named(findings, kind+"/"+object) }

// Copied is the id of the image that a project asks for under an idempotency key (EC2's CopyImage).
func Copied(projectID, key string) string { return named(images, "copy\x00"+projectID+"\x00"+key) }

// Adopted is the id of an image that is made for bytes of a name which is no image's id.
func Adopted(name string) string { return named(images, name) }

// Store is the id that an image store gets when it joins an installation; it keeps it wherever it moves.
func Store(installationID, root string) string {
	return named(uuid.NameSpaceURL, installationID+" "+root)
}

// TrialGuest is the id of the guest that proves the host with this instance folder: where one libvirtd serves several
// installations, each has its own.
func TrialGuest(dir string) string { return named(uuid.NameSpaceURL, "slipway-trial:"+dir) }
