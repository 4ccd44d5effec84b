// Package payload encrypts what Temporal records: inputs, results, queries and summaries are AES-256-GCM, so that admin
// passwords and user data are never readable in histories. The key id travels in the metadata, so keys can be rotated:
// the first key of the file encrypts, all of them decrypt. What the database keeps sealed is sealed with the same keys.
//
// The control plane holds these keys. Each host holds keys of its own, which are derived from them and its name: what goes to
// a host's task queue is encrypted with its key, and so are its answers. It opens nothing else.
package payload

import (
	"errors"
	"fmt"
	"net/http"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"

	"github.com/slipway-cloud/slipway/internal/contract"
)

const (
	encoding   = "binary/encrypted" // the name that Temporal's own samples use for it
	metaKeyID  = "encryption-key-id"
	metaCipher = "encryption-cipher"
	cipherName = "AES-256-GCM"
)

// ControlConverter is the data converter of the control plane's Temporal clients and workers.
func ControlConverter(keys *Keys) converter.DataConverter {
	return converter.NewCodecDataConverter(converter.GetDefaultDataConverter(), codec{keys: keys, control: true})
}

// HostConverter is that of a host, which has keys of its own.
func HostConverter(keys *Keys) converter.DataConverter {
	return converter.NewCodecDataConverter(converter.GetDefaultDataConverter(), codec{keys: keys})
}

// Handler is the codec endpoint that Temporal's Web UI asks to show payloads: POST …/decode (and …/encode). webUI is the
// origin that browsers may call it from. Whoever reaches it can read what is recorded: it belongs on the operator's
// listener, never on the users'.
func Handler(keys *Keys, webUI string) http.Handler {
	inner := converter.NewPayloadCodecHTTPHandler(codec{keys: keys, plain: true})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", webUI)
		w.Header().Set("Access-Control-Allow-Methods", "POST, OPTIONS")
		w.Header().Set("Access-Control-Allow-Headers", "Content-Type, X-Namespace, Authorization")
		w.Header().Set("Vary", "Origin")
		if r.Method == http.MethodOptions {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		inner.ServeHTTP(w, r)
	})
}

type codec struct {
	keys    *Keys
	control bool   // what is for a host is sealed with its key
	host    string // of the activity whose payloads these are; "" where it is none of a host's
	plain   bool   // what is not encrypted is let pass: it is only shown
}

// WithSerializationContext implements converter.PayloadCodecWithSerializationContext: the task queue says which host an
// activity is for.
func (c codec) WithSerializationContext(ctx converter.SerializationContext) converter.PayloadCodec {
	c.host = ""
	if activity, ok := ctx.(converter.ActivitySerializationContext); ok && c.control {
		c.host = contract.HostOf(activity.TaskQueue)
	}
	return c
}

func (c codec) Encode(payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
	id := c.keys.First()
	if c.host != "" {
		id = hostKeyID(id, c.host)
	}
	out := make([]*commonpb.Payload, len(payloads))
	for i, p := range payloads {
		plain, err := p.Marshal()
		if err != nil {
			return nil, fmt.Errorf("encrypting a payload: %w", err)
		}
		sealed, err := c.keys.seal(id, plain, id)
		if err != nil {
			return nil, fmt.Errorf("a payload: %w", err)
		}
		out[i] = &commonpb.Payload{
			Metadata: map[string][]byte{
				converter.MetadataEncoding: []byte(encoding),
				metaCipher:                 []byte(cipherName),
				metaKeyID:                  []byte(id),
			},
			Data: sealed,
		}
	}
	return out, nil
}

// Decode refuses what is not encrypted, and one host's answer in another's place.
func (c codec) Decode(payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
	out := make([]*commonpb.Payload, len(payloads))
	for i, p := range payloads {
		if string(p.Metadata[converter.MetadataEncoding]) != encoding {
			if !c.plain {
				return nil, errors.New("a payload is not encrypted, and everything that Slipway has recorded is")
			}
			out[i] = p
			continue
		}
		id := string(p.Metadata[metaKeyID])
		if _, host := ownerOf(id); c.host != "" && host != "" && host != c.host {
			return nil, fmt.Errorf("a payload of host %s is encrypted by host %s", c.host, host)
		}
		plain, err := c.keys.open(id, p.Data, id)
		if err != nil {
			return nil, fmt.Errorf("a payload: %w", err)
		}
		out[i] = &commonpb.Payload{}
		if err := out[i].Unmarshal(plain); err != nil {
			return nil, fmt.Errorf("decrypting a payload: %w", err)
		}
	}
	return out, nil
}
