// Package serverspec seals what a build knew of its server: the spec, for the database to keep as long as the server is there,
// and the facts, which lie beside the guest on its host.
package serverspec

import (
	"encoding/json"
	"fmt"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/payload"
)

// Kind is what is sealed. Each is bound to its server, so that what is put in another's place does not open.
type Kind[T any] struct{ name string }

// The kinds.
var (
	Spec  = Kind[contract.ServerSpec]{"server spec"}
	Facts = Kind[contract.ServerFacts]{"server facts"}
)

// Seal makes it readable for holders of the payload keys alone, and as this server's only.
func (k Kind[T]) Seal(keys *payload.Keys, serverID string, plain T) (payload.Sealed, error) {
	text, err := json.Marshal(plain)
	if err != nil {
		return payload.Sealed{}, k.failed(serverID, err)
	}
	return keys.Seal(text, k.context(serverID))
}

// Open reads what Seal made.
func (k Kind[T]) Open(keys *payload.Keys, serverID string, sealed payload.Sealed) (plain T, err error) {
	text, err := keys.Open(sealed, k.context(serverID))
	if err == nil {
		err = json.Unmarshal(text, &plain)
	}
	return plain, k.failed(serverID, err)
}

// Reseal seals it anew with the first key, whatever version of the program wrote it.
func (k Kind[T]) Reseal(keys *payload.Keys, serverID string, sealed payload.Sealed) (payload.Sealed, error) {
	text, err := keys.Open(sealed, k.context(serverID))
	if err != nil {
		return payload.Sealed{}, k.failed(serverID, err)
	}
	return keys.Seal(text, k.context(serverID))
}

func (k Kind[T]) context(serverID string) string { return k.name + " " + serverID }

func (k Kind[T]) failed(serverID string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("the %s of %s: %w", k.name, serverID, err)
}
