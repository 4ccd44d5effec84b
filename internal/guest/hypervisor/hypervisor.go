// Package hypervisor is the port to what runs the guests. Two implementations stand behind it: libvirt (the real one) and
// fake (for load and fault tests only).
package hypervisor

import (
	"context"
	"image"
	"io"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/hostapi"
	"github.com/slipway-cloud/slipway/internal/imageprops"
)

// Hypervisor defines, starts and removes domains. Every method is idempotent, takes the context's deadline seriously and
// returns faults (internal/fault): Unavailable when the hypervisor does not answer, HostUnfit when this host cannot do it
// but another may, Conflict when a different object stands where this one should be, Internal for what is not understood.
type Hypervisor interface {
	// Capabilities tells what this host can run and how much of it.
	Capabilities(ctx context.Context) (Capabilities, error)
	// Trial starts a throw-away guest as a server's and tells whether it was seen to run; from then on servers are defined
	// in the way that ran. It gives the last outcome where nothing that it depends on has changed since, unless again asks
	// for a new one. An error says that the hypervisor could not be asked.
	Trial(ctx context.Context, again bool) (hostapi.Trial, error)
	// Define makes the domain known, without starting it. The same domain again is success; the uuid with another
	// definition is redefined only while it does not run.
	Define(ctx context.Context, d Domain) error
	// Redefine makes a domain that does not run anew: whatever was defined under its uuid is replaced, and memory that was saved
	// is dropped; the NVRAM stays. One that runs is a Conflict.
	Redefine(ctx context.Context, d Domain) error
	// Start starts a defined domain, from its saved memory where there is some, and returns when it runs. A running one is success,
	// one that is not defined is NotFound, a paused one is a Conflict.
	Start(ctx context.Context, uuid string) error
	// Suspend stops a guest's processors and keeps its memory, and returns when they stand; Resume lets them go on. One that is so
	// already is success, one that is off is a Conflict, one that is not defined is NotFound.
	Suspend(ctx context.Context, uuid string) error
	Resume(ctx context.Context, uuid string) error
	// Save puts the memory of a guest away and ends it: the next start goes on from there. One that was saved is success, one that
	// is off otherwise is a Conflict, one that is not defined is NotFound.
	Save(ctx context.Context, uuid string) error
	// Destroy stops a domain at once. One that does not run, or does not exist, is success.
	Destroy(ctx context.Context, uuid string) error
	// Shutdown asks the guest to shut down, as by its power button, and returns at once. One that does not run, or does not
	// exist, is success.
	Shutdown(ctx context.Context, uuid string) error
	// Undefine forgets a stopped domain with all that libvirt keeps of it (NVRAM, managed save). An absent one is success, one
	// that runs is a Conflict.
	Undefine(ctx context.Context, uuid string) error
	// State tells how a domain is; Absent when there is none.
	State(ctx context.Context, uuid string) (State, error)
	// List tells of every domain that Slipway defined here.
	List(ctx context.Context) ([]Status, error)
	// Watch tells of changes until the connection breaks or ctx ends, and then says why: connected is called once it will
	// notice, for what was before that it cannot know; changed after each change of a domain's state. Both must return soon.
	Watch(ctx context.Context, connected, changed func()) error
	// Folder is the folder of the domain's console log, which tells whose it is where one hypervisor serves several
	// installations; "" where there is no such domain, or no log.
	Folder(ctx context.Context, uuid string) (string, error)
	// SetUserPassword has the agent in a guest set a user's password. Conflict, which says why, where the domain does not run,
	// has no channel to an agent, or its agent does not answer or cannot do it.
	SetUserPassword(ctx context.Context, uuid, user, password string) error
	// InjectNMI interrupts a guest as its machine's NMI button would: what follows is the guest's own choice. Conflict where it
	// is off.
	InjectNMI(ctx context.Context, uuid string) error
	// Freeze has the agent in a guest flush its filesystems and let nothing be written to them until Thaw. Conflict, which says
	// why, as SetUserPassword's. One that may have frozen them all the same has to be thawed. Thawing what is not frozen is success.
	Freeze(ctx context.Context, uuid string) error
	Thaw(ctx context.Context, uuid string) error
	// BeginBackup begins to copy the disk at a path of a domain that is not off into a qcow2 of its own at target,
	// where nothing is: as the disk is when this returns, whatever is written to it afterwards. A domain has one at a time. Conflict
	// where it is off.
	BeginBackup(ctx context.Context, uuid, disk, target string) error
	// AwaitBackup waits until it has ended, and tells how far it is. Unavailable where the copy is not whole.
	AwaitBackup(ctx context.Context, uuid string, told func(done, total int64)) error
	// EndBackup gives up one that is under way; none is success.
	EndBackup(ctx context.Context, uuid string) error
	// Diagnostics tells what was counted of a guest since it was started. Conflict where it is off.
	Diagnostics(ctx context.Context, uuid string) (contract.Diagnostics, error)
	// OpenConsole opens a console of a guest that runs, contract.ConsoleSerial or ConsoleVNC: what is read and written is the serial
	// port's bytes, or RFB (RFC 6143). Two who read the serial one share its bytes. Invalid, in Nova's words, where the domain has no
	// such console; Conflict where the guest is off.
	OpenConsole(ctx context.Context, uuid, kind string) (io.ReadWriteCloser, error)
	// Screenshot takes a picture of the guest's screen. Invalid, as of its console, where the domain has none; Conflict where the guest is off.
	Screenshot(ctx context.Context, uuid string) (image.Image, error)
	// Close gives the connection back.
	Close() error
}

// State of a domain.
type State string

// States of a domain, as Slipway tells them apart.
const (
	Absent  State = "absent"
	ShutOff State = "shutoff"
	Running State = "running"
	Paused  State = "paused"
	Crashed State = "crashed"
)

// Status is one domain of a listing.
type Status struct {
	UUID  string
	Name  string
	State State
	// ByItself says of a domain that is shut off that its guest ended it, as on its user's word; not that it crashed, was
	// turned off, or that nobody knows. Of one that is paused it says that its guest sleeps (ACPI's S3).
	ByItself bool
	// ByGuest says more of one that is shut off: its guest was heard to end it, while a Watch listened, and not a signal to its QEMU,
	// which libvirt keeps as the same.
	ByGuest bool
	// Saved says of a domain that is shut off that its memory was put away, to go on from.
	Saved bool
}

// Capabilities of a host. Memory in MiB.
type Capabilities struct {
	Hostname      string   // as the hypervisor knows itself
	Type          string   // "QEMU", as Nova's hypervisor_type
	Version       int      // as libvirt gives it: major*1,000,000 + minor*1,000 + release
	Architectures []string // of servers that can be defined here
	UEFI          bool     // guests can be started by UEFI firmware
	VCPUs         int
	MemoryMiB     int
}

// Domain is what Slipway asks for; the implementation turns it into the hypervisor's own form.
type Domain struct {
	UUID      string
	Name      string // slipway-<uuid>
	Title     string // the server's name, shown by virt tools
	ProjectID string
	VCPUs     int
	MemoryMiB int

	Boot  Boot
	Disks []Disk
	NICs  []NIC
	// ConsoleLog is the absolute path of the file that keeps what the serial console prints.
	ConsoleLog string
	// Hardware is what the image and the flavor ask of the machine, as they say it: the implementation completes it for its
	// host (Hardware.On), and answers HostUnfit where this host has it not.
	Hardware imageprops.Hardware
}

// Boot says what starts: the first disk's boot sector, or a kernel given from outside.
type Boot struct {
	Kernel  string // absolute path; "" boots from disk
	Ramdisk string
	CmdLine string
}

// Disk is a file that the guest sees as a disk or cdrom.
type Disk struct {
	Path   string // absolute
	Format string // qcow2 or raw; always explicit
	Role   DiskRole
	Device string // disk or cdrom
	Bus    string // "" is Hardware's
	// BootOrder is its place behind the root disk, which is 1; 0 is never booted from.
	BootOrder int
	// Serial tells a guest which disk it is (/dev/disk/by-id); "" is its role. A cdrom has none.
	Serial string
	// Backing is the file that a qcow2 overlay leans on, absolute, and BackingFormat how it is opened. It is shared by guests:
	// the hypervisor opens it for reading alone and changes neither its owner nor its mode. "" is none.
	Backing       string
	BackingFormat string
}

// DiskRole says what a disk is for.
type DiskRole string

// Roles of disks.
const (
	RootDisk      DiskRole = "root"
	EphemeralDisk DiskRole = "ephemeral"
	SwapDisk      DiskRole = "swap"
	ConfigDisk    DiskRole = "config"
	RescuedDisk   DiskRole = "rescued" // the root disk of a server that another one boots instead
)

// NIC is a network interface: on a Linux bridge that the implementation makes when it is not there, or on a tap that is there when the
// domain starts, and that the implementation neither makes nor removes.
type NIC struct {
	MAC    string
	Bridge string
	Tap    string
	MTU    int
	PortID string
	// Slot is the NIC's on the guest's first PCI bus; 0 is any.
	Slot int
}
