package cli

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/cli/show"
)

const (
	serverID  = "11111111-2222-4333-8444-555555555555"
	requestID = "req-aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"
	serverURL = "GET /compute/v2.1/servers/" + serverID
	actionURL = serverURL + "/os-instance-actions/" + requestID
)

// bootable lays out an image, a flavor, a network and an accepted POST /servers.
func bootable(t *testing.T) *api {
	a := newAPI(t)
	a.json("GET /image/v2/images", 200, `{"images":[{"id":"im-1","name":"debian"}]}`)
	a.json("GET /compute/v2.1/flavors/detail", 200, `{"flavors":[{"id":"1","name":"tiny"},{"id":"tiny","name":"other"},{"id":"2","name":"small"}]}`)
	a.json("GET /network/v2.0/networks", 200, `{"networks":[{"id":"net-1","name":"private"}]}`)
	a.json("POST /compute/v2.1/servers", 202, `{"server":{"id":"`+serverID+`","adminPass":"s3cret","links":[],"OS-DCF:diskConfig":"MANUAL"}}`,
		"X-Compute-Request-Id", requestID)
	return a
}

func TestBootResolvesNamesAndSendsWhatNovaExpects(t *testing.T) {
	a := bootable(t)
	got := runWith(t, t.Context(), "#!/bin/sh\n", "boot", "web", "--image", "debian", "--flavor", "small", "--key-name", "laptop",
		"--user-data", "-", "--meta", "role=web", "--meta", "note=a=b", "--network", "private", "--nic", "net=private,ip=10.0.0.9,tag=x", "--nic", "port=p-1",
		"--availability-zone", "rack-a:hv1", "--admin-pass", "pw", "--description", "the web", "--tag", "front", "--config-drive=false", "--idempotency-key", "k-1")
	require.Equal(t, 0, got.code, got.err)
	require.Equal(t, "id              "+serverID+"\nname            web\nadmin password  s3cret\nrequest         "+requestID+"\n", got.out)
	require.Equal(t, "accepted; follow it with: slipway server wait "+serverID+"\n", got.err)
	sent := a.made("POST /compute/v2.1/servers")
	require.Len(t, sent, 1)
	require.JSONEq(t, `{"server":{"name":"web","imageRef":"im-1","flavorRef":"2","key_name":"laptop","user_data":"IyEvYmluL3NoCg==",
		"metadata":{"role":"web","note":"a=b"},"networks":[{"uuid":"net-1"},{"uuid":"net-1","fixed_ip":"10.0.0.9","tag":"x"},{"port":"p-1"}],
		"availability_zone":"rack-a:hv1","adminPass":"pw","description":"the web","tags":["front"],"config_drive":false}}`, sent[0].body)
	require.Equal(t, "k-1", sent[0].header.Get("Idempotency-Key"))
	require.Equal(t, "compute 2.96", sent[0].header.Get("OpenStack-API-Version"))
	require.Equal(t, "gAAAA-the-token", sent[0].header.Get("X-Auth-Token"))
}

func TestBootHasWhatNovaBootHad(t *testing.T) {
	a := bootable(t)
	got := run(t, "boot", "web", "--image-with", "os_distro=debian", "--flavor", "small", "--poll=false",
		"--nic", "net-name=private,v4-fixed-ip=10.0.0.9", "--nic", "net-id=private,v6-fixed-ip=2001:db8::9",
		"--block-device", "size=1,bus=scsi,type=cdrom,tag=x", "--block-device", "source=blank,dest=local,format=ext3,bootindex=1,shutdown=preserve",
		"--ephemeral", "size=2,format=ext4", "--ephemeral", "size=3", "--swap", "512",
		"--hint", "group=g-1", "--hint", "different_host=a", "--hint", "different_host=b", "--hint", "different_host=c",
		"--access-ip-v4", "192.0.2.7", "--access-ip-v6", "2001:db8::7", "--host", "hv1", "--hypervisor-hostname", "hv1.example.org",
		"--hostname", "web-1", "--security-group", "default", "--trusted-image-certificate-id", "c-1")
	require.Equal(t, 0, got.code, got.err)
	require.JSONEq(t, `{"server":{"name":"web","imageRef":"im-1","flavorRef":"2","config_drive":true,
		"networks":[{"uuid":"net-1","fixed_ip":"10.0.0.9"},{"uuid":"net-1","fixed_ip":"2001:db8::9"}],
		"block_device_mapping_v2":[
			{"uuid":"im-1","source_type":"image","destination_type":"local","boot_index":0,"delete_on_termination":true},
			{"source_type":"blank","destination_type":"local","volume_size":"1","disk_bus":"scsi","device_type":"cdrom","tag":"x","delete_on_termination":true},
			{"source_type":"blank","destination_type":"local","guest_format":"ext3","boot_index":"1","delete_on_termination":false},
			{"source_type":"blank","destination_type":"local","boot_index":-1,"volume_size":"2","guest_format":"ext4","delete_on_termination":true},
			{"source_type":"blank","destination_type":"local","boot_index":-1,"volume_size":"3","delete_on_termination":true},
			{"source_type":"blank","destination_type":"local","boot_index":-1,"volume_size":"512","guest_format":"swap","delete_on_termination":true}],
		"accessIPv4":"192.0.2.7","accessIPv6":"2001:db8::7","host":"hv1","hypervisor_hostname":"hv1.example.org","hostname":"web-1",
		"security_groups":[{"name":"default"}],"trusted_image_certificates":["c-1"]},
		"os:scheduler_hints":{"group":"g-1","different_host":["a","b","c"]}}`, a.made("POST /compute/v2.1/servers")[0].body)
	images := a.made("GET /image/v2/images")
	require.Contains(t, images[0].query, "os_distro=debian")
	require.Contains(t, images[0].query, "status=active")
}

func TestARootThatIsMappedIsNotMappedAgain(t *testing.T) {
	a := bootable(t)
	require.Equal(t, 0, run(t, "boot", "web", "--image", "debian", "--flavor", "1", "--nic", "none", "--block-device", "source=image,id=im-1,bootindex=0,bus=sata").code)
	server := asJSON(t, a.made("POST /compute/v2.1/servers")[0].body)["server"].(show.Object)
	require.Equal(t, "none", server["networks"])
	require.Equal(t, []any{show.Object{
		"uuid": "im-1", "source_type": "image", "destination_type": "local", "boot_index": "0", "disk_bus": "sata", "delete_on_termination": true,
	}}, server["block_device_mapping_v2"])
}

func TestTheNewestOfTheImagesThatMatchIsTakenAndNoneIsAnError(t *testing.T) {
	a := newAPI(t)
	a.json("GET /compute/v2.1/flavors/detail", 200, `{"flavors":[{"id":"1","name":"tiny"}]}`)
	a.json("POST /compute/v2.1/servers", 202, `{"server":{"id":"`+serverID+`"}}`)
	a.sequence("GET /image/v2/images", `{"images":[{"id":"im-2","name":"new"},{"id":"im-1","name":"old"}]}`, `{"images":[]}`)
	got := run(t, "boot", "web", "--image-with", "os_distro=debian", "--flavor", "1")
	require.Equal(t, 0, got.code, got.err)
	require.Contains(t, got.err, "2 images match --image-with; the newest is taken: new (im-2)")
	got = run(t, "boot", "web", "--image-with", "os_distro=debian", "--flavor", "1")
	require.Equal(t, show.ExitFailed, got.code)
	require.Contains(t, got.err, "no images match the properties of --image-with")
}

func TestAnIdWinsOverANameThatLooksLikeIt(t *testing.T) {
	a := bootable(t)
	require.Equal(t, 0, run(t, "boot", "web", "--image", "debian", "--flavor", "tiny").code)
	server := asJSON(t, a.made("POST /compute/v2.1/servers")[0].body)["server"].(show.Object)
	require.Equal(t, "tiny", server["flavorRef"])
	require.Equal(t, "auto", server["networks"])
	require.Equal(t, true, server["config_drive"])
}

func TestFilesAreSentInTheLastVersionThatTakesThem(t *testing.T) {
	a := bootable(t)
	local := filepath.Join(t.TempDir(), "motd")
	require.NoError(t, os.WriteFile(local, []byte("hello\n"), 0o600))
	got := run(t, "boot", "web", "--image", "debian", "--flavor", "1", "--network", "none", "--file", "/etc/motd="+local)
	require.Equal(t, 0, got.code, got.err)
	sent := a.made("POST /compute/v2.1/servers")[0]
	require.Equal(t, "compute 2.56", sent.header.Get("OpenStack-API-Version"))
	server := asJSON(t, sent.body)["server"].(show.Object)
	require.Equal(t, []any{show.Object{"path": "/etc/motd", "contents": "aGVsbG8K"}}, server["personality"])
	require.Equal(t, "none", server["networks"])
}

func TestAnOlderAPIIsSpokenToInItsOwnVersion(t *testing.T) {
	a := bootable(t)
	a.Server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/compute/v2.1/" {
			reply(w, 200, `{"version":{"id":"v2.1","version":"2.60","min_version":"2.1"}}`)
			return
		}
		a.ServeHTTP(w, r)
	})
	require.Equal(t, 0, run(t, "boot", "web", "--image", "debian", "--flavor", "1").code)
	require.Equal(t, "compute 2.60", a.made("POST /compute/v2.1/servers")[0].header.Get("OpenStack-API-Version"))
}

func TestNetworkFlagsThatCannotBeMeantAreRefusedBeforeAnythingIsSent(t *testing.T) {
	for _, args := range [][]string{
		{"--network", "none", "--network", "private"}, {"--network", "auto", "--nic", "port=p"}, {"--nic", "ip=10.0.0.1"},
		{"--nic", "net=private,port=p"}, {"--nic", "colour=red"}, {"--nic", "private"}, {"--meta", "novalue"}, {"--nic", "none", "--nic", "port=p"},
		{"--nic", "net=private,v4-fixed-ip=2001:db8::1"}, {"--nic", "net=private,v6-fixed-ip=10.0.0.1"}, {"--nic", "net=private,ip=ten"},
		{"--block-device", "colour=red"}, {"--block-device", "source=tape"}, {"--block-device", "dest=moon"}, {"--block-device", "shutdown=maybe"},
		{"--ephemeral", "20"}, {"--ephemeral", "size=1,bus=ide"}, {"--swap", "much"}, {"--swap", "0"}, {"--hint", "group"}, {"--image-with", "os_distro=debian"}, {"--file", "relative=x"},
	} {
		a := bootable(t)
		got := run(t, append([]string{"boot", "web", "--image", "debian", "--flavor", "1"}, args...)...)
		require.Equal(t, show.ExitUsage, got.code, "%v: %s", args, got.err)
		require.Empty(t, a.made("POST /compute/v2.1/servers"))
	}
}

func building() string {
	return `{"server":{"id":"` + serverID + `","name":"web","status":"BUILD","addresses":{}}}`
}

func event(name, finish, result, details string) string {
	return `{"event":"` + name + `","start_time":"2030-01-02T03:04:05.000000","finish_time":` + finish + `,"result":` + result + `,"host":"hv1","details":` + details + `}`
}

const finishedAt = `"2030-01-02T03:04:05.250000"`

func TestWaitingShowsTheStepsAndEndsWithTheServersAddresses(t *testing.T) {
	a := bootable(t)
	a.sequence(serverURL, building(), building(), `{"server":{"id":"`+serverID+`","name":"web","status":"ACTIVE","key_name":null,
		"addresses":{"private":[{"addr":"10.0.0.4","version":4}]}}}`)
	a.sequence(actionURL,
		`{"instanceAction":{"events":[`+event("FetchImage", "null", "null", "null")+`]}}`,
		`{"instanceAction":{"events":[`+event("FetchImage", finishedAt, `"Success"`, "null")+`]}}`,
		`{"instanceAction":{"events":[`+event("FetchImage", finishedAt, `"Success"`, "null")+`,`+event("Activate", "null", "null", "null")+`]}}`,
		`{"instanceAction":{"events":[`+event("FetchImage", finishedAt, `"Success"`, "null")+`,`+event("Activate", finishedAt, `"Success"`, "null")+`]}}`)
	got := run(t, "boot", "web", "--image", "debian", "--flavor", "1", "--wait")
	require.Equal(t, 0, got.code, got.err)
	require.Equal(t, "building web ("+serverID+")\n"+
		"  ✓ FetchImage          250 ms  hv1\n  ✓ Activate            250 ms  hv1\nweb is ACTIVE after 0 ms\n", got.err)
	require.Equal(t, "id              "+serverID+"\nname            web\nstatus          ACTIVE\naddresses       private=10.0.0.4\nadmin password  s3cret\n", got.out)

	require.Equal(t, serverID+"\n", run(t, "boot", "web", "--image", "debian", "--flavor", "1", "--wait", "--quiet").out)
}

func TestAFailedBuildIsExitOneWithTheWholeFaultAndWhatToDo(t *testing.T) {
	a := bootable(t)
	a.sequence(serverURL, building(), `{"server":{"id":"`+serverID+`","name":"web","status":"ERROR","addresses":{},
		"fault":{"code":500,"message":"No valid host was found. hv1: not enough memory; hv2: disabled","created":"2030-01-02T03:04:06Z"}}}`)
	a.json(actionURL, 200, `{"instanceAction":{"message":"Error","events":[`+event("SelectHost", finishedAt, `"Error"`, `"No valid host was found."`)+`]}}`)
	got := run(t, "boot", "web", "--image", "debian", "--flavor", "1", "--wait")
	require.Equal(t, show.ExitFailed, got.code)
	require.Empty(t, got.out)
	require.Equal(t, "building web ("+serverID+")\n  ✗ SelectHost          250 ms  hv1  No valid host was found.\n"+
		"Error: the build of server \"web\" ("+serverID+") failed\n"+
		"  No valid host was found. hv1: not enough memory; hv2: disabled (code 500)\n"+
		"  → slipway server events "+serverID+"   (what was done, and where)\n"+
		"  → slipway server delete "+serverID+"   (its quota is in use until then)\n"+
		"  → slipway host list   (an admin sees what the hypervisors have left)\n", got.err)
}

func TestAServerThatIsDeletedWhileItIsBuiltEndsTheWaiting(t *testing.T) {
	a := bootable(t)
	a.sequence(serverURL, building(), "404")
	a.json(actionURL, 200, `{"instanceAction":{"events":[]}}`)
	got := run(t, "boot", "web", "--image", "debian", "--flavor", "1", "--wait")
	require.Equal(t, show.ExitFailed, got.code)
	require.Contains(t, got.err, "Error: server "+serverID+" was deleted while it was built\n")
}

func TestAPollThatFailsDoesNotEndTheWaiting(t *testing.T) {
	a := bootable(t)
	polls := 0
	a.mux.HandleFunc(serverURL, func(w http.ResponseWriter, _ *http.Request) {
		if polls++; polls < 3 {
			reply(w, 503, `{"serviceUnavailable":{"code":503,"message":"The service does not answer in time."}}`)
			return
		}
		reply(w, 200, `{"server":{"id":"`+serverID+`","name":"web","status":"ACTIVE"}}`)
	})
	a.json(actionURL, 200, `{"instanceAction":{"events":[]}}`)
	require.Equal(t, 0, run(t, "boot", "web", "--image", "debian", "--flavor", "1", "--wait").code)
}

func TestStoppingToWatchLeavesTheBuildRunningAndSaysHowToGoOn(t *testing.T) {
	a := bootable(t)
	ctx, cancel := context.WithCancel(t.Context())
	polls := 0
	a.mux.HandleFunc(serverURL, func(w http.ResponseWriter, _ *http.Request) {
		if polls++; polls == 3 {
			cancel()
		}
		reply(w, 200, building())
	})
	a.json(actionURL, 200, `{"instanceAction":{"events":[]}}`)
	got := runWith(t, ctx, "", "boot", "web", "--image", "debian", "--flavor", "1", "--wait")
	require.Equal(t, show.ExitInterrupted, got.code)
	require.Contains(t, got.err, "Error: stopped watching; the build of server "+serverID+" goes on\n  → slipway server wait "+serverID)
	require.Empty(t, a.made("DELETE /compute/v2.1/servers/"+serverID))

	got = run(t, "boot", "web", "--image", "debian", "--flavor", "1", "--wait", "--timeout", "30ms")
	require.Equal(t, show.ExitFailed, got.code)
	require.Contains(t, got.err, "Error: gave up waiting; the build of server "+serverID+" goes on\n")
}
