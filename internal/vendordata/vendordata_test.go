package vendordata

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
)

func about(targets ...contract.VendorTarget) contract.AskVendorDataInput {
	return contract.AskVendorDataInput{
		VendorServices: contract.VendorServices{Targets: targets, ConnectTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second},
		ServerID:       "s", ProjectID: "p", ImageID: "i", Hostname: "web", UserData: []byte("#!/bin/sh\n"), Roles: []string{"member", "reader"},
	}
}

func TestEachServiceIsAskedWithNovasBodyAndItsAnswerStandsUnderItsName(t *testing.T) {
	asked := make(chan string, 2)
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		asked <- r.Method + " " + r.Header.Get("Content-Type") + " " + string(body)
		_, _ = io.WriteString(w, `{ "large": 12345678901234567890, "of": "`+r.URL.Path+`" }`)
	}))
	defer service.Close()
	answers, failed := Ask(t.Context(), about(contract.VendorTarget{Name: "join", URL: service.URL + "/join"}, contract.VendorTarget{Name: "dns", URL: service.URL + "/dns"}))
	require.Empty(t, failed)
	require.Equal(t, map[string]json.RawMessage{
		"join": json.RawMessage(`{"large":12345678901234567890,"of":"/join"}`), "dns": json.RawMessage(`{"large":12345678901234567890,"of":"/dns"}`),
	}, answers)
	for range 2 {
		require.Equal(t, `POST application/json {"project-id":"p","instance-id":"s","image-id":"i","user-data":"IyEvYmluL3NoCg==","hostname":"web","metadata":{},"boot-roles":"member,reader"}`, <-asked)
	}
}

func TestAnAnswerThatIsNoneIsAnErrorWithoutTheAddressAndAnEmptyObject(t *testing.T) {
	mux := http.NewServeMux()
	say := func(path, text string) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) })
	}
	say("/nothing", " ")
	say("/list", "[]")
	say("/null", "null")
	say("/text", "hello")
	say("/large", `{"a":"`+strings.Repeat("a", MaxBytes)+`"}`)
	say("/elsewhere", "{}")
	mux.Handle("/redirect", http.RedirectHandler("/elsewhere", http.StatusTemporaryRedirect))
	done := make(chan struct{})
	mux.HandleFunc("/hang", func(http.ResponseWriter, *http.Request) { <-done })
	service := httptest.NewServer(mux)
	defer service.Close()
	defer close(done)
	for path, text := range map[string]string{
		"nothing": "", "list": "no JSON object", "null": "no JSON object", "text": "no JSON object", "large": "more than 65536 bytes",
		"absent": "answered 404", "redirect": "answered 307", "hang": "Timeout exceeded",
	} {
		t.Run(path, func(t *testing.T) {
			in := about(contract.VendorTarget{Name: "one", URL: strings.Replace(service.URL, "http://", "http://user:secret@", 1) + "/" + path})
			if path == "hang" {
				in.ConnectTimeout, in.ReadTimeout = 50*time.Millisecond, 50*time.Millisecond
			}
			answers, failed := Ask(t.Context(), in)
			require.Equal(t, map[string]json.RawMessage{"one": json.RawMessage("{}")}, answers)
			if text == "" {
				require.Empty(t, failed)
				return
			}
			require.ErrorContains(t, failed["one"], text)
			require.NotContains(t, failed["one"].Error(), "secret")
		})
	}
}
