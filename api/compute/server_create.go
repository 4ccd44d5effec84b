package compute

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/service/servers"
	"github.com/slipway-cloud/slipway/models"
)

const maxKeyHeader = 255

// createRequest is what createServerSchema lets through.
type createRequest struct {
	Name             string            `json:"name"`
	ImageRef         string            `json:"imageRef"`
	FlavorRef        json.RawMessage   `json:"flavorRef"`
	AdminPass        *string           `json:"adminPass"`
	Metadata         map[string]string `json:"metadata"`
	Networks         json.RawMessage   `json:"networks"`
	AccessIPv4       string            `json:"accessIPv4"`
	AccessIPv6       string            `json:"accessIPv6"`
	DiskConfig       string            `json:"OS-DCF:diskConfig"`
	AvailabilityZone string            `json:"availability_zone"`
	Mapping          []blockDevice     `json:"block_device_mapping"`
	Mapping2         []blockDevice     `json:"block_device_mapping_v2"`
	ConfigDrive      Boolean           `json:"config_drive"`
	KeyName          string            `json:"key_name"`
	MinCount         *Integer          `json:"min_count"`
	MaxCount         *Integer          `json:"max_count"`
	ReservationID    Boolean           `json:"return_reservation_id"`
	SecurityGroups   []struct {
		Name string `json:"name"`
	} `json:"security_groups"`
	UserData     string        `json:"user_data"`
	Description  *string       `json:"description"`
	Tags         []string      `json:"tags"`
	Certificates []string      `json:"trusted_image_certificates"`
	Host         string        `json:"host"`
	Hypervisor   string        `json:"hypervisor_hostname"`
	Hostname     string        `json:"hostname"`
	Personality  []personality `json:"personality"`
}

type personality struct {
	Path     string `json:"path"`
	Contents string `json:"contents"`
}

type nicRequest struct {
	Network *string `json:"uuid"`
	Port    *string `json:"port"`
	FixedIP string  `json:"fixed_ip"`
	Tag     string  `json:"tag"`
}

// createBody is the body of POST /servers.
type createBody struct {
	Server createRequest  `json:"server"`
	Hints  map[string]any `json:"os:scheduler_hints"`
	Hints2 map[string]any `json:"OS-SCH-HNT:scheduler_hints"` // an older name for the same
}

// bindCreate reads what servers are asked for.
func (a *API) bindCreate(c echo.Context) (body createBody, request servers.Request, err error) {
	if err = rest.Bind(c, createServerSchemas.at(minorOf(c)), &body); err != nil {
		return body, request, err
	}
	request, err = a.decode(c, body.Server)
	if request.Hints = body.Hints; len(request.Hints) == 0 {
		request.Hints = body.Hints2
	}
	return body, request, err
}

func (a *API) createServer(c echo.Context) error {
	body, request, err := a.bindCreate(c)
	if err != nil {
		return err
	}
	key := c.Request().Header.Get("Idempotency-Key")
	if len(key) > maxKeyHeader || !printable(key) {
		return invalid("Invalid Idempotency-Key: it may have at most %d printable characters.", maxKeyHeader)
	}
	request.Key, request.Hash = key, requestHash(key, body.Server)
	accepted, err := a.servers(c).Boot(c.Request().Context(), request)
	if err != nil {
		return err
	}
	if body.Server.ReservationID {
		return c.JSON(http.StatusAccepted, object{"reservation_id": accepted.ReservationID})
	}
	// Of several, the first.
	self := links(c, "servers", accepted.ServerID)
	v := object{"id": accepted.ServerID, "links": self, "OS-DCF:diskConfig": diskConfig(request.AutoDiskConfig != nil && *request.AutoDiskConfig), "security_groups": groupsSaid(body.Server)}
	if accepted.AdminPass != "" {
		v["adminPass"] = accepted.AdminPass
	}
	c.Response().Header().Set(echo.HeaderLocation, self[0].Href)
	return c.JSON(http.StatusAccepted, object{"server": v})
}

// groupsSaid are the security groups of a request, as its answer names them.
func groupsSaid(r createRequest) []map[string]string {
	all := []map[string]string{}
	for _, g := range r.SecurityGroups {
		all = append(all, map[string]string{"name": g.Name})
	}
	if len(all) == 0 {
		all = groupNames([]models.GroupRef{{Name: models.DefaultGroup}})
	}
	return all
}

// requestHash tells whether two requests under one key ask for the same; "" without a key. It is stored, and a request may
// hold a password, so it is keyed with what only the client knows.
func requestHash(key string, r createRequest) string {
	if key == "" {
		return ""
	}
	text, err := json.Marshal(r)
	if err != nil {
		panic(err) // it was read from JSON
	}
	sum := hmac.New(sha256.New, []byte(key))
	sum.Write(text)
	return hex.EncodeToString(sum.Sum(nil))
}

// decode reads what is asked for out of Nova's words.
func (a *API) decode(c echo.Context, r createRequest) (servers.Request, error) {
	in := servers.Request{
		Name: r.Name, Hostname: r.Hostname, Description: r.Name, KeyName: r.KeyName, Metadata: r.Metadata, Tags: r.Tags,
		AdminPass: r.AdminPass, ConfigDrive: bool(r.ConfigDrive), AccessIPv4: r.AccessIPv4, AccessIPv6: r.AccessIPv6,
		TrustedCertificates: r.Certificates,
	}
	if r.DiskConfig != "" {
		in.AutoDiskConfig = new(r.DiskConfig == diskConfig(true))
	}
	if err := checkName(r.Name); err != nil {
		return in, err
	}
	for _, g := range r.SecurityGroups {
		in.SecurityGroups = append(in.SecurityGroups, g.Name)
	}
	if minorOf(c) >= 19 { // before it Nova's description was the name
		in.Description = ""
		if r.Description != nil {
			if err := checkDescription(*r.Description); err != nil {
				return in, err
			}
			in.Description = *r.Description
		}
	}
	var err error
	if in.BlockDevices, err = blockDevicesOf(r); err != nil {
		return in, err
	}
	if in.ImageID, err = imageOf(r.ImageRef); err != nil {
		return in, err
	}
	if in.UserData, err = userData(r.UserData); err != nil {
		return in, err
	}
	if in.Files, err = filesOf(r.Personality); err != nil {
		return in, err
	}
	flavor, err := scalar(r.FlavorRef)
	if err != nil {
		return in, invalid("Invalid flavorRef provided.")
	}
	in.FlavorID = flavor[strings.LastIndexByte(flavor, '/')+1:] // an address is taken for the id that ends it, as Nova does
	if in.Zone, in.Host, err = placeOf(c, r); err != nil {
		return in, err
	}
	if in.NICs, err = nicsOf(r.Networks); err != nil {
		return in, err
	}
	in.Min, in.Max, err = countsOf(r)
	return in, err
}

// countsOf is how many servers a request wants, at least and at most (Nova: max_count is min_count where only that is given).
func countsOf(r createRequest) (least, most int, err error) {
	least = 1
	if r.MinCount != nil {
		least = int(*r.MinCount)
	}
	most = least
	if r.MaxCount != nil {
		most = int(*r.MaxCount)
	}
	switch {
	case least < 1:
		return 0, 0, field("min_count", fmt.Sprint(least), "is less than the minimum of 1")
	case most < 1:
		return 0, 0, field("max_count", fmt.Sprint(most), "is less than the minimum of 1")
	}
	return least, most, nil
}

// imageOf is the image that a server is made of.
func imageOf(ref string) (string, error) {
	if ref == "" {
		return "", invalid("Missing imageRef attribute")
	}
	id, err := uuid.Parse(ref)
	if err != nil || len(ref) < 32 || len(ref) > 36 {
		return "", field("imageRef", ref, "is not valid under any of the given schemas")
	}
	return id.String(), nil
}

func userData(encoded string) ([]byte, error) {
	if encoded == "" {
		return nil, nil
	}
	data, ok := decode64(encoded)
	if !ok {
		return nil, field("user_data", encoded, "is not a 'base64'")
	}
	return data, nil
}

// decode64 is Python's forgiving b64decode as far as clients need it: line ends inside are fine.
func decode64(encoded string) ([]byte, bool) {
	clean := strings.Map(func(r rune) rune {
		if strings.ContainsRune(" \t\r\n", r) {
			return -1
		}
		return r
	}, encoded)
	data, err := base64.StdEncoding.DecodeString(clean)
	return data, err == nil
}

// filesOf are the personality of a request (before 2.57).
func filesOf(asked []personality) ([]contract.File, error) {
	var out []contract.File
	for _, p := range asked {
		data, ok := decode64(p.Contents)
		switch {
		case !ok:
			return nil, field("contents", p.Contents, "is not a 'base64'")
		case !strings.HasPrefix(p.Path, "/") || strings.ContainsAny(p.Path, "\x00\r\n") || slices.Contains(strings.Split(p.Path, "/"), ".."):
			return nil, field("path", p.Path, "is not an absolute path")
		}
		out = append(out, contract.File{Path: p.Path, Contents: data})
	}
	return out, nil
}

// placeOf reads where a server is asked for: a zone, zone:host, zone::node or zone:host:node, or since 2.74 a host by itself. A
// hypervisor's name is its host's here. Only admins name one.
func placeOf(c echo.Context, r createRequest) (zone, host string, err error) {
	admin := rest.CallerOf(c).Admin()
	parts := strings.Split(r.AvailabilityZone, ":")
	if len(parts) > 3 {
		return "", "", invalid("Invalid input received: Unable to parse availability_zone")
	}
	asked := slices.DeleteFunc(parts[1:], func(name string) bool { return name == "" })
	if len(asked) > 0 {
		if err := allow(admin, "os_compute_api:servers:create:forced_host"); err != nil {
			return "", "", err
		}
	}
	if r.Host != "" || r.Hypervisor != "" {
		if err := allow(admin, "compute:servers:create:requested_destination"); err != nil {
			return "", "", err
		}
		if len(asked) > 0 {
			return "", "", invalid("One mechanism with host and/or hypervisor_hostname and another mechanism with zone:host:node are mutually exclusive.")
		}
		asked = slices.DeleteFunc([]string{r.Host, r.Hypervisor}, func(name string) bool { return name == "" })
	}
	switch asked = slices.Compact(asked); len(asked) {
	case 0:
		return parts[0], "", nil
	case 1:
		return parts[0], asked[0], nil
	}
	return "", "", invalid("Compute host %s could not be found: a host's hypervisor has the host's name here, and %s is another.", asked[1], asked[0])
}

// nicsOf reads the NICs of a request: a list, or since 2.37 a word.
func nicsOf(raw json.RawMessage) (servers.NICs, error) {
	var word string
	if len(raw) > 0 && raw[0] == '"' {
		if err := json.Unmarshal(raw, &word); err != nil {
			return servers.NICs{}, invalid("Bad networks format")
		}
		return servers.NICs{None: word == "none"}, nil
	}
	var asked []nicRequest
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &asked); err != nil {
			return servers.NICs{}, invalid("Bad networks format")
		}
	}
	var nics servers.NICs
	for _, n := range asked {
		nic := servers.NIC{Tag: n.Tag}
		if n.FixedIP != "" {
			ip, err := netip.ParseAddr(n.FixedIP)
			if err != nil || ip.Zone() != "" {
				return nics, field("fixed_ip", n.FixedIP, "is not a 'ipv4' or 'ipv6' address")
			}
			nic.FixedIP = ip
		}
		switch {
		case n.Port != nil && *n.Port != "":
			nic.PortID = strings.ToLower(*n.Port)
		case n.Network == nil:
			return nics, invalid("Bad network format: missing 'uuid'")
		default:
			id, err := uuid.Parse(*n.Network)
			if err != nil {
				return nics, invalid("Bad networks format: network uuid is not in proper format (%s)", *n.Network)
			}
			nic.NetworkID = id.String()
		}
		nics.Named = append(nics.Named, nic)
	}
	return nics, nil
}
