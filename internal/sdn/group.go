package sdn

import "net/netip"

// KindGroup is a security group.
const KindGroup Kind = "group"

// Group is a security group: what its rules name may reach its ports, and be reached by them. Which ports those are, they say.
type Group struct {
	ID        string
	Stateless bool // an answer passes only where a rule lets it
	Rules     []Rule
}

// Rule lets packets of one direction and one family pass.
type Rule struct {
	ID     string
	Egress bool // what the port sends; else what is sent to it
	IPv6   bool
	// Protocol is IANA's number of it; nil is any.
	Protocol *int
	// First and Last are the ports of TCP, UDP and SCTP, or the type and the code of ICMP; nil is any.
	First, Last *int
	// From is where a packet comes from, of egress where it goes to; the zero Prefix is anywhere.
	From netip.Prefix
	// FromGroup is a group whose ports' addresses do instead; "" is none. It need not be there yet: none has its addresses then.
	FromGroup string
}
