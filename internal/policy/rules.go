package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"

	"github.com/slipway-cloud/slipway/internal/auth"
)

// Rules are what an operator's file says of named rules. Without a file (nil) all is as the table has it.
type Rules struct {
	asks map[string][]string // rule → the roles, any of which it asks; none lets nobody through
}

// maxFile is more than a file needs that has every rule.
const maxFile = 1 << 20

// LoadRules reads a file of rules; none where the path is empty.
func LoadRules(path string) (*Rules, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.Open(filepath.Clean(path))
	if err != nil {
		return nil, fmt.Errorf("read the policy's rules: %w", err)
	}
	defer f.Close()
	rules, err := ParseRules(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return rules, nil
}

// ParseRules reads rules in the form of oslo.policy's files: a YAML mapping of a rule's name to roles, as "role:admin or role:builder", or "!"
// for nobody. It refuses what it does not know, with the line.
func ParseRules(from io.Reader) (*Rules, error) {
	text, err := io.ReadAll(io.LimitReader(from, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("it has more than %d bytes", maxFile)
	}
	var document, second yaml.Node
	rules := &Rules{asks: map[string][]string{}}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF) || err == nil && len(document.Content) == 0:
		return rules, nil // only comments
	case err != nil:
		return nil, err
	}
	if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("line %d: it has more than one document", max(second.Line, 1))
	}
	all := document.Content[0]
	if all.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("line %d: a mapping of rules to roles is expected", all.Line)
	}
	var wrong []error
	for i := 0; i < len(all.Content); i += 2 {
		name, value := all.Content[i], all.Content[i+1]
		roles, err := rolesOf(name, value)
		if _, twice := rules.asks[name.Value]; twice && err == nil {
			err = errors.New("it was said before what this rule asks")
		}
		if err != nil {
			wrong = append(wrong, fmt.Errorf("line %d: rule %q: %w", name.Line, name.Value, err))
			continue
		}
		rules.asks[name.Value] = roles
	}
	return rules, errors.Join(wrong...)
}

var oneRole = regexp.MustCompile(`^role:([\w.-]+)$`)

// rolesOf is what a line asks.
func rolesOf(name, value *yaml.Node) ([]string, error) {
	least, known := Named()[name.Value]
	switch {
	case name.Kind != yaml.ScalarNode || !known:
		return nil, errors.New("there is no such rule: slipway policy show lists them all")
	case value.Kind != yaml.ScalarNode:
		return nil, errors.New("what it asks is one text, as \"role:member or role:builder\"")
	}
	switch text := strings.TrimSpace(value.Value); text {
	case "!":
		return []string{}, nil
	case "", "@":
		return nil, fmt.Errorf("%q would be everybody: a rule asks for a role", text)
	default:
		var roles []string
		for _, part := range strings.Split(text, " or ") {
			role := oneRole.FindStringSubmatch(strings.TrimSpace(part))
			if role == nil {
				return nil, fmt.Errorf("%q is none of role:NAME, several of these with \"or\" between them, and ! for nobody", value.Value)
			}
			roles = append(roles, role[1])
		}
		return roles, mayAsk(name.Value, least, roles)
	}
}

// mayAsk refuses to widen what would give more than it says: who may change users, roles and credentials comes to have any.
func mayAsk(rule string, least Who, roles []string) error {
	if !strings.HasPrefix(rule, "identity:") {
		return nil
	}
	for _, role := range roles {
		if !least.within([]string{role}) {
			return fmt.Errorf("the identity API's rules can be narrowed only: this one asks for %s, and the role %s does not include that", least, role)
		}
	}
	return nil
}

// within says whether roles hold what the table asks at least. Where it asks for any role, or for none, another one is no less.
func (w Who) within(roles []string) bool {
	switch w {
	case Admin:
		return auth.Has(roles, auth.RoleAdmin)
	case Member:
		return auth.Has(roles, auth.RoleMember)
	}
	return true
}

// Named are the rules that there are, with what the table asks for each.
var Named = sync.OnceValue(func() map[string]Who {
	all := map[string]Who{}
	for _, r := range Routes() {
		if rule := r.Rule(); rule != "" {
			all[rule] = r.Who
		}
	}
	return all
})

// ruleOf is a route's rule, as the router names the route.
var ruleOf = sync.OnceValue(func() map[string]string {
	all := map[string]string{}
	for _, r := range Routes() {
		if rule := r.Rule(); rule != "" && r.Action == "" {
			all[r.Method+" "+r.Path] = rule
		}
	}
	return all
})

// OfRoute is the name of the rule of a route that is mounted; "" where it has none.
func OfRoute(method, path string) string { return ruleOf()[method+" "+path] }

// OfEC2 is the name of the rule of an action of the EC2 API.
func OfEC2(action string) string { return "ec2:" + action }

// Said is whether the rules say something of one, and the roles.
func (r *Rules) Said(rule string) (roles []string, said bool) {
	if r == nil {
		return nil, false
	}
	roles, said = r.asks[rule]
	return roles, said
}

// All are the names of the rules of which something is said.
func (r *Rules) All() []string {
	if r == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(r.asks))
}

// Lends are the roles to which a rule lends an admin's: whoever may give them, gives that. Not those that everybody has: who opens a rule to
// these has opened it.
func (r *Rules) Lends() []string {
	var lends []string
	for _, rule := range r.All() {
		roles, _ := r.Said(rule)
		for _, role := range roles {
			if Named()[rule] == Admin && !slices.Contains([]string{auth.RoleAdmin, auth.RoleMember, auth.RoleReader}, role) && !slices.Contains(lends, role) {
				lends = append(lends, role)
			}
		}
	}
	return lends
}

// Permit holds what is said of a rule against a caller's roles. Whom it lets through does what was asked as somebody who has the role
// that the table asks, so that all that is decided further in is decided alike.
func (r *Rules) Permit(rule string, roles []string) (as []string, permitted bool) {
	asks, said := r.Said(rule)
	if !said {
		return roles, true
	}
	for _, role := range asks {
		if !slices.Contains(roles, role) && !auth.Has(roles, role) {
			continue
		}
		least := Named()[rule]
		if least.within(roles) {
			return roles, true
		}
		return append(slices.Clone(roles), string(least)), true // Member and Admin are called as the roles are
	}
	return nil, false
}
