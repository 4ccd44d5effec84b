package models

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// MetadefNamespace is a namespace of metadata definitions (Glance's metadefs).
type MetadefNamespace struct {
	ID          int64 `gorm:"primaryKey"`
	Namespace   string
	DisplayName *string
	Description *string
	Visibility  string // public, private
	Protected   bool   // it, and what is in it, cannot be deleted
	OwnerID     string // a project, or whatever word was said for an owner
	CreatedAt   time.Time
	UpdatedAt   time.Time `gorm:"autoUpdateTime:false"`

	Items []MetadefItem `gorm:"-"` // of the kinds that were asked for
}

// MetadefKind is what an item of a namespace is.
type MetadefKind string

// The kinds.
const (
	MetadefObject       MetadefKind = "object"
	MetadefProperty     MetadefKind = "property"
	MetadefTag          MetadefKind = "tag"
	MetadefResourceType MetadefKind = "resource_type" // the namespace is about it
)

// MetadefItem is a definition in a namespace.
type MetadefItem struct {
	NamespaceID int64           `gorm:"primaryKey"`
	Kind        MetadefKind     `gorm:"primaryKey"`
	Name        string          `gorm:"primaryKey"`
	Body        json.RawMessage `gorm:"type:jsonb"`
	CreatedAt   time.Time
	UpdatedAt   time.Time `gorm:"autoUpdateTime:false"`
}

// MetadefResource is a resource type that namespaces are about: since the first of them, and as of the last change.
type MetadefResource struct {
	Name      string
	CreatedAt time.Time
	UpdatedAt time.Time
}

// MetadefViewer is who looks: its project sees its own namespaces beside the public ones.
type MetadefViewer struct {
	ProjectID string
	All       bool
}

func (v MetadefViewer) of(tx *gorm.DB) *gorm.DB {
	if v.All {
		return tx
	}
	return tx.Where("(metadef_namespaces.visibility = 'public' OR metadef_namespaces.owner_id = ?)", v.ProjectID)
}

// MetadefFilter selects namespaces.
type MetadefFilter struct {
	Viewer        MetadefViewer
	Visibility    string
	ResourceTypes []string // about one of them
	Sort          []Sort   // the newest first
	Marker        string   // a namespace
	Limit         int
}

var (
	metadefOrder = order{
		keys: map[string]string{
			"created_at": "created_at", "updated_at": "updated_at", "namespace": "namespace", "display_name": "COALESCE(display_name, '')", "visibility": "visibility", "owner": "owner_id",
		},
		id: "namespace", preset: Sort{Key: "created_at", Desc: true},
	}
	metadefItemOrder = order{
		keys: map[string]string{"created_at": "created_at", "updated_at": "updated_at", "name": "name"},
		id:   "name", preset: Sort{Key: "created_at", Desc: true},
	}
)

func noNamespace(name string) error { return fault.New(fault.NotFound, "Namespace %s not found", name) }

// metadefTexts are Glance's words for an item that is not there, and for one that is there already.
var metadefTexts = map[MetadefKind]struct{ absent, taken, protected string }{
	MetadefObject: {
		"The metadata definition object with name=%s was not found in namespace=%s.", "A metadata definition object with name=%s already exists in namespace=%s.",
		"Metadata definition object %s is protected and cannot be deleted.",
	},
	MetadefProperty: {
		"The metadata definition property with name=%s was not found in namespace=%s.", "A metadata definition property with name=%s already exists in namespace=%s.",
		"Metadata definition property %s is protected and cannot be deleted.",
	},
	MetadefTag: {
		"The metadata definition tag with name=%s was not found in namespace=%s.",
		"A metadata tag with name=%s already exists in namespace=%s. (Please note that metadata tag names are case insensitive).",
		"Metadata definition tag %s is protected and cannot be deleted.",
	},
	MetadefResourceType: {
		"The metadata definition resource-type association of resource-type=%s to namespace=%s, was not found.",
		"The metadata definition resource-type association of resource-type=%s to namespace=%s already exists.",
		"Metadata definition resource-type-association %s is protected and cannot be deleted.",
	},
}

// taken words what a name that is there already violates.
func taken(err error, kind MetadefKind, name, namespace string) error {
	if violates(err, "metadef_items_pkey") || violates(err, "metadef_items_tag_key") {
		return fault.New(fault.Conflict, metadefTexts[kind].taken, name, namespace)
	}
	return err
}

// CreateMetadefNamespace adds one with all that is in it; Conflict where its name is taken, or an item's occurs twice.
func (s *Store) CreateMetadefNamespace(ctx context.Context, n MetadefNamespace) (MetadefNamespace, error) {
	n.CreatedAt = now()
	n.UpdatedAt = n.CreatedAt
	items := slices.Clone(n.Items)
	err := s.tx(ctx, func(tx *gorm.DB) error {
		n.ID = 0
		if err := tx.Create(&n).Error; violates(err, "metadef_namespaces_namespace_key") {
			return fault.New(fault.Conflict, "The metadata definition namespace=%s already exists.", n.Namespace)
		} else if err != nil {
			return err
		}
		return addItems(tx, n, items, n.CreatedAt)
	})
	n.Items = items
	return n, failed(err, "create the metadata definitions %s", n.Namespace)
}

// addItems puts new items into a namespace, and says in them since when.
func addItems(tx *gorm.DB, n MetadefNamespace, items []MetadefItem, at time.Time) error {
	for i := range items {
		items[i].NamespaceID, items[i].CreatedAt, items[i].UpdatedAt = n.ID, at, at
		if err := tx.Create(&items[i]).Error; err != nil {
			return taken(err, items[i].Kind, items[i].Name, n.Namespace)
		}
	}
	return nil
}

// MetadefNamespace is one by name, with its items of the kinds; NotFound where the viewer sees none.
func (s *Store) MetadefNamespace(ctx context.Context, viewer MetadefViewer, name string, kinds ...MetadefKind) (n MetadefNamespace, err error) {
	err = s.read(ctx, func(tx *gorm.DB) error {
		if n, err = metadefNamespace(tx, viewer, name); err != nil {
			return err
		}
		all := []MetadefNamespace{n}
		err := loadItems(tx, all, kinds)
		n = all[0]
		return err
	})
	return n, failed(err, "read the metadata definitions %s", name)
}

func metadefNamespace(tx *gorm.DB, viewer MetadefViewer, name string) (n MetadefNamespace, err error) {
	if err = viewer.of(tx).Where("namespace = ?", name).Take(&n).Error; isAbsent(err) {
		return n, noNamespace(name)
	}
	return n, err
}

func loadItems(tx *gorm.DB, namespaces []MetadefNamespace, kinds []MetadefKind) error {
	if len(kinds) == 0 {
		return nil
	}
	at := make(map[int64]*MetadefNamespace, len(namespaces))
	ids := make([]int64, len(namespaces))
	for i := range namespaces {
		at[namespaces[i].ID], ids[i] = &namespaces[i], namespaces[i].ID
	}
	var items []MetadefItem
	err := tx.Where("namespace_id IN ? AND kind IN ?", ids, kinds).Order("namespace_id, kind, name").Find(&items).Error
	for _, item := range items {
		at[item.NamespaceID].Items = append(at[item.NamespaceID].Items, item)
	}
	return err
}

// ListMetadefNamespaces lists a page of those that the viewer sees, with the resource types that they are about.
func (s *Store) ListMetadefNamespaces(ctx context.Context, f MetadefFilter) ([]MetadefNamespace, error) {
	all := []MetadefNamespace{}
	err := s.read(ctx, func(tx *gorm.DB) error {
		visible := func() *gorm.DB { return f.Viewer.of(tx.Model(&MetadefNamespace{})) }
		rows := visible()
		if f.Visibility != "" {
			rows = rows.Where("visibility = ?", f.Visibility)
		}
		if len(f.ResourceTypes) > 0 {
			rows = rows.Where("id IN (SELECT namespace_id FROM metadef_items WHERE kind = 'resource_type' AND name = ANY(?))", texts(f.ResourceTypes))
		}
		rows, err := metadefOrder.page(rows, visible(), f.Sort, f.Marker, f.Limit)
		if err != nil {
			return err
		}
		all = all[:0]
		if err := rows.Find(&all).Error; err != nil {
			return err
		}
		return loadItems(tx, all, []MetadefKind{MetadefResourceType})
	})
	return all, failed(err, "list the metadata definitions")
}

// changeMetadefs runs f on a namespace that nobody else changes meanwhile.
func (s *Store) changeMetadefs(ctx context.Context, viewer MetadefViewer, name string, f func(tx *gorm.DB, n *MetadefNamespace) error) (n MetadefNamespace, err error) {
	err = s.tx(ctx, func(tx *gorm.DB) error {
		if n, err = metadefNamespace(tx.Clauses(clause.Locking{Strength: "UPDATE"}), viewer, name); err != nil {
			return err
		}
		return f(tx, &n)
	})
	return n, err
}

// ChangeMetadefNamespace makes a namespace, but for what is in it, what it is told; Conflict where the new name is taken.
func (s *Store) ChangeMetadefNamespace(ctx context.Context, viewer MetadefViewer, name string, to MetadefNamespace) (MetadefNamespace, error) {
	n, err := s.changeMetadefs(ctx, viewer, name, func(tx *gorm.DB, n *MetadefNamespace) error {
		to.ID, to.CreatedAt, to.UpdatedAt = n.ID, n.CreatedAt, now()
		*n = to
		err := tx.Model(n).Select("*").Updates(n).Error
		if violates(err, "metadef_namespaces_namespace_key") {
			return fault.New(fault.Conflict, "Invalid update. It would result in a duplicate metadata definition namespace with the same name of %s", to.Namespace)
		}
		return err
	})
	return n, failed(err, "change the metadata definitions %s", name)
}

// DeleteMetadefNamespace deletes one with all that is in it; Forbidden where it is protected.
func (s *Store) DeleteMetadefNamespace(ctx context.Context, viewer MetadefViewer, name string) error {
	_, err := s.changeMetadefs(ctx, viewer, name, func(tx *gorm.DB, n *MetadefNamespace) error {
		if n.Protected {
			return namespaceProtected(name)
		}
		return tx.Delete(n).Error
	})
	return failed(err, "delete the metadata definitions %s", name)
}

func namespaceProtected(name string) error {
	return fault.New(fault.Forbidden, "Metadata definition namespace %s is protected and cannot be deleted.", name)
}

// ListMetadefItems lists a page of a namespace's items of a kind; limit 0 is all of them.
func (s *Store) ListMetadefItems(ctx context.Context, viewer MetadefViewer, name string, kind MetadefKind, sort []Sort, marker string, limit int) ([]MetadefItem, error) {
	all := []MetadefItem{}
	err := s.read(ctx, func(tx *gorm.DB) error {
		n, err := metadefNamespace(tx, viewer, name)
		if err != nil {
			return err
		}
		items := func() *gorm.DB { return tx.Model(&MetadefItem{}).Where("namespace_id = ? AND kind = ?", n.ID, kind) }
		rows, err := metadefItemOrder.page(items(), items(), sort, marker, limit)
		if err != nil {
			return err
		}
		all = all[:0]
		return rows.Find(&all).Error
	})
	return all, failed(err, "list what is in the metadata definitions %s", name)
}

// MetadefItem is one by name; NotFound.
func (s *Store) MetadefItem(ctx context.Context, viewer MetadefViewer, name string, kind MetadefKind, item string) (i MetadefItem, err error) {
	err = s.read(ctx, func(tx *gorm.DB) error {
		n, err := metadefNamespace(tx, viewer, name)
		if err != nil {
			return err
		}
		i, err = metadefItem(tx, n, kind, item)
		return err
	})
	return i, failed(err, "read %s %s of the metadata definitions %s", kind, item, name)
}

func metadefItem(tx *gorm.DB, n MetadefNamespace, kind MetadefKind, name string) (i MetadefItem, err error) {
	rows := tx.Where("namespace_id = ? AND kind = ?", n.ID, kind)
	if kind == MetadefTag {
		rows = rows.Where("lower(name) = lower(?)", name)
	} else {
		rows = rows.Where("name = ?", name)
	}
	if err = rows.Take(&i).Error; isAbsent(err) {
		return i, fault.New(fault.NotFound, metadefTexts[kind].absent, name, n.Namespace)
	}
	return i, err
}

// AddMetadefItem puts an item into a namespace; Conflict where its name is taken.
func (s *Store) AddMetadefItem(ctx context.Context, viewer MetadefViewer, name string, item MetadefItem) (MetadefItem, error) {
	items := []MetadefItem{item}
	_, err := s.changeMetadefs(ctx, viewer, name, func(tx *gorm.DB, n *MetadefNamespace) error { return addItems(tx, *n, items, now()) })
	return items[0], failed(err, "add %s %s to the metadata definitions %s", item.Kind, item.Name, name)
}

// SetMetadefTags makes tags those of a namespace, or more of them. Forbidden where one that is protected would go.
func (s *Store) SetMetadefTags(ctx context.Context, viewer MetadefViewer, name string, tags []string, more bool) error {
	_, err := s.changeMetadefs(ctx, viewer, name, func(tx *gorm.DB, n *MetadefNamespace) error {
		if !more {
			if err := removeItems(tx, *n, MetadefTag); err != nil {
				return err
			}
		}
		items := make([]MetadefItem, len(tags))
		for i, tag := range tags {
			items[i] = MetadefItem{Kind: MetadefTag, Name: tag, Body: json.RawMessage("{}")}
		}
		return addItems(tx, *n, items, now())
	})
	return failed(err, "set the tags of the metadata definitions %s", name)
}

// ChangeMetadefItem gives an item a new body, and a new name where it has another; Conflict where that is taken.
func (s *Store) ChangeMetadefItem(ctx context.Context, viewer MetadefViewer, name, item string, to MetadefItem) (MetadefItem, error) {
	var i MetadefItem
	_, err := s.changeMetadefs(ctx, viewer, name, func(tx *gorm.DB, n *MetadefNamespace) (err error) {
		if i, err = metadefItem(tx, *n, to.Kind, item); err != nil {
			return err
		}
		was := i.Name
		i.Name, i.Body, i.UpdatedAt = to.Name, to.Body, now()
		err = tx.Model(&MetadefItem{}).Where("namespace_id = ? AND kind = ? AND name = ?", n.ID, to.Kind, was).
			Updates(map[string]any{"name": i.Name, "body": string(i.Body), "updated_at": i.UpdatedAt}).Error
		return taken(err, to.Kind, to.Name, n.Namespace)
	})
	return i, failed(err, "change %s %s of the metadata definitions %s", to.Kind, item, name)
}

// RemoveMetadefItem takes an item out of a namespace; Forbidden where that is protected.
func (s *Store) RemoveMetadefItem(ctx context.Context, viewer MetadefViewer, name string, kind MetadefKind, item string) error {
	_, err := s.changeMetadefs(ctx, viewer, name, func(tx *gorm.DB, n *MetadefNamespace) error {
		i, err := metadefItem(tx, *n, kind, item)
		switch {
		case err != nil:
			return err
		case n.Protected:
			return fault.New(fault.Forbidden, metadefTexts[kind].protected, item)
		}
		return tx.Delete(&i).Error
	})
	return failed(err, "remove %s %s of the metadata definitions %s", kind, item, name)
}

// RemoveMetadefItems takes all items of a kind out of a namespace; Forbidden where that is protected.
func (s *Store) RemoveMetadefItems(ctx context.Context, viewer MetadefViewer, name string, kind MetadefKind) error {
	_, err := s.changeMetadefs(ctx, viewer, name, func(tx *gorm.DB, n *MetadefNamespace) error {
		if n.Protected {
			return namespaceProtected(name)
		}
		return removeItems(tx, *n, kind)
	})
	return failed(err, "remove every %s of the metadata definitions %s", kind, name)
}

func removeItems(tx *gorm.DB, n MetadefNamespace, kind MetadefKind) error {
	d := tx.Where("namespace_id = ? AND kind = ?", n.ID, kind).Delete(&MetadefItem{})
	if d.Error == nil && d.RowsAffected > 0 && n.Protected {
		return namespaceProtected(n.Namespace)
	}
	return d.Error
}

// MetadefResources lists the resource types that namespaces are about, of which the viewer sees one.
func (s *Store) MetadefResources(ctx context.Context, viewer MetadefViewer) ([]MetadefResource, error) {
	all := []MetadefResource{}
	err := viewer.of(s.db.WithContext(ctx)).Table("metadef_items").Joins("JOIN metadef_namespaces ON metadef_namespaces.id = namespace_id").
		Where("kind = ?", MetadefResourceType).Group("name").Order("name").
		Select("name, min(metadef_items.created_at) AS created_at, max(metadef_items.updated_at) AS updated_at").Scan(&all).Error
	return all, failed(err, "list the resource types of metadata definitions")
}
