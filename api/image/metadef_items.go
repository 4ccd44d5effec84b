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
	"github.com/slipway-cloud/slipway/models"
)

// metadefKind is how the items of a kind are read and shown.
type metadefKind struct {
	kind     models.MetadefKind
	path     string // below a namespace
	member   string // of documents that have several
	schema   *jsonschema.Schema
	readOnly []string
	body     func() any // to be read from a body, without the name
}

type objectBody struct {
	Description *string                    `json:"description,omitempty"`
	Required    []string                   `json:"required,omitempty"`
	Properties  map[string]json.RawMessage `json:"properties,omitempty"`
}

type resourceTypeBody struct {
	Prefix *string `json:"prefix,omitempty"`
	Target *string `json:"properties_target,omitempty"`
}

var metadefKinds = []metadefKind{
	{models.MetadefObject, "objects", "objects", metadefObjectSchema, readOnlyLinks, func() any { return &objectBody{} }},
	{models.MetadefProperty, "properties", "properties", metadefPropertySchema, readOnlyTimes, func() any { return &map[string]json.RawMessage{} }},
	{models.MetadefTag, "tags", "tags", metadefTagSchema, readOnlyTimes, func() any { return &struct{}{} }},
	{models.MetadefResourceType, "resource_types", "resource_type_associations", metadefResourceTypeSchema, readOnlyTimes, func() any { return &resourceTypeBody{} }},
}

func kindOf(kind models.MetadefKind) metadefKind {
	return metadefKinds[slices.IndexFunc(metadefKinds, func(k metadefKind) bool { return k.kind == kind })]
}

// item reads one that fits the schema.
func (k metadefKind) item(raw json.RawMessage) (models.MetadefItem, error) {
	var named struct {
		Name string `json:"name"`
	}
	body := k.body()
	for _, into := range []any{&named, body} {
		if err := json.Unmarshal(raw, into); err != nil {
			return models.MetadefItem{}, fault.New(fault.Invalid, "Malformed request body")
		}
	}
	if members, is := body.(*map[string]json.RawMessage); is {
		delete(*members, "name")
	}
	return models.MetadefItem{Kind: k.kind, Name: named.Name, Body: written(body)}, nil
}

// written is a value that came from JSON as JSON.
func written(value any) json.RawMessage {
	raw, err := json.Marshal(value)
	if err != nil {
		panic(err) // of texts and what was JSON before
	}
	return raw
}

// view is Glance's document of one, as it is shown by itself.
func (k metadefKind) view(namespace string, item models.MetadefItem) map[string]any {
	doc := map[string]any{}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(item.Body, &members); err != nil {
		panic(err) // the column takes objects alone
	}
	for name, value := range members {
		doc[name] = value
	}
	doc["name"] = item.Name
	if k.kind != models.MetadefProperty {
		doc["created_at"], doc["updated_at"] = rest.Time(item.CreatedAt), rest.Time(item.UpdatedAt)
	}
	if k.kind == models.MetadefObject {
		doc["self"], doc["schema"] = namespacePath(namespace)+"/objects/"+url.PathEscape(item.Name), "/v2/schemas/metadefs/object"
	}
	return doc
}

// listItems is GET …/objects and so on. Objects and tags come in pages where a limit is given; the others all at once.
func (a *API) listItems(k metadefKind) echo.HandlerFunc {
	return func(c echo.Context) error {
		var (
			sort []models.Sort
			page rest.Page
			err  error
		)
		if k.kind == models.MetadefObject || k.kind == models.MetadefTag {
			if page, err = rest.PageOf(c, 0); err != nil {
				return err
			}
			if c.QueryParam("limit") == "" {
				page.Limit = 0
			}
			if sort, err = metadefSort(c); err != nil {
				return err
			}
		}
		namespace := c.Param("namespace")
		found, err := a.metadefs(c).Items(c.Request().Context(), namespace, k.kind, sort, page.Marker, page.Limit)
		if err != nil {
			return err
		}
		if page.None {
			found = nil
		}
		switch k.kind {
		case models.MetadefProperty:
			properties := make(map[string]json.RawMessage, len(found))
			for _, item := range found {
				properties[item.Name] = item.Body
			}
			return c.JSON(http.StatusOK, map[string]any{k.member: properties})
		case models.MetadefTag:
			tags := make([]string, len(found))
			for i, item := range found {
				tags[i] = item.Name
			}
			return c.JSON(http.StatusOK, tagsView(tags))
		case models.MetadefObject, models.MetadefResourceType:
		}
		views := make([]map[string]any, len(found))
		for i, item := range found {
			views[i] = k.view(namespace, item)
		}
		body := map[string]any{k.member: views}
		if k.kind == models.MetadefObject {
			body["schema"] = "/v2/schemas/metadefs/objects"
		}
		return c.JSON(http.StatusOK, body)
	}
}

func tagsView(names []string) map[string]any {
	tags := make([]map[string]any, len(names))
	for i, name := range names {
		tags[i] = map[string]any{"name": name}
	}
	return map[string]any{"tags": tags}
}

// showItem is GET …/objects/{name} and so on. A property can be asked for as a resource type names it.
func (a *API) showItem(k metadefKind) echo.HandlerFunc {
	return func(c echo.Context) error {
		ctx, namespace, name := c.Request().Context(), c.Param("namespace"), c.Param("name")
		if about := c.QueryParam("resource_type"); about != "" && k.kind == models.MetadefProperty {
			association, err := a.metadefs(c).Item(ctx, namespace, models.MetadefResourceType, about)
			if err != nil {
				return err
			}
			prefix, err := prefixOf(association)
			if err != nil {
				return err
			}
			short, has := strings.CutPrefix(name, prefix)
			if prefix == "" || !has {
				return fault.New(fault.NotFound, "Property %s does not start with the expected resource type association prefix of '%s'.", name, prefix)
			}
			name = short
		}
		item, err := a.metadefs(c).Item(ctx, namespace, k.kind, name)
		if err != nil {
			return err
		}
		return c.JSON(http.StatusOK, k.view(namespace, item))
	}
}

// addItem is POST …/objects and so on.
func (a *API) addItem(k metadefKind) echo.HandlerFunc {
	return func(c echo.Context) error {
		if err := a.metadefs(c).MayAdd(k.kind); err != nil {
			return err
		}
		return a.answerItem(c, k, http.StatusCreated, func(item models.MetadefItem) (models.MetadefItem, error) {
			return a.metadefs(c).AddItem(c.Request().Context(), c.Param("namespace"), item)
		})
	}
}

// updateItem is PUT …/objects/{name} and so on: what the body does not say goes.
func (a *API) updateItem(k metadefKind) echo.HandlerFunc {
	return func(c echo.Context) error {
		if err := a.metadefs(c).MayModify(k.kind); err != nil {
			return err
		}
		return a.answerItem(c, k, http.StatusOK, func(item models.MetadefItem) (models.MetadefItem, error) {
			return a.metadefs(c).ChangeItem(c.Request().Context(), c.Param("namespace"), c.Param("name"), item)
		})
	}
}

// answerItem reads an item from the body, and answers with what became of it.
func (a *API) answerItem(c echo.Context, k metadefKind, status int, do func(models.MetadefItem) (models.MetadefItem, error)) error {
	var raw json.RawMessage
	if err := describe(c, k.schema, &raw, k.readOnly...); err != nil {
		return err
	}
	item, err := k.item(raw)
	if err != nil {
		return err
	}
	if item, err = do(item); err != nil {
		return err
	}
	return c.JSON(status, k.view(c.Param("namespace"), item))
}

// addTagDefinition is POST …/tags/{name}, which has no body.
func (a *API) addTagDefinition(c echo.Context) error {
	if err := a.metadefs(c).MayAdd(models.MetadefTag); err != nil {
		return err
	}
	name := c.Param("name")
	if err := rest.Check(metadefTagSchema, map[string]any{"name": name}); err != nil {
		return err
	}
	item, err := a.metadefs(c).AddItem(c.Request().Context(), c.Param("namespace"), models.MetadefItem{Kind: models.MetadefTag, Name: name, Body: json.RawMessage("{}")})
	if err != nil {
		return err
	}
	return c.JSON(http.StatusCreated, kindOf(models.MetadefTag).view(c.Param("namespace"), item))
}

// setTags is POST …/tags: the tags of the body and no others, or with X-Openstack-Append more of them.
func (a *API) setTags(c echo.Context) error {
	if err := a.metadefs(c).May("add_metadef_tags"); err != nil {
		return err
	}
	var body struct {
		Tags []struct {
			Name string `json:"name"`
		} `json:"tags"`
	}
	if err := describe(c, metadefTagsSchema, &body, readOnlyTimes...); err != nil {
		return err
	}
	names := make([]string, len(body.Tags))
	for i, tag := range body.Tags {
		names[i] = tag.Name
	}
	more := slices.Contains([]string{"1", "t", "true", "on", "y", "yes"}, strings.ToLower(strings.TrimSpace(c.Request().Header.Get("X-Openstack-Append"))))
	if err := a.metadefs(c).SetTags(c.Request().Context(), c.Param("namespace"), names, more); err != nil {
		return err
	}
	return c.JSON(http.StatusCreated, tagsView(names))
}

func (a *API) removeItem(k metadefKind) echo.HandlerFunc {
	return func(c echo.Context) error {
		if err := a.metadefs(c).RemoveItem(c.Request().Context(), c.Param("namespace"), k.kind, c.Param("name")); err != nil {
			return err
		}
		return rest.NoContent(c)
	}
}

func (a *API) removeItems(k metadefKind) echo.HandlerFunc {
	return func(c echo.Context) error {
		if err := a.metadefs(c).RemoveItems(c.Request().Context(), c.Param("namespace"), k.kind); err != nil {
			return err
		}
		return rest.NoContent(c)
	}
}
