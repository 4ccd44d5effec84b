package imagepolicy

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/slipway-cloud/slipway/internal/auth"
	"github.com/slipway-cloud/slipway/internal/fault"
)

// Op is what is done to a property.
type Op string

// The operations, by the keys of the rules file.
const (
	Create Op = "create"
	Read   Op = "read"
	Update Op = "update"
	Delete Op = "delete"
)

// Protections say who may do what with which property of an image: Glance's property protections
// (docs.openstack.org/glance/latest/admin/property-protections.html). nil protects nothing. They hold for what users see and
// change; a build obeys every property of its image.
type Protections struct {
	sections []section
	warnings []string
}

// section is a rule for the properties whose names its expression is found in.
type section struct {
	expression string
	line       int
	names      *regexp.Regexp
	allowed    map[Op]allowed
}

// allowed is who may; the zero value is nobody.
type allowed struct {
	everybody bool
	roles     []string
}

func (a allowed) holds(c Caller) bool {
	return a.everybody || slices.ContainsFunc(a.roles, func(role string) bool {
		same := func(has string) bool { return strings.EqualFold(has, role) }
		return slices.ContainsFunc(c.Roles, same) || slices.ContainsFunc(auth.Implied(c.Roles), same)
	})
}

// InternalPrefix is of the properties that an import keeps its state in. No rule holds for them, as in Glance; users may not
// write them at all.
const InternalPrefix = "os_glance"

// May says whether the caller may do it to the property. The first section that matches decides; a property that none
// matches is nobody's, not even an admin's. What may not be read can be neither updated nor deleted.
func (p *Protections) May(c Caller, op Op, property string) bool {
	if p == nil || strings.HasPrefix(property, InternalPrefix) {
		return true
	}
	i := slices.IndexFunc(p.sections, func(s section) bool { return s.names.MatchString(property) })
	if i < 0 {
		return false
	}
	rule := p.sections[i].allowed
	if (op == Update || op == Delete) && !rule[Read].holds(c) {
		return false
	}
	return rule[op].holds(c)
}

// Shown are the properties that the caller may read. It can be the given map itself: change neither.
func (p *Protections) Shown(c Caller, properties map[string]string) map[string]string {
	if p == nil {
		return properties
	}
	shown := make(map[string]string, len(properties))
	for name, value := range properties {
		if p.May(c, Read, name) {
			shown[name] = value
		}
	}
	return shown
}

// Change is what an image's properties become when the caller, who sees Shown(c, before), wants them to be after: what it
// does not see stays. Forbidden names the first property, in the order of the alphabet, that it may not change so. A new
// image has no properties before. Giving a value to a property that is there and not shown is an update of it.
func (p *Protections) Change(c Caller, before, after map[string]string) (map[string]string, error) {
	if p == nil {
		return after, nil
	}
	become := maps.Clone(after)
	if become == nil {
		become = map[string]string{}
	}
	all := maps.Clone(before)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, after)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		was, existed := before[name]
		is, wanted := after[name]
		shown := p.May(c, Read, name)
		var op Op
		switch {
		case existed && !wanted && !shown:
			become[name] = was
			continue
		case existed && !wanted:
			op = Delete
		case !existed:
			op = Create
		case was != is || !shown:
			op = Update
		default:
			continue
		}
		if !p.May(c, op, name) {
			return nil, fault.New(fault.Forbidden, "Property '%s' is protected", name)
		}
	}
	return become, nil
}

// Warnings are what the rules file says that has no effect, for the log of the start.
func (p *Protections) Warnings() []string {
	if p == nil {
		return nil
	}
	return p.warnings
}
