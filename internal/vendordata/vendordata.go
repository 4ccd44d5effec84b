// Package vendordata asks an operator's services what a guest is to be told: Nova's dynamic vendor data
// (nova/api/metadata/vendordata_dynamic.py).
package vendordata

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/slipway-cloud/slipway/internal/contract"
)

// MaxBytes is the largest answer that is taken: a history takes it with its build.
const MaxBytes = 64 << 10

// question is the body that each service gets.
type question struct {
	ProjectID  string            `json:"project-id"`
	InstanceID string            `json:"instance-id"`
	ImageID    string            `json:"image-id"`
	UserData   []byte            `json:"user-data"` // base64, or null
	Hostname   string            `json:"hostname"`
	Metadata   map[string]string `json:"metadata"`
	BootRoles  string            `json:"boot-roles"`
}

// Ask asks all services at once. An answer is a JSON object, and an empty one where the service has nothing to say or failed; the
// error of each that failed is beside it. No error has an address, which may hold a token.
func Ask(ctx context.Context, in contract.AskVendorDataInput) (answers map[string]json.RawMessage, failed map[string]error) {
	q := question{
		ProjectID: in.ProjectID, InstanceID: in.ServerID, ImageID: in.ImageID, UserData: in.UserData,
		Hostname: in.Hostname, Metadata: in.Metadata, BootRoles: strings.Join(in.Roles, ","),
	}
	if q.Metadata == nil {
		q.Metadata = map[string]string{}
	}
	client := &http.Client{
		Timeout: in.ConnectTimeout + in.ReadTimeout,
		Transport: &http.Transport{
			Proxy:             http.ProxyFromEnvironment,
			DialContext:       (&net.Dialer{Timeout: in.ConnectTimeout}).DialContext,
			DisableKeepAlives: true,
			ForceAttemptHTTP2: true,
		},
		// What it is asked with would go where nobody said that it may.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	answers, failed = map[string]json.RawMessage{}, map[string]error{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, target := range in.Targets {
		all.Go(func() {
			answer, err := ask(ctx, client, target.URL, q)
			mu.Lock()
			defer mu.Unlock()
			if answers[target.Name] = answer; err != nil {
				answers[target.Name], failed[target.Name] = json.RawMessage("{}"), err
			}
		})
	}
	all.Wait()
	return answers, failed
}

func ask(ctx context.Context, client *http.Client, address string, q question) (json.RawMessage, error) {
	body, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("its address makes no request")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "slipway")
	resp, err := client.Do(req)
	if err != nil {
		if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return nil, fmt.Errorf("it answered %d", resp.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, MaxBytes+1))
	switch {
	case err != nil:
		return nil, err
	case len(text) > MaxBytes:
		return nil, fmt.Errorf("its answer has more than %d bytes", MaxBytes)
	case len(bytes.TrimSpace(text)) == 0:
		return json.RawMessage("{}"), nil
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(text, &object); err != nil || object == nil {
		return nil, errors.New("its answer is no JSON object")
	}
	var compact bytes.Buffer
	err = json.Compact(&compact, text)
	return compact.Bytes(), err
}
