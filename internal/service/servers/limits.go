package servers

import (
	"unicode/utf8"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/models"
)

const maxName = 255

// invalid is a refusal of the request as its client wrote it.
func invalid(format string, args ...any) error { return fault.New(fault.Invalid, format, args...) }

// checkSizes holds a request within its project's quotas of what a guest is given.
func checkSizes(r Request, q models.ProjectQuota) error {
	if err := CheckMetadata(r.Metadata, q); err != nil {
		return err
	}
	if over(len(r.Files), q.InjectedFiles) {
		return fault.New(fault.OverQuota, "Quota exceeded, too many injected files: at most %d are allowed.", q.InjectedFiles)
	}
	for _, f := range r.Files {
		switch {
		case over(len(f.Path), q.InjectedPathBytes):
			return fault.New(fault.OverQuota, "Personality file path exceeds maximum %d", q.InjectedPathBytes)
		case over(len(f.Contents), q.InjectedFileBytes):
			return fault.New(fault.OverQuota, "Personality file content exceeds maximum %d", q.InjectedFileBytes)
		}
	}
	return nil
}

// CheckMetadata holds metadata within its project's quota of it.
func CheckMetadata(items map[string]string, q models.ProjectQuota) error {
	if over(len(items), q.MetadataItems) {
		return fault.New(fault.OverQuota, "Maximum number of metadata items exceeds %d", q.MetadataItems)
	}
	return nil
}

// over says whether there are more than a limit allows; -1 is none.
func over(n, limit int) bool { return limit >= 0 && n > limit }

// checkCounts says what cannot be had several times.
func (s Servers) checkCounts(r Request, nics []contract.NICRequest) error {
	switch {
	case r.Min > r.Max:
		return invalid("min_count must be <= max_count")
	case r.Max > s.config.MaxCount:
		return invalid("max_count is %d: one request may build at most %d servers here.", r.Max, s.config.MaxCount)
	case r.Max == 1:
		return nil
	case r.Hostname != "":
		return invalid("Unable to allocate a single hostname to multiple instances")
	}
	if numbered, _ := ids.Reserved("", r.Name, "", r.Max-1, r.Max); utf8.RuneCountInString(numbered) > maxName {
		return invalid("Invalid input for field/attribute name. Value: %s. '%s' is too long: with its number a name has at most %d characters",
			r.Name, r.Name, maxName)
	}
	for _, n := range nics {
		switch {
		case n.PortID != "":
			return invalid("Failed to launch instances: Unable to launch multiple instances with a single configured port ID. " +
				"Please launch your instance one by one with different ports.")
		case n.FixedIP != "":
			return invalid("Failed to launch instances: max_count cannot be greater than 1 if an fixed_ip is specified.")
		}
	}
	return nil
}
