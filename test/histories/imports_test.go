package histories

import (
	"net/http"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/imagedata"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/dev/faultinject"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/test/system"
)

// imports are the scenarios of an image's import.
func (sc *scenario) imports() []scene {
	both := map[string]any{"all_stores": true}
	some := map[string]any{"all_stores": true, "all_stores_must_succeed": false}
	fails := func(step string) faultinject.Rule {
		return faultinject.Rule{Step: step, Mode: faultinject.FailAfter, Kind: fault.Internal, Times: 1}
	}
	return []scene{
		{"import", func(t *testing.T) []string { return sc.imported(t, "active", both) }},
		{"import-fails-StoreImage", func(t *testing.T) []string { return sc.imported(t, "queued", both, fails(contract.StoreImage)) }},
		{"import-answer-lost", func(t *testing.T) []string { return sc.imported(t, "active", nil, fails(contract.StoreImage)) }},
		{"import-fails-CopyImage", func(t *testing.T) []string { return sc.imported(t, "queued", both, fails(contract.CopyImage)) }},
		{"import-partly", func(t *testing.T) []string { return sc.imported(t, "active", some, fails(contract.CopyImage)) }},
		{"import-finish-again", func(t *testing.T) []string { return sc.imported(t, "active", both, fails(contract.FinishImport)) }},
		{"import-undo-again", func(t *testing.T) []string {
			return sc.imported(t, "queued", both, fails(contract.CopyImage),
				faultinject.Rule{Step: contract.AbandonImport, Mode: faultinject.FailBefore, Kind: fault.Internal, Times: 3})
		}},
		{"import-refused", func(t *testing.T) []string {
			id := sc.describe(t)
			sc.ask(t, id, contract.ImportStaged, nil, http.StatusConflict) // nothing is staged
			return []string{ids.ImageWorkflow(id)}
		}},
		{"import-cancel", func(t *testing.T) []string {
			id, _ := sc.importing(t, contract.CopyImage, faultinject.HoldBefore, both)
			require.NoError(t, sc.s.Cancel(t.Context(), ids.ImageWorkflow(id)))
			sc.becomes(t, id, "queued")
			return []string{ids.ImageWorkflow(id)}
		}},
		{"import-deleted", func(t *testing.T) []string {
			id, release := sc.importing(t, contract.StoreImage, faultinject.HoldAfter, both)
			require.NoError(t, images.Delete(t.Context(), system.Image(t, sc.s.Demo()), id).ExtractErr())
			release()
			return []string{ids.ImageWorkflow(id)}
		}},
		{"import-copy", func(t *testing.T) []string {
			sc.ask(t, sc.images["good"], contract.ImportCopy, both, http.StatusAccepted)
			return []string{ids.ImageWorkflow(sc.images["good"])}
		}},
	}
}

// describe makes an image without bytes.
func (sc *scenario) describe(t *testing.T) string {
	image, err := images.Create(t.Context(), system.Image(t, sc.s.Demo()), images.CreateOpts{Name: "imported", DiskFormat: "raw", ContainerFormat: "bare"}).Extract()
	require.NoError(t, err)
	return image.ID
}

// ask asks for an import, as the admin.
func (sc *scenario) ask(t *testing.T, id, method string, how map[string]any, status int) {
	c := system.Image(t, sc.s.Admin())
	body := map[string]any{"method": map[string]any{"name": method}}
	for k, v := range how {
		body[k] = v
	}
	_, err := c.Post(t.Context(), c.ServiceURL("images", id, "import"), body, nil, &gophercloud.RequestOpts{OkCodes: []int{status}})
	require.NoError(t, err)
}

// imported stages an image and imports it, and waits for how that ends.
func (sc *scenario) imported(t *testing.T, ends string, how map[string]any, rules ...faultinject.Rule) []string {
	sc.inject(t, rules...)
	id := sc.describe(t)
	sc.stage(t, id)
	sc.ask(t, id, contract.ImportStaged, how, http.StatusAccepted)
	sc.closed(t, ids.ImageWorkflow(id))
	sc.becomes(t, id, ends)
	return []string{ids.ImageWorkflow(id)}
}

func (sc *scenario) stage(t *testing.T, id string) {
	require.NoError(t, imagedata.Stage(t.Context(), system.Image(t, sc.s.Demo()), id, strings.NewReader(strings.Repeat("staged", 512))).ExtractErr())
}

// importing returns when a step of an import is held.
func (sc *scenario) importing(t *testing.T, step string, mode faultinject.Mode, how map[string]any) (id string, release func()) {
	rule := sc.inject(t, faultinject.Rule{Step: step, Mode: mode, Times: 1})[0]
	id = sc.describe(t)
	sc.stage(t, id)
	sc.ask(t, id, contract.ImportStaged, how, http.StatusAccepted)
	system.Eventually(t, patience, func() (bool, string) {
		calls, err := sc.s.Faults.Held(rule)
		return err == nil && len(calls) > 0, step + " is not held"
	})
	return id, func() { require.NoError(t, sc.s.Faults.Release(rule)) }
}

func (sc *scenario) becomes(t *testing.T, id, status string) {
	system.Eventually(t, patience, func() (bool, string) {
		image, err := images.Get(t.Context(), system.Image(t, sc.s.Demo()), id).Extract()
		if err != nil {
			return false, err.Error()
		}
		return string(image.Status) == status, string(image.Status)
	})
}
