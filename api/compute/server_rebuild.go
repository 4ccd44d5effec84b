package compute

import (
	"encoding/base64"
	"encoding/json"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/service/servers"
)

// rebuildSchema is what is said to a rebuild at a microversion (schemas/servers.py).
func rebuildSchema(minor int) object {
	p := object{
		"name":               nameSchema,
		"imageRef":           uuidSchema,
		"adminPass":          object{"type": "string"},
		"metadata":           metadataSchema,
		"preserve_ephemeral": booleanSchema,
		"OS-DCF:diskConfig":  diskConfigSchema,
		"accessIPv4":         ipv4Schema,
		"accessIPv6":         ipv6Schema,
	}
	if minor >= 19 {
		p["description"] = descriptionSchema
	}
	if minor >= 54 {
		p["key_name"] = object{"oneOf": []any{nameSchema, object{"type": "null"}}}
	}
	if minor >= 57 {
		p["user_data"] = object{"type": []string{"string", "null"}, "maxLength": maxUserData}
	} else {
		p["personality"] = personalitySchema
	}
	if minor >= 63 {
		p["trusted_image_certificates"] = certificatesSchema
	}
	if minor >= 90 {
		p["hostname"] = hostnameSchema(minor)
	}
	return wrapped("rebuild", strict(p, "imageRef"))
}

var rebuildSchemas = byVersion("POST /servers/:id/action rebuild", rebuildSchema)

// rebuildRequest is what rebuildSchema lets through.
type rebuildRequest struct {
	ImageRef     string             `json:"imageRef"`
	Name         *string            `json:"name"`
	AdminPass    *string            `json:"adminPass"`
	Metadata     *map[string]string `json:"metadata"`
	Preserve     Boolean            `json:"preserve_ephemeral"`
	DiskConfig   string             `json:"OS-DCF:diskConfig"`
	AccessIPv4   *string            `json:"accessIPv4"`
	AccessIPv6   *string            `json:"accessIPv6"`
	Description  nullable[string]   `json:"description"`
	KeyName      nullable[string]   `json:"key_name"`
	UserData     nullable[string]   `json:"user_data"`
	Personality  []personality      `json:"personality"`
	Certificates nullable[[]string] `json:"trusted_image_certificates"`
	Hostname     *string            `json:"hostname"`
}

// nullable may be null, which is none of it; not said at all it is nil, and as it was.
type nullable[T any] struct{ said *T }

// UnmarshalJSON is called for null too.
func (n *nullable[T]) UnmarshalJSON(raw []byte) error {
	n.said = new(T)
	return json.Unmarshal(raw, n.said)
}

// rebuild answers as nova/api/openstack/compute/servers.py _rebuild.
func (a *API) rebuild(c echo.Context, asked asking) error {
	var r rebuildRequest
	if err := rest.Check(rebuildSchemas.at(minorOf(c)), object{"rebuild": asked.raw}); err != nil {
		return err
	}
	if err := json.Unmarshal(asked.raw, &r); err != nil {
		return invalid("Malformed request body")
	}
	to, err := rebuildOf(r)
	if err != nil {
		return err
	}
	done, err := a.servers(c).Rebuild(c.Request().Context(), asked.server, asked.rows[0], to)
	if err != nil {
		return err
	}
	view, err := a.changedView(c, done.Server)
	if err != nil {
		return err
	}
	if minorOf(c) >= 54 {
		view["key_name"] = done.Server.KeyName
	}
	if minorOf(c) >= 57 {
		delete(view, userDataAttribute)
		view["user_data"] = nil
		if len(done.UserData) > 0 {
			view["user_data"] = base64.StdEncoding.EncodeToString(done.UserData)
		}
	}
	view["adminPass"] = done.AdminPass
	c.Response().Header().Set(echo.HeaderLocation, links(c, "servers", done.Server.ID)[0].Href)
	return c.JSON(http.StatusAccepted, object{"server": view})
}

// rebuildOf reads what is asked for out of Nova's words.
func rebuildOf(r rebuildRequest) (servers.Rebuild, error) {
	to := servers.Rebuild{
		ImageID: r.ImageRef, Name: r.Name, Hostname: r.Hostname, Metadata: r.Metadata, AdminPass: r.AdminPass,
		Description: r.Description.said, KeyName: r.KeyName.said,
		AccessIPv4: r.AccessIPv4, AccessIPv6: r.AccessIPv6, TrustedCertificates: r.Certificates.said,
	}
	if bool(r.Preserve) {
		return to, invalid("preserve_ephemeral is not offered: a rebuild makes all of a server's disks anew.")
	}
	if r.DiskConfig != "" {
		to.AutoDiskConfig = new(r.DiskConfig == diskConfig(true))
	}
	if r.Name != nil {
		if err := checkName(*r.Name); err != nil {
			return to, err
		}
	}
	if to.Description != nil {
		if err := checkDescription(*to.Description); err != nil {
			return to, err
		}
	}
	if r.UserData.said != nil {
		data, err := userData(*r.UserData.said)
		if err != nil {
			return to, err
		}
		data = append([]byte{}, data...) // none is said too
		to.UserData = &data
	}
	var err error
	to.Files, err = filesOf(r.Personality)
	return to, err
}
