package policy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// unnamed are what every user's token may ask for, and no operator has a reason to say more of.
var unnamed = []string{"/image/v2/schemas/", "/image/v2/info/"}

func TestEveryRouteThatAsksForAUsersTokenHasARule(t *testing.T) {
	least := map[string]Who{}
	for _, r := range Routes() {
		rule := r.Rule()
		named := func(prefix string) bool { return strings.HasPrefix(r.Path, prefix) }
		switch {
		case r.Who == Anybody, r.Who == Host, r.Who == Signer, r.But == notServed, r.Path == ServerAction && r.Action == "":
			require.Empty(t, rule, "%s %s: nobody's token is judged by it", r.Method, r.Path)
			continue
		case rule == "":
			require.True(t, named(unnamed[0]) || named(unnamed[1]), "%s %s has no rule", r.Method, r.Path)
			continue
		}
		require.NotContains(t, rule, "/")
		require.NotContains(t, rule, "*")
		if who, seen := least[rule]; seen {
			require.Equal(t, who, r.Who, "%s %s: %s asks for something else elsewhere", r.Method, r.Path, rule)
		}
		least[rule] = r.Who
	}
	require.Equal(t, least, Named())
}

func TestAFileOfRulesIsRefusedWithTheLineOfWhatIsNotKnown(t *testing.T) {
	for name, c := range map[string]struct{ text, says string }{
		"no rule":             {"\"os_compute_api:servers:creat\": \"role:admin\"", `line 1: rule "os_compute_api:servers:creat": there is no such rule`},
		"a rule of no route":  {"# of hosts alone\n\"\": \"role:admin\"", `line 2: rule "": there is no such rule`},
		"a part of a rule":    {"publicize_image: role:admin", "there is no such rule"},
		"everybody":           {"get_images: \"@\"", `line 1: rule "get_images": "@" would be everybody`},
		"nothing":             {"\nget_images: \"\"", `line 2: rule "get_images": "" would be everybody`},
		"null":                {"get_images:", "would be everybody"},
		"oslo's language":     {"get_images: \"role:reader and project_id:%(project_id)s\"", "is none of role:NAME"},
		"another rule":        {"get_images: \"rule:admin_required\"", "is none of role:NAME"},
		"not":                 {"get_images: \"not role:reader\"", "is none of role:NAME"},
		"a list":              {"get_images: [role:reader]", "is one text"},
		"an alias":            {"get_images: &a \"role:reader\"\nget_image: *a", "line 2: rule \"get_image\": what it asks is one text"},
		"twice":               {"get_images: \"role:reader\"\nget_images: \"role:admin\"", "line 2: rule \"get_images\": it was said before"},
		"a list of rules":     {"- get_images", "line 1: a mapping of rules to roles is expected"},
		"two documents":       {"get_images: \"role:reader\"\n---\nget_image: \"role:reader\"", "more than one document"},
		"no YAML":             {"{", "yaml"},
		"widened identity":    {"\"identity:update_user\": \"role:admin or role:helpdesk\"", "can be narrowed only: this one asks for admin, and the role helpdesk"},
		"member for identity": {"\"identity:create_grant\": \"role:member\"", "can be narrowed only"},
		"much":                {"#" + strings.Repeat("x", maxFile), "more than 1048576 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			rules, err := ParseRules(strings.NewReader(c.text))
			require.ErrorContains(t, err, c.says, "%v", rules)
		})
	}
	_, err := ParseRules(strings.NewReader("a: b\nget_images: \"role:reader\"\nc: d"))
	require.ErrorContains(t, err, "line 1: rule \"a\"")
	require.ErrorContains(t, err, "line 3: rule \"c\"", "all that is wrong is said at once")

	path := filepath.Join(t.TempDir(), "policy.yaml")
	_, err = LoadRules(path)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, os.WriteFile(path, []byte("x: y"), 0o600))
	_, err = LoadRules(path)
	require.ErrorContains(t, err, path+": line 1: ")
	none, err := LoadRules("")
	require.NoError(t, err)
	require.Nil(t, none)
}

func TestWhomARuleLetsThroughHasTheRoleThatTheTableAsks(t *testing.T) {
	rules, err := ParseRules(strings.NewReader(`
"os_compute_api:servers:create": "role:builder or role:admin"
"os_compute_api:os-services:list": role:operator
"os_compute_api:servers:show": role:member
"identity:list_users": role:admin
get_images: "!"
`))
	require.NoError(t, err)
	for _, c := range []struct {
		rule      string
		has       []string
		as        []string
		permitted bool
	}{
		{"os_compute_api:servers:create", []string{"member"}, nil, false},
		{"os_compute_api:servers:create", []string{"builder"}, []string{"builder", "member"}, true},
		{"os_compute_api:servers:create", []string{"admin"}, []string{"admin"}, true},
		{"os_compute_api:servers:create", []string{"admin", "builder"}, []string{"admin", "builder"}, true},
		{"os_compute_api:os-services:list", []string{"operator", "reader"}, []string{"operator", "reader", "admin"}, true},
		{"os_compute_api:os-services:list", []string{"admin"}, nil, false},
		{"os_compute_api:servers:show", []string{"reader"}, nil, false},
		{"os_compute_api:servers:show", []string{"admin"}, []string{"admin"}, true},
		{"identity:list_users", []string{"reader"}, nil, false},
		{"get_images", []string{"admin"}, nil, false},
		{"get_images", nil, nil, false},
		{"get_image", []string{"reader"}, []string{"reader"}, true},
		{"", []string{"reader"}, []string{"reader"}, true},
	} {
		as, permitted := rules.Permit(c.rule, c.has)
		require.Equal(t, c.permitted, permitted, "%s for %v", c.rule, c.has)
		require.Equal(t, c.as, as, "%s for %v", c.rule, c.has)
	}
	as, permitted := (*Rules)(nil).Permit("get_images", []string{"reader"})
	require.True(t, permitted)
	require.Equal(t, []string{"reader"}, as)
}
