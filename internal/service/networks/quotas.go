package networks

// Unlimited is a quota without a limit.
const Unlimited = -1

// Quota is how many of each kind of object a project may have, by Neutron's names.
func (r *Repository) Quota(projectID string) (map[string]int, error) {
	if !r.caller.Owns(projectID) {
		return nil, forbidden("get_quota")
	}
	return map[string]int{
		"network": Unlimited, "subnet": Unlimited, "port": Unlimited, "security_group": 1,
		// What there is none of.
		"subnetpool": 0, "router": 0, "floatingip": 0, "rbac_policy": 0, "security_group_rule": 0,
	}, nil
}
