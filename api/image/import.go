package image

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/imagepolicy"
	"github.com/slipway-cloud/slipway/internal/service/images"
)

// methods are the ways to import (Glance's enabled_import_methods).
func (a *API) methods() []string {
	all := []string{contract.ImportStaged}
	if a.config.Web.Enabled() {
		all = append(all, contract.ImportWeb)
	}
	return append(all, contract.ImportCopy)
}

// importInfo is GET /v2/info/import.
func (a *API) importInfo(c echo.Context) error {
	return c.JSON(http.StatusOK, map[string]any{"import-methods": map[string]any{
		"description": "Import methods available.", "type": "array", "value": a.methods(),
	}})
}

type importMethod struct {
	Name *string `json:"name"`
	URI  string  `json:"uri,omitempty"`
}

// importRequest is the body of an import. What Glance refuses in words of its own has no schema.
type importRequest struct {
	Method    *importMethod `json:"method"`
	Stores    *[]string     `json:"stores,omitempty"`
	AllStores bool          `json:"all_stores,omitempty"`
	Every     *bool         `json:"all_stores_must_succeed,omitempty"`
}

// importImage is POST /v2/images/{id}/import.
func (a *API) importImage(c echo.Context) error {
	var raw json.RawMessage
	if err := rest.Bind(c, nil, &raw); err != nil {
		return err
	}
	in, shown, err := a.parseImport(c, raw)
	if err != nil {
		return err
	}
	ctx := c.Request().Context()
	image, err := a.images(c).Get(ctx, c.Param("id"))
	if err != nil {
		return err
	}
	action := imagepolicy.ImportImage
	if in.Method == contract.ImportCopy {
		action = imagepolicy.CopyImage
	}
	if err := imagepolicy.Check(callerOf(c).Caller, action, images.Target(image)); err != nil {
		return err
	}
	if in.Method == contract.ImportWeb {
		uri, err := a.config.Web.Check(in.URI)
		if err != nil {
			return err
		}
		in.URI = uri.String()
		if uri.RawQuery != "" {
			uri.RawQuery = "..." // what stands there may be a credential
		}
		shown.Method.URI = uri.String()
	}
	if err := a.importer.Submit(ctx, callerOf(c), in, image.ID, shown); err != nil {
		return err
	}
	return c.NoContent(http.StatusAccepted)
}

// parseImport reads what is to be imported to where, and what of it a task shows, as Glance's _validate_import_body and
// get_stores_from_request.
func (a *API) parseImport(c echo.Context, raw json.RawMessage) (in contract.ImportInput, body importRequest, err error) {
	in = contract.ImportInput{Every: true}
	if err := json.Unmarshal(raw, &body); err != nil {
		return in, body, misread(err)
	}
	switch {
	case body.Method == nil:
		return in, body, fault.New(fault.Invalid, "Import request requires a 'method' field.")
	case body.Method.Name == nil:
		return in, body, fault.New(fault.Invalid, "Import request requires a 'name' field.")
	case !slices.Contains(a.methods(), *body.Method.Name):
		return in, body, fault.New(fault.Invalid, "Unknown import method name '%s'.", *body.Method.Name)
	}
	in.Method = *body.Method.Name
	if in.Method == contract.ImportWeb {
		in.URI = body.Method.URI
	}
	if body.Every != nil {
		in.Every = *body.Every
	}
	header := c.Request().Header.Get("X-Image-Meta-Store")
	stores := a.service.Stores()
	switch {
	case body.AllStores && (body.Stores != nil || header != ""):
		return in, body, fault.New(fault.Invalid, "All_stores parameter can't be used with x-image-meta-store header or stores parameter")
	case body.AllStores:
		in.Stores, in.Skip = stores.Names(), true
	case body.Stores != nil && header != "":
		return in, body, fault.New(fault.Invalid, "Stores parameter and x-image-meta-store header can't be both specified")
	case body.Stores != nil:
		in.Stores = distinct(*body.Stores)
	case header != "":
		in.Stores = []string{header}
	default:
		in.Stores = []string{stores.Default()}
	}
	if len(in.Stores) == 0 {
		return in, body, fault.New(fault.Invalid, "An import needs at least one store.")
	}
	for _, name := range in.Stores {
		if _, err := stores.Store(name); err != nil {
			return in, body, fault.Wrap(fault.Conflict, err, "%s", fault.Public(err))
		}
	}
	return in, body, nil
}

// misread says what of an import's body has another type than it should.
func misread(err error) error {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) && strings.HasPrefix(wrong.Field, "all_stores") {
		return fault.Wrap(fault.Invalid, err, "'%s' must be boolean value only", wrong.Field)
	}
	return fault.Wrap(fault.Invalid, err, "The body of an import is like {\"method\": {\"name\": \"web-download\", \"uri\": \"https://…\"}, \"stores\": [\"…\"]}.")
}
