// Package libpq keeps the settings of Postgres's own clients out of Slipway's processes.
package libpq

import (
	"os"
	"regexp"
	"slices"
	"strings"
)

// variables are those of libpq and of Postgres's programs: PGHOST, PGSERVICE, PGOPTIONS, PGDATA, PG_COLOR …
var variables = regexp.MustCompile(`^PG[A-Z_]+$`)

// Forget takes libpq's variables out of the environment of this process, and so of its children, and says which there were.
// pgx, libpq and Postgres fill whatever a connection string leaves out from them, and nothing can turn that off: one that is
// meant for another database would send Slipway there, or keep it from its own. Call it before anything connects.
func Forget() (names []string) {
	for _, pair := range os.Environ() {
		name, _, _ := strings.Cut(pair, "=")
		if variables.MatchString(name) {
			names = append(names, name)
			os.Unsetenv(name)
		}
	}
	slices.Sort(names)
	return names
}
