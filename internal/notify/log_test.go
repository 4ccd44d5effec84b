package notify

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestALogLineHasTheWholeNotification(t *testing.T) {
	logged := newLines()
	require.NoError(t, Log{logged.logger()}.Deliver(t.Context(), sample))
	line := <-logged
	require.Contains(t, line, `"level":"INFO","msg":"notification","event_type":"image.create","image_id":"i1","request_id":"req-1",`+
		`"project_id":"p1","user_id":"u1","message_id":"b6a7a6a6-8f7a-4f3f-9d55-0b8a3c1f6f11","publisher_id":"image.node1",`+
		`"timestamp":"2026-03-04T05:06:07.000089Z","payload":{"id":"i1","name":"<cirros>"}`)
}
