package metadata

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
)

var update = flag.Bool("update", false, "write the golden files")

func full() contract.InstanceMetadata {
	return contract.InstanceMetadata{
		ServerID:  "83679162-1378-4288-a2d4-70e13ec132aa",
		ProjectID: "5df4b7b3c1c04e4d9a1fe5a7b5a3f9a0",
		Name:      "web & <one>", Hostname: "web-one", AvailabilityZone: "nova", LaunchIndex: 1,
		ReservationID: "r-1a2b3c4d", FlavorName: "m1.small",
		ImageID:    "70a599e0-31e7-49b7-b260-868f441e862b",
		KernelID:   "155d900f-4e14-4e4c-a73d-069cbf4541e6",
		RamdiskID:  "a2459075-d96c-40d5-893e-577ff92e721c",
		EC2ImageID: "ami-0000000a", EC2KernelID: "aki-0000000b", EC2RamdiskID: "ari-0000000c",
		KeyPairs: []contract.KeyPair{{Name: "mine", PublicKey: "ssh-ed25519 AAAAC3 me@here", Type: "ssh"}},
		Metadata: map[string]string{"role": "web", "env": "test"},
		UserData: []byte("#cloud-config\n{}\n"), AdminPass: "s3cr<t", Seed: []byte("a seed"), RootDevice: "/dev/sda", Ephemeral: true, Swap: true,
		SecurityGroups:    []string{"default"},
		VendorData:        map[string]any{"cloud": "ours"},
		DynamicVendorData: contract.DynamicVendorData{"join": json.RawMessage(`{"otp":"a<b","n":12345678901234567890}`)},
		Files:             []contract.File{{Path: "/etc/motd", Contents: []byte("hello\n")}, {Path: "/root/bin", Contents: []byte{0, 1}}},
		Ports: []contract.Port{
			{ID: "2ca9e1d9-53cb-4f7b-a5ab-1a1b54e5a7a4", NetworkID: "0b1c1b1e-0f0c-4f6e-9b77-1d2a3b4c5d6e", Network: "private",
				MAC: "fa:16:3e:9c:bf:3d", MTU: 1450, Bridge: "brq1", Tag: "front", Addresses: []contract.Address{
					{IP: "10.0.0.5", CIDR: "10.0.0.0/20", Gateway: "10.0.0.1", DNSServers: []string{"10.0.0.2", "9.9.9.9"}, SubnetID: "s1"},
					{IP: "2001:db8::5", CIDR: "2001:db8::/64", Gateway: "2001:db8::1", DNSServers: []string{"2001:db8::53"}, SubnetID: "s2"},
				}},
			{ID: "p2", NetworkID: "n2", MAC: "fa:16:3e:00:00:02", Addresses: []contract.Address{
				{IP: "192.168.1.9", CIDR: "192.168.1.0/24", DNSServers: []string{"9.9.9.9"}, SubnetID: "s3"},
			}},
		},
	}
}

// dump is the tree as one text, JSON indented.
func dump(t *testing.T, tree []File) string {
	t.Helper()
	var out strings.Builder
	for _, f := range tree {
		fmt.Fprintf(&out, "=== %s\n", f.Path)
		var indented bytes.Buffer
		if strings.HasSuffix(f.Path, ".json") {
			require.NoError(t, json.Indent(&indented, f.Contents, "", "  "), f.Path)
			out.Write(indented.Bytes())
			out.WriteByte('\n')
			continue
		}
		fmt.Fprintf(&out, "%q\n", f.Contents)
	}
	return out.String()
}

func TestTheTreeIsTheRecordedOne(t *testing.T) {
	for name, md := range map[string]contract.InstanceMetadata{
		"full": full(),
		"bare": {ServerID: "83679162-1378-4288-a2d4-70e13ec132aa", ProjectID: "p", Seed: []byte("s"), Name: "bare", Hostname: "bare", ImageID: "70a599e0-31e7-49b7-b260-868f441e862b"},
	} {
		t.Run(name, func(t *testing.T) {
			tree, err := Files(md, []string{})
			require.NoError(t, err)
			recorded(t, name, dump(t, tree))
		})
	}
}

func recorded(t *testing.T, name, got string) {
	t.Helper()
	path := "testdata/" + name + ".golden"
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}

// modes has a NIC for each way in which a guest comes to its address.
func modes() []contract.Port {
	ports := []contract.Port{}
	for i, mode := range []contract.AddressMode{contract.AddressDHCP, contract.AddressSLAAC, contract.AddressStateful, contract.AddressStateless} {
		four := contract.Address{IP: fmt.Sprintf("10.0.%d.5", i), CIDR: fmt.Sprintf("10.0.%d.0/24", i), Gateway: fmt.Sprintf("10.0.%d.1", i), DNSServers: []string{"10.0.0.2"}, Mode: contract.AddressDHCP}
		six := contract.Address{IP: fmt.Sprintf("fd0%d::5", i), CIDR: fmt.Sprintf("fd0%d::/64", i), Gateway: fmt.Sprintf("fd0%d::1", i), DNSServers: []string{"fd00::2"}, Mode: mode}
		ports = append(ports, contract.Port{ID: fmt.Sprintf("%dca9e1d9-53cb-4f7b-a5ab-1a1b54e5a7a4", i), NetworkID: fmt.Sprintf("n%d", i), MAC: fmt.Sprintf("fa:16:3e:00:00:0%d", i), MTU: 1450,
			Addresses: []contract.Address{four, six}})
	}
	return ports
}

func TestAnAddressThatTheNetworkTellsIsLeftToIt(t *testing.T) {
	data, err := NetworkData(modes())
	require.NoError(t, err)
	b, err := encode(data)
	require.NoError(t, err)
	recorded(t, "modes", dump(t, []File{{"network_data.json", b}})+Interfaces(modes()))
}

func TestEachVersionHasTheFilesThatItsReleaseBrought(t *testing.T) {
	tree, err := Files(full(), nil)
	require.NoError(t, err)
	has := map[string]bool{}
	for _, f := range tree {
		require.False(t, has[f.Path], "%s twice", f.Path)
		has[f.Path] = true
	}
	for file, first := range map[string]string{
		"meta_data.json": folsom, "user_data": folsom, "vendor_data.json": havana, "network_data.json": liberty, "vendor_data2.json": newtonTwo,
	} {
		for i, v := range OpenStackVersions {
			brought := i >= index(first)
			require.Equal(t, brought, has["openstack/"+v+"/"+file], "%s in %s", file, v)
		}
	}
	require.True(t, has["openstack/content/0001"])
	require.True(t, has["ec2/2009-04-04/meta-data.json"] && has["ec2/latest/user-data"])
}

func index(version string) int {
	for i, v := range OpenStackVersions {
		if v == version {
			return i
		}
	}
	return len(OpenStackVersions)
}

func TestKeysOfMetaDataAppearWithTheirVersion(t *testing.T) {
	tree, err := Files(full(), nil)
	require.NoError(t, err)
	first := map[string]string{"uuid": folsom, "admin_pass": folsom, "random_seed": grizzly, "project_id": liberty, "devices": newtonOne, "dedicated_cpus": victoria}
	for _, v := range OpenStackVersions {
		var m map[string]any
		require.NoError(t, json.Unmarshal(find(t, tree, "openstack/"+v+"/meta_data.json"), &m))
		for key, since := range first {
			_, is := m[key]
			require.Equal(t, index(v) >= index(since), is, "%s in %s", key, v)
		}
	}
}

func find(t *testing.T, tree []File, path string) []byte {
	t.Helper()
	for _, f := range tree {
		if f.Path == path {
			return f.Contents
		}
	}
	t.Fatalf("no %s", path)
	return nil
}

func TestTheRandomSeedIsItsServersAndItsSeeds(t *testing.T) {
	seed := func(change func(*contract.InstanceMetadata)) string {
		md := full()
		change(&md)
		tree, err := Files(md, nil)
		require.NoError(t, err)
		var m meta
		require.NoError(t, json.Unmarshal(find(t, tree, "openstack/latest/meta_data.json"), &m))
		require.Len(t, m.RandomSeed, 684, "base64 of 512 bytes")
		return m.RandomSeed
	}
	same := func(*contract.InstanceMetadata) {}
	of := seed(same)
	require.Equal(t, of, seed(same), "the drive can be made again")
	require.NotEqual(t, of, seed(func(md *contract.InstanceMetadata) { md.ServerID = "another" }))
	require.NotEqual(t, of, seed(func(md *contract.InstanceMetadata) { md.Seed = []byte("another") }))
	without := func(md *contract.InstanceMetadata) { md.Seed = nil }
	require.NotEqual(t, seed(without), seed(without), "builds of before have random ones")
}

func TestTheEC2TreeHasWhatEachVersionBrought(t *testing.T) {
	tree, err := Files(full(), []string{})
	require.NoError(t, err)
	first := map[string]string{
		"ami-id": "1.0", "ami-launch-index": "1.0", "ami-manifest-path": "1.0", "instance-id": "1.0", "hostname": "1.0", "local-ipv4": "1.0",
		"reservation-id": "1.0", "security-groups": "1.0", "public-keys": "1.0",
		"local-hostname": "2007-01-19", "public-hostname": "2007-01-19", "public-ipv4": "2007-01-19", "instance-type": "2007-08-29",
		"block-device-mapping": "2007-12-15", "kernel-id": "2007-12-15", "ramdisk-id": "2007-12-15", "placement": "2008-02-01",
		"instance-action": "2008-09-01",
	}
	for i, v := range EC2Versions {
		var m map[string]any
		require.NoError(t, json.Unmarshal(find(t, tree, "ec2/"+v+"/meta-data.json"), &m))
		for key, since := range first {
			_, is := m[key]
			require.Equal(t, i >= slices.Index(EC2Versions, since), is, "%s in %s", key, v)
			delete(m, key)
		}
		require.Empty(t, m, v)
		require.Equal(t, full().UserData, find(t, tree, "ec2/"+v+"/user-data"))
	}
}

func TestADriveLeavesOutWhatNovasDoesUnlessItIsAskedFor(t *testing.T) {
	versions := func(skip []string) []string {
		tree, err := Files(full(), skip)
		require.NoError(t, err)
		var has []string
		for _, f := range tree {
			if v, ok := strings.CutSuffix(f.Path, "/meta-data.json"); ok {
				has = append(has, strings.TrimPrefix(v, "ec2/"))
			}
		}
		return has
	}
	require.Equal(t, []string{"2009-04-04", "latest"}, versions(nil))
	require.Equal(t, EC2Versions, versions([]string{}))
	require.Equal(t, EC2Versions[1:], versions([]string{"1.0"}))
}

func TestBlockDevicesAreNamedAsTheGuestDoes(t *testing.T) {
	for name, c := range map[string]struct {
		md   contract.InstanceMetadata
		want map[string]string
	}{
		"of before":  {contract.InstanceMetadata{}, map[string]string{"ami": "vda", "root": "/dev/vda"}},
		"swap alone": {contract.InstanceMetadata{RootDevice: "/dev/vda", Swap: true}, map[string]string{"ami": "vda", "root": "/dev/vda", "swap": "vdb"}},
		"as they were asked for": {contract.InstanceMetadata{RootDevice: "/dev/sda", Ephemeral: true, BlockDevices: mapped}, map[string]string{
			"ami": "sda", "root": "/dev/sda", "ephemeral0": "vda", "ephemeral1": "sr0", "swap": "vdb",
		}},
		"all, not by virtio": {full(), map[string]string{"ami": "sda", "root": "/dev/sda", "ephemeral0": "sdb", "swap": "sdc"}},
	} {
		require.Equal(t, c.want, blockDevices(c.md), name)
	}
}

// mapped are the disks of a server whose request maps them.
var mapped = []contract.BlockDevice{
	{Role: contract.RootDisk, Path: "/dev/sda", Bus: "scsi", Tag: "system"},
	{Role: contract.EphemeralDisk, Path: "/dev/vda"},
	{Role: contract.EphemeralDisk, Path: "/dev/sr0", Device: "cdrom", Tag: "scratch"},
	{Role: contract.SwapDisk, Path: "/dev/vdb", Tag: "swap"},
}

func TestATaggedDiskIsFoundByItsSerialAndPath(t *testing.T) {
	require.Equal(t, []device{
		{Type: "disk", Bus: "none", Address: "none", Serial: "root", Path: "/dev/sda", Tags: []string{"system"}},
		{Type: "disk", Bus: "none", Address: "none", Path: "/dev/sr0", Tags: []string{"scratch"}},
		{Type: "disk", Bus: "none", Address: "none", Serial: "swap", Path: "/dev/vdb", Tags: []string{"swap"}},
	}, devices(contract.InstanceMetadata{BlockDevices: mapped}, rocky))
	require.Equal(t, "ephemeral1", Disks(mapped)[2].Serial)
}

func TestATaggedNICIsWhereTheGuestIsTold(t *testing.T) {
	ports := func(n int, tagged ...int) []contract.Port {
		all := make([]contract.Port, n)
		for _, i := range tagged {
			all[i].Tag = "it"
		}
		return all
	}
	require.Equal(t, 0, Slot(ports(3), 1), "nobody is told: libvirt chooses")
	require.Equal(t, []int{0x10, 0x11, 0x12}, []int{Slot(ports(3, 1), 0), Slot(ports(3, 1), 1), Slot(ports(3, 1), 2)})
	require.Equal(t, 0x1c, Slot(ports(13, 0), 12))
	require.Equal(t, 0, Slot(ports(14, 0), 0), "not all would have one")
	require.Equal(t, []device{{Type: "nic", Bus: "pci", Address: "0000:00:11.0", Tags: []string{"it"}}}, devices(contract.InstanceMetadata{Ports: ports(3, 1)}, newtonOne))
	require.Equal(t, []device{{Type: "nic", Bus: "none", Address: "none", Tags: []string{"it"}}}, devices(contract.InstanceMetadata{Ports: ports(14, 0)}, newtonOne))
}

func TestTheNetworkTemplateIsTheFirstOfTheContents(t *testing.T) {
	tree, err := Files(full(), nil)
	require.NoError(t, err)
	var m meta
	require.NoError(t, json.Unmarshal(find(t, tree, "openstack/latest/meta_data.json"), &m))
	require.Equal(t, "/content/0000", m.NetworkConfig.ContentPath)
	require.Contains(t, string(find(t, tree, "openstack/content/0000")), "iface eth0 inet static\n    hwaddress ether fa:16:3e:9c:bf:3d\n    address 10.0.0.5\n    netmask 255.255.240.0\n")
	require.Equal(t, "/content/0001", m.Files[0].ContentPath)
	require.Equal(t, full().Files[0].Contents, find(t, tree, "openstack/content/0001"))

	md := full()
	md.Ports = nil
	tree, err = Files(md, nil)
	require.NoError(t, err)
	m = meta{}
	require.NoError(t, json.Unmarshal(find(t, tree, "openstack/latest/meta_data.json"), &m))
	require.Nil(t, m.NetworkConfig)
	require.Equal(t, "/content/0000", m.Files[0].ContentPath)
}

func TestNetworkDataHoldsToItsSchema(t *testing.T) {
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	schema, err := c.Compile("testdata/network_data.schema.json")
	require.NoError(t, err)
	withoutAddress := []contract.Port{{ID: "2ca9e1d9-53cb-4f7b-a5ab-1a1b54e5a7a4", NetworkID: "n1", MAC: "fa:16:3e:9c:bf:3d", MTU: 1450}}
	for _, ports := range [][]contract.Port{nil, full().Ports, withoutAddress, modes()} {
		n, err := NetworkData(ports)
		require.NoError(t, err)
		b, err := json.Marshal(n)
		require.NoError(t, err)
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
		require.NoError(t, err)
		require.NoError(t, schema.Validate(v))
	}
	n, err := NetworkData(withoutAddress)
	require.NoError(t, err)
	require.Len(t, n.Links, 1, "the NIC is there")
	require.Empty(t, n.Networks)
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(`{"links":[{"id":"a","vif_id":"b","type":"wire","mtu":null,"ethernet_mac_address":"x"}],"networks":[],"services":[]}`))
	require.NoError(t, err)
	require.Error(t, schema.Validate(v), "the schema refuses something")
}

func TestAnAddressThatIsNoneIsAnError(t *testing.T) {
	md := full()
	md.Ports[0].Addresses[0].CIDR = "10.0.0.0"
	_, err := Files(md, nil)
	require.ErrorContains(t, err, md.Ports[0].ID)
}

func BenchmarkFiles(b *testing.B) {
	md := full()
	for b.Loop() {
		if _, err := Files(md, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func TestTheInterfacesFileNamesOneGatewayOfEachFamily(t *testing.T) {
	port := func(mac, ip, cidr, gateway string) contract.Port {
		return contract.Port{MAC: mac, Addresses: []contract.Address{{IP: ip, CIDR: cidr, Gateway: gateway}}}
	}
	text := Interfaces([]contract.Port{
		port("fa:16:3e:00:00:01", "10.0.0.5", "10.0.0.0/24", ""),
		port("fa:16:3e:00:00:02", "10.1.0.5", "10.1.0.0/24", "10.1.0.1"),
		port("fa:16:3e:00:00:03", "10.2.0.5", "10.2.0.0/24", "10.2.0.1"),
		port("fa:16:3e:00:00:04", "fd00::5", "fd00::/64", "fd00::1"),
		port("fa:16:3e:00:00:05", "fd01::5", "fd01::/64", "fd01::1"),
	})
	require.Equal(t, []string{"gateway 10.1.0.1", "gateway fd00::1"}, regexp.MustCompile(`gateway \S+`).FindAllString(text, -1))
	require.Contains(t, text, "iface eth4 inet6 static")
}

func TestAGuestIsToldItsSubnetsRoutesBesideTheGateway(t *testing.T) {
	n, err := NetworkData([]contract.Port{{ID: "p", Addresses: []contract.Address{{
		IP: "10.0.0.5", CIDR: "10.0.0.0/24", Gateway: "10.0.0.1", Routes: []contract.Route{{Destination: "10.9.0.0/16", NextHop: "10.0.0.9"}},
	}}}})
	require.NoError(t, err)
	require.Equal(t, []Route{{"0.0.0.0", "0.0.0.0", "10.0.0.1"}, {"10.9.0.0", "255.255.0.0", "10.0.0.9"}}, n.Networks[0].Routes)
	_, err = NetworkData([]contract.Port{{Addresses: []contract.Address{{IP: "10.0.0.5", CIDR: "10.0.0.0/24", Routes: []contract.Route{{Destination: "ten"}}}}}})
	require.Error(t, err)
}
