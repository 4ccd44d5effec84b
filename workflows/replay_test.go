// Package workflows holds that histories of earlier versions replay.
package workflows_test

import (
	"compress/gzip"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/payload"
	"github.com/slipway-cloud/slipway/workers"
	"github.com/slipway-cloud/slipway/workflows/actions"
	"github.com/slipway-cloud/slipway/workflows/boot"
)

// TestRecordedHistoriesReplay holds that today's workflows can go on with builds that earlier ones began. The histories
// are recorded by test/histories; one that does not replay means that a running build would break: see
// docs/checklists/change-a-workflow.md.
func TestRecordedHistoriesReplay(t *testing.T) {
	files, err := filepath.Glob("testdata/histories/*.json.gz")
	require.NoError(t, err)
	var wanted []string
	for _, s := range boot.Table() {
		wanted = append(wanted, "fails-"+s.Name)
		if s.Undo != "" {
			wanted = append(wanted, "undo-again-"+s.Undo)
		}
	}
	for _, end := range []string{"", "-fails-StoreImage", "-answer-lost", "-fails-CopyImage", "-partly", "-finish-again", "-undo-again", "-refused", "-cancel", "-deleted", "-copy"} {
		wanted = append(wanted, "import"+end)
	}
	wanted = append(wanted, "forget-host", "drain-host", "drain-host-refused", "os-resetState", "os-resetState-during-os-stop")
	for _, way := range actions.Ways() {
		wanted = append(wanted, way.Name())
		for _, s := range way.Steps {
			switch s.Name {
			case contract.BeginAction, contract.ResolveImage, contract.PlanResize, contract.CheckShelved, contract.PlanUnshelve: // nothing was accepted
				continue
			}
			wanted = append(wanted, "fails-"+way.Name()+"-"+s.Name)
		}
	}
	for _, name := range wanted {
		require.Contains(t, files, "testdata/histories/"+name+".json.gz", "record the table's new row: docs/checklists/add-a-step.md")
	}
	replayer, err := worker.NewWorkflowReplayerWithOptions(worker.WorkflowReplayerOptions{DataConverter: payload.ControlConverter(keys(t))})
	require.NoError(t, err)
	workers.RegisterWorkflows(replayer)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			f, err := os.Open(file)
			require.NoError(t, err)
			defer f.Close()
			unpacked, err := gzip.NewReader(f)
			require.NoError(t, err)
			history, err := client.HistoryFromJSON(unpacked, client.HistoryJSONOptions{})
			require.NoError(t, err)
			require.NoError(t, replayer.ReplayWorkflowHistory(nil, history))
		})
	}
}

// keys are the recorded histories' own; a checkout does not keep a file's mode.
func keys(t *testing.T) *payload.Keys {
	text, err := os.ReadFile("testdata/payload.keys")
	require.NoError(t, err)
	private := filepath.Join(t.TempDir(), "payload.keys")
	require.NoError(t, os.WriteFile(private, text, 0o600))
	k, err := payload.LoadKeys(private)
	require.NoError(t, err)
	return k
}
