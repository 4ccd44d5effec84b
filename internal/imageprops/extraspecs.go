package imageprops

import (
	"math"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// ExtraSpec is an extra spec of flavors that Nova knows, and what it may be (nova/api/validation/extra_specs).
type ExtraSpec struct {
	Name   string   // as Nova's documentation writes it: {num}, {key} ... stand for a part that varies
	Values []string // that it may be
	Kind   string   // of value, where there are many
	check  func(string) string
}

// parts are what the varying parts of names may be.
var parts = strings.NewReplacer(
	`\{num\}`, `\d+`, `\{key\}`, `.+`, `\{group\}`, `([a-zA-Z0-9_-]{1,64})?`, `\{name\}`, `[A-Z][A-Z0-9_]*`,
)

// names finds extra specs by name, whole or up to the colon: Nova refuses what it does not know in a namespace that it knows.
var names = sync.OnceValue(func() (all struct {
	specs  []*regexp.Regexp
	spaces []*regexp.Regexp
}) {
	for _, s := range ExtraSpecs {
		name := parts.Replace(regexp.QuoteMeta(s.Name))
		all.specs = append(all.specs, regexp.MustCompile("^(?:"+name+")$"))
		if space, _, scoped := strings.Cut(name, ":"); scoped {
			all.spaces = append(all.spaces, regexp.MustCompile("^(?:"+space+"):"))
		}
	}
	return all
})

func extraSpec(name string) (ExtraSpec, bool) {
	for i, form := range names().specs {
		if form.MatchString(name) {
			return ExtraSpecs[i], true
		}
	}
	return ExtraSpec{}, false
}

// CheckExtraSpec refuses a value that an extra spec cannot have, and a name that Nova would have to know and does not. What
// is in no namespace of Nova's may be anything.
func CheckExtraSpec(name, value string) error {
	s, known := extraSpec(name)
	switch {
	case known:
		if complaint := s.check(value); complaint != "" {
			return fault.New(fault.Invalid, "Validation failed; '%s' is %s. It is the value of extra spec %s.", value, complaint, name)
		}
	case slices.ContainsFunc(names().spaces, func(space *regexp.Regexp) bool { return space.MatchString(name) }):
		return fault.New(fault.Invalid, "Validation failed; extra spec '%s' does not appear to be a valid extra spec.", name)
	}
	return nil
}

// PropertyOf is the name of the image's property that asks for the same as an extra spec, or the extra spec's own.
func PropertyOf(spec string) string {
	switch spec {
	case "hide_hypervisor_id", "hw:hide_hypervisor_id":
		return "img_hide_hypervisor_id"
	case "hw_video:ram_max_mb":
		return "hw_video_ram"
	}
	for _, space := range []string{"hw", "os"} {
		if rest, is := strings.CutPrefix(spec, space+":"); is {
			return space + "_" + rest
		}
	}
	return spec
}

// Fate says what becomes of an extra spec, in words.
func (s ExtraSpec) Fate() string {
	property := PropertyOf(s.Name)
	for _, p := range LeftAlone {
		if slices.Contains(p.Names, property) {
			return "Left alone. " + p.Why
		}
	}
	for _, r := range Refused {
		if matches, _ := path.Match(r.Name, strings.ReplaceAll(property, "{group}", "")); matches {
			return "Refused when it is " + r.When() + ". " + r.Why
		}
	}
	if s.Name == "aggregate_instance_extra_specs:{key}" {
		return "Obeyed: a host takes the server that is in an aggregate whose metadata has the key with such a value."
	}
	return "Obeyed: see hw_rng_model."
}

// CheckFlavor refuses a flavor that asks for what no server gets here, or for what is none. Extra specs that are not known are
// left alone: a version of Nova's, or an operator, has given them a meaning of its own.
func CheckFlavor(extraSpecs map[string]string) error {
	for _, name := range sortedKeys(extraSpecs) {
		value := extraSpecs[name]
		if _, known := extraSpec(name); known {
			if err := CheckExtraSpec(name, value); err != nil {
				return err
			}
		}
		if r, refused := refusal(PropertyOf(name), value, true); refused {
			return fault.New(fault.Invalid, "%s The flavor's extra spec %s is %q.", r.Why, name, value)
		}
	}
	return nil
}

func words(values []string, names ...string) []ExtraSpec {
	complaint := "not one of: " + strings.Join(values, ", ")
	return rows(ExtraSpec{Values: values, check: func(v string) string {
		if slices.Contains(values, v) {
			return ""
		}
		return complaint
	}}, names)
}

func boolean(names ...string) []ExtraSpec {
	return rows(ExtraSpec{Kind: "a boolean", check: func(v string) string {
		if booleans[strings.ToLower(strings.TrimSpace(v))] != "" {
			return ""
		}
		return "not a valid boolean-like value"
	}}, names)
}

func integer(least, most int, names ...string) []ExtraSpec {
	kind := "a number"
	if least > math.MinInt32 {
		kind += " from " + strconv.Itoa(least)
	}
	if most < math.MaxInt {
		kind += " to " + strconv.Itoa(most)
	}
	return rows(ExtraSpec{Kind: kind, check: func(v string) string {
		n, err := strconv.Atoi(strings.TrimSpace(v))
		switch {
		case err != nil:
			return "not a valid integer value"
		case n > most:
			return "greater than the max value of '" + strconv.Itoa(most) + "'"
		case n < least:
			return "less than the min value of '" + strconv.Itoa(least) + "'"
		}
		return ""
	}}, names)
}

// text is of a form; "" is any.
func text(kind, form string, names ...string) []ExtraSpec {
	whole := regexp.MustCompile("^(?:" + form + ")$")
	return rows(ExtraSpec{Kind: kind, check: func(v string) string {
		if form == "" || whole.MatchString(v) {
			return ""
		}
		return "not of the format '" + form + "'"
	}}, names)
}

func rows(of ExtraSpec, names []string) []ExtraSpec {
	list := make([]ExtraSpec, len(names))
	for i, name := range names {
		list[i], list[i].Name = of, name
	}
	return list
}

const cpus = `\^?\d+((-\d+)?(,\^?\d+(-\d+)?)?)*`

// ExtraSpecs are all that Nova knows.
var ExtraSpecs = slices.Concat(
	boolean("hw_rng:allowed"),
	integer(0, math.MaxInt32, "hw_rng:rate_bytes", "hw_rng:rate_period"),

	words([]string{"disabled", "required"}, "os:secure_boot"),
	boolean("hw:mem_encryption"),
	words([]string{"amd-sev", "amd-sev-es", "amd-sev-snp"}, "hw:mem_encryption_model"),
	boolean("hw:ephemeral_encryption"),
	words([]string{"plain", "luks", "luksv2"}, "hw:ephemeral_encryption_format"),
	words([]string{"1.2", "2.0"}, "hw:tpm_version"),
	words([]string{"tpm-tis", "tpm-crb"}, "hw:tpm_model"),
	words([]string{"user", "host", "deployment"}, "hw:tpm_secret_security"),

	words([]string{"dedicated", "shared", "mixed"}, "hw:cpu_policy"),
	words([]string{"prefer", "isolate", "require"}, "hw:cpu_thread_policy"),
	text("a list of vCPUs", cpus, "hw:cpu_dedicated_mask"),
	words([]string{"isolate", "share"}, "hw:emulator_threads_policy"),
	boolean("hw:cpu_realtime"),
	text("a list of vCPUs", cpus, "hw:cpu_realtime_mask"),
	integer(1, math.MaxInt, "hw:numa_nodes"),
	text("a list of vCPUs", cpus, "hw:numa_cpus.{num}"),
	integer(1, math.MaxInt, "hw:numa_mem.{num}"),
	words([]string{"required", "preferred", "legacy", "socket"}, "hw:pci_numa_affinity_policy"),
	text("small, large, any or a size", `(large|small|any|\d+([kKMGT]i?)?(b|bit|B)?)`, "hw:mem_page_size"),
	boolean("hw:locked_memory"),
	text("labels", `([a-zA-Z0-9_]+(,)?)+`, "hw:pmem"),

	text("a name", "", "accel:device_profile"),
	text("names with counts", `[^:]+:\d+(?:\s*,\s*[^:]+:\d+)*`, "pci_passthrough:alias"),
	integer(math.MinInt, math.MaxInt, "resources{group}:{name}"),
	words([]string{"required", "forbidden"}, "trait{group}:{name}"),
	words([]string{"isolate", "none"}, "group_policy"),
	text("a comparison", "", "aggregate_instance_extra_specs:{key}", "capabilities:{key}"),

	integer(0, math.MaxInt, quotas("{}_limit")...),
	integer(math.MinInt, math.MaxInt, quotas("{}_reservation")...),
	words([]string{"custom", "high", "normal", "low"}, quotas("{}_shares_level")...),
	integer(0, math.MaxInt, quotas("{}_shares_share")...),
	integer(0, math.MaxInt, "quota:cpu_shares", "quota:cpu_period"),
	integer(math.MinInt, math.MaxInt, "quota:cpu_quota"),
	integer(0, math.MaxInt, "quota:disk_read_bytes_sec", "quota:disk_read_iops_sec", "quota:disk_write_bytes_sec", "quota:disk_write_iops_sec",
		"quota:disk_total_bytes_sec", "quota:disk_total_iops_sec"),
	integer(0, math.MaxInt, "quota:vif_inbound_average", "quota:vif_inbound_peak", "quota:vif_inbound_burst",
		"quota:vif_outbound_average", "quota:vif_outbound_peak", "quota:vif_outbound_burst"),

	integer(1, math.MaxInt, "hw:cpu_sockets", "hw:cpu_cores", "hw:cpu_threads", "hw:cpu_max_sockets", "hw:cpu_max_cores", "hw:cpu_max_threads"),
	boolean("hw:hide_hypervisor_id", "hide_hypervisor_id", "hw:pmu", "hw:vif_multiqueue_enabled", "hw:virtio_packed_ring", "hw:boot_menu"),
	words([]string{"intel", "smmuv3", "virtio", "auto"}, "hw:viommu_model"),
	integer(0, math.MaxInt, "hw:serial_port_count", "hw_video:ram_max_mb"),
	words([]string{"none", "pause", "poweroff", "reset", "disabled"}, "hw:watchdog_action"),
	words([]string{"sb16", "es1370", "pcspk", "ac97", "ich6", "ich9", "usb", "virtio"}, "hw:sound_model"),
	words([]string{"none", "nec-xhci", "qemu-xhci"}, "hw:usb_model"),
	integer(0, 15, "hw:redirected_usb_ports"),
	text("a text", "", "vmware:hw_version", "vmware:storage_policy"),
)

// quotas are the limits that there are for each of what VMware shares.
func quotas(form string) []string {
	var list []string
	for _, what := range []string{"cpu", "memory", "disk_io", "vif"} {
		list = append(list, "quota:"+strings.Replace(form, "{}", what, 1))
	}
	return list
}
