package main

import "runtime/debug"

// version is the commit that this program was built from, "+dirty" where files had changed since, or what Go calls a program
// whose commit it does not know: "(devel)".
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v, _ := versionOf(info)
	return v
}

// buildID is what workers tell the engine of their program: the commit. "" lets the engine's client compute a checksum, which
// it does at each start, for a program that one commit alone does not name.
func buildID() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		if v, exact := versionOf(info); exact {
			return v
		}
	}
	return ""
}

// versionOf is exact where two programs of the same version have the same source.
func versionOf(info *debug.BuildInfo) (version string, exact bool) {
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	revision := settings["vcs.revision"]
	switch {
	case revision == "":
		return info.Main.Version, false
	case settings["vcs.modified"] != "false":
		return short(revision) + "+dirty", false
	default:
		return short(revision), true
	}
}

func short(revision string) string { return revision[:min(12, len(revision))] }
