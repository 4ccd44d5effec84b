package imagepolicy

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/slipway-cloud/slipway/internal/auth"
)

// LoadProtections reads a rules file. format is Glance's property_protection_rule_format; there is "roles" only, which is
// also what "" means. An error says the file, the line and what to do.
func LoadProtections(path, format string) (*Protections, error) {
	if format != "" && !strings.EqualFold(format, "roles") {
		return nil, fmt.Errorf("property protections %s: there is no rule format %q: there are no named policies to refer to; write roles and set the format to \"roles\"", path, format)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("property protections: %w; name a file that can be read, or none", err)
	}
	defer file.Close()
	p, err := ParseProtections(file)
	if err != nil {
		return nil, fmt.Errorf("property protections %s: %w", path, err)
	}
	return p, nil
}

// ParseProtections reads rules in Glance's format with roles. It is stricter than Glance where Glance would ignore
// something: unknown keys, comments behind a value and a file without rules are errors. Expressions are Go's (RE2), which
// has no lookaround and no back-references.
func ParseProtections(r io.Reader) (*Protections, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("read the rules: %w", err)
	}
	entries, err := split(string(text))
	if err != nil {
		return nil, err
	}
	p := &Protections{}
	for _, e := range entries {
		if strings.HasPrefix(e.section, InternalPrefix) {
			p.warn(e.line, "[%s] has no effect: properties whose names begin with %s are Slipway's own", e.section, InternalPrefix)
			continue
		}
		s, err := p.compile(e)
		if err != nil {
			return nil, err
		}
		if everything := slices.IndexFunc(p.sections, func(s section) bool { return s.expression == ".*" }); everything >= 0 {
			p.warn(e.line, "[%s] has no effect: [.*] of line %d comes first and matches every property", e.section, p.sections[everything].line)
		}
		p.sections = append(p.sections, s)
	}
	if len(p.sections) == 0 {
		return nil, fmt.Errorf("line 1: there is no rule, so nobody could use any property; write a section such as [.*], or name no file")
	}
	return p, nil
}

func (p *Protections) warn(line int, format string, args ...any) {
	p.warnings = append(p.warnings, fmt.Sprintf("line %d: ", line)+fmt.Sprintf(format, args...))
}

var operations = []Op{Create, Read, Update, Delete}

// compile makes a rule of a section of the file.
func (p *Protections) compile(e entry) (section, error) {
	s := section{expression: e.section, line: e.line, allowed: map[Op]allowed{}}
	var err error
	// As Python's re.search: found anywhere in the name, unless the expression is anchored.
	if s.names, err = regexp.Compile(e.section); err != nil {
		return s, fmt.Errorf("line %d: [%s] is not a regular expression: %w; see https://github.com/google/re2/wiki/Syntax", e.line, e.section, err)
	}
	for _, op := range operations {
		v, set := e.values[string(op)]
		if !set {
			return s, fmt.Errorf("line %d: [%s] does not say who may %s; add \"%s = \" with roles, @ for everybody or ! for nobody", e.line, e.section, op, op)
		}
		if s.allowed[op], err = p.roles(e.section, op, v); err != nil {
			return s, err
		}
	}
	return s, nil
}

// roles reads one operation's value. ! outweighs roles beside it.
func (p *Protections) roles(section string, op Op, v value) (allowed, error) {
	var a allowed
	where := fmt.Sprintf("[%s] %s", section, op)
	if i := strings.IndexAny(v.text, "#;%"); i >= 0 {
		return a, fmt.Errorf("line %d: %s has a %q among its roles; roles stand alone, comments on lines of their own", v.line, where, v.text[i])
	}
	nobody := false
	for role := range strings.SplitSeq(v.text, ",") {
		switch role = strings.TrimSpace(role); {
		case role == "":
		case role == "@":
			a.everybody = true
		case role == "!":
			nobody = true
		case strings.Contains(role, "\n"):
			return a, fmt.Errorf("line %d: %s goes on in another line without a comma between two roles; add it", v.line, where)
		default:
			a.roles = append(a.roles, role)
		}
	}
	switch {
	case nobody && a.everybody:
		return a, fmt.Errorf("line %d: %s is for everybody (@) and for nobody (!); keep one of them", v.line, where)
	case nobody && a.roles != nil:
		p.warn(v.line, "%s is for nobody because of its !: the roles beside it have no effect", where)
	case !nobody && !a.everybody && a.roles == nil:
		p.warn(v.line, "%s names no role, so it is for nobody; ! says it plainly", where)
	}
	if nobody {
		return allowed{}, nil
	}
	for _, role := range a.roles {
		if !slices.Contains(auth.Roles(), strings.ToLower(role)) {
			p.warn(v.line, "%s names the role %q, which nobody can have; there are %s", where, role, strings.Join(auth.Roles(), ", "))
		}
	}
	return a, nil
}

// entry is a section of the file before anything is made of it.
type entry struct {
	section string
	line    int
	values  map[string]value
}

type value struct {
	text string
	line int
}

// split takes the file apart as Python's configparser does: full-line comments with # and ;, = or : behind a key, keys in any
// case, and values that go on in lines that are indented deeper than their key.
func split(text string) ([]entry, error) {
	var entries []entry
	key, depth := "", 0 // the key whose value may go on, and how deep it is indented
	for i, raw := range strings.Split(strings.TrimPrefix(text, "\ufeff"), "\n") {
		number, line := i+1, strings.TrimSpace(raw)
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		indent := len(raw) - len(strings.TrimLeft(raw, " \t"))
		if key != "" && indent > depth {
			v := entries[len(entries)-1].values[key]
			v.text += "\n" + line
			entries[len(entries)-1].values[key] = v
			continue
		}
		if line[0] == '[' {
			name, closed := strings.CutSuffix(line[1:], "]")
			switch {
			case !closed || name == "":
				return nil, fmt.Errorf("line %d: %q is not a section; write a regular expression of property names between [ and ], and nothing behind it", number, line)
			case name == "DEFAULT":
				return nil, fmt.Errorf("line %d: there are no defaults for all sections; write create, read, update and delete into each", number)
			}
			if j := slices.IndexFunc(entries, func(e entry) bool { return e.section == name }); j >= 0 {
				return nil, fmt.Errorf("line %d: [%s] is already in line %d; keep one of them", number, name, entries[j].line)
			}
			entries = append(entries, entry{section: name, line: number, values: map[string]value{}})
			key = ""
			continue
		}
		if len(entries) == 0 {
			return nil, fmt.Errorf("line %d: %q stands before the first section; begin with a [regular expression]", number, line)
		}
		e := entries[len(entries)-1]
		at := strings.IndexAny(line, "=:")
		if at < 0 {
			return nil, fmt.Errorf("line %d: %q is neither a section nor an operation; write for example \"read = admin,member\"", number, line)
		}
		key, depth = strings.ToLower(strings.TrimSpace(line[:at])), indent
		if !slices.Contains(operations, Op(key)) {
			return nil, fmt.Errorf("line %d: there is no operation %q; it is one of create, read, update and delete", number, key)
		}
		if first, again := e.values[key]; again {
			return nil, fmt.Errorf("line %d: [%s] says %s already in line %d; keep one of them", number, e.section, key, first.line)
		}
		e.values[key] = value{text: strings.TrimSpace(line[at+1:]), line: number}
	}
	return entries, nil
}
