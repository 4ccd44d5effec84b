// Package metadata renders what a guest is told about itself as the tree of files that Nova gives (nova/api/metadata/base.py):
// openstack/<version>/..., openstack/content/... and ec2/<version>/.... The config drive is made of these files; a metadata
// service may answer with them. The package owns no facts: everything comes from contract.InstanceMetadata.
package metadata

import (
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/slipway-cloud/slipway/internal/contract"
)

// File is one file of the tree; Path is relative, with slashes.
type File struct {
	Path     string
	Contents []byte
}

// Versions of the OpenStack tree, oldest first, by the release that brought them.
const (
	folsom    = "2012-08-10"
	grizzly   = "2013-04-04" // random_seed
	havana    = "2013-10-17" // vendor_data.json
	liberty   = "2015-10-15" // network_data.json, project_id
	newtonOne = "2016-06-30" // devices
	newtonTwo = "2016-10-06" // vendor_data2.json
	ocata     = "2017-02-22"
	rocky     = "2018-08-27"
	victoria  = "2020-10-14" // dedicated_cpus
	latest    = "latest"
)

// OpenStackVersions are the versions under openstack/, oldest first; "latest" compares as the newest.
var OpenStackVersions = []string{folsom, grizzly, havana, liberty, newtonOne, newtonTwo, ocata, rocky, victoria, latest}

// Versions of the EC2 tree that brought something that guests are told.
const (
	ec2First        = "1.0"
	ec2Hostnames    = "2007-01-19"
	ec2InstanceType = "2007-08-29"
	ec2BlockDevices = "2007-12-15" // and the kernel's and ramdisk's ids
	ec2Placement    = "2008-02-01"
	ec2Action       = "2008-09-01"
	ec2Last         = "2009-04-04"
)

// EC2Versions are the versions under ec2/, oldest first.
var EC2Versions = []string{
	ec2First, ec2Hostnames, "2007-03-01", ec2InstanceType, "2007-10-10", ec2BlockDevices, ec2Placement, ec2Action, ec2Last, latest,
}

// DefaultSkip are the versions under ec2/ that a config drive has not unless it is asked for (Nova's default of
// config_drive_skip_versions).
var DefaultSkip = EC2Versions[:slices.Index(EC2Versions, ec2Last)]

// seedBytes is how much randomness a guest gets to seed its generator.
const seedBytes = 512

// since says whether a version is the given one or a later; dates compare as text and "latest" after them all.
func since(version, first string) bool { return version >= first }

// Files renders the tree without some versions of ec2/; nil are DefaultSkip. Its order and its bytes are the same for the same
// metadata.
func Files(md contract.InstanceMetadata, skip []string) ([]File, error) {
	if skip == nil {
		skip = DefaultSkip
	}
	seed, err := randomSeed(md)
	if err != nil {
		return nil, err
	}
	network, err := NetworkData(md.Ports)
	if err != nil {
		return nil, fmt.Errorf("rendering the network of %s: %w", md.ServerID, err)
	}
	var tree []File
	add := func(path string, contents []byte) { tree = append(tree, File{path, contents}) }
	var failed error
	addJSON := func(path string, v any) {
		b, err := encode(v)
		if err != nil && failed == nil {
			failed = fmt.Errorf("rendering %s of %s: %w", path, md.ServerID, err)
		}
		add(path, b)
	}

	for _, v := range EC2Versions {
		if slices.Contains(skip, v) {
			continue
		}
		addJSON("ec2/"+v+"/meta-data.json", ec2Metadata(md, v))
		if len(md.UserData) > 0 {
			add("ec2/"+v+"/user-data", md.UserData)
		}
	}
	var contents [][]byte
	content := func(text []byte) (path string) {
		contents = append(contents, text)
		return fmt.Sprintf("/content/%04d", len(contents)-1)
	}
	var template *networkRef
	if text := Interfaces(md.Ports); text != "" {
		template = &networkRef{Name: "network_config", ContentPath: content([]byte(text))}
	}
	var refs []fileRef
	for _, f := range md.Files {
		refs = append(refs, fileRef{Path: f.Path, ContentPath: content(f.Contents)})
	}
	vendor := vendorData(md)
	vendor2 := map[string]any{"static": vendor}
	for name, answer := range md.DynamicVendorData {
		vendor2[name] = answer
	}
	for _, v := range OpenStackVersions {
		dir := "openstack/" + v + "/"
		addJSON(dir+"meta_data.json", metaData(md, v, refs, template, seed))
		if len(md.UserData) > 0 {
			add(dir+"user_data", md.UserData)
		}
		if since(v, havana) {
			addJSON(dir+"vendor_data.json", vendor)
		}
		if since(v, newtonTwo) {
			addJSON(dir+"vendor_data2.json", vendor2)
		}
		if since(v, liberty) {
			addJSON(dir+"network_data.json", network)
		}
	}
	for i, text := range contents {
		add(fmt.Sprintf("openstack/content/%04d", i), text)
	}
	return tree, failed
}

// vendorData is what the operator tells every guest, with what makes cloud-init, which passes admin_pass of meta_data.json by, set
// the administrator's password. What a user's own user data says goes before it (cloud-init's order).
func vendorData(md contract.InstanceMetadata) map[string]any {
	data := map[string]any{}
	maps.Copy(data, md.VendorData)
	if md.AdminPass == "" {
		return data
	}
	// JSON is YAML, and escapes what a password may hold. cloud-init takes this form since 22.2.
	password, _ := json.Marshal(map[string]any{"chpasswd": map[string]any{
		"expire": false, "users": []map[string]string{{"name": "root", "password": md.AdminPass, "type": "text"}},
	}})
	part := "#cloud-config\n" + string(password) + "\n"
	switch own := data["cloud-init"].(type) {
	case nil:
		data["cloud-init"] = part
	case []any:
		data["cloud-init"] = append(slices.Clone(own), part)
	default:
		data["cloud-init"] = []any{own, part}
	}
	return data
}

// randomSeed is the same for the same server and seed. Builds of before seeds were kept have none: theirs is fresh each time.
func randomSeed(md contract.InstanceMetadata) (seed []byte, err error) {
	if len(md.Seed) > 0 {
		seed, err = hkdf.Key(sha512.New, md.Seed, nil, "random_seed "+md.ServerID, seedBytes)
	} else {
		seed = make([]byte, seedBytes)
		_, err = rand.Read(seed)
	}
	if err != nil {
		return nil, fmt.Errorf("making the random seed of %s: %w", md.ServerID, err)
	}
	return seed, nil
}

// networkRef names the network template.
type networkRef struct {
	Name        string `json:"name"`
	ContentPath string `json:"content_path"`
}

type fileRef struct {
	Path        string `json:"path"`
	ContentPath string `json:"content_path"`
}

type key struct {
	Name string `json:"name"`
	Type string `json:"type"`
	Data string `json:"data"`
}

type meta struct {
	UUID             string            `json:"uuid"`
	Meta             map[string]string `json:"meta,omitempty"`
	Files            []fileRef         `json:"files,omitempty"`
	AdminPass        string            `json:"admin_pass,omitempty"`
	NetworkConfig    *networkRef       `json:"network_config,omitempty"`
	PublicKeys       map[string]string `json:"public_keys,omitempty"`
	Keys             []key             `json:"keys,omitempty"`
	Hostname         string            `json:"hostname"`
	Name             string            `json:"name"`
	LaunchIndex      int               `json:"launch_index"`
	AvailabilityZone *string           `json:"availability_zone"`
	RandomSeed       string            `json:"random_seed,omitempty"`
	ProjectID        string            `json:"project_id,omitempty"`
	Devices          *[]device         `json:"devices,omitempty"`
	DedicatedCPUs    *[]int            `json:"dedicated_cpus,omitempty"`
}

func metaData(md contract.InstanceMetadata, version string, refs []fileRef, template *networkRef, seed []byte) meta {
	m := meta{
		UUID: md.ServerID, Meta: md.Metadata, Files: refs, AdminPass: md.AdminPass, NetworkConfig: template,
		Hostname: md.Hostname, Name: md.Name, LaunchIndex: md.LaunchIndex,
	}
	if md.AvailabilityZone != "" {
		m.AvailabilityZone = &md.AvailabilityZone
	}
	if len(md.KeyPairs) > 0 {
		m.PublicKeys = map[string]string{}
		for _, k := range md.KeyPairs {
			m.PublicKeys[k.Name] = k.PublicKey
			m.Keys = append(m.Keys, key{k.Name, k.Type, k.PublicKey})
		}
	}
	if since(version, grizzly) {
		m.RandomSeed = base64.StdEncoding.EncodeToString(seed)
	}
	if since(version, liberty) {
		m.ProjectID = md.ProjectID
	}
	if since(version, newtonOne) {
		devices := devices(md, version)
		m.Devices = &devices
	}
	if since(version, victoria) {
		m.DedicatedCPUs = &[]int{}
	}
	return m
}

// encode is JSON without HTML escapes: keys and passwords stay readable in a shell.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}
