package image

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/service/images"
	"github.com/slipway-cloud/slipway/models"
)

// mountMetadefs adds what Glance has below /v2/metadefs.
func (a *API) mountMetadefs(g *echo.Group) {
	const invalid, forbidden, absent, conflict = http.StatusBadRequest, http.StatusForbidden, http.StatusNotFound, http.StatusConflict
	for name, document := range metadefSchemas {
		g.GET("/schemas/metadefs/"+name, schema(document), rest.Expect())
	}
	d := g.Group("/metadefs", rest.RequireProject)
	d.GET("/resource_types", a.listResourceTypes, rest.Expect(forbidden))
	d.GET("/namespaces", a.listNamespaces, rest.Expect(invalid, forbidden))
	d.POST("/namespaces", a.createNamespace, rest.Expect(invalid, forbidden, conflict))
	d.GET("/namespaces/:namespace", a.showNamespace, rest.Expect(invalid, forbidden, absent))
	d.PUT("/namespaces/:namespace", a.updateNamespace, rest.Expect(invalid, forbidden, absent, conflict))
	d.DELETE("/namespaces/:namespace", a.deleteNamespace, rest.Expect(forbidden, absent))
	for _, k := range metadefKinds {
		root := "/namespaces/:namespace/" + k.path
		d.GET(root, a.listItems(k), rest.Expect(invalid, forbidden, absent))
		if k.kind == models.MetadefTag {
			d.POST(root, a.setTags, rest.Expect(invalid, forbidden, absent, conflict))
			d.POST(root+"/:name", a.addTagDefinition, rest.Expect(invalid, forbidden, absent, conflict))
		} else {
			d.POST(root, a.addItem(k), rest.Expect(invalid, forbidden, absent, conflict))
		}
		d.DELETE(root+"/:name", a.removeItem(k), rest.Expect(forbidden, absent))
		if k.kind == models.MetadefResourceType {
			continue // it has nothing but a name and what is said when it is added
		}
		d.DELETE(root, a.removeItems(k), rest.Expect(forbidden, absent))
		d.GET(root+"/:name", a.showItem(k), rest.Expect(forbidden, absent))
		d.PUT(root+"/:name", a.updateItem(k), rest.Expect(invalid, forbidden, absent, conflict))
	}
}

func (a *API) metadefs(c echo.Context) images.Metadefs { return a.service.Metadefs(callerOf(c)) }

func namespacePath(name string) string { return "/v2/metadefs/namespaces/" + url.PathEscape(name) }

// namespaceBody is a namespace as bodies have it.
type namespaceBody struct {
	Namespace   string                     `json:"namespace"`
	DisplayName *string                    `json:"display_name"`
	Description *string                    `json:"description"`
	Visibility  string                     `json:"visibility"`
	Protected   bool                       `json:"protected"`
	Owner       string                     `json:"owner"`
	Resources   []json.RawMessage          `json:"resource_type_associations"`
	Properties  map[string]json.RawMessage `json:"properties"`
	Objects     []json.RawMessage          `json:"objects"`
	Tags        []json.RawMessage          `json:"tags"`
}

// describe reads a body: what only the service writes is forbidden, and the rest has to fit the schema.
func describe(c echo.Context, schema *jsonschema.Schema, into any, readOnly ...string) error {
	var document map[string]json.RawMessage
	if err := rest.Bind(c, nil, &document); err != nil {
		return err
	}
	for _, name := range readOnly {
		if _, given := document[name]; given {
			return fault.New(fault.Forbidden, "Attribute '%s' is read-only.", name)
		}
	}
	if document == nil {
		return fault.New(fault.Invalid, "Body expected in request.")
	}
	if err := rest.Check(schema, document); err != nil {
		return err
	}
	raw, err := json.Marshal(document)
	if err != nil {
		return fault.Wrap(fault.Internal, err, "A body cannot be written again.")
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fault.New(fault.Invalid, "Malformed request body")
	}
	return nil
}

// Attributes that only the service writes.
var (
	readOnlyTimes = []string{"created_at", "updated_at"}
	readOnlyLinks = append([]string{"self", "schema"}, readOnlyTimes...)
)

func (b namespaceBody) row() models.MetadefNamespace {
	return models.MetadefNamespace{Namespace: b.Namespace, DisplayName: b.DisplayName, Description: b.Description, Visibility: b.Visibility, Protected: b.Protected, OwnerID: b.Owner}
}

// items are what the body has in the namespace.
func (b namespaceBody) items() ([]models.MetadefItem, error) {
	var all []models.MetadefItem
	add := func(k metadefKind, raw json.RawMessage) error {
		item, err := k.item(raw)
		all = append(all, item)
		return err
	}
	for _, part := range []struct {
		kind models.MetadefKind
		of   []json.RawMessage
	}{{models.MetadefResourceType, b.Resources}, {models.MetadefObject, b.Objects}, {models.MetadefTag, b.Tags}} {
		for _, raw := range part.of {
			if err := add(kindOf(part.kind), raw); err != nil {
				return nil, err
			}
		}
	}
	for name, raw := range b.Properties {
		item, err := kindOf(models.MetadefProperty).item(raw)
		if err != nil {
			return nil, err
		}
		item.Name = name // whatever the property says itself
		all = append(all, item)
	}
	return all, nil
}

// namespaceView is Glance's document of a namespace and what is in it; what is not said is left out.
func namespaceView(n models.MetadefNamespace) map[string]any {
	doc := map[string]any{
		"namespace": n.Namespace, "visibility": n.Visibility, "protected": n.Protected, "owner": n.OwnerID,
		"created_at": rest.Time(n.CreatedAt), "updated_at": rest.Time(n.UpdatedAt), "self": namespacePath(n.Namespace), "schema": "/v2/schemas/metadefs/namespace",
	}
	for name, text := range map[string]*string{"display_name": n.DisplayName, "description": n.Description} {
		if text != nil {
			doc[name] = *text
		}
	}
	properties := map[string]any{}
	lists := map[models.MetadefKind][]map[string]any{}
	for _, item := range n.Items {
		switch item.Kind {
		case models.MetadefProperty:
			properties[item.Name] = item.Body
		case models.MetadefTag:
			lists[item.Kind] = append(lists[item.Kind], map[string]any{"name": item.Name})
		case models.MetadefObject, models.MetadefResourceType:
			lists[item.Kind] = append(lists[item.Kind], kindOf(item.Kind).view(n.Namespace, item))
		}
	}
	if len(properties) > 0 {
		doc["properties"] = properties
	}
	for kind, list := range lists {
		doc[kindOf(kind).member] = list
	}
	return doc
}

// listNamespaces is GET /v2/metadefs/namespaces.
func (a *API) listNamespaces(c echo.Context) error {
	page, err := rest.PageOf(c, defaultPage)
	if err != nil {
		return err
	}
	f := models.MetadefFilter{Visibility: c.QueryParam("visibility"), Marker: page.Marker, Limit: page.Limit}
	if f.Visibility != "" && !slices.Contains([]string{"public", "private"}, f.Visibility) {
		return fault.New(fault.Invalid, "Invalid visibility value: %s", f.Visibility)
	}
	if types := c.QueryParam("resource_types"); types != "" {
		f.ResourceTypes = strings.Split(types, ",")
	}
	for name := range c.QueryParams() {
		if !slices.Contains([]string{"limit", "marker", "sort_key", "sort_dir", "visibility", "resource_types"}, name) {
			return fault.New(fault.Invalid, "Namespaces cannot be filtered by '%s'.", name)
		}
	}
	if f.Sort, err = metadefSort(c); err != nil {
		return err
	}
	found := []models.MetadefNamespace{}
	if !page.None {
		if found, err = a.metadefs(c).List(c.Request().Context(), f); err != nil {
			return err
		}
	}
	views := make([]map[string]any, len(found))
	for i, n := range found {
		views[i] = namespaceView(n)
	}
	const path = "/v2/metadefs/namespaces"
	body := map[string]any{"namespaces": views, "schema": "/v2/schemas/metadefs/namespaces", "first": firstOf(c, path)}
	if n := len(found); n > 0 {
		if next := page.NextPath(c, path, n, found[n-1].Namespace); next != "" {
			body["next"] = next
		}
	}
	return c.JSON(http.StatusOK, body)
}

// metadefSort is sort_key and sort_dir; without them the newest come first.
func metadefSort(c echo.Context) ([]models.Sort, error) {
	key, dir := c.QueryParam("sort_key"), c.QueryParam("sort_dir")
	if dir != "" && dir != "asc" && dir != "desc" {
		return nil, fault.New(fault.Invalid, "Invalid sort direction: %s", dir)
	}
	if key == "" {
		key = "created_at"
	}
	return []models.Sort{{Key: key, Desc: dir != "asc"}}, nil
}

// createNamespace is POST /v2/metadefs/namespaces, with what is in it or without.
func (a *API) createNamespace(c echo.Context) error {
	if err := a.metadefs(c).May("add_metadef_namespace"); err != nil {
		return err
	}
	var body namespaceBody
	if err := describe(c, metadefNamespaceSchema, &body, readOnlyLinks...); err != nil {
		return err
	}
	n := body.row()
	var err error
	if n.Items, err = body.items(); err != nil {
		return err
	}
	if n, err = a.metadefs(c).Add(c.Request().Context(), n); err != nil {
		return err
	}
	c.Response().Header().Set(echo.HeaderLocation, namespacePath(n.Namespace))
	return c.JSON(http.StatusCreated, namespaceView(n))
}

// showNamespace is GET /v2/metadefs/namespaces/{namespace}: with resource_type, its properties are named as that type has them.
func (a *API) showNamespace(c echo.Context) error {
	n, err := a.metadefs(c).Get(c.Request().Context(), c.Param("namespace"))
	if err != nil {
		return err
	}
	if about := c.QueryParam("resource_type"); about != "" {
		is := func(i models.MetadefItem) bool { return i.Kind == models.MetadefResourceType && i.Name == about }
		if at := slices.IndexFunc(n.Items, is); at >= 0 {
			prefix, err := prefixOf(n.Items[at])
			if err != nil {
				return err
			}
			if err := prefixed(&n, prefix); err != nil {
				return err
			}
		}
	}
	return c.JSON(http.StatusOK, namespaceView(n))
}

// prefixOf is what a resource type has before the names of a namespace's properties.
func prefixOf(association models.MetadefItem) (string, error) {
	var said resourceTypeBody
	if err := json.Unmarshal(association.Body, &said); err != nil {
		return "", fault.Wrap(fault.Internal, err, "The resource type association %s cannot be read.", association.Name)
	}
	if said.Prefix == nil {
		return "", nil
	}
	return *said.Prefix, nil
}

// prefixed puts a prefix before the names of properties, those of objects too.
func prefixed(n *models.MetadefNamespace, prefix string) error {
	for i, item := range n.Items {
		switch item.Kind {
		case models.MetadefProperty:
			n.Items[i].Name = prefix + item.Name
		case models.MetadefObject:
			var body objectBody
			if err := json.Unmarshal(item.Body, &body); err != nil {
				return fault.Wrap(fault.Internal, err, "The object %s of %s cannot be read.", item.Name, n.Namespace)
			}
			properties := make(map[string]json.RawMessage, len(body.Properties))
			for name, property := range body.Properties {
				properties[prefix+name] = property
			}
			if body.Properties != nil {
				body.Properties = properties
			}
			for j := range body.Required {
				body.Required[j] = prefix + body.Required[j]
			}
			n.Items[i].Body = written(body)
		case models.MetadefTag, models.MetadefResourceType:
		}
	}
	return nil
}

// updateNamespace is PUT /v2/metadefs/namespaces/{namespace}. What is in it stays, whatever the body says.
func (a *API) updateNamespace(c echo.Context) error {
	if err := a.metadefs(c).May("modify_metadef_namespace"); err != nil {
		return err
	}
	var body namespaceBody
	if err := describe(c, metadefNamespaceSchema, &body, readOnlyLinks...); err != nil {
		return err
	}
	n, err := a.metadefs(c).Change(c.Request().Context(), c.Param("namespace"), body.row())
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, namespaceView(n))
}

func (a *API) deleteNamespace(c echo.Context) error {
	if err := a.metadefs(c).Remove(c.Request().Context(), c.Param("namespace")); err != nil {
		return err
	}
	return rest.NoContent(c)
}

// listResourceTypes is GET /v2/metadefs/resource_types: what namespaces are about.
func (a *API) listResourceTypes(c echo.Context) error {
	all, err := a.metadefs(c).Resources(c.Request().Context())
	if err != nil {
		return err
	}
	views := make([]map[string]any, len(all))
	for i, r := range all {
		views[i] = map[string]any{"name": r.Name, "created_at": rest.Time(r.CreatedAt), "updated_at": rest.Time(r.UpdatedAt)}
	}
	return c.JSON(http.StatusOK, map[string]any{"resource_types": views})
}
