package network

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ipam"
	"github.com/slipway-cloud/slipway/internal/service/networks"
	"github.com/slipway-cloud/slipway/models"
)

// value reads what a client wrote for the attribute of that name: neutron-lib's converters and validators, with their texts.
type value func(name string, v any) (any, error)

// filtered is a value of a filter: of some attributes lists are selected by more than what they can have.
type filtered string

// texted is a text of a body or of a filter.
func texted(v any) (string, bool) {
	switch t := v.(type) {
	case string:
		return t, true
	case filtered:
		return string(t), true
	}
	return "", false
}

// filterOr takes any text as a filter, and reads bodies by read.
func filterOr(read value) value {
	return func(name string, v any) (any, error) {
		if f, filters := v.(filtered); filters {
			return string(f), nil
		}
		return read(name, v)
	}
}

// text is a text of at most so many characters.
func text(most int) value {
	return func(name string, v any) (any, error) {
		s, ok := texted(v)
		if !ok {
			return nil, ipam.BadAttribute(name, "'%s' is not a valid string", rest.Python(v))
		}
		if utf8.RuneCountInString(s) > most {
			return nil, ipam.BadAttribute(name, "'%s' exceeds maximum length of %d", rest.Python(v), most)
		}
		return s, nil
	}
}

// boolean is true or false, also as a text or a number (oslo_utils.strutils.bool_from_string).
func boolean(_ string, v any) (any, error) {
	if b, ok := v.(bool); ok {
		return b, nil
	}
	said, _ := texted(v)
	if number, is := v.(json.Number); is {
		said = number.String()
	}
	switch strings.ToLower(strings.TrimSpace(said)) {
	case "1", "t", "true", "on", "y", "yes":
		return true, nil
	case "0", "f", "false", "off", "n", "no":
		return false, nil
	}
	return nil, ipam.BadInput("'%s' cannot be converted to boolean", rest.Python(v))
}

// integer is a whole number, also as a text. It fits what Postgres keeps.
func integer(_ string, v any) (any, error) {
	if b, ok := v.(bool); ok {
		return map[bool]int{false: 0, true: 1}[b], nil
	}
	s, ok := texted(v)
	if number, is := v.(json.Number); is {
		s, ok = number.String(), true
	}
	if n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 32); ok && err == nil {
		return int(n), nil
	}
	return nil, ipam.BadInput("'%s' is not an integer", rest.Python(v))
}

// oneOf holds that what is read is one of the values; what they are is in Python's words.
func oneOf(read value, shown string, values ...any) value {
	return func(name string, v any) (any, error) {
		got, err := read(name, v)
		if err == nil && !slices.Contains(values, got) {
			return nil, ipam.BadAttribute(name, "%s is not in %s", rest.Python(v), shown)
		}
		return got, err
	}
}

// never is a flag that is never set. As a filter it takes both.
func never(name string, v any) (any, error) {
	set, err := boolean(name, v)
	if _, filters := v.(filtered); err == nil && !filters && set != false {
		return nil, ipam.BadAttribute(name, "only %s is offered", rest.Python(false))
	}
	return set, err
}

// nothing takes null and what is empty, of attributes of which there is never anything else.
func nothing(name string, v any) (any, error) {
	switch t := v.(type) {
	case nil:
		return nil, nil //nolint:nilnil // what it is
	case string:
		if t == "" {
			return t, nil
		}
	case []any:
		if len(t) == 0 {
			return t, nil
		}
	case object:
		if len(t) == 0 {
			return t, nil
		}
	}
	return nil, ipam.BadAttribute(name, "'%s' is not offered", rest.Python(v))
}

// id is a UUID.
func id(name string, v any) (any, error) {
	if s, ok := texted(v); ok {
		if _, err := uuid.Parse(s); err == nil && len(s) == 36 {
			return s, nil
		}
	}
	return nil, ipam.BadAttribute(name, "'%s' is not a valid UUID", rest.Python(v))
}

// anyText is a value of a filter that nothing else can be said of: what there is not is selected by it, and nothing found.
func anyText(name string, v any) (any, error) { return text(1<<16)(name, v) }

// orNone is a *string: null, or what read reads.
func orNone(read value) value {
	return func(name string, v any) (any, error) {
		if v == nil {
			return (*string)(nil), nil
		}
		got, err := read(name, v)
		if err != nil {
			return nil, err
		}
		s, _ := got.(string)
		return &s, nil
	}
}

func address(name string, v any) (any, error) {
	s, _ := texted(v)
	a, err := ipam.Address(name, s)
	if err != nil {
		return nil, ipam.BadAttribute(name, "'%s' is not a valid IP address", rest.Python(v))
	}
	return a.String(), nil
}

func macAddress(_ string, v any) (any, error) {
	return ipam.MAC(rest.Python(v))
}

func cidr(name string, v any) (any, error) {
	s, ok := texted(v)
	if !ok {
		return nil, ipam.BadInput("%s is not in a CIDR format", rest.Python(v))
	}
	p, err := ipam.CIDR(s)
	if err != nil {
		return nil, err
	}
	return p.String(), nil
}

// listOf reads a list. what is what its refusal calls an element of another form.
func listOf[E any](what string, read func(name string, v any) (E, error)) value {
	return func(name string, v any) (any, error) {
		items, ok := v.([]any)
		if !ok {
			return nil, ipam.BadAttribute(name, "Invalid data format for %s: '%s'", what, rest.Python(v))
		}
		all := make([]E, len(items))
		for i, item := range items {
			var err error
			if all[i], err = read(name, item); err != nil {
				return nil, err
			}
		}
		return all, nil
	}
}

// orEmpty takes null for an empty list.
func orEmpty(read value) value {
	return func(name string, v any) (any, error) {
		if v == nil {
			v = []any{}
		}
		return read(name, v)
	}
}

func listedText(name string, v any) (string, error) {
	s, err := text(255)(name, v)
	t, _ := s.(string)
	return t, err
}

// keyed is an object that has exactly these keys.
func keyed(name string, v any, keys ...string) (map[string]string, error) {
	o, ok := v.(object)
	if !ok {
		return nil, ipam.BadAttribute(name, "Invalid input. '%s' must be a dictionary with keys: %s", rest.Python(v), listed(keys...))
	}
	if provided := sortedKeys(o); !slices.Equal(provided, keys) {
		return nil, ipam.BadAttribute(name, "Validation of dictionary's keys failed. Expected keys: %s Provided keys: %s", set(keys), set(provided))
	}
	all := map[string]string{}
	for k, one := range o {
		s, ok := one.(string)
		if !ok {
			s = rest.Python(one)
		}
		all[k] = s
	}
	return all, nil
}

// set is Python's set of texts.
func set(keys []string) string {
	if len(keys) == 0 {
		return "set()"
	}
	l := listed(keys...)
	return "{" + l[1:len(l)-1] + "}"
}

func sortedKeys(o object) []string { return slices.Sorted(maps.Keys(o)) }

var (
	pools = listOf("IP pool", func(name string, v any) (ipam.Pool, error) {
		o, err := keyed(name, v, "end", "start")
		return ipam.Pool{Start: o["start"], End: o["end"]}, err
	})
	routes = orEmpty(listOf("hostroute", func(name string, v any) (ipam.Route, error) {
		o, err := keyed(name, v, "destination", "nexthop")
		return ipam.Route{Destination: o["destination"], NextHop: o["nexthop"]}, err
	}))
	nameservers = orEmpty(listOf("nameserver", listedText))
	fixedIPs    = listOf("fixed IP", func(name string, v any) (networks.NewFixedIP, error) {
		o, ok := v.(object)
		if !ok {
			return networks.NewFixedIP{}, ipam.BadAttribute(name, "Invalid data format for fixed IP: '%s'", rest.Python(v))
		}
		var f networks.NewFixedIP
		for _, key := range sortedKeys(o) {
			switch one := o[key]; key {
			case "ip_address":
				s, ok := one.(string)
				if !ok {
					return f, ipam.BadAttribute(name, "'%s' is not a valid IP address", rest.Python(one))
				}
				f.IP = &s
			case "subnet_id":
				s, err := id(name, one)
				if err != nil {
					return f, err
				}
				f.SubnetID, _ = s.(string)
			default:
				return f, ipam.BadAttribute(name, "Invalid data format for fixed IP: '%s'", rest.Python(v))
			}
		}
		return f, nil
	})
	groupIDs = orEmpty(listOf("security groups", func(name string, v any) (string, error) {
		got, err := id(name, v)
		if err != nil {
			return "", ipam.BadAttribute(name, "'%s' is not an integer or uuid", rest.Python(v))
		}
		s, _ := got.(string)
		return s, nil
	}))
	addressPairs = orEmpty(listOf("allowed address pair", func(name string, v any) (models.AddressPair, error) {
		o, ok := v.(object)
		if !ok || o["ip_address"] == nil {
			return models.AddressPair{}, ipam.Refuse("AllowedAddressPairsMissingIP", fault.Invalid, "AllowedAddressPair must contain ip_address")
		}
		for key := range o {
			if key != "ip_address" && key != "mac_address" {
				return models.AddressPair{}, ipam.BadAttribute(name, "'%s' is not a valid address pair", rest.Python(v))
			}
		}
		p := models.AddressPair{IP: rest.Python(o["ip_address"])}
		if o["mac_address"] != nil {
			p.MAC = rest.Python(o["mac_address"])
		}
		return p, nil
	}))
	dhcpOptions = orEmpty(listOf("DHCP options", func(name string, v any) (models.DHCPOption, error) {
		o, ok := v.(object)
		opt := models.DHCPOption{IPVersion: 4}
		opt.Name, _ = o["opt_name"].(string)
		opt.Value, _ = o["opt_value"].(string)
		if !ok || opt.Name == "" || opt.Value == "" || len(opt.Name) > 64 || len(opt.Value) > 255 {
			return opt, ipam.BadAttribute(name, "'%s' needs an opt_name and an opt_value", rest.Python(v))
		}
		for key, one := range o {
			switch key {
			case "opt_name", "opt_value":
			case "ip_version":
				n, err := oneOf(integer, "[4, 6]", 4, 6)(name, one)
				if err != nil {
					return opt, err
				}
				opt.IPVersion, _ = n.(int)
			default:
				return opt, ipam.BadAttribute(name, "Unexpected keys supplied: %s", key)
			}
		}
		return opt, nil
	}))
)

// maxTag and maxTags are Neutron's.
const (
	maxTag  = 255
	maxTags = 50
)

// tags are texts, none twice.
func tags(name string, v any) (any, error) {
	if _, ok := v.([]any); !ok {
		return nil, ipam.BadAttribute(name, "'%s' is not a list", rest.Python(v))
	}
	got, err := listOf("tags", listedText)(name, v)
	if err != nil {
		return nil, err
	}
	all, _ := got.([]string)
	for i, t := range all {
		if slices.Contains(all[:i], t) {
			return nil, ipam.BadAttribute(name, "Duplicate items in the list: '%s'", t)
		}
	}
	return all, tagsFit(all)
}

func tagsFit(all []string) error {
	if len(all) > maxTags {
		return rest.NeutronType("BadRequest", ipam.BadInput("The number of tags exceed the per-resource limit of %d", maxTags))
	}
	return nil
}

// since is the instant that changed_since names.
func since(name string, v any) (any, error) {
	s, _ := texted(v)
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02"} {
		if t, err := time.Parse(layout, s); err == nil && t.UTC().Year() > 0 { // Postgres knows no year 0
			return t.UTC().Format(time.RFC3339Nano), nil
		}
	}
	return nil, ipam.BadInput("The input %s must be in the following format: YYYY-MM-DDTHH:MM:SSZ", name)
}

// asFilter is a value as models.Match has it.
func asFilter(v any) string {
	switch t := v.(type) {
	case *string:
		if t == nil {
			return ""
		}
		return *t
	case *int:
		if t == nil {
			return ""
		}
		return strconv.Itoa(*t)
	case string:
		return t
	}
	return fmt.Sprint(v)
}

// versionOf is the IP version of a range.
func versionOf(cidr string) int {
	p, err := netip.ParsePrefix(cidr)
	if err != nil {
		return 4
	}
	return ipam.VersionOf(p.Addr())
}
