package image

import (
	"context"
	"fmt"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/imagepolicy"
	"github.com/slipway-cloud/slipway/internal/service/images"
	"github.com/slipway-cloud/slipway/models"
)

// listStores is GET /v2/info/stores.
func (a *API) listStores(c echo.Context) error {
	return a.stores(c, func(map[string]any, string) error { return nil })
}

// detailStores is GET /v2/info/stores/detail: with the kind of each, for admins.
func (a *API) detailStores(c echo.Context) error {
	if err := imagepolicy.Check(callerOf(c).Caller, imagepolicy.GetStoresDetail, imagepolicy.Target{}); err != nil {
		return err
	}
	return a.stores(c, func(doc map[string]any, name string) error {
		store, err := a.service.Stores().Store(name)
		if err != nil {
			return fmt.Errorf("describe the stores: %w", err)
		}
		doc["type"], doc["properties"] = store.Kind(), map[string]any{}
		return nil
	})
}

func (a *API) stores(c echo.Context, describe func(map[string]any, string) error) error {
	all := []map[string]any{}
	for _, name := range a.service.Stores().Names() {
		doc := map[string]any{"id": name}
		if name == a.service.Stores().Default() {
			doc["default"] = "true" // Glance writes it as text
		}
		if err := describe(doc, name); err != nil {
			return err
		}
		all = append(all, doc)
	}
	return c.JSON(http.StatusOK, map[string]any{"stores": all})
}

// drop is DELETE /v2/stores/{store}/{image}: the bytes leave one of several stores.
func (a *API) drop(c echo.Context) error {
	err := a.change(c, func(repo images.Repository, image models.Image) error {
		return repo.Drop(context.WithoutCancel(c.Request().Context()), image, c.Param("store"))
	})
	if err != nil {
		return err
	}
	return rest.NoContent(c)
}
