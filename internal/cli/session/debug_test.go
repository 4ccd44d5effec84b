package session

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSecretsInABodyAreHiddenWhereverTheyStand(t *testing.T) {
	require.Equal(t, `{"auth":{"identity":{"token":{"id":"***"}}},"host":{"token":"***"},"personality":[{"contents":"***","path":"/a"}]}`,
		redactJSON([]byte(`{"auth":{"identity":{"token":{"id":"t"}}},"host":{"token":"t"},"personality":[{"path":"/a","contents":"x"}]}`)))
	require.Equal(t, `{"input":{"uri":"https://images.example.org/d.qcow2?***"},"method":{"uri":"https://images.example.org/d"},"uri":"***"}`,
		redactJSON([]byte(`{"method":{"uri":"https://me:pass@images.example.org/d#part"},"input":{"uri":"https://images.example.org/d.qcow2?X-Amz-Signature=s"},"uri":"%zz"}`)))
}
