package compute

import (
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/models"
)

func (a *API) mountServers(g *echo.Group) {
	for _, path := range []string{"/servers", "/os-volumes_boot"} { // the second is an older name for the same
		g.GET(path, a.listServers, rest.Expect(400, 403))
		g.GET(path+"/detail", a.listServers, rest.Expect(400, 403))
		g.POST(path, a.createServer, writerOnly("os_compute_api:servers:create"), rest.Expect(400, 403, 404, 409))
		g.GET(path+"/:id", a.showServer, rest.Expect(404))
		g.PUT(path+"/:id", a.updateServer, writerOnly("os_compute_api:servers:update"), rest.Expect(400, 403, 404))
		g.DELETE(path+"/:id", a.deleteServer, writerOnly("os_compute_api:servers:delete"), rest.Expect(403, 404, 409))
	}
}

// server finds the server of the path.
func (a *API) server(c echo.Context) (models.Server, error) {
	return a.servers(c).Get(c.Request().Context(), c.Param("id"))
}

// bindOf finds the server of the path and reads what is asked of it: 404 goes before what is wrong with the body.
func (a *API) bindOf(c echo.Context, schema *jsonschema.Schema, dst any) (models.Server, error) {
	s, err := a.server(c)
	if err != nil {
		return s, err
	}
	return s, rest.Bind(c, schema, dst)
}

func (a *API) showServer(c echo.Context) error {
	s, err := a.server(c)
	if err != nil {
		return err
	}
	view := a.serverView(c, s, true)
	if err := a.showUserData(c, view); err != nil {
		return err
	}
	return c.JSON(http.StatusOK, object{"server": view})
}

func (a *API) deleteServer(c echo.Context) error {
	if err := a.servers(c).Delete(c.Request().Context(), c.Param("id")); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

func (a *API) listServers(c echo.Context) error {
	detail := strings.HasSuffix(c.Path(), "/detail")
	page, err := rest.PageOf(c, rest.MaxPage)
	if err != nil {
		return err
	}
	f, err := serverFilter(c, detail)
	if err != nil {
		return err
	}
	var found []models.Server
	if f != nil && !page.None {
		f.Marker, f.Limit = page.Marker, page.Limit
		if found, err = a.servers(c).List(c.Request().Context(), *f); err != nil {
			return markerAs(err, page.Marker)
		}
	}
	body := listed(c, "servers", page, found, func(s models.Server) (string, object) {
		if detail {
			return s.ID, a.serverView(c, s, false)
		}
		return s.ID, basicView(c, s)
	})
	if detail {
		if err := a.showUserData(c, body["servers"].([]object)...); err != nil {
			return err
		}
	}
	return c.JSON(http.StatusOK, body)
}

// novaStatuses are the statuses that Nova knows (nova/api/openstack/common.py); servers here have those of internal/lifecycle.
var novaStatuses = []string{
	"ACTIVE", "BUILD", "ERROR", "DELETED",
	"HARD_REBOOT", "MIGRATING", "PASSWORD", "PAUSED", "REBOOT", "REBUILD", "RESCUE", "RESIZE", "REVERT_RESIZE", "SHELVED",
	"SHELVED_OFFLOADED", "SHUTOFF", "SOFT_DELETED", "SUSPENDED", "UNKNOWN", "VERIFY_RESIZE",
}

// filtersSince are the filters that a microversion brought.
type filtersSince struct {
	since int
	names []string
}

// anyonesFilters are the filters that every caller may use since a microversion; others Nova drops silently for all but admins.
var anyonesFilters = []filtersSince{
	{1, []string{"reservation_id", "name", "status", "image", "flavor", "ip", "changes-since", "all_tenants"}},
	{5, []string{"ip6"}},
	{26, []string{"tags", "tags-any", "not-tags", "not-tags-any"}},
	{66, []string{"changes-before"}},
	{73, []string{"locked"}},
	{83, []string{
		"availability_zone", "config_drive", "key_name", "created_at", "launched_at", "terminated_at", "power_state", "task_state",
		"vm_state", "progress", "user_id",
	}},
}

var (
	adminFilters = []string{
		"project_id", "tenant_id", "host", "node", "hostname", "deleted", "uuid", "image_ref", "display_name", "description",
		"display_description", "access_ip_v4", "access_ip_v6", "auto_disk_config", "root_device_name", "kernel_id", "ramdisk_id",
		"launch_index", "locked_by", "soft_deleted",
	}
	pagingKeys = []string{"limit", "marker", "sort_key", "sort_dir"}
	// matched are regular expressions on what servers show.
	matched = []string{
		"hostname", "node", "description", "access_ip_v4", "access_ip_v6", "root_device_name", "kernel_id", "ramdisk_id",
		"launch_index", "locked_by", "progress", "created_at", "launched_at", "terminated_at",
	}
)

func mayFilter(admin bool, name string, minor int) bool {
	return admin || slices.ContainsFunc(anyonesFilters, func(f filtersSince) bool {
		return f.since <= minor && slices.Contains(f.names, name)
	})
}

// serverFilter reads a list's query as nova/api/openstack/compute/servers.py _get_servers does; nil means that nothing
// can match.
func serverFilter(c echo.Context, detail bool) (*models.ServerFilter, error) {
	minor, caller, q := minorOf(c), rest.CallerOf(c), c.QueryParams()
	known := slices.Concat(adminFilters, pagingKeys)
	for _, f := range anyonesFilters {
		known = append(known, f.names...)
	}
	if err := strictQuery(c, known...); err != nil {
		return nil, err
	}
	for key := range q {
		if strings.HasPrefix(key, "_") || key == "metadata" {
			return nil, invalid("Invalid filter field: %s.", key)
		}
	}
	// get is a filter that this caller may use, "" otherwise.
	get := func(names ...string) string {
		for _, name := range names {
			if mayFilter(caller.Admin(), name, minor) {
				if v := q.Get(name); v != "" {
					return v
				}
			}
		}
		return ""
	}

	f := &models.ServerFilter{
		Name:             get("name", "display_name"),
		ImageID:          get("image", "image_ref"),
		FlavorID:         get("flavor"),
		Hostname:         get("host"),
		IP:               get("ip", "ip6"),
		KeyName:          get("key_name"),
		AvailabilityZone: get("availability_zone"),
		ReservationID:    get("reservation_id"),
		TaskState:        get("task_state"),
		UserID:           get("user_id"),
	}
	if err := filterMatches(f, get); err != nil {
		return nil, err
	}
	for name, value := range map[string]string{"name": f.Name, "ip": f.IP} {
		if _, err := regexp.Compile(value); err != nil {
			return nil, parameter(name, value, "is not a 'regex'")
		}
	}
	if id := get("uuid"); id != "" {
		if uuid.Validate(id) != nil {
			return nil, nil //nolint:nilnil // nothing can match
		}
		f.IDs = []string{id}
	}
	if word := get("power_state"); word != "" {
		n, err := strconv.Atoi(word)
		if err != nil {
			return nil, parameter("power_state", word, "is not a number")
		}
		f.PowerState = &n
	}
	if word := get("locked"); word != "" && minor >= 73 {
		on, ok := parseBool(word)
		if !ok {
			return nil, invalid("Invalid input received: Unrecognized value '%s', acceptable values are: "+
				"'0', '1', 'f', 'false', 'n', 'no', 'off', 'on', 't', 'true', 'y', 'yes'", word)
		}
		f.Locked = &on
	}
	if minor >= 26 {
		for name, into := range map[string]*[]string{"tags": &f.Tags, "tags-any": &f.TagsAny, "not-tags": &f.NotTags, "not-tags-any": &f.NotTagsAny} {
			if word := get(name); word != "" {
				*into = strings.Split(word, ",")
			}
		}
	}
	if empty, err := filterTimes(f, get, minor); empty || err != nil {
		return nil, err
	}
	if empty, err := filterStatus(f, q["status"], get("vm_state"), minor, caller.Admin()); empty || err != nil {
		return nil, err
	}
	f.Deleted = f.Deleted || isOn(get("deleted"))
	f.SoftDeleted = isOn(get("soft_deleted"))

	all := false
	if words, given := q["all_tenants"]; given {
		var ok bool
		if all, ok = parseBool(words[0]); !ok && words[0] != "" {
			return nil, invalid("Invalid value '%s' for 'all_tenants': it must be a boolean.", words[0])
		}
		all = all || words[0] == ""
	}
	switch {
	case !all:
		f.ProjectID = caller.ProjectID
	case !caller.Admin():
		view := "index"
		if detail {
			view = "detail"
		}
		return nil, allow(false, "os_compute_api:servers:"+view+":get_all_tenants")
	default:
		f.ProjectID = get("project_id", "tenant_id")
	}
	var err error
	f.Sort, err = serverSorts(c)
	return f, err
}

// filterMatches reads the filters that are regular expressions, and those of yes and no that are some in Nova's database.
func filterMatches(f *models.ServerFilter, get func(...string) string) error {
	f.Matches = map[string]string{}
	for _, name := range matched {
		word := get(name)
		if name == "description" {
			word = get("description", "display_description")
		}
		if word == "" {
			continue
		}
		if _, err := regexp.Compile(word); err != nil {
			return parameter(name, word, "is not a 'regex'")
		}
		if strings.HasSuffix(name, "_at") {
			word = strings.TrimSuffix(strings.ReplaceAll(word, "T", " "), "Z")
		}
		f.Matches[name] = word
	}
	for name, into := range map[string]**bool{"config_drive": &f.ConfigDrive, "auto_disk_config": &f.AutoDiskConfig} {
		if word := get(name); word != "" {
			on, ok := parseBool(word)
			if !ok {
				return parameter(name, word, "is not a boolean")
			}
			*into = &on
		}
	}
	return nil
}

// isOn reads a boolean of a query that anything else leaves off.
func isOn(word string) bool {
	on, _ := parseBool(word)
	return on
}

func filterTimes(f *models.ServerFilter, get func(...string) string, minor int) (empty bool, err error) {
	for name, into := range map[string]**time.Time{"changes-since": &f.ChangesSince, "changes-before": &f.ChangesBefore} {
		word := get(name)
		if word == "" || name == "changes-before" && minor < 66 {
			continue
		}
		t, ok := parseTime(word)
		if !ok {
			return false, parameter(name, word, "is not a 'date-time'")
		}
		*into = &t
	}
	if f.ChangesSince != nil && f.ChangesBefore != nil && f.ChangesBefore.Before(*f.ChangesSince) {
		return false, invalid("The value of changes-since must be less than or equal to changes-before.")
	}
	return false, nil
}

// parseTime reads the forms of ISO 8601 that clients send; without a zone it is UTC.
func parseTime(word string) (time.Time, bool) {
	// A "+" of a zone reaches us as a space where the client did not escape it.
	word = strings.ReplaceAll(word, " ", "+")
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999", "2006-01-02T15:04:05Z0700", "2006-01-02T15:04Z", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.Parse(layout, word); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

func filterStatus(f *models.ServerFilter, statuses []string, vmState string, minor int, admin bool) (empty bool, err error) {
	statuses = slices.DeleteFunc(slices.Clone(statuses), func(s string) bool { return s == "" })
	if len(statuses) == 0 && vmState == "" {
		return false, nil
	}
	known, whole := false, false // whole: all servers of a state are asked for, whatever is done to them
	for _, s := range statuses {
		s = strings.ToUpper(s)
		known = known || slices.Contains(novaStatuses, s)
		states, tasks := lifecycle.OfStatus(s)
		if len(tasks) == 0 {
			whole = true
		}
		f.VMStates, f.TaskStates = append(f.VMStates, states...), append(f.TaskStates, tasks...)
	}
	if whole {
		f.TaskStates = nil
	}
	if len(statuses) == 0 { // a status says more than a vm_state, so Nova lets it win
		known = true
		if state := lifecycle.VMState(vmState); slices.Contains(lifecycle.States(), state) {
			f.VMStates = append(f.VMStates, state)
		}
	}
	if !known && minor >= 38 {
		return false, invalid("Invalid status value")
	}
	if slices.Equal(f.VMStates, []lifecycle.VMState{lifecycle.Deleted}) {
		if !admin {
			return false, fault.New(fault.Forbidden, "Only administrators may list deleted instances")
		}
		f.Deleted = true
	}
	return len(f.VMStates) == 0, nil
}

// serverSorts are Nova's sort keys that order servers here; hidden ones Nova drops silently.
var (
	sortKeys = []string{
		"created_at", "updated_at", "launched_at", "terminated_at", "display_name", "hostname", "host", "instance_type_id",
		"image_ref", "key_name", "power_state", "vm_state", "task_state", "availability_zone", "project_id", "user_id", "uuid",
		"launch_index", "locked", "locked_by", "access_ip_v4", "access_ip_v6", "auto_disk_config", "config_drive", "display_description",
		"kernel_id", "ramdisk_id", "root_device_name",
	}
	flatSortKeys   = []string{"progress"} // in which all servers here are alike
	hiddenSortKeys = []string{
		"architecture", "cell_name", "cleaned", "default_ephemeral_device", "default_swap_device", "deleted", "deleted_at",
		"disable_terminate", "ephemeral_gb", "ephemeral_key_uuid", "id", "key_data", "launched_on", "memory_mb", "os_type",
		"reservation_id", "root_gb", "shutdown_terminate", "user_data", "vcpus", "vm_mode",
	}
)

func serverSorts(c echo.Context) ([]models.Sort, error) {
	q := c.QueryParams()
	asked, err := sortsOf(q["sort_key"], q["sort_dir"], "desc")
	if err != nil {
		return nil, err
	}
	sorts := make([]models.Sort, 0, len(asked))
	for _, s := range asked {
		key := s.Key
		if key == "node" {
			key = "host"
		}
		switch {
		case key == "host" && !rest.CallerOf(c).Admin():
			return nil, fault.New(fault.Forbidden, "Only administrators can sort servers by %s", s.Key)
		case key == "locked" && minorOf(c) < 73:
		case slices.Contains(sortKeys, key):
			sorts = append(sorts, models.Sort{Key: key, Desc: s.Desc})
		case slices.Contains(flatSortKeys, key), slices.Contains(hiddenSortKeys, key) && minorOf(c) < 75:
		default:
			return nil, parameter("sort_key", s.Key, "is not one of "+pythonList(slices.Concat(sortKeys, flatSortKeys)))
		}
	}
	return sorts, nil
}
