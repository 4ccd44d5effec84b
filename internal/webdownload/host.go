package webdownload

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
)

// canonicalHost is a host in the form in which it is matched and asked for: an IP address as netip writes it, a DNS name in
// lower case. Forms of IP addresses that only some resolvers understand (127.1, 0x7f.1, 2130706433, 0177.0.0.1) are refused
// by the rule of the WHATWG's URL standard: a host whose last label is a number has to be an IPv4 address in four decimals.
// So are names with a trailing dot, which slip past lists of names.
func canonicalHost(host string, bracketed bool) (string, error) {
	if host == "" {
		return "", errors.New("its host is missing")
	}
	if bracketed {
		addr, err := netip.ParseAddr(host)
		if err != nil || !addr.Is6() || addr.Zone() != "" || strings.Contains(host, ".") || addr.Is4In6() {
			return "", errors.New("its host is not an IPv6 address in its usual form")
		}
		return addr.String(), nil
	}
	host = strings.ToLower(host)
	if addr, err := netip.ParseAddr(host); err == nil && addr.Is4() {
		return addr.String(), nil
	}
	if !validName(host) {
		return "", errors.New("its host is neither a DNS name nor an IP address in its usual form")
	}
	return host, nil
}

// validName holds a DNS name in lower case to RFC 1123, and refuses those that could be read as numbers.
func validName(name string) bool {
	if len(name) > 253 {
		return false
	}
	labels := strings.Split(name, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if !isLetter(c) && !isDigit(c) && c != '-' {
				return false
			}
		}
	}
	return !numeric(labels[len(labels)-1])
}

// numeric says whether inet_aton or a browser would take the label for a number: decimal, octal or hexadecimal.
func numeric(label string) bool {
	if digits, hex := strings.CutPrefix(label, "0x"); hex {
		return strings.Trim(digits, "0123456789abcdef") == ""
	}
	return strings.Trim(label, "0123456789") == ""
}

func isLetter(c byte) bool { return 'a' <= c && c <= 'z' }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// validPattern says whether an entry of a list of hosts can match anything.
func validPattern(pattern string) bool {
	if pattern == "*" {
		return true
	}
	if domain, below := strings.CutPrefix(pattern, "*."); below {
		return validName(strings.ToLower(domain))
	}
	_, err := canonicalPattern(pattern)
	return err == nil
}

// canonicalPattern is an entry without "*" in the form of canonicalHost. IPv6 addresses may be written without brackets.
func canonicalPattern(pattern string) (string, error) {
	if inner, ok := strings.CutPrefix(pattern, "["); ok && strings.HasSuffix(inner, "]") {
		return canonicalHost(strings.TrimSuffix(inner, "]"), true)
	}
	return canonicalHost(pattern, strings.Contains(pattern, ":"))
}

func (r Rules) hostAllowed(host string) bool {
	allowed := r.Hosts
	if !strings.ContainsAny(host, ".:") {
		allowed = slices.DeleteFunc(slices.Clone(allowed), func(p string) bool { return p == "*" })
	}
	return matchesAny(allowed, host) && !matchesAny(r.DeniedHosts, host)
}

func matchesAny(patterns []string, host string) bool {
	for _, p := range patterns {
		if matches(p, host) {
			return true
		}
	}
	return false
}

func matches(pattern, host string) bool {
	if pattern == "*" {
		return true
	}
	if domain, below := strings.CutPrefix(pattern, "*"); below {
		return strings.HasSuffix(host, strings.ToLower(domain))
	}
	canonical, err := canonicalPattern(pattern)
	return err == nil && canonical == host
}
