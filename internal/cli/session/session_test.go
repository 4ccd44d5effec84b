package session

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheRootOfTheAPIIsFoundFromTheIdentityAddress(t *testing.T) {
	for address, want := range map[string]string{
		"http://a:1/v3": "http://a:1/", "http://a:1/v3/": "http://a:1/", "https://a/identity/v3": "https://a/",
		"https://a/slipway/identity": "https://a/slipway/", "http://a:1": "http://a:1/",
	} {
		got, err := rootOf(address)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}
