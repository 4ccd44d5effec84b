package compute

import (
	"encoding/json"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/imageprops"
)

func (a *API) listExtraSpecs(c echo.Context) error {
	f, err := a.flavorOf(c, c.Param("id"))
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, object{"extra_specs": emptyIfNil(f.ExtraSpecs)})
}

func (a *API) showExtraSpec(c echo.Context) error {
	f, err := a.flavorOf(c, c.Param("id"))
	if err != nil {
		return err
	}
	key := c.Param("key")
	value, ok := f.ExtraSpecs[key]
	if !ok {
		return noExtraSpec(f.ID, key)
	}
	return c.JSON(http.StatusOK, map[string]string{key: value})
}

func noExtraSpec(flavor, key string) error {
	return fault.New(fault.NotFound, "Flavor %s has no extra specs with key %s.", flavor, key)
}

var (
	extraSpecs = object{
		"type":                 "object",
		"patternProperties":    object{"^[a-zA-Z0-9-_:. ]{1,255}$": object{"type": []string{"string", "number"}, "maxLength": 255}},
		"additionalProperties": false,
	}
	extraSpecsSchema = compile(wrapped("extra_specs", extraSpecs))
	oneSpecSchema    = compile(object{
		"type": "object", "patternProperties": extraSpecs["patternProperties"], "additionalProperties": false, "minProperties": 1, "maxProperties": 1,
	})
)

// specsOf are the extra specs of a body: texts, and since 2.86 of a form that Nova knows, where it knows their namespace.
func specsOf(c echo.Context, given map[string]json.RawMessage) (map[string]string, error) {
	specs := make(map[string]string, len(given))
	for k, raw := range given {
		v, err := scalar(raw)
		if err != nil {
			return nil, invalid("Malformed request body")
		}
		specs[k] = v
	}
	if minorOf(c) < 86 {
		return specs, nil
	}
	for _, k := range sortedKeys(specs) {
		if err := imageprops.CheckExtraSpec(k, specs[k]); err != nil {
			return nil, err
		}
	}
	return specs, nil
}

func (a *API) createExtraSpecs(c echo.Context) error {
	var body struct {
		ExtraSpecs map[string]json.RawMessage `json:"extra_specs"`
	}
	if err := rest.Bind(c, extraSpecsSchema, &body); err != nil {
		return err
	}
	specs, err := specsOf(c, body.ExtraSpecs)
	if err != nil {
		return err
	}
	id := c.Param("id")
	if err := a.store.MergeFlavorExtraSpecs(c.Request().Context(), id, specs); err != nil {
		return fault.Absent(err, fault.NotFound, "Flavor %s could not be found.", id)
	}
	return c.JSON(http.StatusOK, object{"extra_specs": specs})
}

func (a *API) updateExtraSpec(c echo.Context) error {
	var body map[string]json.RawMessage
	if err := rest.Bind(c, oneSpecSchema, &body); err != nil {
		return err
	}
	id, key := c.Param("id"), c.Param("key")
	if _, named := body[key]; !named {
		return invalid("Request body and URI mismatch")
	}
	specs, err := specsOf(c, body)
	if err != nil {
		return err
	}
	if err := a.store.MergeFlavorExtraSpecs(c.Request().Context(), id, specs); err != nil {
		return fault.Absent(err, fault.NotFound, "Flavor %s could not be found.", id)
	}
	return c.JSON(http.StatusOK, specs)
}

func (a *API) deleteExtraSpec(c echo.Context) error {
	f, err := a.flavorOf(c, c.Param("id"))
	if err != nil {
		return err
	}
	key := c.Param("key")
	had, err := a.store.DeleteFlavorExtraSpec(c.Request().Context(), f.ID, key)
	if err == nil && !had {
		err = noExtraSpec(f.ID, key)
	}
	if err != nil {
		return err
	}
	return c.NoContent(http.StatusOK)
}
