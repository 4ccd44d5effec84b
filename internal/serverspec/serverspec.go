// Package serverspec seals what a build knew of its server, for the database to keep as long as the server is there.
package serverspec

import (
	"encoding/json"
	"fmt"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/payload"
)

// Seal makes the spec readable for holders of the payload keys alone, and as this server's only.
func Seal(keys *payload.Keys, serverID string, spec contract.ServerSpec) (payload.Sealed, error) {
	plain, err := json.Marshal(spec)
	if err != nil {
		return payload.Sealed{}, fmt.Errorf("the spec of server %s: %w", serverID, err)
	}
	return keys.Seal(plain, sealContext(serverID))
}

// Open reads what Seal made.
func Open(keys *payload.Keys, serverID string, sealed payload.Sealed) (contract.ServerSpec, error) {
	var spec contract.ServerSpec
	plain, err := keys.Open(sealed, sealContext(serverID))
	if err == nil {
		err = json.Unmarshal(plain, &spec)
	}
	if err != nil {
		return spec, fmt.Errorf("the spec of server %s: %w", serverID, err)
	}
	return spec, nil
}

// Reseal seals it anew with the first key, whatever version of the program wrote it.
func Reseal(keys *payload.Keys, serverID string, sealed payload.Sealed) (payload.Sealed, error) {
	plain, err := keys.Open(sealed, sealContext(serverID))
	if err != nil {
		return payload.Sealed{}, fmt.Errorf("the spec of server %s: %w", serverID, err)
	}
	return keys.Seal(plain, sealContext(serverID))
}

func sealContext(serverID string) string { return "server spec " + serverID }
