package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// values makes what requests are made of: what a schema asks for, and what nobody should send.
type values struct {
	*rand.Rand
	known map[string][]string // ids and names of what there is, by kind
}

func one[T any](v values, of []T) T { return of[v.IntN(len(of))] }

// often says yes in one of n cases.
func (v values) often(n int) bool { return v.IntN(n) == 0 }

// hostile are texts for paths, queries and bodies.
var hostile = []string{
	"", " ", "0", "-1", "1.5", "1e9", "2147483648", "9223372036854775808", "99999999999999999999999999", "NaN", "null", "true", "None", "{}", "[]",
	"..", "../..", "/", "//", "a/b", "%", "%00", "%2e%2e", "\x00", "a\x00b", "\x7f", "\n", "\r\nX: y", "\u202e", "\ufeff", "\u0000", "é", "日本", "🚀", "e\u0301", "\xff\xfe", "\xed\xa0\x80",
	"'", "''; DROP TABLE servers; --", `"`, `\`, `\x`, "%s%n", "$(id)", "{{7}}", "<script>", "&amp;", "*", "?", "_", "a,b", "in:", "in:a,b", "in:\"", "neq:", "gte:x", "lt:9999999999999999999", "~", "+", ":", ";",
	"2026-01-01T00:00:00Z", "0000-00-00", "9999-12-31T23:59:59.999999999+99:99", "-292277022399-01-01", "10.0.0.0/8", "::/0", "999.1.1.1", "fe80::1%eth0", "00:00:00:00:00:00", "localhost",
	"00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff", "AAAA", "====", "admin", "default", "nova", "all", "latest", "self", "detail",
}

func (v values) text() string {
	switch v.IntN(12) {
	case 0:
		return strings.Repeat(one(v, []string{"a", "é", "🚀", " ", "0", "%"}), one(v, []int{65, 256, 1025, 5000, 70000}))
	case 1:
		return v.something()
	case 2:
		return uuid.Must(uuid.NewRandomFromReader(v)).String()
	case 3:
		return one(v, hostile) + one(v, hostile)
	}
	return one(v, hostile)
}

// Read makes it the source of uuids, so that a seed makes the same ones.
func (v values) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(v.Uint32())
	}
	return len(p), nil
}

// something is the id or name of something that there is.
func (v values) something() string {
	if all := v.known[one(v, slices.Sorted(maps.Keys(v.known)))]; len(all) > 0 {
		return one(v, all)
	}
	return "nothing"
}

// of is the id of one of a kind, mostly of the newest.
func (v values) of(kind string) string {
	all := v.known[kind]
	switch {
	case len(all) == 0:
		return v.something()
	case v.often(3):
		return one(v, all)
	}
	return all[len(all)-1]
}

// raw is JSON that encoding/json would not write.
type raw = json.RawMessage

// wrong is a value that hardly anything asks for.
func (v values) wrong() any {
	switch v.IntN(10) {
	case 0:
		return raw(one(v, []string{"1e400", "-1e400", "1e999999999", "9223372036854775807", "9223372036854775808", "-9223372036854775809", "2147483647", "2147483648", "1.5", "1e2", "0.0", "-0", "5e0", "1E-40", strings.Repeat("9", 400)}))
	case 1:
		return raw(one(v, []string{`"\u0000"`, `"\ud800"`, `"\udfff\ud800"`, `"a\u0000"`, "\"\xff\"", "NaN", "Infinity", "01", "'a'", "tru"}))
	case 2:
		return raw(strings.Repeat("[", 10) + strings.Repeat("]", 10))
	case 3:
		n := one(v, []int{60, 70, 5000})
		return raw(strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n))
	case 4:
		return one(v, []any{nil, true, false, 0, 1, -1, []any{}, map[string]any{}, []any{nil}, []any{"a", "a"}, []any{[]any{}}, map[string]any{"": nil}, map[string]any{"a": map[string]any{"b": 1}}})
	case 5:
		return raw(`{"id":"a","id":"b"}`)
	case 6:
		return slices.Repeat([]any{one(v, []any{"a", nil, 1, map[string]any{}})}, one(v, []int{2, 100, 3000}))
	}
	return v.text()
}

// kindOf guesses from an attribute's name what it names.
func kindOf(name string) string {
	if name = strings.ToLower(name); name == "uuid" {
		return "networks" // of a server's NICs
	}
	for _, k := range []string{
		"image", "flavor", "network", "subnet", "port", "server", "group", "host", "project", "tenant", "user", "domain", "role", "aggregate", "member", "key_name", "store",
	} {
		if strings.Contains(name, k) {
			switch k {
			case "tenant", "member":
				return "projects"
			case "key_name":
				return "os-keypairs"
			case "aggregate":
				return "os-aggregates"
			}
			return k + "s"
		}
	}
	return ""
}

// fits is a value that the schema takes, as far as its patterns can be met; at is the name of the attribute that it is of.
func (v values) fits(s *jsonschema.Schema, at string, depth int) any {
	switch {
	case s == nil || s.Bool != nil || depth > 12:
		return v.text()
	case s.Ref != nil:
		return v.fits(s.Ref, at, depth+1)
	case s.Const != nil:
		return *s.Const
	case s.Enum != nil && len(s.Enum.Values) > 0:
		return one(v, s.Enum.Values)
	case len(s.OneOf) > 0 && s.Properties == nil:
		return v.fits(one(v, s.OneOf), at, depth+1)
	case len(s.AnyOf) > 0 && s.Properties == nil:
		return v.fits(one(v, s.AnyOf), at, depth+1)
	case len(s.AllOf) > 0 && s.Properties == nil:
		return v.fits(one(v, s.AllOf), at, depth+1)
	}
	kind := "string"
	if s.Types != nil && len(s.Types.ToStrings()) > 0 {
		kind = one(v, s.Types.ToStrings())
		if kindOf(at) != "" && slices.Contains(s.Types.ToStrings(), "string") && !v.often(6) {
			kind = "string"
		}
	} else if s.Properties != nil || len(s.Required) > 0 || s.PatternProperties != nil {
		kind = "object"
	}
	switch kind {
	case "null":
		return nil
	case "boolean":
		return v.often(2)
	case "integer", "number":
		low, high := int64(0), int64(100)
		if s.Minimum != nil {
			low = s.Minimum.Num().Int64()
		}
		if s.Maximum != nil {
			high = s.Maximum.Num().Int64()
		}
		return one(v, []int64{low, high, low + 1, 1, 64})
	case "array":
		return v.fitsList(s, at, depth)
	case "object":
		return v.fitsObject(s, depth)
	}
	return v.fitsText(s, at)
}

func (v values) fitsList(s *jsonschema.Schema, at string, depth int) any {
	items, _ := s.Items.(*jsonschema.Schema)
	if s.Items2020 != nil {
		items = s.Items2020
	}
	n := v.IntN(3)
	if s.MinItems != nil {
		n = max(n, *s.MinItems)
	}
	if s.MaxItems != nil {
		n = min(n, *s.MaxItems)
	}
	list := make([]any, n)
	for i := range list {
		list[i] = v.fits(items, at, depth+1)
	}
	return list
}

func (v values) fitsObject(s *jsonschema.Schema, depth int) any {
	o := map[string]any{}
	names := slices.Sorted(maps.Keys(s.Properties))
	for _, name := range names {
		if slices.Contains(s.Required, name) || v.often(1+len(names)/2) || slices.Contains(mattering, name) && !v.often(4) {
			o[name] = v.fits(s.Properties[name], name, depth+1)
		}
	}
	for _, name := range s.Required {
		if _, has := o[name]; !has {
			o[name] = v.fits(s.Properties[name], name, depth+1)
		}
	}
	if s.MinProperties != nil && len(o) == 0 && len(names) > 0 {
		name := one(v, names)
		o[name] = v.fits(s.Properties[name], name, depth+1)
	}
	for _, of := range s.PatternProperties {
		for _, name := range []string{"a", "hw:cpu_policy", "role", "x-y_z"}[:v.IntN(4)] {
			o[name] = v.fits(of, name, depth+1)
		}
	}
	if of, is := s.AdditionalProperties.(*jsonschema.Schema); is && v.often(2) {
		o["more"] = v.fits(of, "more", depth+1)
	}
	for s.MaxProperties != nil && len(o) > *s.MaxProperties {
		delete(o, one(v, slices.Sorted(maps.Keys(o))))
	}
	return o
}

// mattering are attributes without which hardly anything is done, though schemas require none of them.
var mattering = []string{"imageRef", "networks", "uuid", "public_key", "name"}

// plausible are texts that patterns and formats ask for.
var plausible = []string{
	"web", "a", "1", "4", "nova", "os-getVNCConsole", "m1.small", "10.0.0.0/24", "10.0.0.5", "fd00::/64", "fd00::5", "52:54:00:12:34:56", "2030-01-01T00:00:00Z", "a@b.example", "b3Blbg==",
	"#!/bin/sh", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFT3UhXiRPapmhHoZ3/UGJ8wrvLzH+nAsj56wyXMSBOQ me", "hv1", "/etc/motd", "vda", "raw", "shared", "0", "a0000000000000000000000000000002", "/v3/**", "GET",
	"/name", "/tags", "/x", "/min_ram", "https://example.org/x",
}

// meant are texts for attributes by name, good ones and others of their form.
var meant = map[string][]string{
	"cidr": {"10.0.0.0/24", "10.1.0.0/16", "fd00::/64", "10.0.0.1/33", "0.0.0.0/0", "/24"}, "mac_address": {"52:54:00:12:34:56", "ff:ff:ff:ff:ff:ff", "52:54:00:AB:cd:ef"},
	"public_key": {"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFT3UhXiRPapmhHoZ3/UGJ8wrvLzH+nAsj56wyXMSBOQ me", "ssh-rsa AAAA me"}, "gateway_ip": {"10.0.0.1", "fd00::1", "10.0.0.0", "10.9.9.9"},
	"ip_address": {"10.0.0.7", "10.0.0.255", "fd00::7"}, "user_data": {"IyEvYmluL3NoCg==", "%%%"}, "accessIPv4": {"192.0.2.7"}, "accessIPv6": {"2001:db8::7"}, "type": {"ssh", "x509", "novnc", "serial", "cert", "ec2"}, "protocol": {"vnc", "serial"},
	"path": {"/name", "/tags", "/min_ram", "/visibility", "/a~1b", "/locations/-"}, "password": {password, ""}, "policy": {"affinity", "anti-affinity"},
	"start": {"10.0.0.10", "10.0.0.200", "fd00::10"}, "end": {"10.0.0.20", "10.0.0.5", "fd00::20"}, "destination": {"10.45.0.0/16", "fd01::/64"},
	"nexthop": {"10.0.0.9", "fd00::9"}, "dns_nameservers": {"9.9.9.9", "fd00::53"},
}

func (v values) fitsText(s *jsonschema.Schema, at string) string {
	takes := func(t string) bool {
		n := len([]rune(t))
		return (s.MinLength == nil || n >= *s.MinLength) && (s.MaxLength == nil || n <= *s.MaxLength) &&
			(s.Pattern == nil || s.Pattern.MatchString(t)) && (s.Format == nil || s.Format.Validate(t) == nil)
	}
	if texts := meant[at]; len(texts) > 0 && !v.often(4) {
		if t := one(v, texts); takes(t) {
			return t
		}
	}
	if kind := kindOf(at); kind != "" && !v.often(10) {
		if t := v.of(kind); takes(t) {
			return t
		}
	}
	if s.MaxLength != nil && v.often(6) { // as long as it may be
		if t := strings.Repeat(one(v, []string{"a", "1", "é"}), min(*s.MaxLength, 4096)); takes(t) {
			return t
		}
	}
	for range 30 {
		if t := one(v, plausible); takes(t) {
			return t
		}
	}
	for range 20 {
		if t := v.something(); takes(t) {
			return t
		}
	}
	return fmt.Sprintf("text-%d", v.IntN(1000))
}

// spoilt is the value with something in it that is wrong.
func (v values) spoilt(value any) any {
	switch t := value.(type) {
	case map[string]any:
		if len(t) == 0 || v.often(5) {
			break
		}
		t = maps.Clone(t)
		name := one(v, slices.Sorted(maps.Keys(t)))
		switch v.IntN(8) {
		case 0:
			delete(t, name)
		case 1:
			t[one(v, hostile)] = v.wrong()
		case 2:
			t[v.text()] = t[name]
		default:
			t[name] = v.spoilt(t[name])
		}
		return t
	case []any:
		if len(t) == 0 || v.often(4) {
			break
		}
		t = slices.Clone(t)
		i := v.IntN(len(t))
		if v.often(4) {
			return append(t, t[i])
		}
		t[i] = v.spoilt(t[i])
		return t
	}
	return v.wrong()
}

// written is the value as the text of a body, now and then no JSON.
func (v values) written(value any, spoil bool) []byte {
	text := write(value)
	switch {
	case !spoil || !v.often(8):
	case v.often(3):
		text = text[:v.IntN(len(text)+1)]
	case v.often(3):
		text = append(text, one(v, []string{"x", "{}", "\x00", ","})...)
	case len(text) > 0:
		text[v.IntN(len(text))] = byte(v.Uint32())
	}
	return text
}

// write is JSON, with what is raw as it is.
func write(value any) []byte {
	switch t := value.(type) {
	case raw:
		return t
	case map[string]any:
		b := []byte("{")
		for i, name := range slices.Sorted(maps.Keys(t)) {
			if i > 0 {
				b = append(b, ',')
			}
			key, _ := json.Marshal(name)
			b = append(append(append(b, key...), ':'), write(t[name])...)
		}
		return append(b, '}')
	case []any:
		b := []byte("[")
		for i, e := range t {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, write(e)...)
		}
		return append(b, ']')
	}
	text, err := json.Marshal(value)
	if err != nil {
		panic(err) // of schemas and literals
	}
	return text
}
