package network

// Listing is what a collection can be selected and sorted by.
type Listing struct{ Filters, Sorts []string }

// Listings are those of all kinds, by their path.
func Listings() map[string]Listing {
	return map[string]Listing{
		"networks": listing(allNetworks), "subnets": listing(allSubnets), "ports": listing(allPorts),
		"routers": listing(allRouters), "floatingips": listing(allFloatingIPs),
		"security-groups": listing(allGroups), "security-group-rules": listing(allRules), "agents": listing(allAgents), "availability_zones": listing(allZones),
	}
}

func listing[T, D any](k resource[T, D]) (l Listing) {
	for _, a := range k.attributes {
		if a.may&filter != 0 {
			l.Filters = append(l.Filters, a.name)
		}
		if a.may&sorts != 0 {
			l.Sorts = append(l.Sorts, a.name)
		}
	}
	return l
}
