package compute

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/ipam"
	"github.com/slipway-cloud/slipway/models"
)

// Limits of a request that Nova keeps in its configuration (quota.metadata_items, quota.injected_file*).
const (
	maxMetadataItems = 128
	maxFiles         = 5
	maxFileBytes     = 10 * 1024
	maxFilePath      = 255
	maxUserData      = 65535 // of base64
	maxTags          = 50
	maxKeyHeader     = 255
	maxName          = 255
	passwordLength   = 12
)

// createServerSchema is the body of POST /servers at a microversion (schemas/servers.py).
func createServerSchema(minor int) object {
	mapping := object{
		"virtual_name":          object{"type": "string", "maxLength": 255},
		"volume_id":             uuidSchema,
		"snapshot_id":           uuidSchema,
		"volume_size":           object{"type": []string{"integer", "string"}, "pattern": "^[0-9]+$", "minimum": 1},
		"device_name":           object{"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[a-zA-Z0-9._/-]*$"},
		"delete_on_termination": booleanSchema,
		"no_device":             object{},
		"connection_info":       object{"type": "string"},
	}
	mapping2 := object{
		"source_type":      object{"type": "string", "enum": []any{"volume", "image", "snapshot", "blank"}},
		"uuid":             object{"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[a-zA-Z0-9._-]*$"},
		"image_id":         uuidSchema,
		"destination_type": object{"type": "string", "enum": []any{"local", "volume"}},
		"guest_format":     object{"type": []string{"string", "null"}, "maxLength": 255},
		"device_type":      object{"type": []string{"string", "null"}, "maxLength": 255},
		"disk_bus":         object{"type": []string{"string", "null"}, "maxLength": 255},
		"boot_index":       object{"type": []string{"integer", "string", "null"}, "pattern": "^-?[0-9]+$"},
	}
	for k, v := range mapping {
		mapping2[k] = v
	}
	nic := object{"fixed_ip": object{"type": "string"}, "port": object{"type": []string{"string", "null"}, "format": "uuid"}, "uuid": object{"type": "string"}}
	if minor == 32 || minor >= 42 {
		mapping2["tag"] = tagSchema
	}
	if minor >= 32 && minor <= 36 || minor >= 42 {
		nic["tag"] = tagSchema
	}
	if minor >= 67 {
		mapping2["volume_type"] = object{"type": []string{"string", "null"}, "maxLength": 255}
	}
	networks := list(strict(nic))
	p := object{
		"name":                    nameSchema,
		"imageRef":                object{"type": "string"},
		"flavorRef":               object{"type": []string{"string", "integer"}, "minLength": 1},
		"adminPass":               object{"type": "string"},
		"metadata":                metadataSchema,
		"networks":                networks,
		"OS-DCF:diskConfig":       object{"type": "string", "enum": []any{"AUTO", "MANUAL"}},
		"accessIPv4":              object{"type": "string"},
		"accessIPv6":              object{"type": "string"},
		"availability_zone":       nameSchema,
		"block_device_mapping":    list(strict(mapping)),
		"block_device_mapping_v2": list(strict(mapping2)),
		"config_drive":            booleanSchema,
		"key_name":                nameSchema,
		"min_count":               positiveSchema,
		"max_count":               positiveSchema,
		"return_reservation_id":   booleanSchema,
		"security_groups":         list(strict(object{"name": nameSchema})),
		"user_data":               object{"type": "string", "maxLength": maxUserData},
	}
	required := []string{"name", "flavorRef"}
	if minor >= 19 {
		p["description"] = descriptionSchema
	}
	if minor >= 37 {
		p["networks"] = object{"oneOf": []any{networks, object{"type": "string", "enum": []any{"none", "auto"}}}}
		required = append(required, "networks")
	}
	if minor >= 52 {
		p["tags"] = object{"type": "array", "items": tagSchema, "maxItems": maxTags}
	}
	if minor < 57 {
		p["personality"] = list(strict(object{"path": object{"type": "string"}, "contents": object{"type": "string"}}))
	}
	if minor >= 63 {
		p["trusted_image_certificates"] = object{"type": []string{"array", "null"}, "minItems": 1, "maxItems": 50, "uniqueItems": true, "items": text(1, 255)}
	}
	fqdn := object{"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[a-zA-Z0-9._-]*$"}
	if minor >= 74 {
		p["host"], p["hypervisor_hostname"] = fqdn, fqdn
	}
	switch {
	case minor >= 94:
		p["hostname"] = fqdn
	case minor >= 90:
		p["hostname"] = object{"type": "string", "minLength": 2, "maxLength": 63, "pattern": "^[a-zA-Z0-9]+[a-zA-Z0-9-]*[a-zA-Z0-9]+$"}
	}
	return object{
		"type":     "object",
		"required": []string{"server"},
		"properties": object{
			"server":                     strict(p, required...),
			"os:scheduler_hints":         hintsSchema,
			"OS-SCH-HNT:scheduler_hints": hintsSchema,
		},
		"additionalProperties": false,
	}
}

// hintsSchema leaves unknown hints be, as Nova does: filters of other clouds have their own.
var hintsSchema = object{"type": "object", "properties": object{
	"group":              object{"oneOf": []any{uuidSchema, list(uuidSchema)}},
	"different_host":     object{"oneOf": []any{uuidSchema, list(uuidSchema)}},
	"same_host":          object{"type": []string{"string", "array"}, "items": uuidSchema},
	"query":              object{"type": []string{"string", "object"}},
	"target_cell":        nameSchema,
	"different_cell":     object{"type": []string{"string", "array"}, "items": object{"type": "string"}},
	"build_near_host_ip": object{"type": "string"},
	"cidr":               object{"type": "string", "pattern": "^/[0-9a-f.:]+$"},
}}

var createServerSchemas = byVersion(createServerSchema, 1, 19, 32, 33, 37, 42, 52, 57, 63, 67, 74, 90, 94)

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
	AvailabilityZone string            `json:"availability_zone"`
	Mapping          []json.RawMessage `json:"block_device_mapping"`
	Mapping2         []blockDevice     `json:"block_device_mapping_v2"`
	ConfigDrive      Boolean           `json:"config_drive"`
	KeyName          string            `json:"key_name"`
	MinCount         *Integer          `json:"min_count"`
	MaxCount         *Integer          `json:"max_count"`
	ReservationID    Boolean           `json:"return_reservation_id"`
	SecurityGroups   []struct {
		Name string `json:"name"`
	} `json:"security_groups"`
	UserData     string   `json:"user_data"`
	Description  *string  `json:"description"`
	Tags         []string `json:"tags"`
	Certificates []string `json:"trusted_image_certificates"`
	Host         string   `json:"host"`
	Hypervisor   string   `json:"hypervisor_hostname"`
	Hostname     string   `json:"hostname"`
	Personality  []struct {
		Path     string `json:"path"`
		Contents string `json:"contents"`
	} `json:"personality"`
}

type blockDevice struct {
	SourceType      string          `json:"source_type"`
	DestinationType string          `json:"destination_type"`
	UUID            string          `json:"uuid"`
	ImageID         string          `json:"image_id"`
	BootIndex       json.RawMessage `json:"boot_index"`
	VolumeSize      json.RawMessage `json:"volume_size"`
}

type nicRequest struct {
	Network *string `json:"uuid"`
	Port    *string `json:"port"`
	FixedIP string  `json:"fixed_ip"`
	Tag     string  `json:"tag"`
}

func (a *API) createServer(c echo.Context) error {
	var body struct {
		Server createRequest              `json:"server"`
		Hints  map[string]json.RawMessage `json:"os:scheduler_hints"`
		Hints2 map[string]json.RawMessage `json:"OS-SCH-HNT:scheduler_hints"`
	}
	minor := minorOf(c)
	if err := rest.Bind(c, createServerSchemas.at(minor), &body); err != nil {
		return err
	}
	ctx := c.Request().Context()
	id, key, err := serverID(c)
	if err != nil {
		return err
	}
	hash := requestHash(key, body.Server)
	if key != "" {
		// Before anything that the request names is looked at: its first try has used it, perhaps.
		switch made, err := a.madeBy(c, id, hash); {
		case err != nil:
			return err
		case made == byAnother:
			return accepted(c, id, "", body.Server)
		}
	}
	in, err := a.bootInput(c, body.Server)
	if err != nil {
		return err
	}
	least, most, err := a.countsOf(body.Server, in.Networks)
	if err != nil {
		return err
	}
	in.ServerID, in.Fingerprint = id, hash
	if hints := len(body.Hints) + len(body.Hints2); hints > 0 {
		rest.Logger(c).Info("scheduler hints are accepted and not followed", "server_id", id, "hints", hints)
	}
	var refused error
	if most == 1 {
		if in.Hostname == "" {
			in.Hostname = ids.Hostname(id)
		}
		refused = a.builds.Submit(ctx, in)
	} else {
		_, refused = a.builds.Reserve(ctx, contract.ReserveInput{Boot: in, Min: least, Max: most})
	}
	if refused == nil && key == "" {
		return accepted(c, id, in.AdminPass, body.Server)
	}
	// The row says who was accepted, whatever the answer says. That of the request which was may have got lost, and another run
	// have refused it when it was asked again; and another request with the same key may be what was accepted, or what is in
	// the way.
	made, err := a.madeBy(c, id, hash)
	switch {
	case err != nil:
		return err
	case made == byAnother:
		return accepted(c, id, "", body.Server)
	case refused != nil && made == byNobody:
		return fmt.Errorf("submit server %s: %w", id, refused)
	}
	return accepted(c, id, in.AdminPass, body.Server)
}

// accepted is the 202 of a build: of the first one, where the request was for several, or their reservation's id where the
// request wants that.
func accepted(c echo.Context, id, adminPass string, r createRequest) error {
	if r.ReservationID {
		return c.JSON(http.StatusAccepted, object{"reservation_id": ids.Reservation(id)})
	}
	self := links(c, "servers", id)
	v := object{"id": id, "links": self, "OS-DCF:diskConfig": diskConfig, "security_groups": defaultGroups()}
	if adminPass != "" {
		v["adminPass"] = adminPass
	}
	c.Response().Header().Set(echo.HeaderLocation, self[0].Href)
	return c.JSON(http.StatusAccepted, object{"server": v})
}

// serverID is new, or made of the project and the client's Idempotency-Key, which is key then.
func serverID(c echo.Context) (id, key string, err error) {
	key = c.Request().Header.Get("Idempotency-Key")
	if key == "" {
		return uuid.NewString(), "", nil
	}
	if len(key) > maxKeyHeader || !printable(key) {
		return "", "", invalid("Invalid Idempotency-Key: it may have at most %d printable characters.", maxKeyHeader)
	}
	return ids.Server(rest.CallerOf(c).ProjectID, key), key, nil
}

// maker is whose request a server was accepted for.
type maker int

const (
	byNobody  maker = iota // not yet, or never
	byThis                 // the request that asks
	byAnother              // with the same key, for the same; the answer to it has no adminPass, which only its first one knew
)

// madeBy says who made the server of an id; Conflict where it was made by another request under the key of this one, for
// something else.
func (a *API) madeBy(c echo.Context, id, hash string) (maker, error) {
	ctx := c.Request().Context()
	server, err := a.store.ServerEvenDeleted(ctx, id)
	if fault.Is(err, fault.NotFound) {
		return byNobody, nil
	}
	if err != nil {
		return byNobody, fmt.Errorf("look for the server %s that was asked for: %w", id, err)
	}
	_, err = a.store.Action(ctx, id, rest.RequestID(c))
	switch {
	case err == nil:
		return byThis, nil
	case !fault.Is(err, fault.NotFound):
		return byNobody, fmt.Errorf("look for the request that made server %s: %w", id, err)
	case server.Fingerprint != nil && *server.Fingerprint != hash:
		return byNobody, fault.New(fault.Conflict,
			"This Idempotency-Key was used for another request, which made server %s. Repeat that request, or use a new key.", id)
	}
	return byAnother, nil
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

// bootInput checks a request and loads what it names; everything but the server's id.
func (a *API) bootInput(c echo.Context, r createRequest) (contract.BootInput, error) {
	caller, minor := rest.CallerOf(c), minorOf(c)
	in := contract.BootInput{
		Server: contract.Server{
			ProjectID:   caller.ProjectID,
			UserID:      caller.UserID,
			RequestID:   rest.RequestID(c),
			Name:        r.Name,
			Metadata:    r.Metadata,
			ConfigDrive: bool(r.ConfigDrive) || a.config.ForceConfigDrive,
		},
		Roles:     caller.Roles,
		MaxHosts:  a.config.MaxHosts,
		Deadlines: a.config.Deadlines,
	}
	if err := refuseWhatIsNotOffered(r); err != nil {
		return in, err
	}
	if err := checkName(r.Name); err != nil {
		return in, err
	}
	if err := checkGroups(r, caller.ProjectID); err != nil {
		return in, err
	}
	in.Hostname = Hostname(r.Name)
	if r.Hostname != "" {
		in.Hostname = r.Hostname
	}
	in.Description = r.Name // before 2.19 Nova's description was the name
	if minor >= 19 {
		in.Description = ""
		if r.Description != nil {
			if !printable(*r.Description) {
				return in, field("description", *r.Description, "is not made of printable characters")
			}
			in.Description = *r.Description
		}
	}
	if len(r.Metadata) > maxMetadataItems {
		return in, fault.New(fault.OverQuota, "Maximum number of metadata items exceeds %d", maxMetadataItems)
	}
	in.Tags = slices.Compact(slices.Sorted(slices.Values(r.Tags)))

	var err error
	if in.ImageID, err = imageOf(r); err != nil {
		return in, err
	}
	if in.UserData, err = userData(r.UserData); err != nil {
		return in, err
	}
	if in.Files, err = files(r); err != nil {
		return in, err
	}
	if r.AdminPass != nil {
		in.AdminPass = *r.AdminPass
	} else {
		in.AdminPass = newPassword()
	}
	return in, a.resolve(c, r, &in)
}

// resolve loads what the request names: flavor, zone, key pair, networks, quota.
func (a *API) resolve(c echo.Context, r createRequest, in *contract.BootInput) error {
	ctx := c.Request().Context()
	ref, err := scalar(r.FlavorRef)
	if err != nil {
		return invalid("Invalid flavorRef provided.")
	}
	// An address is taken for the id that ends it, as Nova does.
	f, err := a.flavorOf(c, ref[strings.LastIndexByte(ref, '/')+1:])
	if err != nil {
		return absentAs(err, fault.Invalid, "Flavor %s could not be found.", ref)
	}
	in.Flavor = contract.Flavor{
		ID: f.ID, Name: f.Name, VCPUs: f.VCPUs, RAMMiB: f.RAMMiB, DiskGiB: f.DiskGiB, EphemeralGiB: f.EphemeralGiB,
		SwapMiB: f.SwapMiB, ExtraSpecs: f.ExtraSpecs,
	}
	if in.AvailabilityZone, err = a.zoneOf(c, r.AvailabilityZone); err != nil {
		return err
	}
	if r.KeyName != "" {
		k, err := a.store.KeyPair(ctx, in.UserID, r.KeyName)
		if err != nil {
			return absentAs(err, fault.Invalid, "Invalid key_name provided.")
		}
		in.KeyPairs = []contract.KeyPair{{Name: k.Name, PublicKey: k.PublicKey, Type: k.Type}}
	}
	if in.Networks, err = a.networksOf(c, r.Networks); err != nil {
		return err
	}
	q, err := a.quotaOf(ctx, in.ProjectID)
	if err != nil {
		return err
	}
	in.Limits = contract.Quota{Instances: q.Instances, Cores: q.Cores, RAMMiB: q.RAMMiB}
	return nil
}

// countsOf is how many servers a request wants, at least and at most (Nova: max_count is min_count where only that is given).
func (a *API) countsOf(r createRequest, networks []contract.NICRequest) (least, most int, err error) {
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
	case least > most:
		return 0, 0, invalid("min_count must be <= max_count")
	case most > a.config.MaxCount:
		return 0, 0, invalid("max_count is %d: one request may build at most %d servers here.", most, a.config.MaxCount)
	case most == 1:
		return least, most, nil
	case r.Hostname != "":
		return 0, 0, invalid("Unable to allocate a single hostname to multiple instances")
	}
	if numbered, _ := ids.Reserved("", r.Name, "", most-1, most); utf8.RuneCountInString(numbered) > maxName {
		return 0, 0, field("name", r.Name, fmt.Sprintf("is too long: with its number a name has at most %d characters", maxName))
	}
	for _, n := range networks {
		switch {
		case n.PortID != "":
			return 0, 0, invalid("Failed to launch instances: Unable to launch multiple instances with a single configured port ID. " +
				"Please launch your instance one by one with different ports.")
		case n.FixedIP != "":
			return 0, 0, invalid("Failed to launch instances: max_count cannot be greater than 1 if an fixed_ip is specified.")
		}
	}
	return least, most, nil
}

// refuseWhatIsNotOffered says so where a request asks for something that would otherwise be dropped in silence.
func refuseWhatIsNotOffered(r createRequest) error {
	switch {
	case r.AccessIPv4 != "" || r.AccessIPv6 != "":
		return invalid("accessIPv4 and accessIPv6 are not offered.")
	case len(r.Certificates) > 0:
		return invalid("trusted_image_certificates is not offered: images are checked by their checksum.")
	case r.Host != "" || r.Hypervisor != "":
		return invalid("Choosing the host of a server is not offered: name an availability_zone.")
	case len(r.Mapping) > 0 && len(r.Mapping2) > 0:
		return invalid("Using different block_device_mapping syntaxes is not allowed in the same request.")
	case len(r.Mapping) > 0:
		return invalid("block_device_mapping is not offered: a server's disks are made of its image and flavor.")
	}
	return nil
}

// imageOf is the image to boot from: imageRef, which block_device_mapping_v2 may repeat in the one form that means a plain
// boot (what novaclient and openstackclient send for it).
func imageOf(r createRequest) (string, error) {
	image := r.ImageRef
	for i, d := range r.Mapping2 {
		index, err := scalar(d.BootIndex)
		source := d.UUID
		if source == "" {
			source = d.ImageID
		}
		plain := err == nil && i == 0 && index == "0" && d.SourceType == "image" && d.DestinationType == "local" &&
			len(d.VolumeSize) == 0 && source != "" && (image == "" || strings.EqualFold(image, source))
		if !plain {
			return "", invalid("block_device_mapping_v2 is offered only for booting from imageRef on the host's local disk " +
				"(one mapping: boot_index 0, source_type image, destination_type local).")
		}
		image = source
	}
	if _, err := uuid.Parse(image); err != nil || len(image) < 32 || len(image) > 36 {
		return "", invalid("Invalid imageRef provided.")
	}
	return uuid.MustParse(image).String(), nil
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

// files are the personality of a request (before 2.57), within Nova's quotas.
func files(r createRequest) ([]contract.File, error) {
	if len(r.Personality) > maxFiles {
		return nil, fault.New(fault.OverQuota, "Quota exceeded, too many injected files: at most %d are allowed.", maxFiles)
	}
	var out []contract.File
	for _, p := range r.Personality {
		data, ok := decode64(p.Contents)
		switch {
		case !ok:
			return nil, field("contents", p.Contents, "is not a 'base64'")
		case len(p.Path) > maxFilePath:
			return nil, fault.New(fault.OverQuota, "Personality file path exceeds maximum %d", maxFilePath)
		case len(data) > maxFileBytes:
			return nil, fault.New(fault.OverQuota, "Personality file content exceeds maximum %d", maxFileBytes)
		case !strings.HasPrefix(p.Path, "/") || strings.ContainsAny(p.Path, "\x00\r\n") || slices.Contains(strings.Split(p.Path, "/"), ".."):
			return nil, field("path", p.Path, "is not an absolute path")
		}
		out = append(out, contract.File{Path: p.Path, Contents: data})
	}
	return out, nil
}

// The characters of generated passwords: none that are easily mistaken for another (nova/utils.py).
var passwordSymbols = []string{"23456789", "ABCDEFGHJKLMNPQRSTUVWXYZ", "abcdefghijkmnopqrstuvwxyz"}

// newPassword has at least one character of each group, in a random order.
func newPassword() string {
	word := make([]byte, passwordLength)
	for i := range word {
		group := strings.Join(passwordSymbols, "")
		if i < len(passwordSymbols) {
			group = passwordSymbols[i]
		}
		word[i] = group[random(len(group))]
	}
	for i := len(word) - 1; i > 0; i-- {
		j := random(i + 1)
		word[i], word[j] = word[j], word[i]
	}
	return string(word)
}

func random(n int) int {
	v, err := rand.Int(rand.Reader, big.NewInt(int64(n)))
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	return int(v.Int64())
}

var (
	hostSeparators = regexp.MustCompile(`[ _.]`)
	hostForbidden  = regexp.MustCompile(`[^0-9A-Za-z-]+`)
)

// Hostname makes a server's name fit for DNS (nova/utils.py sanitize_hostname): at most 63 lower-case letters, digits and
// dashes; "" where nothing is left. Nova keeps Latin-1 letters too, which no resolver takes.
func Hostname(name string) string {
	name = hostSeparators.ReplaceAllString(name, "-")
	name = strings.Trim(strings.ToLower(hostForbidden.ReplaceAllString(name, "")), "-")
	if len(name) > 63 {
		name = strings.Trim(name[:63], "-")
	}
	return name
}

// zoneOf checks an availability zone. zone:host names a host, which only admins might.
func (a *API) zoneOf(c echo.Context, zone string) (string, error) {
	if zone == "" {
		return "", nil
	}
	zone, _, forced := strings.Cut(zone, ":")
	if forced {
		if err := allow(rest.CallerOf(c).Admin(), "os_compute_api:servers:create:forced_host"); err != nil {
			return "", err
		}
		return "", invalid("Choosing the host of a server is not offered: name an availability_zone alone.")
	}
	hosts, err := a.store.ListHosts(c.Request().Context())
	if err != nil {
		return "", fmt.Errorf("list the hosts: %w", err)
	}
	for _, h := range hosts {
		if h.Enabled && h.AvailabilityZone == zone {
			return zone, nil
		}
	}
	return "", invalid("The requested availability zone is not available")
}

// networksOf finds the NICs that a request means (nova/network/neutron.py validate_networks).
func (a *API) networksOf(c echo.Context, raw json.RawMessage) ([]contract.NICRequest, error) {
	var word string
	if len(raw) > 0 && raw[0] == '"' {
		if err := json.Unmarshal(raw, &word); err != nil {
			return nil, invalid("Bad networks format")
		}
	}
	var asked []nicRequest
	if word == "" && len(raw) > 0 {
		if err := json.Unmarshal(raw, &asked); err != nil {
			return nil, invalid("Bad networks format")
		}
	}
	switch {
	case word == "none":
		return nil, nil
	case len(asked) == 0:
		return a.onlyNetwork(c)
	}
	var nics []contract.NICRequest
	seen := map[string]bool{}
	for _, n := range asked {
		nic, err := a.nicOf(c, n)
		if err != nil {
			return nil, err
		}
		if nic.PortID != "" && seen[nic.PortID] {
			return nil, invalid("Port ID '%s' was specified twice: you cannot attach a port multiple times.", nic.PortID)
		}
		seen[nic.PortID] = true
		if nic.FixedIP != "" && slices.ContainsFunc(nics, func(other contract.NICRequest) bool {
			return other.NetworkID == nic.NetworkID && other.FixedIP == nic.FixedIP
		}) {
			return nil, invalid("Fixed IP address %s was specified twice for network %s.", nic.FixedIP, nic.NetworkID)
		}
		nics = append(nics, nic)
	}
	return nics, nil
}

// onlyNetwork is the network of a server that names none: the only one that its project can use, if there is one.
func (a *API) onlyNetwork(c echo.Context) ([]contract.NICRequest, error) {
	networks, err := a.store.ListNetworks(c.Request().Context(), models.NetworkFilter{ProjectID: rest.CallerOf(c).ProjectID, Limit: 2})
	if err != nil {
		return nil, fmt.Errorf("list the networks: %w", err)
	}
	switch len(networks) {
	case 0:
		return nil, nil
	case 1:
		if len(networks[0].Subnets) == 0 {
			return nil, invalid("Network %s requires a subnet in order to boot instances on.", networks[0].ID)
		}
		return []contract.NICRequest{{NetworkID: networks[0].ID}}, nil
	default:
		return nil, fault.New(fault.Conflict, "Multiple possible networks found, use a Network ID to be more specific.")
	}
}

func (a *API) nicOf(c echo.Context, n nicRequest) (contract.NICRequest, error) {
	ctx := c.Request().Context()
	nic := contract.NICRequest{FixedIP: n.FixedIP, Tag: n.Tag}
	var ip netip.Addr
	if n.FixedIP != "" {
		var err error
		if ip, err = netip.ParseAddr(n.FixedIP); err != nil || ip.Zone() != "" {
			return nic, field("fixed_ip", n.FixedIP, "is not a 'ipv4' or 'ipv6' address")
		}
		nic.FixedIP = ip.String()
	}
	if n.Port != nil && *n.Port != "" {
		if n.FixedIP != "" {
			return nic, invalid("Specified Fixed IP '%s' cannot be used with port '%s': the two cannot be specified together.", n.FixedIP, *n.Port)
		}
		nic.PortID = strings.ToLower(*n.Port)
		return nic, a.checkPort(ctx, rest.CallerOf(c), nic.PortID)
	}
	if n.Network == nil {
		return nic, invalid("Bad network format: missing 'uuid'")
	}
	id, err := uuid.Parse(*n.Network)
	if err != nil {
		return nic, invalid("Bad networks format: network uuid is not in proper format (%s)", *n.Network)
	}
	nic.NetworkID = id.String()
	net, err := a.store.Network(ctx, nic.NetworkID)
	if err == nil && !net.Shared && net.ProjectID != rest.CallerOf(c).ProjectID && !rest.CallerOf(c).Admin() {
		err = fault.New(fault.NotFound, "another project's")
	}
	if err != nil {
		return nic, absentAs(err, fault.Invalid, "Network %s could not be found.", nic.NetworkID)
	}
	if len(net.Subnets) == 0 {
		return nic, invalid("Network %s requires a subnet in order to boot instances on.", nic.NetworkID)
	}
	if !ip.IsValid() {
		return nic, nil
	}
	if !slices.ContainsFunc(net.Subnets, func(s models.Subnet) bool { return ipam.Usable(netip.MustParsePrefix(s.CIDR), ip) }) {
		return nic, invalid("Fixed IP address %s is not a valid ip address for network %s.", nic.FixedIP, nic.NetworkID)
	}
	has, err := a.store.ListPorts(ctx, models.PortFilter{NetworkIDs: []string{nic.NetworkID}, IPs: []string{nic.FixedIP}, Limit: 1})
	if err != nil {
		return nic, fmt.Errorf("look up who has %s on network %s: %w", nic.FixedIP, nic.NetworkID, err)
	}
	switch {
	case len(has) == 0:
		return nic, nil
	case has[0].ServerID == nil:
		return nic, invalid("Fixed IP address %s is already in use by port %s: name the port instead.", nic.FixedIP, has[0].ID)
	}
	return nic, invalid("Fixed IP address %s is already in use on instance %s.", nic.FixedIP, *has[0].ServerID)
}

func (a *API) checkPort(ctx context.Context, caller rest.Caller, id string) error {
	p, err := a.store.Port(ctx, id)
	if err == nil && p.ProjectID != caller.ProjectID && !caller.Admin() {
		err = fault.New(fault.NotFound, "another project's")
	}
	if err != nil {
		return absentAs(err, fault.Invalid, "Port id %s could not be found.", id)
	}
	if p.ServerID != nil {
		return fault.New(fault.Conflict, "Port %s is still in use.", id)
	}
	if len(p.FixedIPs) == 0 && p.IPAllocation != models.NoIPs {
		return invalid("Port %s requires a FixedIP in order to be used.", id)
	}
	return nil
}

// checkGroups lets the one security group through that every project has, by name or id.
func checkGroups(r createRequest, projectID string) error {
	for _, g := range r.SecurityGroups {
		if g.Name != "" && g.Name != "default" && g.Name != ids.SecurityGroup(projectID) {
			return invalid("Security group %s not found.", g.Name)
		}
	}
	return nil
}

func defaultGroup(projectID string) object {
	return object{
		"id": ids.SecurityGroup(projectID), "name": "default", "description": "Default security group",
		"tenant_id": projectID, "rules": []any{},
	}
}
