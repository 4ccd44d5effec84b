package servers

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAHostnameFitsDNS(t *testing.T) {
	for name, want := range map[string]string{
		"web":                    "web",
		"Web Server_1.example":   "web-server-1-example",
		"-.å-":                   "",
		"日本":                     "",
		strings.Repeat("a", 70):  strings.Repeat("a", 63),
		"x" + "é" + "y":          "xy",
		"a/../b;rm -rf":          "a--brm--rf",
		strings.Repeat("a-", 40): strings.TrimRight(strings.Repeat("a-", 32), "-"),
	} {
		require.Equal(t, want, Hostname(name), name)
	}
}
