package compute

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/models"
)

func (a *API) mountAggregates(g *echo.Group) {
	rule := "os_compute_api:os-aggregates:"
	g.GET("/os-aggregates", a.listAggregates, adminOnly(rule+"index"), rest.Expect(403))
	g.POST("/os-aggregates", a.createAggregate, adminOnly(rule+"create"), rest.Expect(400, 403, 409))
	g.GET("/os-aggregates/:id", a.showAggregate, adminOnly(rule+"show"), rest.Expect(400, 403, 404))
	g.PUT("/os-aggregates/:id", a.updateAggregate, adminOnly(rule+"update"), rest.Expect(400, 403, 404, 409))
	g.DELETE("/os-aggregates/:id", a.deleteAggregate, adminOnly(rule+"delete"), rest.Expect(400, 403, 404))
	g.POST("/os-aggregates/:id/action", a.actOnAggregate, adminOnly(rule+"add_host"), rest.Expect(400, 403, 404, 409))
}

// zoneName may not have the colon that parts a zone from a host.
var zoneName = object{"type": []string{"string", "null"}, "minLength": 1, "maxLength": 255, "pattern": "^[^:]*$"}

var (
	createAggregateSchema = compile(wrapped("aggregate", strict(object{"name": nameSchema, "availability_zone": zoneName}, "name")))
	updateAggregateSchema = compile(wrapped("aggregate", object{
		"type": "object", "properties": object{"name": nameSchema, "availability_zone": zoneName}, "additionalProperties": false, "minProperties": 1,
	}))
	aggregateActionSchema = compile(object{
		"type": "object", "additionalProperties": false, "minProperties": 1, "maxProperties": 1,
		"properties": object{
			"add_host":    strict(object{"host": fqdnSchema}, "host"),
			"remove_host": strict(object{"host": fqdnSchema}, "host"),
			"set_metadata": strict(object{"metadata": object{
				"type":                 "object",
				"patternProperties":    object{"^[a-zA-Z0-9-_:. ]{1,255}$": object{"type": []string{"string", "null"}, "maxLength": 255}},
				"additionalProperties": false,
			}}, "metadata"),
		},
	})
)

// aggregateView is nova/api/openstack/compute/aggregates.py _build_aggregate_items.
func aggregateView(c echo.Context, g models.Aggregate) object {
	v := object{
		"id": g.ID, "name": g.Name, "availability_zone": nil, "hosts": g.Hosts, "metadata": g.Metadata,
		"created_at": rest.TimeNaive(g.CreatedAt), "updated_at": nil, "deleted": false, "deleted_at": nil,
	}
	if zone, is := g.Metadata[models.ZoneKey]; is {
		v["availability_zone"] = zone
	}
	if g.UpdatedAt != nil {
		v["updated_at"] = rest.TimeNaive(*g.UpdatedAt)
	}
	if minorOf(c) >= 41 {
		v["uuid"] = g.UUID
	}
	return v
}

func (a *API) listAggregates(c echo.Context) error {
	all, err := a.store.ListAggregates(c.Request().Context())
	if err != nil {
		return err
	}
	views := make([]object, len(all))
	for i, g := range all {
		views[i] = aggregateView(c, g)
	}
	return c.JSON(http.StatusOK, object{"aggregates": views})
}

// createAggregate shows neither hosts nor metadata, as Nova's answer never has.
func (a *API) createAggregate(c echo.Context) error {
	var body struct {
		Aggregate struct {
			Name string  `json:"name"`
			Zone *string `json:"availability_zone"`
		} `json:"aggregate"`
	}
	if err := rest.Bind(c, createAggregateSchema, &body); err != nil {
		return err
	}
	in := body.Aggregate
	if err := checkNames(&in.Name, in.Zone); err != nil {
		return err
	}
	metadata := map[string]string{}
	if in.Zone != nil {
		metadata[models.ZoneKey] = *in.Zone
	}
	g, err := a.store.CreateAggregate(c.Request().Context(), in.Name, metadata)
	if err != nil {
		return err
	}
	v := aggregateView(c, g)
	delete(v, "hosts")
	delete(v, "metadata")
	return c.JSON(http.StatusOK, object{"aggregate": v})
}

func checkNames(names ...*string) error {
	for _, name := range names {
		if name != nil {
			if err := checkName(*name); err != nil {
				return err
			}
		}
	}
	return nil
}

func aggregateID(c echo.Context) (int64, error) {
	id, err := strconv.ParseInt(c.Param("id"), 10, 64)
	if err != nil {
		return 0, fault.Wrap(fault.Invalid, err, "Invalid input received: id must be an integer")
	}
	return id, nil
}

func (a *API) showAggregate(c echo.Context) error {
	id, err := aggregateID(c)
	if err != nil {
		return err
	}
	g, err := a.store.Aggregate(c.Request().Context(), id)
	return showChanged(c, g, err)
}

func showChanged(c echo.Context, g models.Aggregate, err error) error {
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, object{"aggregate": aggregateView(c, g)})
}

func (a *API) updateAggregate(c echo.Context) error {
	var body struct {
		Aggregate struct {
			Name *string         `json:"name"`
			Zone json.RawMessage `json:"availability_zone"`
		} `json:"aggregate"`
	}
	id, err := aggregateID(c)
	if err != nil {
		return err
	}
	if err := rest.Bind(c, updateAggregateSchema, &body); err != nil {
		return err
	}
	in, zone := body.Aggregate, new(string)
	change := models.AggregateChange{Name: in.Name}
	switch {
	case len(in.Zone) == 0:
		zone = nil
	case string(in.Zone) == "null":
		zone, change.Metadata = nil, map[string]*string{models.ZoneKey: nil}
	default:
		if err := json.Unmarshal(in.Zone, zone); err != nil {
			return invalid("Malformed request body")
		}
		change.Metadata = map[string]*string{models.ZoneKey: zone}
	}
	if err := checkNames(in.Name, zone); err != nil {
		return err
	}
	g, err := a.store.ChangeAggregate(c.Request().Context(), id, change)
	return showChanged(c, g, err)
}

func (a *API) deleteAggregate(c echo.Context) error {
	id, err := aggregateID(c)
	if err != nil {
		return err
	}
	if err := a.store.DeleteAggregate(c.Request().Context(), id); err != nil {
		return err
	}
	return c.NoContent(http.StatusOK)
}

// actOnAggregate puts a host in or takes one out, or changes metadata, of which null takes one away.
func (a *API) actOnAggregate(c echo.Context) error {
	type host struct {
		Name string `json:"host"`
	}
	var body struct {
		Add    *host `json:"add_host"`
		Remove *host `json:"remove_host"`
		Set    *struct {
			Metadata map[string]*string `json:"metadata"`
		} `json:"set_metadata"`
	}
	id, err := aggregateID(c)
	if err != nil {
		return err
	}
	if err := rest.Bind(c, aggregateActionSchema, &body); err != nil {
		return err
	}
	ctx := c.Request().Context()
	var g models.Aggregate
	switch {
	case body.Add != nil:
		g, err = a.store.AddHost(ctx, id, body.Add.Name)
	case body.Remove != nil:
		g, err = a.store.RemoveHost(ctx, id, body.Remove.Name)
	default:
		if zone := body.Set.Metadata[models.ZoneKey]; zone != nil {
			if err := checkZone(*zone); err != nil {
				return err
			}
		}
		g, err = a.store.ChangeAggregate(ctx, id, models.AggregateChange{Metadata: body.Set.Metadata})
	}
	return showChanged(c, g, err)
}

// checkZone is zoneName for metadata, which may be any text else.
func checkZone(zone string) error {
	if strings.Contains(zone, ":") {
		return field("availability_zone", zone, "does not match '^[^:]*$'")
	}
	return checkName(zone)
}
