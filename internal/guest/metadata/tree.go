package metadata

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-cloud/slipway/internal/contract"
)

// Answer is what the metadata service says at one path.
type Answer struct {
	Type string // its media type
	Body []byte
}

const (
	asText  = "text/plain; charset=utf-8"
	asJSON  = "application/json"
	asBytes = "application/octet-stream"

	passwordName = "password"
)

// Tree is what the metadata service answers a guest: the files of its config drive under openstack/, with what lists them, and the EC2
// documents leaf by leaf (nova/api/metadata/base.py, lookup). All work is done while it is made.
type Tree struct{ answers map[string]Answer }

// NewTree renders it.
func NewTree(md contract.InstanceMetadata) (*Tree, error) {
	files, err := Files(md, []string{})
	if err != nil {
		return nil, err
	}
	t := &Tree{map[string]Answer{}}
	listed := map[string][]string{} // by version of openstack/
	for _, f := range files {
		part := strings.Split(f.Path, "/")
		switch {
		case part[0] == "openstack":
			t.answers["/"+f.Path] = Answer{typeOf(f.Path), f.Contents}
			listed[part[1]] = append(listed[part[1]], part[2])
		case part[2] == "user-data":
			t.answers["/"+part[1]+"/user-data"] = Answer{asBytes, f.Contents}
		default: // of EC2, told leaf by leaf
			if err := t.spread("/"+part[1]+"/meta-data", f.Contents, md.KeyPairs); err != nil {
				return nil, fmt.Errorf("rendering %s of %s: %w", f.Path, md.ServerID, err)
			}
		}
	}
	for _, v := range OpenStackVersions {
		if since(v, grizzly) {
			listed[v] = append(listed[v], passwordName)
		}
		t.list("/openstack/"+v, listed[v]...)
	}
	t.list("/openstack", OpenStackVersions...)
	for _, v := range EC2Versions {
		names := []string{"meta-data/"}
		if len(md.UserData) > 0 {
			names = append(names, "user-data")
		}
		t.list("/"+v, names...)
	}
	t.list("/", EC2Versions...)
	return t, nil
}

// Get is the answer at a path, which need not be clean; slashes at its end mean nothing.
func (t *Tree) Get(at string) (Answer, bool) {
	a, ok := t.answers[path.Clean("/"+at)]
	return a, ok
}

// IsPassword says whether a path is that of the password that a guest has made for itself: it is posted there, and read.
func IsPassword(at string) bool {
	part := strings.Split(strings.TrimPrefix(path.Clean("/"+at), "/"), "/")
	return len(part) == 3 && part[0] == "openstack" && part[2] == passwordName && slices.Contains(OpenStackVersions, part[1]) && since(part[1], grizzly)
}

func (t *Tree) list(at string, names ...string) {
	t.answers[at] = Answer{asText, []byte(strings.Join(names, "\n"))}
}

// spread answers a document of EC2's as a folder of its values, each as text.
func (t *Tree) spread(at string, document []byte, keys []contract.KeyPair) error {
	d := json.NewDecoder(bytes.NewReader(document))
	d.UseNumber()
	var values map[string]any
	if err := d.Decode(&values); err != nil {
		return err
	}
	t.fold(at, values)
	if _, has := values["public-keys"]; has { // the list has the names that the document has not
		names := make([]string, len(keys))
		for i, k := range keys {
			names[i] = strconv.Itoa(i) + "=" + k.Name
		}
		t.list(at+"/public-keys", names...)
	}
	return nil
}

func (t *Tree) fold(at string, values map[string]any) {
	names := slices.Sorted(maps.Keys(values))
	for i, name := range names {
		switch v := values[name].(type) {
		case map[string]any:
			t.fold(at+"/"+name, v)
			names[i] += "/"
		case []any:
			lines := make([]string, len(v))
			for j := range v {
				lines[j] = fmt.Sprint(v[j])
			}
			t.list(at+"/"+name, lines...)
		default:
			t.list(at+"/"+name, fmt.Sprint(v))
		}
	}
	t.list(at, names...)
}

func typeOf(name string) string {
	if strings.HasSuffix(name, ".json") {
		return asJSON
	}
	return asBytes
}
