package boot

import (
	"slices"
	"time"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/workflows/run"
	"github.com/slipway-cloud/slipway/workflows/server"
)

// The build. Everything else derives from this table: the workflow's loop, its undo, a delete's teardown, the progress
// query, the events of os-instance-actions, metric names and docs/build-steps.md. Adding a step is one row here and one
// file in activities/.
//
// Rows run in order. A row is done once, or once for each NIC; `Beside` rows run beside those that follow until the row
// that they name. An undo is registered before its do runs and is named from the server's id alone. A port is given back
// behind everything on hosts: a guest on a host that does not answer may still use its address.
var steps = run.Table[*build]{
	admission(contract.ResolveImage, resolveImage).
		TakesNothing("nothing was taken"),

	admission(contract.ClaimQuota, claimQuota).
		GivenBackBy(contract.ReleaseQuota),

	admission(contract.RecordServer, recordServer).Accepts(). // the server exists, and the request is answered
									GivenBackBy(contract.FailServer).GivenBackWith(failServer), // the row stays, in ERROR with its fault: the user asked for it and deletes it

	control(contract.AskVendorData, askVendorData).Within(time.Minute).When(asksVendorData).
		TakesNothing("the answers are kept in the server's spec, and go with it"),

	control(contract.SelectHost, selectHost).Chooses(selectedHost).
		GivenBackBy(contract.ReleaseAllocation).ByPlace(),

	control(contract.AllocateNetwork, allocateNetwork).Each(server.NIC, nics).In(networking).
		GivenBackBy(contract.ReleaseNetwork).BehindPlaces("network"),

	host(contract.BuildConfigDrive, buildConfigDrive, time.Minute).When(wantsConfigDrive).
		GivenBackBy(contract.RemoveConfigDrive).BesideUntil(contract.DefineDomain),

	host(contract.FetchImage, fetchImage, 2*time.Hour).
		TakesNothing("the host's image cache evicts what no server uses"),

	host(contract.BuildDisk, buildDisk, 30*time.Minute).Tells(notGrown).
		GivenBackBy(contract.RemoveDisk),

	host(contract.InjectData, injectData, 5*time.Minute).When(wantsInjection).Tells(notTaken).
		TakesNothing("gone with the disk"),

	host(contract.PlugPort, plugPort, 2*time.Minute).Each(server.PluggedNIC, plugged). // none where networks stand on bridges
												GivenBackBy(contract.UnplugPort),

	host(contract.DefineDomain, defineDomain, time.Minute).
		GivenBackBy(contract.UndefineDomain),

	host(contract.StartDomain, startDomain, 2*time.Minute).
		GivenBackBy(contract.DestroyDomain),

	control(contract.Activate, activate).In(spawning).
		TakesNothing("the last step: what follows it is a delete"),
}

const (
	scheduling = string(contract.PhaseScheduling)
	networking = string(contract.PhaseNetworking)
	spawning   = string(contract.PhaseSpawning)
)

// admission steps are the submission's: the user waits for them.
func admission[I, O any](name string, io run.Describe[*build, I, O]) run.Row[*build] {
	return run.OnControl(name, run.AdmissionPatience, io).In(scheduling)
}

func control[I, O any](name string, io run.Describe[*build, I, O]) run.Row[*build] {
	return run.OnControl(name, run.ControlPatience, io).In(scheduling)
}

func host[I, O any](name string, io run.Describe[*build, I, O], timeout time.Duration) run.Row[*build] {
	return run.AtPlace(name, timeout, io).In(spawning)
}

// Conditions and repetitions.

func wantsConfigDrive(b *build) bool { return b.in.ConfigDrive || b.image.ConfigDrive }

func asksVendorData(b *build) bool { return b.in.VendorServices != nil && wantsConfigDrive(b) }

func nics(b *build) int { return len(b.in.Networks) }

// plugged counts the NICs if their host plugs them. What stands in old histories says that it does not.
func plugged(b *build) int {
	if !slices.ContainsFunc(b.ports, contract.Port.Plugged) {
		return 0
	}
	return nics(b)
}

func wantsInjection(b *build) bool { return b.facts().Injects() }

// What each row is given, and what the build keeps of its answer.

func resolveImage(b *build, _ int) (contract.ResolveImageInput, func(contract.ResolvedImage)) {
	return b.in.Resolution(), func(image contract.ResolvedImage) { b.image = image }
}

func claimQuota(b *build, _ int) (contract.ClaimQuotaInput, func(run.None)) {
	return contract.ClaimQuotaInput{
		ServerID:  b.in.ServerID,
		ProjectID: b.in.ProjectID,
		VCPUs:     b.in.Flavor.VCPUs,
		RAMMiB:    b.in.Flavor.RAMMiB,
		Limits:    b.in.Limits,
	}, nil
}

func recordServer(b *build, _ int) (contract.RecordServerInput, func(run.None)) {
	in, spec := RecordInput(b.in, b.image, b.run.Began()), b.spec()
	in.Spec = &spec
	return in, nil
}

// spec is what later actions need of this build.
func (b *build) spec() contract.ServerSpec {
	return contract.ServerSpec{
		Image: b.image, Flavor: b.in.Flavor, KeyPairs: b.in.KeyPairs, Files: b.in.Files, UserData: b.in.UserData, Hints: b.in.Hints,
		AdminPass: b.in.AdminPass, Seed: b.in.Seed, Drive: b.in.Drive, VendorData: b.in.VendorData,
		DynamicVendorData: b.vendorData,
	}
}

// failServer is the undo of recordServer: the row becomes ERROR and says why. A server that is being deleted needs no fault:
// its row goes.
func failServer(b *build) (any, bool) {
	f := b.run.Failure()
	if f == nil || b.deletion.Came() {
		return nil, false
	}
	return contract.FailServerInput{
		ServerID:  b.in.ServerID,
		RequestID: b.in.RequestID,
		Code:      f.Kind.Status(),
		Message:   f.Text,
		Details:   f.Error(),
		Steps:     server.Steps(b.run),
	}, true
}

// RecordInput is the row of a server that was asked for at a time.
func RecordInput(boot contract.BootInput, image contract.ResolvedImage, at time.Time) contract.RecordServerInput {
	in := contract.RecordServerInput{
		Server: boot.Of(image), Group: boot.Group, Phase: contract.PhaseScheduling, StartedAt: at, Submission: boot.Submission,
	}
	if len(boot.KeyPairs) > 0 {
		in.KeyName = boot.KeyPairs[0].Name
	}
	return in
}

func askVendorData(b *build, _ int) (contract.AskVendorDataInput, func(contract.DynamicVendorData)) {
	return contract.AskVendorDataInput{
		VendorServices: *b.in.VendorServices,
		ServerID:       b.in.ServerID,
		ProjectID:      b.in.ProjectID,
		ImageID:        b.in.ImageID,
		Hostname:       b.in.Hostname,
		UserData:       b.in.UserData,
		Metadata:       b.in.Metadata,
		Roles:          b.in.Roles,
	}, func(answers contract.DynamicVendorData) { b.vendorData = answers }
}

func selectHost(b *build, _ int) (contract.SelectHostInput, func(contract.HostSelection)) {
	in := b.in.Selection(b.image)
	in.Excluded, in.NextPhase = b.hostsTried(), contract.PhaseSpawning
	if nics(b) > 0 {
		in.NextPhase = contract.PhaseNetworking
	}
	return in, func(selection contract.HostSelection) { b.host = selection }
}

func selectedHost(b *build) string { return b.host.Hostname }

func allocateNetwork(b *build, nic int) (contract.AllocateNetworkInput, func(contract.Port)) {
	in := contract.AllocateNetworkInput{
		ServerID:  b.in.ServerID,
		ProjectID: b.in.ProjectID,
		Index:     nic,
		Request:   b.in.Networks[nic],
		Hostname:  b.host.Hostname,
		NextPhase: contract.PhaseNetworking,
	}
	if nic == nics(b)-1 {
		in.NextPhase = contract.PhaseSpawning
	}
	return in, func(port contract.Port) { b.ports[nic] = port }
}

func buildConfigDrive(b *build, _ int) (contract.BuildConfigDriveInput, func(run.None)) {
	return b.facts().BuildConfigDrive(b.host.AvailabilityZone), nil
}

func fetchImage(b *build, _ int) (contract.FetchImageInput, func(contract.FetchImageOutput)) {
	return contract.FetchImageInput{ServerID: b.in.ServerID, Images: b.image.All()}, nil
}

func buildDisk(b *build, _ int) (contract.BuildDiskInput, func(contract.InjectedData)) {
	return b.facts().BuildDisk(), func(grown contract.InjectedData) { b.grown = grown }
}

// notGrown says why the root filesystem is as large as the image has it.
func notGrown(b *build) string { return b.grown.String() }

func injectData(b *build, _ int) (contract.InjectDataInput, func(contract.InjectedData)) {
	return contract.InjectDataInput{ServerID: b.in.ServerID, Metadata: b.facts().Metadata(b.host.AvailabilityZone), Options: b.in.Inject},
		func(injected contract.InjectedData) { b.injected = injected }
}

func plugPort(b *build, nic int) (contract.PlugPortInput, func(run.None)) {
	return contract.PlugPortInput{ServerID: b.in.ServerID, Index: nic, Port: b.ports[nic]}, nil
}

// notTaken warns of what the image did not take.
func notTaken(b *build) string { return b.injected.String() }

func defineDomain(b *build, _ int) (contract.DefineDomainInput, func(run.None)) {
	facts := b.facts()
	in := facts.Domain()
	in.Facts = facts
	return in, nil
}

// facts are what makes this server again of its domain.
func (b *build) facts() *contract.ServerFacts {
	row := RecordInput(b.in, b.image, b.run.Began())
	return &contract.ServerFacts{
		Server: row.Server, KeyName: row.KeyName, StartedAt: row.StartedAt, Spec: b.spec(),
		Networks: b.in.Networks, Ports: b.ports, Resources: b.in.Flavor.Takes(b.image.Root),
	}
}

func startDomain(b *build, _ int) (contract.StartDomainInput, func(run.None)) {
	return contract.StartDomainInput{ServerID: b.in.ServerID}, nil
}

func activate(b *build, _ int) (contract.ActivateInput, func(run.None)) {
	return contract.ActivateInput{
		ServerID:  b.in.ServerID,
		RequestID: b.in.RequestID,
		Hostname:  b.host.Hostname,
		Steps:     server.Steps(b.run),
	}, nil
}

func (b *build) hostsTried() []string {
	var hosts []string
	for _, a := range b.run.Tried() {
		hosts = append(hosts, a.Place)
	}
	return hosts
}
