// Package audit says where what is recorded and what lies on hosts do not agree. It compares and plans, and reads and
// changes nothing: who gives it two looks at a world in which something works on a server gets findings that are none.
package audit

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
)

// Kind says what does not agree.
type Kind string

// Kinds of findings. Records alone show the first group, records and a host's inventory the second.
const (
	ClaimWithoutServer      Kind = "claim-without-server"
	AllocationWithoutServer Kind = "allocation-without-server" // of a server that is not placed there
	PortWithoutServer       Kind = "port-without-server"
	SpecWithoutServer       Kind = "spec-without-server"
	ServerWithoutClaim      Kind = "server-without-claim"
	ServerWithoutAllocation Kind = "server-without-allocation"
	ServerWithoutPort       Kind = "server-without-port"
	BuildWithoutWorkflow    Kind = "build-without-workflow"
	DeleteWithoutWorkflow   Kind = "delete-without-workflow"
	BytesWithoutImage       Kind = "bytes-without-image"
	ManyWithoutImage        Kind = "many-without-image" // so many that nothing of the store is removed
	DatabaseRestored        Kind = "database-restored"
	NetworkNotApplied       Kind = "network-not-applied"   // the engine refuses it
	NetworkEngineBehind     Kind = "network-engine-behind" // nobody takes the changes to it

	DomainWithoutServer Kind = "domain-without-server" // of a server that is not placed there
	FolderWithoutServer Kind = "folder-without-server" // of a server that is not placed there
	ServerWithoutDomain Kind = "server-without-domain"
	ServerWithoutFolder Kind = "server-without-folder"
	DomainWithoutFolder Kind = "domain-without-folder"
	ServerWithoutDisk   Kind = "server-without-disk"
	DiskUnreadable      Kind = "disk-unreadable"
	DiskWithoutImage    Kind = "disk-without-image" // its backing file, or the domain's kernel or ramdisk, is not in the cache
	GuestNotAsServer    Kind = "guest-not-as-server"
	PartialDownload     Kind = "partial-download"

	// What was not looked at is a warning: nothing is wrong that is known of, and something may be.
	HostNotLookedAt   Kind = "host-not-looked-at"
	StoresNotLookedAt Kind = "stores-not-looked-at"
	MoreFindings      Kind = "more-findings"
)

// Kinds are all of them.
func Kinds() []Kind {
	return []Kind{
		ClaimWithoutServer, AllocationWithoutServer, PortWithoutServer, SpecWithoutServer, ServerWithoutClaim, ServerWithoutAllocation, ServerWithoutPort,
		BuildWithoutWorkflow, DeleteWithoutWorkflow, DatabaseRestored, NetworkNotApplied, NetworkEngineBehind, BytesWithoutImage, ManyWithoutImage, DomainWithoutServer, FolderWithoutServer, ServerWithoutDomain, ServerWithoutFolder,
		DomainWithoutFolder, ServerWithoutDisk, DiskUnreadable, DiskWithoutImage, GuestNotAsServer, PartialDownload, HostNotLookedAt, StoresNotLookedAt, MoreFindings,
	}
}

// Warning says whether a finding of this kind says only that the audit is incomplete.
func (k Kind) Warning() bool {
	return k == HostNotLookedAt || k == StoresNotLookedAt || k == MoreFindings
}

// Finding is one thing that does not agree.
type Finding struct {
	ID       string // the same whenever the same thing is found
	Kind     Kind
	Object   string // what it is about, in the words of its kind
	ServerID string
	Host     string // hostname
	Text     string // for an operator: what is wrong, and what to do where Repair is empty
	Repair   string // what a repair would do; "" is nothing
	// Named says that only who names it has it repaired: it may be the database that is wrong.
	Named bool
}

// ID is the id of a finding.
func ID(kind Kind, object string) string {
	return ids.Finding(string(kind), object)
}

// Records are the control plane's rows that are looked at: servers with all that they own.
type Records struct {
	Servers     []Server // those that exist, and the deleted ones that still own something
	Claims      []Claim
	Allocations []Allocation
	Ports       []Port
	Specs       []string // of those servers that have one
	// Images are the active ones that the question was about, by SHA-512.
	Images map[string]contract.Image
	// Restore is the latest time at which it was noticed that the database had been restored.
	Restore Restore
}

// Restore of the database. Without a time there was none.
type Restore struct {
	At           time.Time
	Acknowledged bool
	Witnesses    []string // who saw a later state
}

// Server is a row. Strings are the database's.
type Server struct {
	ID, ProjectID, Name string
	VMState             lifecycle.VMState
	TaskState           string

	Launched  bool   // it has been ACTIVE
	Host      string // hostname, "" is placed nowhere
	Kept      string // hostname, where the guest of before a move is, off, until that is confirmed or reverted; "" is none
	NICs      int    // how many its build made; 0 is not known
	VCPUs     int
	RAMMiB    int
	Resources contract.Resources // what it takes of a host
	RequestID string             // that made it
	First     string             // the first server of its reservation
	CreatedAt time.Time
}

// Claim of a server.
type Claim struct{ ServerID, ProjectID string }

// Allocation of a server on a host.
type Allocation struct{ ServerID, Host string }

// Port that a server has.
type Port struct {
	ID, ServerID string
	NIC          int
	Made         bool // by its build
}

// World is everything that one audit looked at.
type World struct {
	Records     Records
	Inventories []contract.Inventory
	Unasked     []MissedHost
}

// MissedHost is a host that did not answer.
type MissedHost struct{ Hostname, Why string }

// Compare finds what does not agree, in order of kind and object.
func Compare(w World) []Finding {
	all := OfRecords(w.Records)
	for _, inv := range w.Inventories {
		all = append(all, OfHost(w.Records, inv)...)
	}
	for _, h := range w.Unasked {
		all = append(all, Missed(h.Hostname, h.Why))
	}
	sorted(all)
	return all
}

func sorted(all []Finding) {
	slices.SortFunc(all, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Object, b.Object))
	})
}

// standing is what a server may own.
type standing int

const (
	nothing  standing = iota // it is gone, or its build failed
	building                 // what it owns changes: its workflow answers for it
	deleting                 // the same
	entitled                 // what its row says
)

// index finds records by server.
type index struct {
	restore Restore
	servers map[string]*Server
	claims  map[string]bool
	rooms   map[Allocation]bool
	nics    map[string][]int
}

func newIndex(r Records) index {
	x := index{restore: r.Restore, servers: map[string]*Server{}, claims: map[string]bool{}, rooms: map[Allocation]bool{}, nics: map[string][]int{}}
	for i := range r.Servers {
		x.servers[r.Servers[i].ID] = &r.Servers[i]
	}
	for _, c := range r.Claims {
		x.claims[c.ServerID] = true
	}
	for _, a := range r.Allocations {
		x.rooms[a] = true
	}
	for _, p := range r.Ports {
		x.nics[p.ServerID] = append(x.nics[p.ServerID], p.NIC)
	}
	return x
}

// of says what a server may own, and why nothing.
func (x index) of(id string) (s *Server, may standing, why string) {
	s = x.servers[id]
	switch {
	case s == nil:
		return nil, nothing, "there is no such server"
	case s.VMState == lifecycle.Deleted:
		return s, nothing, "the server is deleted"
	case s.TaskState == lifecycle.Deleting:
		return s, deleting, ""
	case s.VMState == lifecycle.Building:
		return s, building, ""
	case s.VMState == lifecycle.Error && !s.Launched:
		return s, nothing, "the server's build failed"
	}
	return s, entitled, ""
}

// doubtful says whether a server may be more than its row tells: it has none, or one of before the last restore. Only an
// operator knows then whether what it has is to go.
func (x index) doubtful(id string) bool {
	s := x.servers[id]
	return s == nil || !x.restore.At.IsZero() && s.VMState != lifecycle.Deleted && !s.CreatedAt.After(x.restore.At)
}

// named marks a finding that a repair may be wrong about.
func (x index) named(f Finding) Finding {
	if x.doubtful(f.ServerID) {
		f.Named = true
		f.Repair += "; only if it is named, since a database that was restored may not know it"
	}
	return f
}

// placed says whether a server's things may lie on a host, and why not. known is false while its workflow answers for it.
func (x index) placed(id, host string) (here, known bool, why string) {
	s, may, why := x.of(id)
	switch {
	case may == building || may == deleting:
		return false, false, ""
	case may == nothing:
		return false, true, why
	case s.Host == host, s.Kept == host:
		return true, true, ""
	case s.Host == "":
		return false, true, "the server is placed on no host"
	}
	return false, true, "the server is placed on " + s.Host
}

// OfRecords is what the control plane's own rows show.
func OfRecords(r Records) []Finding {
	x := newIndex(r)
	var all []Finding
	for _, c := range r.Claims {
		if _, may, why := x.of(c.ServerID); may == nothing {
			all = append(all, newFinding(ClaimWithoutServer, c.ServerID, c.ServerID, "",
				"server "+c.ServerID+" claims quota of project "+c.ProjectID+", and "+why, "release the claim"))
		}
	}
	for _, a := range r.Allocations {
		if here, known, why := x.placed(a.ServerID, a.Host); known && !here {
			all = append(all, x.named(newFinding(AllocationWithoutServer, serverOnHost(a.ServerID, a.Host), a.ServerID, a.Host,
				"room on "+a.Host+" is held for server "+a.ServerID+", and "+why, clearing(a.Host)+", and give its room back")))
		}
	}
	for _, p := range r.Ports {
		if _, may, why := x.of(p.ServerID); may == nothing {
			what, repair := "port "+p.ID+" is bound to server "+p.ServerID, "unbind the port"
			if p.Made {
				what, repair = "port "+p.ID+" was made for server "+p.ServerID, "delete the port"
			}
			all = append(all, newFinding(PortWithoutServer, p.ID, p.ServerID, "", what+", and "+why, repair))
		}
	}
	for _, id := range r.Specs {
		if s := x.servers[id]; s == nil || s.VMState == lifecycle.Deleted {
			all = append(all, newFinding(SpecWithoutServer, id, id, "",
				"what server "+id+" was built of is kept, user data and all, and the server is deleted", "forget it"))
		}
	}
	for i := range r.Servers {
		all = append(all, x.ofServer(&r.Servers[i])...)
	}
	if re := r.Restore; !re.At.IsZero() && !re.Acknowledged {
		all = append(all, newFinding(DatabaseRestored, "database", "", "", "the database is older than what "+strings.Join(re.Witnesses, ", ")+
			" saw of it: it was restored, which was noticed at "+re.At.UTC().Format("2006-01-02 15:04")+" UTC; `slipway installation show` tells more, `slipway installation acknowledge` makes it the truth", ""))
	}
	sorted(all)
	return all
}

func (x index) ofServer(s *Server) []Finding {
	_, may, _ := x.of(s.ID)
	switch may {
	case building:
		return []Finding{x.named(newFinding(BuildWithoutWorkflow, s.ID, s.ID, s.Host, "server "+s.ID+" is in BUILD, and nothing builds it",
			"give back what it took, and put it into ERROR"))}
	case deleting:
		return []Finding{newFinding(DeleteWithoutWorkflow, s.ID, s.ID, s.Host, "server "+s.ID+" is being deleted, and nothing deletes it",
			"start its delete again")}
	}
	if may != entitled || !slices.Contains(lifecycle.Stands(), s.VMState) {
		return nil
	}
	server := "server " + s.ID + " is " + lifecycle.Status(s.VMState, "")
	var all []Finding
	if !x.claims[s.ID] {
		all = append(all, newFinding(ServerWithoutClaim, s.ID, s.ID, s.Host, server+", and claims no quota of project "+s.ProjectID,
			"claim its share again, also beyond the project's limits"))
	}
	switch {
	case s.VMState == lifecycle.ShelvedOffloaded: // it takes no room
	case s.Host == "":
		all = append(all, newFinding(ServerWithoutAllocation, s.ID, s.ID, "",
			server+", and is placed on no host: nothing tells where it ran; delete it", ""))
	case !x.rooms[Allocation{s.ID, s.Host}]:
		all = append(all, newFinding(ServerWithoutAllocation, s.ID, s.ID, s.Host,
			server+" on "+s.Host+", and no room is held for it there", "hold its room again, also beyond the host's"))
	}
	if missing := missingPorts(s, x.nics[s.ID]); missing != "" {
		all = append(all, newFinding(ServerWithoutPort, s.ID, s.ID, s.Host,
			server+", and "+missing+": its address may be given to another; delete the server and build it anew", ""))
	}
	return all
}

// OfHost is what an inventory shows beside the records.
func OfHost(r Records, inv contract.Inventory) []Finding {
	x, host := newIndex(r), inv.Hostname
	var all []Finding
	add := func(kind Kind, id, text, repair string) {
		all = append(all, x.named(newFinding(kind, serverOnHost(id, host), id, host, text, repair)))
	}
	things := map[string]contract.Instance{}
	for _, t := range inv.Things {
		if t.Elsewhere {
			t.Domain = "" // it is not this host's
		}
		things[t.ID] = t
		here, known, why := x.placed(t.ID, host)
		if !known || here {
			continue
		}
		if t.Domain != "" {
			add(DomainWithoutServer, t.ID, "domain slipway-"+t.ID+" is "+t.Domain+" on "+host+", and "+why+x.adoptable(t, host), clearing(host))
		}
		if t.Folder {
			add(FolderWithoutServer, t.ID, "folder "+t.ID+" lies on "+host+", and "+why+foreignFiles(t), clearing(host))
		}
	}
	for i := range r.Servers {
		s := &r.Servers[i]
		if _, may, _ := x.of(s.ID); may != entitled || !slices.Contains(lifecycle.WasBuilt(), s.VMState) || !inv.Covers(s.ID) {
			continue
		}
		switch host {
		case s.Host:
			all = append(all, ofPlaced(s, things[s.ID], r.Images)...)
		case s.Kept:
			all = append(all, ofKept(s, things[s.ID])...)
		}
	}
	for _, p := range inv.Partials {
		all = append(all, newFinding(PartialDownload, p.SHA512+"@"+host, "", host,
			"an image of which "+bytesText(p.Bytes)+" came to "+host+" lies in its cache since "+moment(p.Since)+", and nobody fetches it",
			"remove what came"))
	}
	sorted(all)
	return all
}

// ofKept is what is wrong with the guest of before that a host keeps of a server that runs on another.
func ofKept(s *Server, t contract.Instance) []Finding {
	object, server := serverOnHost(s.ID, s.Kept), "server "+s.ID+" was moved from "+s.Kept+" to "+s.Host
	switch {
	case t.Domain == "" || !t.Folder || !t.Disk:
		return []Finding{newFinding(ServerWithoutDomain, object, s.ID, s.Kept,
			server+", and the guest of before, to which a revert would return, is not there any more; confirm its resize", "")}
	case t.Domain == "running", t.Domain == "paused":
		return []Finding{newFinding(GuestNotAsServer, object, s.ID, s.Kept,
			server+", and the guest of before, which is to be off, is "+t.Guest+": stop it there at once (`virsh destroy slipway-"+s.ID+"`)", "")}
	}
	return nil
}

// ofPlaced is what a host lacks of a server that was built on it.
func ofPlaced(s *Server, t contract.Instance, images map[string]contract.Image) []Finding {
	id, host := s.ID, s.Host
	const instead = "; delete the server and build it anew"
	var all []Finding
	add := func(kind Kind, text, repair string) {
		all = append(all, newFinding(kind, serverOnHost(id, host), id, host, text, repair))
	}
	server := "server " + id + " is " + lifecycle.Status(s.VMState, "") + " on " + host
	switch {
	case t.Domain == "":
		add(ServerWithoutDomain, server+", and the hypervisor there knows no such domain"+instead, "")
	case !t.Folder:
		add(DomainWithoutFolder, server+", its domain is "+t.Domain+", and its folder with the disks is gone"+instead, "")
	}
	if t.Domain == "" && !t.Folder {
		add(ServerWithoutFolder, server+", and its folder with the disks is gone"+instead, "")
	}
	if t.Folder && !t.Disk {
		add(ServerWithoutDisk, server+", and its root disk is gone"+instead, "")
	}
	if t.Broken != "" {
		add(DiskUnreadable, server+", and its root disk cannot be read: "+t.Broken+instead, "")
	}
	if text := unlike(s.VMState, t.Guest); text != "" && t.Domain != "" {
		add(GuestNotAsServer, server+", and its guest "+text, "")
	}
	if len(t.Missing) > 0 {
		text := server + ", and what its disk or domain leans on is not on the host: " + short(t.Missing)
		if len(fetchable(t.Missing, images)) == len(t.Missing) {
			add(DiskWithoutImage, text, "fetch the image into the host's cache again")
		} else {
			add(DiskWithoutImage, text+"; the image store has no such image, so put it there again, or delete the server", "")
		}
	}
	return all
}

// Orphan is bytes in an image store that no image has.
type Orphan struct {
	ID, Store    string
	Bytes        int64
	Since, Until time.Time // when they were set aside and are deleted; zero: not yet, or never
}

// OfStores is what lies in the image stores and belongs to no image that is known. Only who names it changes that. few is
// how many are set aside by themselves.
func OfStores(orphans []Orphan, few int) []Finding {
	const name = "`slipway image orphans list` shows them; adopt or delete those that are named"
	var all []Finding
	add := func(kind Kind, object, text string) { all = append(all, newFinding(kind, object, "", "", text, "")) }
	loose := map[string]int{}
	for _, o := range orphans {
		if o.Since.IsZero() {
			loose[o.Store]++
			continue
		}
		text := bytesText(o.Bytes) + " of an image " + o.ID + " that is not known lie in store " + o.Store + ", set aside since " + moment(o.Since)
		if !o.Until.IsZero() {
			text += " and until " + moment(o.Until)
		}
		add(BytesWithoutImage, o.ID+"@"+o.Store, text+"; "+name)
	}
	for store, n := range loose {
		if n > few {
			add(ManyWithoutImage, store, fmt.Sprintf("store %s holds %d images that the database does not know, so nothing of it is removed: see whether this is the right database and the right store; %s", store, n, name))
		}
	}
	sorted(all)
	return all
}

// NetworkChange is one that waits for the network engine.
type NetworkChange struct {
	Kind, ID string
	Since    time.Time
	Refused  string // why the engine does not take it; "" where it was not asked
}

// OfNetworks is what the network engine should have taken long ago.
func OfNetworks(waiting []NetworkChange) []Finding {
	var all []Finding
	behind, oldest := 0, time.Time{}
	for _, c := range waiting {
		if c.Refused != "" {
			all = append(all, newFinding(NetworkNotApplied, c.Kind+" "+c.ID, "", "",
				fmt.Sprintf("the network engine has %s %s otherwise than the database since %s: %s", c.Kind, c.ID, moment(c.Since), c.Refused), ""))
			continue
		}
		if behind++; oldest.IsZero() || c.Since.Before(oldest) {
			oldest = c.Since
		}
	}
	if behind > 0 {
		all = append(all, newFinding(NetworkEngineBehind, "networks", "", "", fmt.Sprintf(
			"%d changes of networks or more wait for their engine since %s: see that it answers, and that one worker writes to it (slipway_network_writer)",
			behind, moment(oldest)), ""))
	}
	sorted(all)
	return all
}

func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") + " UTC" }

// StoresMissed is the finding that image stores were not looked at.
func StoresMissed(why string) Finding {
	return newFinding(StoresNotLookedAt, "stores", "", "", "not every image store was looked at: "+why, "")
}

// Missed is the finding that a host was not looked at.
func Missed(hostname, why string) Finding {
	return newFinding(HostNotLookedAt, hostname, "", hostname, hostname+" was not looked at: "+why, "")
}

// More is the finding that there are more than are kept. of is what they are of: "records" or a hostname.
func More(of, hostname, howMany string) Finding {
	return newFinding(MoreFindings, of, "", hostname, howMany+" more were found and are not listed: repair these, and audit again", "")
}

func newFinding(kind Kind, object, serverID, host, text, repair string) Finding {
	return Finding{ID: ID(kind, object), Kind: kind, Object: object, ServerID: serverID, Host: host, Text: text, Repair: repair}
}

func serverOnHost(serverID, host string) string { return serverID + "@" + host }

func clearing(host string) string {
	return "stop and forget its domain on " + host + ", remove its files there"
}
