package contract

import (
	"fmt"
	"time"
)

// OfferDisksInput has a host offer the disks of a guest, which is off, to another host.
type OfferDisksInput struct {
	ServerID string `json:"server_id"`
	MoveID   string `json:"move_id"` // names the move to both hosts, as a UUID does: another move has another one
	To       string `json:"to"`      // hostname of whom alone they are sent
	// Within is how long the offer stands, if nobody ends it; 0 is a day.
	Within time.Duration `json:"within,omitempty"`
	// Whole has the root disk lean on no cached image where it arrives: for one whose image there is no more. It takes its host room for
	// a copy of all of it, until the offer ends.
	Whole bool `json:"whole,omitempty"`
}

// DiskOffer is what a host offers. Whoever has it, and the certificate of the host that it is for, gets the disks.
type DiskOffer struct {
	Address    string        `json:"address"`    // host:port of the host that offers
	Credential string        `json:"credential"` // a secret, good for one transfer
	Files      []OfferedFile `json:"files"`
	Total      int64         `json:"total"` // bytes that they take at most on a disk
}

// String keeps the credential out of texts.
func (o DiskOffer) String() string { return fmt.Sprintf("%d disks at %s", len(o.Files), o.Address) }

// OfferedFile is a disk, by its name in the folder of its server.
type OfferedFile struct {
	Name      string `json:"name"`
	Bytes     int64  `json:"bytes"`
	Allocated int64  `json:"allocated"` // of them on the disk
	// Backed says of a root disk that it leans on its image, which has to lie in the cache of whoever receives it.
	Backed bool `json:"backed,omitempty"`
}

// ReceiveDisksInput has a host fetch the disks that another one offers.
type ReceiveDisksInput struct {
	ServerID string    `json:"server_id"`
	MoveID   string    `json:"move_id"`
	From     string    `json:"from"` // hostname of whom alone is believed
	Offer    DiskOffer `json:"offer"`
	// Disk is what the disks were made of: nothing else is received, and none that is larger. Its image is the one that the root disk
	// leans on, which FetchImage has brought.
	Disk BuildDiskInput `json:"disk"`
}

// TransferProgress is the heartbeat of ReceiveDisks.
type TransferProgress struct {
	Bytes int64 `json:"bytes"`
	Total int64 `json:"total"`
}

// EndOfferInput ends an offer whose disks have arrived.
type EndOfferInput struct {
	ServerID string `json:"server_id"`
}
