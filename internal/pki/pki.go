// Package pki is a small certificate authority for whoever has none: a folder with a CA, what it has issued to the processes and
// people of an installation, and what of that is revoked. A certificate says what its holder is by its subject: the role is the
// organizational unit, the name the common name.
package pki

import (
	"crypto/x509"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
)

// Roles of certificates.
const (
	Control      = "control"     // api, worker, and Temporal's server
	Host         = "host"        // a hypervisor; its name is its hostname
	Operator     = "operator"    // a person, or what scrapes metrics; serves nothing
	OVNCentral   = "ovn-central" // OVN's databases
	OVNChassis   = "ovn-chassis" // a machine's ovn-controller; its name is the chassis' id
	roleSentence = "control, host, operator, ovn-central or ovn-chassis"
)

// Roles are all of them.
var Roles = []string{Control, Host, Operator, OVNCentral, OVNChassis}

// Holder is what a certificate says of whoever holds it; empty words where it says nothing, or more than one thing.
func Holder(c *x509.Certificate) (role, name string) {
	if len(c.Subject.OrganizationalUnit) != 1 {
		return "", c.Subject.CommonName
	}
	return c.Subject.OrganizationalUnit[0], c.Subject.CommonName
}

// A name is part of a file's name, and a common name, which X.520 bounds.
var (
	validName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$`)
	validDNS  = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$`)
)

func checkHolder(role, name string) error {
	if !slices.Contains(Roles, role) {
		return fmt.Errorf("there is no role %q: it is %s", role, roleSentence)
	}
	if !validName.MatchString(name) {
		return fmt.Errorf("%q cannot be the name in a certificate: letters, digits, dots, dashes and underscores, at most 64", name)
	}
	return nil
}

// IsDNSName says whether a certificate can be valid for a name. Not every machine's is one: underscores are none of DNS's.
func IsDNSName(name string) bool { return len(name) <= 253 && validDNS.MatchString(name) }

// names completes and checks what a certificate is to be valid for.
func (r Request) names() (dns []string, ips []net.IP, err error) {
	all := r.DNS
	if r.Role == Host {
		all = append([]string{r.Name}, all...)
	}
	for _, name := range all {
		if net.ParseIP(name) != nil {
			return nil, nil, fmt.Errorf("%s is an address and no DNS name: give it as an IP", name)
		}
		if !IsDNSName(name) {
			return nil, nil, fmt.Errorf("%q is no DNS name", name)
		}
		if name = strings.ToLower(name); !slices.Contains(dns, name) {
			dns = append(dns, name)
		}
	}
	for _, text := range r.IPs {
		ip := net.ParseIP(text)
		if ip == nil {
			return nil, nil, fmt.Errorf("%q is no IP address", text)
		}
		if !slices.ContainsFunc(ips, ip.Equal) {
			ips = append(ips, ip)
		}
	}
	if r.Role == Operator && len(dns)+len(ips) > 0 {
		return nil, nil, fmt.Errorf("an operator's certificate serves nothing: it takes no DNS names and no addresses")
	}
	return dns, ips, nil
}
