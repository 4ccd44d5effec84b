package imagepolicy

import "github.com/slipway-cloud/slipway/internal/fault"

// SeesAllMetadefs says whether the caller sees every namespace of metadata definitions: others see public ones and their own
// (glance/db/sqlalchemy/metadef_api/namespace.py).
func SeesAllMetadefs(c Caller) bool { return c.admin() }

// ChangeMetadefs says whether the caller may do what changes metadata definitions, by the name of Glance's policy: all of them are
// metadef_admin (glance/policies/metadef.py).
func ChangeMetadefs(c Caller, action Action) error {
	if !c.admin() {
		return fault.New(fault.Forbidden, "%s", generalText(c, action, Target{}))
	}
	return nil
}
