package cluster

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/protobuf/proto"

	"github.com/slipway-cloud/slipway/internal/hostapi"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/internal/payload"
)

// answered is how an answer with that status begins.
func answered(status int) string { return fmt.Sprintf("%d %s: ", status, http.StatusText(status)) }

func bearer(token string) map[string]string {
	return map[string]string{"Authorization": "Bearer " + token}
}

// atTheAPI is what is asked of the APIs, users' and hosts'.
func (c *cluster) atTheAPI(p *parties, w *world) []attempt {
	const base = "https://" + apiAddress
	bad, own := p.hv3, bearer(c.tokens["hv3"])
	report := func(hostname string) map[string]any {
		return map[string]any{"host": map[string]any{"hostname": hostname, "vcpus": 1000, "memory_mib": 1 << 30, "disk_gib": 1 << 20, "ready": true}}
	}
	line := func(s *somebody, method, path string, status int) []string {
		return []string{`"msg":"request"`, fmt.Sprintf(`"method":"%s","path":"%s","status":%d`, method, path, status), `"from":"` + s.machine.ip + ":"}
	}
	request := func(s *somebody, what, method, path string, header map[string]string, body any, status int) attempt {
		return s.gets(what, method, base+path, header, body, answered(status), "api", line(s, method, path, status)...)
	}
	demo := c.user(c.street, "demo", demoPassword)
	asDemo := map[string]string{"X-Auth-Token": demo.TokenID}
	asHost := map[string]string{"X-Auth-Token": c.tokens["hv3"]}
	guess := map[string]any{"auth": map[string]any{"identity": map[string]any{"methods": []string{"password"}, "password": map[string]any{
		"user": map[string]any{"name": "admin", "domain": map[string]any{"id": "default"}, "password": "guessed"},
	}}}}
	image := func(host string) string { return "/hosts/images/" + w.images[host] + "/file" }
	var known struct{ Guests []hostapi.Guest }
	_, text, _ := strings.Cut(ask(c.t.Context(), p.hv1.web, http.MethodGet, base+"/hosts/self/guests", bearer(c.tokens["hv1"]), nil), ": ")
	require.NoError(c.t, json.Unmarshal([]byte(text), &known))
	require.Len(c.t, known.Guests, 1)
	sighting := map[string]any{"guests": []any{hostapi.Sighting{ServerID: known.Guests[0].ServerID, AsOf: known.Guests[0].AsOf, PowerState: lifecycle.Crashed}}}

	return []attempt{
		request(p.nobody, "lists servers", http.MethodGet, "/compute/v2.1/servers", nil, nil, 401),
		request(p.nobody, "guesses the admin's password", http.MethodPost, "/v3/auth/tokens", nil, guess, 401),
		request(p.nobody, "admits a host", http.MethodPost, "/hosts", nil, map[string]any{"host": map[string]any{"hostname": "mine"}}, 401),
		request(p.nobody, "speaks for a host without a token", http.MethodGet, "/hosts/self/guests", nil, nil, 401),
		request(p.nobody, "speaks for a host with a token that is none", http.MethodGet, "/hosts/self/guests", bearer("guessed"), nil, 401),
		request(p.nobody, "gives a host up as a plain user", http.MethodPost, "/hosts/hv1/forget", asDemo, map[string]any{"reason": "mine"}, 403),

		request(bad, "fetches the image of its own server", http.MethodGet, image("hv3"), own, nil, 200),
		request(bad, "fetches the image of another's", http.MethodGet, image("hv1"), own, nil, 404),
		bad.gets("does so again", http.MethodGet, base+image("hv1"), own, nil, answered(404), "api", "A host asked for an image that no server on it needs.", `"host":"hv3"`),
		request(bad, "reports as another host", http.MethodPut, "/hosts/self", own, report("hv1"), 403),
		request(bad, "reports as another host in capitals", http.MethodPut, "/hosts/self", own, report("HV1"), 403),
		request(bad, "reports by a name that only looks like its own", http.MethodPut, "/hosts/self", own, report("hv3."), 403),
		request(bad, "reports by a name with a zero in it", http.MethodPut, "/hosts/self", own, report("hv3\x00hv1"), 400),
		// A host is believed what room it has, and so may draw builds to itself.
		request(bad, "claims the room of a thousand machines", http.MethodPut, "/hosts/self", own, report("hv3"), 200),
		// What a host says of a server that is not placed on it counts for nothing. It is no refusal: one whose server has just been
		// deleted says the same.
		request(bad, "says that another's guest has crashed", http.MethodPut, "/hosts/self/guests", own, sighting, 204),
		bad.gets("has another's server started", http.MethodPost, base+"/hosts/self/resume", own, map[string]any{"servers": []string{w.servers["hv1"]}},
			answered(202)+`{"servers":[]}`, "api", line(bad, http.MethodPost, "/hosts/self/resume", 202)...),
		request(bad, "shows another's token with its own certificate", http.MethodGet, "/hosts/self/guests", bearer(c.tokens["hv1"]), nil, 403),
		bad.gets("does so again", http.MethodGet, base+"/hosts/self/guests", bearer(c.tokens["hv1"]), nil, answered(403), "api", "A host's token came without its certificate.", `"host":"hv1"`, `this is that of \"hv3\"`),
		request(p.nobody, "shows a host's token without a certificate", http.MethodGet, "/hosts/self/guests", bearer(c.tokens["hv1"]), nil, 403),
		request(p.ada, "shows it with an operator's", http.MethodGet, "/hosts/self/guests", bearer(c.tokens["hv1"]), nil, 403),
		request(p.control, "passes a host's request on, as a proxy", http.MethodGet, "/hosts/self/guests", bearer(c.tokens["hv1"]), nil, 200),
		request(bad, "asks for another's payload keys", http.MethodGet, "/hosts/self/payload-keys", bearer(c.tokens["hv1"]), nil, 403),
		request(p.nobody, "asks for a host's with its token alone", http.MethodGet, "/hosts/self/payload-keys", bearer(c.tokens["hv1"]), nil, 403),
		request(bad, "lists servers by its own token", http.MethodGet, "/compute/v2.1/servers", asHost, nil, 401),
		request(bad, "lists hosts by its own token", http.MethodGet, "/hosts", asHost, nil, 401),
		request(bad, "gives itself another token", http.MethodPost, "/hosts/hv3/token", asHost, nil, 401),
	}
}

// ofPayloads is what can be read of what Temporal keeps and hands out.
func (c *cluster) ofPayloads(p *parties, tasks map[string]*workflowservice.PollActivityTaskQueueResponse) []attempt {
	converter := payload.HostConverter(c.keysOf(p.hv3, "hv3"))
	opens := func(what string, sealed *commonpb.Payloads, want string) attempt {
		return attempt{who: "hv3", what: "opens " + what, want: want, try: func(context.Context) string {
			var input json.RawMessage
			if err := converter.FromPayloads(sealed, &input); err != nil {
				return err.Error()
			}
			return "opened"
		}}
	}
	relabelled := proto.Clone(tasks["hv2"].GetInput()).(*commonpb.Payloads)
	for _, sealed := range relabelled.GetPayloads() {
		sealed.Metadata["encryption-key-id"] = []byte("k1@hv3")
	}
	ring, err := payload.LoadKeys(c.file("payload.keys"))
	require.NoError(c.t, err)
	inner, err := payload.ControlConverter(ring).ToPayloads("of the control plane")
	require.NoError(c.t, err)
	return []attempt{
		{who: "ada", what: "reads a user's request in a history", want: "sealed", try: func(ctx context.Context) string {
			var got workflowservice.GetWorkflowExecutionHistoryResponse
			err := p.ada.engine.Invoke(ctx, workflows+"GetWorkflowExecutionHistory",
				&workflowservice.GetWorkflowExecutionHistoryRequest{Namespace: namespace, Execution: tasks["hv2"].GetWorkflowExecution()}, &got)
			if err != nil {
				return outcome(err)
			}
			return readable(&got, got.GetHistory().GetEvents()[0].GetWorkflowExecutionStartedEventAttributes().GetInput().GetPayloads())
		}},
		{who: "hv3", what: "reads its own step with no key", want: "sealed", try: func(context.Context) string {
			return readable(tasks["hv3"], tasks["hv3"].GetInput().GetPayloads())
		}},
		opens("its own step", tasks["hv3"].GetInput(), "opened"),
		opens("another's step, if it got one", tasks["hv2"].GetInput(), `no key with id "k1@hv2"`),
		opens("another's step under the name of its own key", relabelled, "decrypting with key k1@hv3"),
		opens("what the control plane has sealed for itself", inner, `no key with id "k1"`),
	}
}

// keysOf are a host's payload keys, which it asks the API for.
func (c *cluster) keysOf(host *somebody, hostname string) *payload.Keys {
	c.t.Helper()
	keys, err := payload.OpenHostKeys(c.t.Context(), payload.HostOptions{
		Hostname: hostname, File: filepath.Join(c.t.TempDir(), "payload.keys"), Logger: slog.New(slog.DiscardHandler),
		Ask: func(ctx context.Context) ([]payload.Key, error) {
			_, text, _ := strings.Cut(ask(ctx, host.web, http.MethodGet, "https://"+apiAddress+"/hosts/self/payload-keys", bearer(c.tokens[hostname]), nil), ": ")
			var got hostapi.PayloadKeys
			err := json.Unmarshal([]byte(text), &got)
			var own []payload.Key
			for _, k := range got.Keys {
				own = append(own, payload.Key(k))
			}
			return own, err
		},
	})
	require.NoError(c.t, err)
	return keys.Keys
}

// readable says whether a message has something to read of its payloads, and some.
func readable(m proto.Message, payloads []*commonpb.Payload) string {
	if len(payloads) == 0 {
		return "there is none"
	}
	for _, p := range payloads {
		if e := string(p.GetMetadata()["encoding"]); e != "binary/encrypted" {
			return "in clear: " + e
		}
	}
	if text, err := proto.Marshal(m); err != nil || strings.Contains(string(text), "on-hv") {
		return fmt.Sprintf("the server's name is readable (%v)", err)
	}
	return "sealed"
}

// inTheControlPlanesName is whoever answers at its address, on a network that leads a machine astray.
func (c *cluster) inTheControlPlanesName(p *parties) []attempt {
	misled := c.network.machine("misled", "10.77.0.98")
	c.network.alsoHas(misled, controlIP)
	var asked atomic.Int32
	serve := func(port string, certificate tls.Certificate) {
		l, err := misled.listen(c.t.Context(), controlIP+port)
		require.NoError(c.t, err)
		server := &http.Server{
			TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}},
			ErrorLog:  slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo),
			Handler:   http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }),
		}
		done := make(chan struct{})
		go func() { defer close(done); _ = server.ServeTLS(l, "", "") }()
		c.t.Cleanup(func() { server.Close(); <-done })
	}
	serve(":1001", c.certificate("host-hv3"))
	serve(":1002", p.stranger.config.Certificates[0])
	try := func(what, port, want string) attempt {
		return attempt{who: "hv3", what: what, want: want, try: func(context.Context) string {
			_, err := c.verb(misled, "https://"+controlIP+port, "host", "list")
			if n := asked.Load(); n > 0 {
				return fmt.Sprintf("%d requests came", n)
			}
			return fmt.Sprint(err)
		}}
	}
	return []attempt{
		try("answers users with its own certificate", ":1001", "certificate is valid for 10.77.0.13, not 10.77.0.1"),
		try("answers users with one of a CA of its own", ":1002", "certificate signed by unknown authority"),
	}
}

// ofTheForgottenAndRevoked is what a host has left when it is given up, and when its certificate ends.
func (c *cluster) ofTheForgottenAndRevoked(p *parties, tasks map[string]*workflowservice.PollActivityTaskQueueResponse) []attempt {
	const self = "https://" + apiAddress + "/hosts/self/guests"
	connected := func(s *somebody) *somebody {
		same := c.somebody(s.role, s.name, s.machine, s.config)
		same.web.Transport.(*http.Transport).DisableKeepAlives = false
		return same
	}
	bad, ada := connected(p.hv3), connected(p.ada)
	const ended = "A certificate has ended while its holder was connected."
	describe := &workflowservice.DescribeNamespaceRequest{Namespace: namespace}
	revoked := func(s *somebody) attempt {
		a := s.refused("is revoked while it is connected", fmt.Sprintf(`\"%s\" (role \"%s\")`, s.name, s.role), "revoked")
		try := a.try
		a.try = func(ctx context.Context) (got string) {
			if _, err := c.ca.Revoke(ctx, s.role, s.name, ""); err != nil {
				return err.Error()
			}
			for got = try(ctx); strings.HasPrefix(got, "OK") && ctx.Err() == nil; got = try(ctx) {
				time.Sleep(50 * time.Millisecond) // it looks at the list now and then
			}
			return got
		}
		return a
	}
	again := func(s *somebody) attempt {
		return c.somebody(s.role, s.name, s.machine, s.config).connects("connects anew")
	}
	forgotten := bearer(c.tokens["hv2"])
	return []attempt{
		p.hv4.may("is asked who it is", workflows+"DescribeNamespace", describe),
		revoked(p.hv4),
		again(p.hv4),
		p.hv3.may("is not revoked", workflows+"DescribeNamespace", describe),
		p.hv4.shakes("connects anew to the API", apiAddress, "bad certificate", "api", "revoked"),
		p.hv4.shakes("connects to another host", hostOperators, "bad certificate", "hv1", "revoked"),

		{who: "the admin", what: "gives hv2 up", want: "hv2", try: func(context.Context) string {
			return c.slipway("host", "forget", "hv2", "--reason", "it turned bad", "--yes")
		}},
		p.hv2.gets("asks with its token", http.MethodGet, self, forgotten, nil, answered(401), "api", `"path":"/hosts/self/guests","status":401`),
		p.hv2.gets("registers with its token", http.MethodPut, "https://"+apiAddress+"/hosts/self", forgotten, map[string]any{}, answered(401), "api", `"path":"/hosts/self","status":401`),
		// Temporal knows hosts by their certificates alone.
		p.hv2.may("still has its certificate", workflows+"DescribeNamespace", describe),
		revoked(p.hv2),
		p.hv2.asksLate("polls its own queue", "PollActivityTaskQueue", pollOf("host:hv2")),
		p.hv2.asksLate("answers the step that it has had since", "RespondActivityTaskCompleted",
			&workflowservice.RespondActivityTaskCompletedRequest{Namespace: namespace, TaskToken: tasks["hv2"].GetTaskToken()}),

		bad.gets("asks the API", http.MethodGet, self, bearer(c.tokens["hv3"]), nil, answered(200), "api", `"status":200`),
		revoked(p.hv3),
		bad.gets("asks the API over the connection that it has", http.MethodGet, self, bearer(c.tokens["hv3"]), nil, answered(403), "api", ended, "CN=hv3", "revoked"),
		ada.gets("asks the operators' listener", http.MethodGet, "https://"+apiOperators+"/healthz", nil, nil, answered(200), ""),
		revoked(p.ada),
		ada.gets("asks it over the connection that she has", http.MethodGet, "https://"+apiOperators+"/healthz", nil, nil, answered(403), "api", ended, "CN=ada", "revoked"),
	}
}

// asksLate is what a host may do, by a certificate that has ended.
func (s *somebody) asksLate(what, method string, request proto.Message) attempt {
	a := s.asks(what, workflows+method, request)
	a.says = append(a.says, "revoked")
	return a
}
