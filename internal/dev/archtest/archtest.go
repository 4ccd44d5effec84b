// Package archtest holds the shape of the tree: which package may import which, with the reason for each rule beside it,
// and that every package says what it is for. Its test checks the tree; this file is the rules.
package archtest

import (
	"fmt"
	"slices"
	"strings"
)

// Module is the path of the module whose shape is held.
const Module = "github.com/slipway-cloud/slipway"

// Package is what the rules need to know of a package. Imports are those of its production files: a test may stand on
// whatever it tests with.
type Package struct {
	Path    string // below the module, "" for its root; the whole import path for others
	Name    string
	Doc     string // first sentence of the package comment
	Imports []string
}

// Rule forbids imports. Patterns are paths below the module ("models"), or whole import paths of others ("net/http");
// "/..." at the end takes in everything below, and "..." alone is everything of Slipway.
type Rule struct {
	Who    []string
	Except []string // of Who
	// Never is what they do not import, unless Only is set: then it is all that they may import of what Never names.
	Never []string
	Only  []string
	// Reach follows the imports of Slipway's own packages: nor may they get there through another package.
	Reach bool
	Why   string
}

const (
	sdk      = "go.temporal.io/sdk/..."
	workflow = "go.temporal.io/sdk/workflow"
	gorm     = "gorm.io/..."
	echo     = "github.com/labstack/echo/..."
	libvirt  = "github.com/digitalocean/go-libvirt/..."
	xml      = "libvirt.org/go/..."
	ovsdb    = "github.com/ovn-kubernetes/libovsdb/..."
	faults   = "internal/dev/faultinject"
)

// Rules of this tree: cmd → workers, api → internal/engine → workflows → internal/contract ← activities → internal, models.
var Rules = []Rule{
	{
		Who: []string{"workflows/..."}, Never: []string{"activities/...", "models", "api/...", "workers", "internal/guest/hypervisor/..."}, Reach: true,
		Why: "a workflow knows activities by their names and contract types alone: its code is replayed on machines and after upgrades where theirs is another",
	},
	{
		Who: []string{"workflows/..."}, Never: []string{gorm, "database/sql", "net", "net/http", "os", "os/...", "io", "math/rand", "math/rand/v2", "crypto/rand", "sync", libvirt, echo},
		Why: "a replayed workflow must decide as it did before, and what it reads from the outside has changed since; side effects belong in activities",
	},
	{
		Who: []string{"workflows/saga"}, Never: []string{"..."},
		Why: "the undo engine has no domain words: whether it is right must not depend on what is undone",
	},
	{
		Who: []string{"workflows/run"}, Never: []string{"..."}, Only: []string{"workflows/saga", "internal/fault/..."},
		Why: "what drives a table has no domain words either: the build, a delete, an import and a repair are right for the same reasons",
	},
	{
		Who: []string{"workflows/..."}, Never: []string{"go.temporal.io/sdk/client", "go.temporal.io/sdk/worker", "github.com/google/uuid", "internal/engine"},
		Why: "replayed code asks nobody and makes up nothing: whoever starts or asks a workflow is internal/engine, and ids come with the input",
	},
	{
		Who: []string{"api/..."}, Never: []string{"activities/...", "workers", "internal/guest/hypervisor/...", "internal/guest/disk", "internal/guest/configdrive"}, Reach: true,
		Why: "an API process only validates, submits and reads: what a request needs done it asks a workflow for, which survives the process",
	},
	{
		Who: []string{"api/..."}, Never: []string{sdk, "workflows/..."},
		Why: "engine.Client is the one way to start or signal a workflow: a second one would be a second idea of a server's lock",
	},
	{
		Who:   []string{"api/audit", "api/builds", "api/compute", "api/consoles", "api/ec2", "api/hosts", "api/identity", "api/image", "api/installation", "api/network", "api/reservations"},
		Never: []string{"api/..."}, Only: []string{"api/rest"},
		Why: "a face translates one protocol: what two of them need is a service's, or what all of them share, api/rest",
	},
	{
		Who: []string{"models"}, Never: []string{echo, sdk, "net/http", "api/...", "workflows/...", "activities/...", "workers"},
		Why: "the store serves HTTP handlers and activities alike and may know of neither",
	},
	{
		Who: []string{"..."}, Except: []string{"models"}, Never: []string{gorm},
		Why: "transactions, locks and compare-and-set live in one place, where they are tested under race; others call methods of models.Store",
	},
	{
		Who: []string{"..."}, Except: []string{"internal/notify"}, Never: []string{"github.com/rabbitmq/..."},
		Why: "a message to a broker is lost with the process that sends it: notifications go through the outbox",
	},
	{
		Who: []string{"..."}, Except: []string{"api/...", "cmd/slipway"}, Never: []string{echo},
		Why: "HTTP frameworks end at the API; the operators' listener and the clients need net/http only",
	},
	{
		Who: []string{"internal/..."}, Except: []string{"internal/dev/...", "internal/engine"},
		Never: []string{"api/...", "activities/...", "workflows/...", "workers", "cmd/..."},
		Why:   "internal packages are the bottom: everything stands on them, so they stand on nothing above",
	},
	{
		Who: []string{"internal/..."}, Except: []string{"internal/service/...", "internal/notify", "internal/installation", "internal/dev/..."}, Never: []string{"models"},
		Why: "what has rows asks for them in the words of its own interface; only services, and what tells of their changes, read and write the store",
	},
	{
		Who: []string{"internal/service/..."}, Never: []string{echo, sdk, "net/http"},
		Why: "a service is asked by every protocol: caller in, fault out, no status and no body of one of them",
	},
	{
		Who: []string{"..."}, Except: []string{"internal/dev/...", "cmd/...", "test/..."}, Never: []string{"internal/dev/stack", "internal/dev/supervisor", "internal/dev/archtest", "internal/dev/gendocs"},
		Why: "what development needs has no place in the roles that operators run",
	},
	{
		Who: []string{"internal/engine"}, Never: []string{"api/...", "activities/...", "models", "workers", "cmd/..."},
		Why: "the client of the workflows knows how they are named and found, and nothing of who asks or of what they do",
	},
	{
		Who: []string{"internal/contract"}, Never: []string{"..."}, Only: []string{"internal/fault", "internal/ids"},
		Why: "histories record its types: nothing may pull a change into them from elsewhere",
	},
	{
		Who: []string{"internal/contract"}, Never: []string{sdk, gorm, echo, libvirt, xml},
		Why: "a contract names what is exchanged, not with what",
	},
	{
		Who: []string{"internal/hostapi"}, Never: []string{"..."},
		Why: "a host and an API of two versions read it: nothing may pull a change into it from elsewhere",
	},
	{
		Who: []string{"internal/ids"}, Never: []string{"..."}, Only: []string{"internal/fault"},
		Why: "what an id derives from is its arguments alone: every process, host and replayed workflow computes the same",
	},
	{
		Who: []string{"internal/guest/admission"}, Never: []string{"...", sdk}, Only: []string{"internal/fault"},
		Why: "when a step may begin on a host follows from what runs there: it is shown without an engine, and knows no step by name",
	},
	{
		Who: []string{"internal/lifecycle"}, Never: []string{"..."},
		Why: "what can be done to a server is a table that everybody reads and that asks nobody",
	},
	{
		Who: []string{"internal/policy"}, Never: []string{"..."}, Only: []string{"internal/auth", "internal/imagepolicy", "internal/lifecycle"},
		Why: "who may call what is a table that is compared with the API, and derives from nothing that the API does",
	},
	{
		Who: []string{"internal/fault"}, Never: []string{"...", sdk, "go.temporal.io/api/..."},
		Why: "every package speaks of failure in its words, so it can speak of no other",
	},
	{
		Who: []string{"internal/imagepolicy"}, Never: []string{"..."}, Only: []string{"internal/auth", "internal/fault"},
		Why: "a decision that reads nothing can be shown whole in one table; what it needs to know is given to it",
	},
	{
		Who: []string{"internal/imagepolicy"}, Never: []string{gorm, echo, "net/http"},
		Why: "a decision that reads nothing can be shown whole in one table; what it needs to know is given to it",
	},
	{
		Who: []string{"internal/imageprops"}, Never: []string{"..."}, Only: []string{"internal/fault"},
		Why: "what a property means is said once, for the control plane, for hosts and for the documents: it can lean on none of them",
	},
	{
		Who: []string{"internal/ipam"}, Never: []string{"..."}, Only: []string{"internal/fault"},
		Why: "what an address may be is said once, for handlers and for the store: it can lean on neither",
	},
	{
		Who: []string{"internal/sdn"}, Never: []string{"..."}, Only: []string{"internal/fault"},
		Why: "how a network shall be is said in plain facts: neither whoever keeps them nor the engine that obeys is in them",
	},
	{
		Who: []string{"internal/sdn/..."}, Never: []string{"..."}, Only: []string{"internal/sdn", "internal/sdn/...", "internal/fault", "internal/ids", "internal/pace"},
		Why: "an engine is given all that it needs to know, so that another one is a package and no more",
	},
	{
		Who: []string{"..."}, Except: []string{"internal/sdn/ovn", "internal/guest/hostnet/ovs"}, Never: []string{ovsdb},
		Why: "the network engine is a port: what leaks past it cannot be done by another, nor tested with the fake",
	},
	{
		Who: []string{"workflows/..."}, Never: []string{"internal/imageprops"}, Reach: true,
		Why: "a property that a newer version reads otherwise would send a replayed build another way: what a build decides by stands in ResolveImage's answer",
	},
	{
		Who: []string{"internal/cli/..."}, Never: []string{"..."}, Only: []string{"internal/cli/session", "internal/cli/show", "internal/imageformat"},
		Why: "the user's verbs use the public API like any other client; a shortcut would hide what the API lacks. What a file is by its marks is said once, so that a file which the API refuses is not sent",
	},
	{
		Who: []string{"internal/cli/show"}, Never: []string{"..."},
		Why: "what is shown is drawn from what is given: it knows neither how an answer was got nor which verb asked",
	},
	{
		Who: []string{"internal/cli"}, Never: []string{"github.com/vbauerster/mpb/..."},
		Why: "what is drawn on a terminal, and what is printed where there is none, is said in internal/cli/show alone",
	},
	{
		Who: []string{"internal/cli"}, Never: []string{"github.com/gophercloud/..."},
		Why: "a verb asks through its session, which says once how a request, its microversion and its refusal are",
	},
	{
		Who: []string{"activities/host", "internal/guest/hypervisor/...", "internal/guest/imagecache"}, Never: []string{"models", "activities/control"}, Reach: true,
		Why: "a hypervisor holds no database credential",
	},
	{
		Who: []string{"activities/host", "workers", "internal/guest/..."}, Except: []string{"internal/guest/transfer"}, Never: []string{"internal/listener"},
		Why: "a hypervisor listens on nothing, but for another host while disks are offered to it, and for its guests in namespaces of their own",
	},
	{
		Who: []string{"internal/guest/transfer"}, Never: []string{sdk, "internal/guest/hypervisor/...", "internal/guest/disk", "internal/guest/imagecache"},
		Why: "what carries disks knows names and bytes: what a disk is, and whose, is decided on either side of it",
	},
	{
		Who: []string{"activities/control"}, Never: []string{"activities/host", "internal/guest/hypervisor/...", "internal/guest/imagecache"}, Reach: true,
		Why: "the control plane reaches hypervisors through their task queues only",
	},
	{
		Who: []string{"activities/..."}, Never: []string{"workflows/...", "workers", "api/...", "cmd/..."}, Reach: true,
		Why: "a step does its one thing; what comes before and after it is the table's business",
	},
	{
		Who: []string{"..."}, Except: []string{"workflows/...", "workers", "internal/requestid"}, Never: []string{workflow},
		Why: "code that is replayed lives in workflows/, where the determinism check looks at it; the request's id only rides along",
	},
	{
		Who: []string{"..."}, Except: []string{"internal/guest/hypervisor/libvirt", "internal/dev/stack", "test/..."}, Never: []string{libvirt, xml},
		Why: "the hypervisor is a port: what leaks past it cannot be done by another hypervisor, nor tested with the fake",
	},
	{
		Who: []string{"workers"}, Never: []string{"api/...", "cmd/..."},
		Why: "which process runs a worker is main's business",
	},
	{
		Who: []string{"..."}, Except: []string{"internal/dev/testenv/...", "internal/guest/hypervisor/hypervisortest", "internal/sdn/sdntest", "internal/imagestore/imagestoretest", "internal/imagestore/s3test", "api/apitest", "test/..."},
		Never: []string{"testing", "internal/dev/testenv", "internal/guest/hypervisor/hypervisortest", "internal/sdn/sdntest", "internal/imagestore/imagestoretest", "internal/imagestore/s3test", "api/apitest", "github.com/stretchr/testify/..."},
		Why:   "what tests need has no place in the program",
	},
	{
		Who: []string{"..."}, Except: []string{"test/..."}, Never: []string{faults},
		Why: "a program that can be told to fail is not one to run: only what is built with the tag faultinject has it, and this rule looks at what is built without",
	},
}

// Breaks lists every import that breaks a rule, one line each, in order of packages and rules.
func Breaks(packages []Package, rules []Rule) []string {
	byPath := map[string]*Package{}
	for i := range packages {
		byPath[packages[i].Path] = &packages[i]
	}
	var broken []string
	for _, p := range packages {
		for _, r := range rules {
			if !matchAny(r.Who, p.Path) || matchAny(r.Except, p.Path) {
				continue
			}
			seen := map[string]bool{p.Path: true}
			var visit func(at *Package, way []string)
			visit = func(at *Package, way []string) {
				for _, imported := range at.Imports {
					path := shortPath(imported)
					here := append(slices.Clone(way), show(imported))
					if matchAny(r.Never, path) && !matchAny(r.Only, path) && path != p.Path {
						broken = append(broken, fmt.Sprintf("%s: %s", strings.Join(here, " imports "), r.Why))
						continue
					}
					next := byPath[path]
					if r.Reach && next != nil && !seen[path] {
						seen[path] = true
						visit(next, here)
					}
				}
			}
			visit(&p, []string{show(p.Path)})
		}
	}
	return broken
}

// nameless are words that say nothing of what a package is for.
var nameless = []string{"util", "utils", "helper", "helpers", "common", "base", "misc", "shared", "types"}

// Unsaid lists the packages that do not say what they are for: no package comment that begins in Go's way, or a name that
// fits anything.
func Unsaid(packages []Package) []string {
	var unsaid []string
	for _, p := range packages {
		begin := "Package " + strings.TrimSuffix(p.Name, "_test") + " "
		if p.Name == "main" {
			begin = "Command "
		}
		if !strings.HasPrefix(p.Doc, begin) {
			unsaid = append(unsaid, fmt.Sprintf("%s has no package comment that begins with %q and says what it is for", show(p.Path), begin))
		}
		if slices.Contains(nameless, p.Name) {
			unsaid = append(unsaid, fmt.Sprintf("%s: the name %q says nothing of what it is for", show(p.Path), p.Name))
		}
	}
	return unsaid
}

// shortPath is an import path as the rules write it: Slipway's own without the module.
func shortPath(path string) string {
	if path == Module {
		return ""
	}
	return strings.TrimPrefix(path, Module+"/")
}

func show(path string) string {
	if path = shortPath(path); path != "" {
		return path
	}
	return "the root package"
}

func matchAny(patterns []string, path string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return match(pattern, path) })
}

// ours are the top folders of the module: "..." means them, not the world.
var ours = []string{"activities", "api", "cmd", "deploy", "internal", "models", "test", "workers", "workflows"}

func match(pattern, path string) bool {
	if pattern == "..." {
		top, _, _ := strings.Cut(path, "/")
		return path == "" || slices.Contains(ours, top)
	}
	if tree, isTree := strings.CutSuffix(pattern, "/..."); isTree {
		return path == tree || strings.HasPrefix(path, tree+"/")
	}
	return path == pattern
}
