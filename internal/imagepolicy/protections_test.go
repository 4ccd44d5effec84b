package imagepolicy

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/auth"
	"github.com/slipway-cloud/slipway/internal/fault"
)

// rulesText has every kind of rule that Glance's documentation shows.
const rulesText = `# Who may do what with which property.
[^billing_.*]
create = admin
read = admin, member
update = admin
delete = !

; an image's licence is everybody's to read
[^licence$]
create : member
READ   : @
update : Member
delete : member

[secret]
create = member
read = !
update = @
delete = @

[^notes_]
create = admin,
    member,
  # and those who only look
    reader
read = @
update =
delete = @

[^x_]
create = @
read = @
update = @
delete = @
`

func rulesOf(t *testing.T, text string) *Protections {
	t.Helper()
	p, err := ParseProtections(strings.NewReader(text))
	require.NoError(t, err)
	return p
}

var (
	asAdmin  = Caller{ProjectID: "p", Roles: []string{auth.RoleAdmin}}
	asMember = Caller{ProjectID: "p", Roles: []string{auth.RoleMember}}
	asReader = Caller{ProjectID: "p", Roles: []string{auth.RoleReader}}
	asNobody = Caller{}
)

func TestWhoMayDoWhatWithAProperty(t *testing.T) {
	p := rulesOf(t, rulesText)
	for property, cells := range map[string]string{ // create, read, update, delete of admin, member, reader, and of nobody
		"billing_code":   "crU. .r.. .... ....",
		"my_billing_":    ".... .... .... ....", // matched by no section: nobody's
		"licence":        "cRUD CRUD .R.. .R..",
		"licence_2":      ".... .... .... ....",
		"secret":         "C... C... .... ....", // what is not read is neither updated nor deleted
		"a_secret_thing": "C... C... .... ....", // found anywhere in the name
		"notes_1":        "CR.D CR.D CR.D .R.D",
		"x_any":          "CRUD CRUD CRUD CRUD",
		"x_secret":       "C... C... .... ....", // the first section that matches decides
		"os_glance_x":    "CRUD CRUD CRUD CRUD",
		"":               ".... .... .... ....",
	} {
		callers := []Caller{asAdmin, asMember, asReader, asNobody}
		for i, may := range strings.Fields(cells) {
			for j, op := range operations {
				require.Equal(t, may[j] != '.', p.May(callers[i], op, property), "%s %s by %v", op, property, callers[i].Roles)
			}
		}
	}
	require.False(t, p.May(asAdmin, "paint", "x_any"))
	require.Equal(t, []string{"line 27: [^notes_] update names no role, so it is for nobody; ! says it plainly"}, p.Warnings())
}

func TestWithoutRulesNothingIsProtected(t *testing.T) {
	var p *Protections
	require.True(t, p.May(asNobody, Delete, "anything"))
	require.Empty(t, p.Warnings())
	properties := map[string]string{"a": "1"}
	require.Equal(t, properties, p.Shown(asNobody, properties))
	after, err := p.Change(asNobody, properties, map[string]string{"b": "2"})
	require.NoError(t, err)
	require.Equal(t, map[string]string{"b": "2"}, after)
}

func TestRolesOfATokenCountInAnyCase(t *testing.T) {
	p := rulesOf(t, "[.*]\ncreate = Spl_Role\nread = @\nupdate = MEMBER\ndelete = !,admin\n")
	require.True(t, p.May(Caller{Roles: []string{"sPL_rOLE"}}, Create, "a"))
	require.False(t, p.May(asAdmin, Create, "a"), "an admin is no exception")
	require.True(t, p.May(asAdmin, Update, "a"), "an admin is a member too")
	require.False(t, p.May(asReader, Update, "a"))
	require.False(t, p.May(asAdmin, Delete, "a"), "! outweighs the roles beside it")
	require.Equal(t, []string{
		`line 2: [.*] create names the role "Spl_Role", which nobody can have; there are admin, member, reader`,
		"line 5: [.*] delete is for nobody because of its !: the roles beside it have no effect",
	}, p.Warnings())
}

func TestOnlyWhatMayBeReadIsShown(t *testing.T) {
	p := rulesOf(t, rulesText)
	properties := map[string]string{"billing_code": "7", "licence": "MIT", "secret": "s", "x_a": "1", "unmatched": "u"}
	require.Equal(t, map[string]string{"billing_code": "7", "licence": "MIT", "x_a": "1"}, p.Shown(asMember, properties))
	require.Equal(t, map[string]string{"licence": "MIT", "x_a": "1"}, p.Shown(asNobody, properties))
	require.Empty(t, p.Shown(asAdmin, nil))
}

func TestAChangeOfPropertiesIsRefusedOrKeepsWhatIsNotShown(t *testing.T) {
	p := rulesOf(t, rulesText)
	type properties = map[string]string
	for name, c := range map[string]struct {
		who                  Caller
		before, after, becom properties
		protected            string
	}{
		"a new image":                      {asMember, nil, properties{"x_a": "1", "licence": "MIT"}, properties{"x_a": "1", "licence": "MIT"}, ""},
		"a new image without any":          {asMember, nil, nil, properties{}, ""},
		"a new image with a secret":        {asMember, nil, properties{"secret": "s"}, properties{"secret": "s"}, ""},
		"a new image with a billing code":  {asMember, nil, properties{"billing_code": "7"}, nil, "billing_code"},
		"a property that no rule is about": {asAdmin, nil, properties{"unmatched": "1"}, nil, "unmatched"},
		"nothing changes":                  {asReader, properties{"licence": "MIT", "secret": "s"}, properties{"licence": "MIT"}, properties{"licence": "MIT", "secret": "s"}, ""},
		"another licence":                  {asMember, properties{"licence": "MIT"}, properties{"licence": "BSD"}, properties{"licence": "BSD"}, ""},
		"another licence by a reader":      {asReader, properties{"licence": "MIT"}, properties{"licence": "BSD"}, nil, "licence"},
		"no licence":                       {asMember, properties{"licence": "MIT"}, nil, properties{}, ""},
		"no licence by a reader":           {asReader, properties{"licence": "MIT"}, nil, nil, "licence"},
		"no billing code":                  {asAdmin, properties{"billing_code": "7"}, nil, nil, "billing_code"},
		"all goes, the secret is not seen": {asMember, properties{"x_a": "1", "secret": "s"}, nil, properties{"secret": "s"}, ""},
		"over a secret":                    {asMember, properties{"secret": "s"}, properties{"secret": "t"}, nil, "secret"},
		"over a secret with its own value": {asMember, properties{"secret": "s"}, properties{"secret": "s"}, nil, "secret"},
		"several, the first is named":      {asReader, properties{"licence": "MIT"}, properties{"zzz": "1", "billing_b": "1"}, nil, "billing_b"},
	} {
		t.Run(name, func(t *testing.T) {
			become, err := p.Change(c.who, c.before, c.after)
			if c.protected != "" {
				require.True(t, fault.Is(err, fault.Forbidden), "%v", err)
				require.Equal(t, "Property '"+c.protected+"' is protected", fault.Public(err))
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.becom, become)
		})
	}
}

// fourth is the rest of a section whose first operation is what a case is about.
const fourth = "read = @\nupdate = @\ndelete = @\n"

func TestARulesFileThatIsWrongSaysWhereAndWhatToDo(t *testing.T) {
	for name, c := range map[string]struct{ text, says string }{
		"empty":                        {"", "line 1: there is no rule, so nobody could use any property; write a section such as [.*], or name no file"},
		"comments alone":               {"# a\n; b\n\n", "line 1: there is no rule"},
		"only Slipway's own":           {"[os_glance_.*]\ncreate = @\n" + fourth, "line 1: there is no rule"},
		"a key before any section":     {"\ncreate = admin\n", `line 2: "create = admin" stands before the first section; begin with a [regular expression]`},
		"no expression":                {"[^(a]\ncreate = @\n" + fourth, "line 1: [^(a] is not a regular expression: "},
		"lookahead":                    {"[^(?!x_).*]\ncreate = @\n" + fourth, "line 1: [^(?!x_).*] is not a regular expression: error parsing regexp: invalid or unsupported Perl syntax: `(?!`; see https://github.com/google/re2/wiki/Syntax"},
		"no name":                      {"[]\ncreate = @\n" + fourth, `line 1: "[]" is not a section; write a regular expression of property names between [ and ]`},
		"not closed":                   {"[a\ncreate = @\n" + fourth, `line 1: "[a" is not a section`},
		"something behind the section": {"[a] # mine\ncreate = @\n" + fourth, `line 1: "[a] # mine" is not a section; write a regular expression of property names between [ and ], and nothing behind it`},
		"twice the same section":       {"[a]\ncreate = @\n" + fourth + "[a]\ncreate = !\n" + fourth, "line 6: [a] is already in line 1; keep one of them"},
		"defaults":                     {"[DEFAULT]\ncreate = @\n" + fourth, "line 1: there are no defaults for all sections; write create, read, update and delete into each"},
		"an operation is missing":      {"[a]\n" + fourth, `line 1: [a] does not say who may create; add "create = " with roles, @ for everybody or ! for nobody`},
		"an operation is misspelled":   {"[a]\ncraete = @\n" + fourth, `line 2: there is no operation "craete"; it is one of create, read, update and delete`},
		"an operation twice":           {"[a]\ncreate = @\nCreate = !\n" + fourth, "line 3: [a] says create already in line 2; keep one of them"},
		"no operation":                 {"[a]\nadmin\n" + fourth, `line 2: "admin" is neither a section nor an operation; write for example "read = admin,member"`},
		"everybody and nobody":         {"[a]\ncreate = @,!\n" + fourth, "line 2: [a] create is for everybody (@) and for nobody (!); keep one of them"},
		"a comment behind roles":       {"[a]\ncreate = admin # only\n" + fourth, "line 2: [a] create has a '#' among its roles; roles stand alone, comments on lines of their own"},
		"a missing comma":              {"[a]\ncreate = admin\n  member\n" + fourth, "line 2: [a] create goes on in another line without a comma between two roles; add it"},
		"interpolation":                {"[a]\ncreate = %(roles)s\n" + fourth, "line 2: [a] create has a '%' among its roles"},
		"binary":                       {"[\xff\xfe]\ncreate = @\n" + fourth, "line 1: [\xff\xfe] is not a regular expression: "},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseProtections(strings.NewReader(c.text))
			require.ErrorContains(t, err, c.says)

			path := filepath.Join(t.TempDir(), "protections.conf")
			require.NoError(t, os.WriteFile(path, []byte(c.text), 0o600))
			_, err = LoadProtections(path, "roles")
			require.ErrorContains(t, err, "property protections "+path+": "+c.says)
		})
	}
}

func TestRulesAreReadAsGlanceReadsThem(t *testing.T) {
	for name, text := range map[string]string{
		"plain":               "[a]\ncreate=member\nread=member\nupdate=member\ndelete=member\n",
		"colons and capitals": "[a]\nCREATE: member\nRead : member\nuPdate:member\ndelete :member",
		"Windows":             "\ufeff[a]\r\ncreate = member\r\nread = member\r\nupdate = member\r\ndelete = member\r\n",
		"indented":            "  [a]\n  create = member\n  read = member\n  update = member\n  delete = member\n",
		"goes on in lines":    "[a]\ncreate = member,\n\n  # more\n\tadmin\nread = \n  member\nupdate = member\ndelete = member\n",
		"spare commas":        "[a]\ncreate = ,member,\nread = member,,member\nupdate = member,\ndelete = member\n",
		"a class of letters":  "[^[a-c]$]\ncreate = member\nread = member\nupdate = member\ndelete = member\n",
		"indented less":       "[a]\n  create = member\n read = member\nupdate = member\ndelete = member\n",
	} {
		t.Run(name, func(t *testing.T) {
			p := rulesOf(t, text)
			require.Empty(t, p.Warnings())
			for _, op := range operations {
				require.True(t, p.May(asMember, op, "a"), op)
				require.False(t, p.May(asReader, op, "a"), op)
				require.False(t, p.May(asAdmin, op, "z"), op)
			}
		})
	}
}

func TestASectionBehindOneThatMatchesEverythingIsToldOf(t *testing.T) {
	p := rulesOf(t, "[.*]\ncreate = @\n"+fourth+"[a]\ncreate = !\n"+fourth+"[os_glance]\ncreate = !\n"+fourth)
	require.Equal(t, []string{
		"line 6: [a] has no effect: [.*] of line 1 comes first and matches every property",
		"line 11: [os_glance] has no effect: properties whose names begin with os_glance are Slipway's own",
	}, p.Warnings())
	require.True(t, p.May(asNobody, Create, "a"))
	require.True(t, p.May(asNobody, Create, "os_glance_x"))
}

func TestRulesAreLoadedFromAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "protections.conf")
	_, err := LoadProtections(path, "")
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, path)
	require.ErrorContains(t, err, "name a file that can be read, or none")

	require.NoError(t, os.WriteFile(path, []byte(rulesText), 0o600))
	for _, format := range []string{"", "roles", "Roles"} {
		p, err := LoadProtections(path, format)
		require.NoError(t, err)
		require.True(t, p.May(asAdmin, Create, "billing_code"))
	}
	_, err = LoadProtections(path, "policies")
	require.ErrorContains(t, err, `write roles and set the format to "roles"`)
	require.ErrorContains(t, err, path)

	_, err = ParseProtections(iotest.ErrReader(errors.New("the disk is gone")))
	require.ErrorContains(t, err, "read the rules: the disk is gone")
}

// FuzzRulesFile reads any file as rules: it either says a line, or gives rules that keep to what holds for all rules.
func FuzzRulesFile(f *testing.F) {
	for _, text := range []string{
		"", rulesText, "[.*]\ncreate = @\n" + fourth, "[a\n", "[a]\ncreate", "=\n", "[x]\n =", "[a]\ncreate = @,!\n" + fourth,
		"[a]\ncreate = admin\n\t member\n" + fourth, "[(((]\n", "[DEFAULT]\n", "\ufeff[\xff]\n", "[a]\r\ncreate:\r\n",
	} {
		f.Add(text, "x_any")
	}
	f.Fuzz(func(t *testing.T, text, property string) {
		p, err := ParseProtections(strings.NewReader(text))
		if err != nil {
			require.Nil(t, p)
			require.Regexp(t, `^line [1-9][0-9]*: `, err.Error())
			return
		}
		require.NotEmpty(t, p.sections)
		for _, c := range []Caller{asAdmin, asMember, asReader, asNobody} {
			if !p.May(c, Read, property) {
				require.False(t, p.May(c, Update, property))
				require.False(t, p.May(c, Delete, property))
				require.Empty(t, p.Shown(c, map[string]string{property: "1"}))
			}
			for _, op := range operations {
				if p.May(asNobody, op, property) {
					require.True(t, p.May(c, op, property), "what is everybody's is %v's too", c.Roles)
				}
				if p.May(asReader, op, property) {
					require.True(t, p.May(asMember, op, property) && p.May(asAdmin, op, property), "stronger roles include weaker ones")
				}
			}
			before := map[string]string{property: "1", "hidden_" + property: "2"}
			same, err := p.Change(c, before, p.Shown(c, before))
			require.NoError(t, err, "what was shown may be given back")
			require.Equal(t, before, same)
		}
	})
}
