package ids

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A run that is under way is met by its id alone, also by the next version.
func TestTheIdsOfWorkflowsNeverChange(t *testing.T) {
	for got, want := range map[string]string{
		ServerWorkflow("s"):           "server/s",
		CleanUpWorkflow("s"):          "cleanup/s",
		ConsoleWorkflow("s", "r"):     "console/s/r",
		OpenConsoleWorkflow("s", "a"): "open-console/s/a",
		ReservationWorkflow("s"):      "reservation/s",
		ImageWorkflow("i"):            "image/i",
		RepairWorkflow("r"):           "audit-repair/r",
		AuditWorkflow("control"):      "audit",
		AuditWorkflow("q"):            "audit/q",
		HousekeepingSchedule("q"):     "housekeeping/q",
		ReclaimSchedule("q"):          "reclaim/q",
		StoresSchedule("control"):     "image-stores",
		AuditGroup("r", 3):            "audit-hosts/r/3",
		Tick(AuditSchedule("q")):      "audit/q-tick",
		InstallationKey("control"):    "slipway-installation",
		InstallationKey("q"):          "slipway-installation/q",
		Submission("req-1"):           "submit-req-1",
		ImportSubmission("t"):         "import-t",
		OperatorAct("skip", "req-1"):  "skip-req-1",
	} {
		require.Equal(t, want, got)
	}
}

func TestAServersWorkflowNamesItsServer(t *testing.T) {
	server, ok := ServerOfWorkflow(ServerWorkflow("s"))
	require.True(t, ok)
	require.Equal(t, "s", server)
	_, ok = ServerOfWorkflow(CleanUpWorkflow("s"))
	require.False(t, ok)
}
