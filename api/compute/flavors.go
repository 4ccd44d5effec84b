package compute

import (
	"encoding/json"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/models"
)

func (a *API) mountFlavors(g *echo.Group) {
	g.GET("/flavors", a.listFlavors, rest.Expect(400))
	g.GET("/flavors/detail", a.listFlavors, rest.Expect(400))
	g.POST("/flavors", a.createFlavor, adminOnly("os_compute_api:os-flavor-manage:create"), rest.Expect(400, 403, 409))
	g.GET("/flavors/:id", a.showFlavor, rest.Expect(404))
	g.PUT("/flavors/:id", a.updateFlavor, adminOnly("os_compute_api:os-flavor-manage:update"), since(55), rest.Expect(400, 403, 404))
	g.DELETE("/flavors/:id", a.deleteFlavor, adminOnly("os_compute_api:os-flavor-manage:delete"), rest.Expect(403, 404))
	g.GET("/flavors/:id/os-flavor-access", a.flavorAccess, adminOnly("os_compute_api:os-flavor-access"), rest.Expect(403, 404))
	g.POST("/flavors/:id/action", a.changeFlavorAccess, rest.Expect(400, 403, 404, 409))
	g.GET("/flavors/:id/os-extra_specs", a.listExtraSpecs, rest.Expect(404))
	g.POST("/flavors/:id/os-extra_specs", a.createExtraSpecs, adminOnly("os_compute_api:os-flavor-extra-specs:create"), rest.Expect(400, 403, 404, 409))
	g.GET("/flavors/:id/os-extra_specs/:key", a.showExtraSpec, rest.Expect(404))
	g.PUT("/flavors/:id/os-extra_specs/:key", a.updateExtraSpec, adminOnly("os_compute_api:os-flavor-extra-specs:update"), rest.Expect(400, 403, 404, 409))
	g.DELETE("/flavors/:id/os-extra_specs/:key", a.deleteExtraSpec, adminOnly("os_compute_api:os-flavor-extra-specs:delete"), rest.Expect(403, 404))
}

// flavorSorts are Nova's sort keys; those of which there is nothing here leave the order as it is.
var flavorSorts = map[string]string{
	"flavorid": "flavorid", "id": "flavorid", "name": "name", "vcpus": "vcpus", "memory_mb": "memory_mb", "root_gb": "root_gb",
	"ephemeral_gb": "ephemeral_gb", "swap": "swap", "created_at": "created_at",
	"description": "description", "disabled": "disabled", "is_public": "is_public", "rxtx_factor": "rxtx_factor", "updated_at": "", "vcpu_weight": "",
}

func (a *API) listFlavors(c echo.Context) error {
	q := c.QueryParams()
	if err := strictQuery(c, "limit", "marker", "is_public", "minRam", "minDisk", "sort_key", "sort_dir"); err != nil {
		return err
	}
	page, err := rest.PageOf(c, rest.MaxPage)
	if err != nil {
		return err
	}
	notDisabled, public := false, true
	f := models.FlavorFilter{Public: &public, ProjectID: rest.CallerOf(c).ProjectID, Marker: page.Marker, Limit: page.Limit}
	if rest.CallerOf(c).Admin() {
		switch word := q.Get("is_public"); {
		case word == "":
		case strings.EqualFold(word, "none"):
			f.Public = nil
		default:
			on, ok := parseBool(word)
			if !ok {
				return invalid("Invalid is_public filter [%s]", word)
			}
			f.Public = &on
		}
	} else {
		f.Disabled = &notDisabled
	}
	for name, into := range map[string]*int{"minRam": &f.MinRAMMiB, "minDisk": &f.MinDiskGiB} {
		if word := q.Get(name); word != "" {
			n, err := strconv.ParseInt(word, 10, 32)
			if err != nil {
				return invalid("Invalid %s filter [%s]", name, word)
			}
			*into = int(n)
		}
	}
	if key := q.Get("sort_key"); key != "" {
		mapped, ok := flavorSorts[key]
		if !ok {
			return parameter("sort_key", key, "is not one of "+pythonList(sortedKeys(flavorSorts)))
		}
		f.SortKey = mapped
	}
	if dir := q.Get("sort_dir"); dir != "" {
		if dir != "asc" && dir != "desc" {
			return parameter("sort_dir", dir, "is not one of ['asc', 'desc']")
		}
		f.SortDesc = dir == "desc"
	}
	flavors, err := a.store.ListFlavors(c.Request().Context(), f)
	if err != nil {
		return markerAs(err, page.Marker)
	}
	detail := strings.HasSuffix(c.Path(), "/detail")
	return c.JSON(http.StatusOK, listed(c, "flavors", page, flavors, func(f models.Flavor) (string, object) { return f.ID, flavorView(c, f, detail) }))
}

// flavorView is nova/api/openstack/compute/views/flavors.py.
func flavorView(c echo.Context, f models.Flavor, detail bool) object {
	minor := minorOf(c)
	v := object{"id": f.ID, "name": f.Name, "links": links(c, "flavors", f.ID)}
	if minor >= 55 {
		v["description"] = f.Description
	}
	if !detail {
		return v
	}
	v["ram"], v["disk"], v["vcpus"] = f.RAMMiB, f.DiskGiB, f.VCPUs
	v["OS-FLV-EXT-DATA:ephemeral"] = f.EphemeralGiB
	v["OS-FLV-DISABLED:disabled"] = f.Disabled
	v["os-flavor-access:is_public"] = f.Public
	v["rxtx_factor"] = f.RxTxFactor
	v["swap"] = f.SwapMiB
	if f.SwapMiB == 0 && minor < 75 {
		v["swap"] = ""
	}
	if minor >= 61 {
		v["extra_specs"] = emptyIfNil(f.ExtraSpecs)
	}
	return v
}

// flavorOf finds a flavor that the caller may see.
func (a *API) flavorOf(c echo.Context, id string) (models.Flavor, error) {
	f, err := a.service.FlavorFor(c.Request().Context(), rest.CallerOf(c).Caller, id)
	return f, fault.Absent(err, fault.NotFound, "Flavor %s could not be found.", id)
}

func (a *API) showFlavor(c echo.Context) error {
	f, err := a.flavorOf(c, c.Param("id"))
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, object{"flavor": flavorView(c, f, true)})
}

// Sizes fit Nova's database integers (MAX_INT).
const maxInt32 = math.MaxInt32

func flavorSchema(minor int) object {
	size := func(least int) object {
		return object{"type": []string{"integer", "string"}, "pattern": "^[0-9]+$", "minimum": least, "maximum": maxInt32, "minLength": 1}
	}
	p := object{
		"name":                       nameSchema,
		"id":                         object{"type": []string{"string", "number", "null"}, "minLength": 1, "maxLength": 255},
		"ram":                        size(1),
		"vcpus":                      size(1),
		"disk":                       size(0),
		"OS-FLV-EXT-DATA:ephemeral":  size(0),
		"swap":                       size(0),
		"rxtx_factor":                object{"type": []string{"number", "string"}, "pattern": `^[0-9]+(\.[0-9]+)?$`, "exclusiveMinimum": 0, "maximum": 3.40282e+38},
		"os-flavor-access:is_public": booleanSchema,
	}
	if minor >= 55 {
		p["description"] = flavorDescription
	}
	return wrapped("flavor", strict(p, "name", "ram", "vcpus", "disk"))
}

var flavorDescription = object{"type": []string{"string", "null"}, "maxLength": 65535}

var (
	flavorSchemas = byVersion("POST /flavors", flavorSchema)
	flavorIDForm  = regexp.MustCompile(`^[a-zA-Z0-9. _-]+$`)
)

func (a *API) createFlavor(c echo.Context) error {
	var body struct {
		Flavor struct {
			Name        string          `json:"name"`
			ID          json.RawMessage `json:"id"`
			RAM         Integer         `json:"ram"`
			VCPUs       Integer         `json:"vcpus"`
			Disk        Integer         `json:"disk"`
			Ephemeral   Integer         `json:"OS-FLV-EXT-DATA:ephemeral"`
			Swap        Integer         `json:"swap"`
			RxTx        json.RawMessage `json:"rxtx_factor"`
			Public      *Boolean        `json:"os-flavor-access:is_public"`
			Description *string         `json:"description"`
		} `json:"flavor"`
	}
	if err := rest.Bind(c, flavorSchemas.at(minorOf(c)), &body); err != nil {
		return err
	}
	in := body.Flavor
	if err := checkName(in.Name); err != nil {
		return err
	}
	if in.Description != nil {
		if err := checkDescription(*in.Description); err != nil {
			return err
		}
	}
	id, err := scalar(in.ID)
	if err != nil {
		return invalid("Malformed request body")
	}
	switch id {
	case "", "null", "auto":
		id = uuid.NewString()
	default:
		if !flavorIDForm.MatchString(id) || strings.TrimSpace(id) != id {
			return field("id", id, "does not match '^(?! )[a-zA-Z0-9. _-]+(?<! )$'")
		}
	}
	factor := 1.0
	if len(in.RxTx) > 0 {
		word, err := scalar(in.RxTx)
		if err != nil {
			return invalid("Malformed request body")
		}
		if factor, err = strconv.ParseFloat(word, 64); err != nil || factor <= 0 || factor > math.MaxFloat32 {
			return field("rxtx_factor", word, "is not a number above 0")
		}
	}
	for name, size := range map[string]struct {
		n     Integer
		least Integer
	}{"ram": {in.RAM, 1}, "vcpus": {in.VCPUs, 1}, "disk": {in.Disk, 0}, "OS-FLV-EXT-DATA:ephemeral": {in.Ephemeral, 0}, "swap": {in.Swap, 0}} {
		if size.n < size.least || size.n > maxInt32 { // a string of digits passed the schema
			return field(name, strconv.Itoa(int(size.n)), "is out of range")
		}
	}
	f, err := a.store.CreateFlavor(c.Request().Context(), models.Flavor{
		ID: id, Name: in.Name, VCPUs: int(in.VCPUs), RAMMiB: int(in.RAM), DiskGiB: int(in.Disk), EphemeralGiB: int(in.Ephemeral),
		SwapMiB: int(in.Swap), RxTxFactor: factor, Public: in.Public == nil || bool(*in.Public), Description: in.Description,
	})
	if fault.Is(err, fault.Conflict) {
		if _, lookup := a.store.Flavor(c.Request().Context(), id); lookup == nil {
			return fault.Wrap(fault.Conflict, err, "Flavor with ID %s already exists.", id)
		}
		return fault.Wrap(fault.Conflict, err, "Flavor with name %s already exists.", in.Name)
	}
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, object{"flavor": flavorView(c, f, true)})
}

var updateFlavorSchema = compile(wrapped("flavor", strict(object{"description": flavorDescription}, "description")))

// updateFlavor changes what it is described as, and nothing else of it can be changed.
func (a *API) updateFlavor(c echo.Context) error {
	var body struct {
		Flavor struct {
			Description *string `json:"description"`
		} `json:"flavor"`
	}
	if err := rest.Bind(c, updateFlavorSchema, &body); err != nil {
		return err
	}
	if text := body.Flavor.Description; text != nil {
		if err := checkDescription(*text); err != nil {
			return err
		}
	}
	id := c.Param("id")
	f, err := a.store.SetFlavorDescription(c.Request().Context(), id, body.Flavor.Description)
	if err != nil {
		return fault.Absent(err, fault.NotFound, "Flavor %s could not be found.", id)
	}
	return c.JSON(http.StatusOK, object{"flavor": flavorView(c, f, true)})
}

func (a *API) deleteFlavor(c echo.Context) error {
	id := c.Param("id")
	if err := a.store.DeleteFlavor(c.Request().Context(), id); err != nil {
		return fault.Absent(err, fault.NotFound, "Flavor %s could not be found.", id)
	}
	return c.NoContent(http.StatusAccepted)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// pythonList writes a list as Python does: Nova's texts are made of such.
func pythonList(words []string) string { return "['" + strings.Join(words, "', '") + "']" }
