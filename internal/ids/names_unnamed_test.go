package ids

import (
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

func TestANameThatNobodyGaveIsKnown(t *testing.T) {
	id := uuid.NewString()
	first, _ := Reserved(id, ServerName(id), "", 1, 3)
	for _, name := range []string{"", ServerName(id), first} {
		require.True(t, IsUnnamed(name), name)
	}
	for _, name := range []string{"web", "Server ", "Server 1", "Server " + id[:35], "server " + id, id} {
		require.False(t, IsUnnamed(name), name)
	}
}
