package networks

import (
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/ipam"
)

// SecurityGroup is read-only and holds no rule: packets are not filtered yet, and a rule that nothing enforces would be a lie.
type SecurityGroup struct {
	ID, Name, Description, ProjectID string
}

func noGroup(id string) error {
	return ipam.Refuse("SecurityGroupNotFound", fault.NotFound, "Security group %s does not exist", id)
}

// SecurityGroups lists the project's.
func (r *Repository) SecurityGroups() []SecurityGroup {
	project := r.caller.ProjectID
	return []SecurityGroup{{ids.SecurityGroup(project), "default", "Default security group: all traffic passes", project}}
}

// SecurityGroup is one of those.
func (r *Repository) SecurityGroup(id string) (SecurityGroup, error) {
	for _, g := range r.SecurityGroups() {
		if g.ID == id {
			return g, nil
		}
	}
	return SecurityGroup{}, noGroup(id)
}
