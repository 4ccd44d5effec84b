package images

import (
	"context"

	"github.com/slipway-cloud/slipway/internal/imagepolicy"
	"github.com/slipway-cloud/slipway/models"
)

// Metadefs are metadata definitions as one caller has them: which properties there are to give to images, flavors and other things, and
// what they mean (Glance's metadefs). Everybody in a project reads those that are public or the project's; admins see and change all.
type Metadefs struct {
	rows   *models.Store
	caller imagepolicy.Caller
}

// Metadefs of a caller.
func (s *Service) Metadefs(caller Caller) Metadefs { return Metadefs{s.rows, caller.Caller} }

func (m Metadefs) viewer() models.MetadefViewer {
	return models.MetadefViewer{ProjectID: m.caller.ProjectID, All: imagepolicy.SeesAllMetadefs(m.caller)}
}

// metadefActions are the names of Glance's policies that a change of an item asks.
var metadefActions = map[models.MetadefKind]struct{ add, modify, remove imagepolicy.Action }{
	models.MetadefObject:       {"add_metadef_object", "modify_metadef_object", "delete_metadef_object"},
	models.MetadefProperty:     {"add_metadef_property", "modify_metadef_property", "remove_metadef_property"},
	models.MetadefTag:          {"add_metadef_tag", "modify_metadef_tag", "delete_metadef_tag"},
	models.MetadefResourceType: {add: "add_metadef_resource_type_association", remove: "remove_metadef_resource_type_association"},
}

// May says whether the caller may do what changes definitions, before a body is looked at.
func (m Metadefs) May(action imagepolicy.Action) error {
	return imagepolicy.ChangeMetadefs(m.caller, action)
}

// MayAdd is May of adding items.
func (m Metadefs) MayAdd(kind models.MetadefKind) error { return m.May(metadefActions[kind].add) }

// MayModify is May of changing an item.
func (m Metadefs) MayModify(kind models.MetadefKind) error { return m.May(metadefActions[kind].modify) }

// Add makes a namespace with all that is in it. Nobody else's than the caller's project where no owner is named, and private where nothing
// is said.
func (m Metadefs) Add(ctx context.Context, n models.MetadefNamespace) (models.MetadefNamespace, error) {
	if err := m.May("add_metadef_namespace"); err != nil {
		return n, err
	}
	return m.rows.CreateMetadefNamespace(ctx, m.whole(n))
}

func (m Metadefs) whole(n models.MetadefNamespace) models.MetadefNamespace {
	if n.OwnerID == "" {
		n.OwnerID = m.caller.ProjectID
	}
	if n.Visibility == "" {
		n.Visibility = imagepolicy.Private
	}
	return n
}

// Get is a namespace with all that is in it.
func (m Metadefs) Get(ctx context.Context, name string) (models.MetadefNamespace, error) {
	return m.rows.MetadefNamespace(ctx, m.viewer(), name, models.MetadefObject, models.MetadefProperty, models.MetadefTag, models.MetadefResourceType)
}

// List lists a page of namespaces, with the resource types that they are about.
func (m Metadefs) List(ctx context.Context, f models.MetadefFilter) ([]models.MetadefNamespace, error) {
	f.Viewer = m.viewer()
	return m.rows.ListMetadefNamespaces(ctx, f)
}

// Change makes a namespace what it is told, but for what is in it.
func (m Metadefs) Change(ctx context.Context, name string, to models.MetadefNamespace) (models.MetadefNamespace, error) {
	if err := m.May("modify_metadef_namespace"); err != nil {
		return to, err
	}
	return m.rows.ChangeMetadefNamespace(ctx, m.viewer(), name, m.whole(to))
}

// Remove deletes a namespace with all that is in it, unless it is protected.
func (m Metadefs) Remove(ctx context.Context, name string) error {
	if err := m.May("delete_metadef_namespace"); err != nil {
		return err
	}
	return m.rows.DeleteMetadefNamespace(ctx, m.viewer(), name)
}

// Items lists a page of what of a kind is in a namespace.
func (m Metadefs) Items(ctx context.Context, namespace string, kind models.MetadefKind, sort []models.Sort, marker string, limit int) ([]models.MetadefItem, error) {
	return m.rows.ListMetadefItems(ctx, m.viewer(), namespace, kind, sort, marker, limit)
}

// Item is one by name.
func (m Metadefs) Item(ctx context.Context, namespace string, kind models.MetadefKind, name string) (models.MetadefItem, error) {
	return m.rows.MetadefItem(ctx, m.viewer(), namespace, kind, name)
}

// AddItem puts an item into a namespace.
func (m Metadefs) AddItem(ctx context.Context, namespace string, item models.MetadefItem) (models.MetadefItem, error) {
	if err := m.MayAdd(item.Kind); err != nil {
		return item, err
	}
	return m.rows.AddMetadefItem(ctx, m.viewer(), namespace, item)
}

// SetTags makes tags those of a namespace, or more of them.
func (m Metadefs) SetTags(ctx context.Context, namespace string, tags []string, more bool) error {
	if err := m.May("add_metadef_tags"); err != nil {
		return err
	}
	return m.rows.SetMetadefTags(ctx, m.viewer(), namespace, tags, more)
}

// ChangeItem gives an item another body, and the name that it says.
func (m Metadefs) ChangeItem(ctx context.Context, namespace, name string, to models.MetadefItem) (models.MetadefItem, error) {
	if err := m.MayModify(to.Kind); err != nil {
		return to, err
	}
	return m.rows.ChangeMetadefItem(ctx, m.viewer(), namespace, name, to)
}

// RemoveItem takes an item out of a namespace that is not protected.
func (m Metadefs) RemoveItem(ctx context.Context, namespace string, kind models.MetadefKind, name string) error {
	if err := m.May(metadefActions[kind].remove); err != nil {
		return err
	}
	return m.rows.RemoveMetadefItem(ctx, m.viewer(), namespace, kind, name)
}

// RemoveItems takes all of a kind out of a namespace that is not protected.
func (m Metadefs) RemoveItems(ctx context.Context, namespace string, kind models.MetadefKind) error {
	action := imagepolicy.Action("delete_metadef_namespace")
	if kind == models.MetadefTag {
		action = "delete_metadef_tags"
	}
	if err := m.May(action); err != nil {
		return err
	}
	return m.rows.RemoveMetadefItems(ctx, m.viewer(), namespace, kind)
}

// Resources lists the resource types that namespaces are about.
func (m Metadefs) Resources(ctx context.Context) ([]models.MetadefResource, error) {
	return m.rows.MetadefResources(ctx, m.viewer())
}
