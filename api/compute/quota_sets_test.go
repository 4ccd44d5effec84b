package compute_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEveryNameOfAQuotaIsTakenAtItsMicroversion(t *testing.T) {
	c := newCloud(t)
	path := "/os-quota-sets/" + c.member.ProjectID
	always := []string{"cores", "instances", "key_pairs", "metadata_items", "ram", "server_group_members", "server_groups"}
	network := []string{"fixed_ips", "floating_ips", "security_group_rules", "security_groups"}
	injected := []string{"injected_file_content_bytes", "injected_file_path_bytes", "injected_files"}
	shown := func(version, path, key string) []string {
		a := c.nova(t, c.admin, version, "GET", path, nil)
		require.Equal(t, 200, a.Status, a.Body)
		set := a.At(t, key).(map[string]any)
		delete(set, "id")
		return slices.Sorted(maps.Keys(set))
	}
	for version, want := range map[string][]string{
		"2.1": slices.Concat(always, network, injected), "2.35": slices.Concat(always, network, injected), "2.36": slices.Concat(always, injected),
		"2.56": slices.Concat(always, injected), "2.57": always, at96: always,
	} {
		slices.Sort(want)
		require.Equal(t, want, shown(version, path, "quota_set"), version)
		for _, name := range slices.Concat(always, network, injected, []string{"networks"}) {
			status := 400
			if slices.Contains(want, name) || name == "networks" && slices.Contains(want, "fixed_ips") {
				status = 200
			}
			a := c.nova(t, c.admin, version, "PUT", path, fields{"quota_set": fields{name: 77}})
			require.Equal(t, status, a.Status, "%s at %s: %s", name, version, a.Body)
			if status == 200 && name != "networks" {
				require.Equal(t, 77.0, a.At(t, "quota_set", name))
				require.Equal(t, 77.0, c.nova(t, c.member, version, "GET", path, nil).At(t, "quota_set", name))
			}
		}
		require.Equal(t, 202, c.nova(t, c.admin, version, "DELETE", path, nil).Status)
	}
	class := slices.Concat(always[:5], network, injected)
	slices.Sort(class)
	require.Equal(t, class, shown("2.49", "/os-quota-class-sets/default", "quota_class_set"))
	require.Equal(t, slices.Sorted(slices.Values(slices.Concat(always, injected))), shown("2.50", "/os-quota-class-sets/default", "quota_class_set"))
	require.Equal(t, always, shown("2.57", "/os-quota-class-sets/gold", "quota_class_set"))

	for _, bad := range []fields{{"cores": -2}, {"cores": "-2"}, {"cores": "2147483648"}, {"cores": 1.5}, {"cores": "many"}, {"gpus": 1}} {
		require.Equal(t, 400, c.nova(t, c.admin, at96, "PUT", path, fields{"quota_set": bad}).Status, bad)
	}
	a := c.nova(t, c.admin, "2.1", "PUT", path+"?user_id="+c.member.UserID, fields{"quota_set": fields{"cores": 1}})
	require.Equal(t, 400, a.Status, "which would have been the project's")
}

func TestTheDefaultClassIsThatOfEveryProject(t *testing.T) {
	c := newCloud(t)
	class, own := "/os-quota-class-sets/default", "/os-quota-sets/"+c.member.ProjectID
	require.Equal(t, 403, c.nova(t, c.member, at96, "GET", class, nil).Status)
	require.Equal(t, 403, c.nova(t, c.member, at96, "PUT", class, fields{"quota_class_set": fields{"cores": 1}}).Status)
	a := c.nova(t, c.admin, at96, "PUT", class, fields{"quota_class_set": fields{"metadata_items": 1, "key_pairs": "0"}})
	require.Equal(t, 200, a.Status, a.Body)
	require.Equal(t, []any{1.0, 20.0}, []any{a.At(t, "quota_class_set", "metadata_items"), a.At(t, "quota_class_set", "cores")})
	require.Equal(t, "default", c.nova(t, c.admin, at96, "GET", class, nil).At(t, "quota_class_set", "id"))
	require.Equal(t, 1.0, c.nova(t, c.member, at96, "GET", own+"/defaults", nil).At(t, "quota_set", "metadata_items"))
	require.Equal(t, 200, c.nova(t, c.admin, at96, "PUT", class[:len(class)-7]+"gold", fields{"quota_class_set": fields{"cores": 1}}).Status)
	require.Equal(t, 20.0, c.nova(t, c.member, at96, "GET", own, nil).At(t, "quota_set", "cores"), "nobody is of another class")

	a = c.nova(t, c.member, at96, "POST", "/os-keypairs", fields{"keypair": fields{"name": "k", "public_key": key}})
	require.Equal(t, []any{403, "Quota exceeded, too many key pairs."}, []any{a.Status, a.Message(t)})
}

func TestQuotasOfWhatAGuestIsGivenAreHeld(t *testing.T) {
	c := newCloud(t)
	set := func(limits fields) {
		a := c.nova(t, c.admin, "2.56", "PUT", "/os-quota-sets/"+c.member.ProjectID, fields{"quota_set": limits})
		require.Equal(t, 200, a.Status, a.Body)
	}
	boot := func(more fields) []any {
		server := fields{"name": "s", "imageRef": c.image, "flavorRef": "1", "networks": "none"}
		maps.Copy(server, more)
		a := c.nova(t, c.member, "2.56", "POST", "/servers", fields{"server": server})
		if a.Status == 202 {
			return []any{202, ""}
		}
		return []any{a.Status, a.Message(t)}
	}
	files := func(path, contents string) fields {
		return fields{"personality": []fields{{"path": path, "contents": contents}, {"path": "/b", "contents": ""}}}
	}
	set(fields{"metadata_items": 1, "injected_files": 1})
	require.Equal(t, []any{403, "Maximum number of metadata items exceeds 1"}, boot(fields{"metadata": fields{"a": "b", "c": "d"}}))
	require.Equal(t, []any{403, "Quota exceeded, too many injected files: at most 1 are allowed."}, boot(files("/a", "")))
	s := c.row(t, c.member, "web", then)
	c.place(t, s, c.network(t, c.member, "ours", "10.1.0.0/24", "10.1.0.2", "10.1.0.254"))
	c.activate(t, s, then)
	a := c.nova(t, c.member, at96, "PUT", "/servers/"+s.ID+"/metadata", fields{"metadata": fields{"a": "b", "c": "d"}})
	require.Equal(t, 403, a.Status, a.Body)
	set(fields{"injected_files": -1, "injected_file_content_bytes": 3, "injected_file_path_bytes": 2})
	require.Equal(t, []any{202, ""}, boot(files("/a", "YWJj")))
	require.Equal(t, []any{403, "Personality file content exceeds maximum 3"}, boot(files("/a", "YWJjZA==")))
	require.Equal(t, []any{403, "Personality file path exceeds maximum 2"}, boot(files("/aa", "")))
	set(fields{"metadata_items": -1})
	many := fields{}
	for i := range 200 {
		many[strings.Repeat("k", i+1)] = "v"
	}
	require.Equal(t, []any{202, ""}, boot(fields{"metadata": many}))
}
