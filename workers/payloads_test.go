package workers

import (
	"cmp"
	"context"
	"encoding"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/activities/control"
	"github.com/slipway-cloud/slipway/activities/host"
	"github.com/slipway-cloud/slipway/internal/contract"
)

var acceptPayloads = flag.Bool("accept-payloads", false, "rewrite testdata/payloads.txt with today's payloads")

const payloadsFile = "testdata/payloads.txt"

// What is exchanged without a function whose signature tells its type. A signal or heartbeat that is missing here fails the
// test below.
var (
	signals = map[string]any{
		contract.SignalDelete: contract.DeleteInput{},
		contract.SignalReset:  contract.ResetInput{},
		contract.SignalUndos:  []contract.PendingUndo{},
		contract.SignalDrain:  contract.DrainAct{},
	}
	heartbeatDetails = map[string]any{
		contract.FetchImage: contract.FetchProgress{}, contract.TakeSnapshot: contract.SnapshotProgress{}, contract.StoreSnapshot: contract.SnapshotProgress{},
		contract.OfferDisks: contract.TransferProgress{}, contract.ReceiveDisks: contract.TransferProgress{},
		contract.StoreImage: contract.ImportProgress{},
		contract.CopyImage:  contract.ImportProgress{},
	}
)

// TestPayloadsKeepTheirShape compares the JSON of everything that workflows and activities exchange with what it was.
// Histories hold it, of builds that still run and of builds of last week, so it changes as a public format does.
func TestPayloadsKeepTheirShape(t *testing.T) {
	now := payloads(t)
	text := render(now)
	if *acceptPayloads {
		if old, err := os.ReadFile(payloadsFile); err == nil {
			t.Logf("accepted:\n%s", judge(parse(t, string(old)), now))
		}
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(payloadsFile, []byte(text), 0o644))
		return
	}
	old, err := os.ReadFile(payloadsFile)
	require.NoError(t, err)
	if string(old) == text {
		return
	}
	t.Fatalf("The payloads that histories record are not what %s says.\n%s\n"+
		"Read docs/checklists/change-a-workflow.md. To accept: go test ./workers -run %s -accept-payloads, and commit the file.",
		payloadsFile, judge(parse(t, string(old)), now), t.Name())
}

// shape is the JSON of a payload: what stands at each path. "" is the payload itself.
type shape map[string]string

// payloads are the shapes of all that is exchanged, by what it is. They follow from the table of activities, from the workflows
// that workers register and from what these ask the engine for.
func payloads(t *testing.T) map[string]shape {
	t.Helper()
	all := map[string]shape{}
	add := func(what string, f reflect.Type) {
		n := 0
		for i := range f.NumIn() {
			if in := f.In(i); in != reflect.TypeFor[workflow.Context]() && in != reflect.TypeFor[context.Context]() {
				if n++; n > 1 {
					t.Errorf("%s takes more than one payload: take one struct, which can grow", what)
				}
				all[what+" input"] = shapeOf(in)
			}
		}
		for i := range f.NumOut() {
			if out := f.Out(i); out != reflect.TypeFor[error]() {
				all[what+" answer"] = shapeOf(out)
			}
		}
		if all[what+" input"] == nil && all[what+" answer"] == nil {
			all[what] = shape{"": "nothing"}
		}
	}
	r := &registered{activities: map[string]reflect.Type{}, workflows: map[string]reflect.Type{}}
	RegisterWorkflows(r)
	register(r, contract.OnControl, (*control.Activities)(nil), (*control.Audit)(nil))
	register(r, contract.OnHost, (*host.Activities)(nil))
	require.NotEmpty(t, r.workflows)
	require.Len(t, r.activities, len(contract.Activities()))
	for name, f := range r.workflows {
		add("workflow "+name, f)
	}
	for _, a := range contract.Activities() {
		add("activity "+a.Name, signature(a))
	}
	for name, details := range heartbeatDetails {
		require.Contains(t, r.activities, name)
		all["activity "+name+" heartbeat"] = shapeOf(reflect.TypeOf(details))
	}

	seen := map[string]bool{}
	for name, f := range r.workflows {
		for _, m := range messagesOf(t, name, f, r.activities) {
			seen[m.kind+m.name] = true
			what := "workflow " + name + " " + m.kind + " " + m.name
			if m.kind != "signal" {
				add(what, m.handler)
				continue
			}
			carried, known := signals[m.name]
			if !known {
				t.Errorf("%s: say in signals, in this file, what it carries", what)
				continue
			}
			all[what] = shapeOf(reflect.TypeOf(carried))
		}
	}
	for constant, name := range messageNames(t) {
		kind := strings.ToLower(messagePrefix(constant))
		if !seen[kind+name] {
			t.Errorf("contract.%s: no workflow was seen to take it. One asks for it only on a way that this test does not go: ask for it at the workflow's beginning", constant)
		}
	}
	return all
}

// registered keeps what a worker registers, by name.
type registered struct {
	worker.Registry
	activities, workflows map[string]reflect.Type
}

func (r *registered) RegisterActivityWithOptions(f any, o activity.RegisterOptions) {
	r.activities[o.Name] = reflect.TypeOf(f)
}

func (r *registered) RegisterWorkflowWithOptions(f any, o workflow.RegisterOptions) {
	r.workflows[o.Name] = reflect.TypeOf(f)
}

// message is what a workflow takes from outside.
type message struct {
	kind, name string       // query, update or signal
	handler    reflect.Type // nil for a signal
}

// messagesOf runs a workflow on empty input, with activities that succeed and answer nothing, and gives the messages that it
// asked for on its way.
func messagesOf(t *testing.T, name string, f reflect.Type, activities map[string]reflect.Type) []message {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(slog.New(slog.DiscardHandler))
	env := suite.NewTestWorkflowEnvironment()
	env.SetTestTimeout(time.Minute)
	seen := &messages{}
	env.SetWorkerOptions(worker.Options{Interceptors: []interceptor.WorkerInterceptor{seen}})
	RegisterWorkflows(env)
	for name, f := range activities {
		env.RegisterActivityWithOptions(answersNothing(f).Interface(), activity.RegisterOptions{Name: name})
	}
	var in []any
	for i := 1; i < f.NumIn(); i++ {
		in = append(in, reflect.Zero(f.In(i)).Interface())
	}
	env.ExecuteWorkflow(name, in...)
	require.True(t, env.IsWorkflowCompleted(), "%s did not come to its end", name)
	return seen.found
}

func answersNothing(f reflect.Type) reflect.Value {
	return reflect.MakeFunc(f, func([]reflect.Value) []reflect.Value {
		var out []reflect.Value
		for i := range f.NumOut() {
			out = append(out, reflect.Zero(f.Out(i)))
		}
		return out
	})
}

type messages struct {
	interceptor.WorkerInterceptorBase
	found []message
}

func (m *messages) InterceptWorkflow(_ workflow.Context, next interceptor.WorkflowInboundInterceptor) interceptor.WorkflowInboundInterceptor {
	return &messagesInbound{interceptor.WorkflowInboundInterceptorBase{Next: next}, m}
}

type messagesInbound struct {
	interceptor.WorkflowInboundInterceptorBase
	*messages
}

func (m *messagesInbound) Init(out interceptor.WorkflowOutboundInterceptor) error {
	return m.Next.Init(&messagesOutbound{interceptor.WorkflowOutboundInterceptorBase{Next: out}, m.messages})
}

type messagesOutbound struct {
	interceptor.WorkflowOutboundInterceptorBase
	*messages
}

func (m *messagesOutbound) SetQueryHandler(ctx workflow.Context, name string, handler any) error {
	m.found = append(m.found, message{"query", name, reflect.TypeOf(handler)})
	return m.Next.SetQueryHandler(ctx, name, handler)
}

func (m *messagesOutbound) SetQueryHandlerWithOptions(ctx workflow.Context, name string, handler any, o workflow.QueryHandlerOptions) error {
	m.found = append(m.found, message{"query", name, reflect.TypeOf(handler)})
	return m.Next.SetQueryHandlerWithOptions(ctx, name, handler, o)
}

func (m *messagesOutbound) SetUpdateHandler(ctx workflow.Context, name string, handler any, o workflow.UpdateHandlerOptions) error {
	m.found = append(m.found, message{"update", name, reflect.TypeOf(handler)})
	return m.Next.SetUpdateHandler(ctx, name, handler, o)
}

func (m *messagesOutbound) GetSignalChannel(ctx workflow.Context, name string) workflow.ReceiveChannel {
	m.found = append(m.found, message{kind: "signal", name: name})
	return m.Next.GetSignalChannel(ctx, name)
}

func (m *messagesOutbound) GetSignalChannelWithOptions(ctx workflow.Context, name string, o workflow.SignalChannelOptions) workflow.ReceiveChannel {
	m.found = append(m.found, message{kind: "signal", name: name})
	return m.Next.GetSignalChannelWithOptions(ctx, name, o)
}

// messageNames are the contract's names of messages, by constant.
func messageNames(t *testing.T) map[string]string {
	t.Helper()
	names := map[string]string{}
	files, err := filepath.Glob("../internal/contract/*.go")
	require.NoError(t, err)
	for _, path := range files {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			for i, id := range spec.Names {
				if messagePrefix(id.Name) == "" || i >= len(spec.Values) {
					continue
				}
				literal, ok := spec.Values[i].(*ast.BasicLit)
				require.True(t, ok, "contract.%s is not a plain string", id.Name)
				if names[id.Name], err = strconv.Unquote(literal.Value); err != nil {
					t.Errorf("contract.%s: %v", id.Name, err)
				}
			}
			return true
		})
	}
	require.NotEmpty(t, names)
	return names
}

func messagePrefix(constant string) string {
	for _, prefix := range []string{"Signal", "Query", "Update"} {
		if rest, ok := strings.CutPrefix(constant, prefix); ok && rest != "" && strings.ToUpper(rest[:1]) == rest[:1] {
			return prefix
		}
	}
	return ""
}

// shapeOf describes what encoding/json makes of a type.
func shapeOf(t reflect.Type) shape {
	s := shape{}
	s.describe("", t, "", nil)
	return s
}

// describe adds what stands at path. more is what is said of it besides its kind; within are the structs around it.
func (s shape) describe(path string, t reflect.Type, more string, within []reflect.Type) {
	if t.Kind() == reflect.Pointer {
		s.describe(path, t.Elem(), ", or null"+more, within)
		return
	}
	kind := ""
	switch {
	case t == reflect.TypeFor[time.Time]():
		kind = "time as RFC 3339"
	case t == reflect.TypeFor[time.Duration]():
		kind = "duration in nanoseconds"
	case implements[json.Marshaler](t):
		kind = "what " + t.String() + " marshals itself to"
	case implements[encoding.TextMarshaler](t):
		kind = "text of " + t.String()
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8:
		kind = "bytes as base64"
	case slices.Contains(within, t):
		kind = "object as around it"
	}
	if kind != "" {
		s[path] = kind + more
		return
	}
	switch k := t.Kind(); k {
	case reflect.Struct:
		s[path] = "object" + more
		within = append(slices.Clone(within), t)
		for _, f := range fields(t) {
			s.describe(path+"."+f.name, f.Type, f.more, within)
		}
	case reflect.Slice, reflect.Array:
		s[path] = "list" + more
		s.describe(path+"[]", t.Elem(), "", within)
	case reflect.Map:
		s[path] = "map by " + t.Key().Kind().String() + more
		s.describe(path+"{}", t.Elem(), "", within)
	case reflect.Int, reflect.Int64:
		s[path] = "integer" + more
	case reflect.Float64:
		s[path] = "number" + more
	default: // bool, string, integers with other bounds
		s[path] = k.String() + more
	}
}

func implements[I any](t reflect.Type) bool {
	return t.Implements(reflect.TypeFor[I]()) || reflect.PointerTo(t).Implements(reflect.TypeFor[I]())
}

type field struct {
	reflect.StructField
	name, more string
}

// fields are a struct's as encoding/json sees them: what an embedded struct without a name has is the struct's own.
func fields(t reflect.Type) []field {
	var all []field
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" && options == "" || !f.IsExported() && !f.Anonymous {
			continue
		}
		embedded := f.Type
		if embedded.Kind() == reflect.Pointer {
			embedded = embedded.Elem()
		}
		if f.Anonymous && name == "" && embedded.Kind() == reflect.Struct {
			all = append(all, fields(embedded)...)
			continue
		}
		more := ""
		for option := range strings.SplitSeq(options, ",") {
			switch option {
			case "omitempty", "omitzero":
				more = optional
			case "string":
				more += ", as a string"
			}
		}
		all = append(all, field{f, cmp.Or(name, f.Name), more})
	}
	return all
}

const optional = ", optional"

const payloadsHead = `# What workflows and activities exchange, as JSON. Histories hold it: it changes as a public format does.
# A test of workers writes this file: go test ./workers -run TestPayloadsKeepTheirShape -accept-payloads
# Read docs/checklists/change-a-workflow.md first.
`

func render(all map[string]shape) string {
	var b strings.Builder
	b.WriteString(payloadsHead)
	for _, what := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&b, "\n%s\n", what)
		for _, path := range slices.Sorted(maps.Keys(all[what])) {
			fmt.Fprintf(&b, "\t%s: %s\n", cmp.Or(path, "."), all[what][path])
		}
	}
	return b.String()
}

func parse(t *testing.T, text string) map[string]shape {
	t.Helper()
	all, what := map[string]shape{}, ""
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		entry, isEntry := strings.CutPrefix(line, "\t")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case !isEntry:
			what = line
			all[what] = shape{}
		default:
			path, kind, ok := strings.Cut(entry, ": ")
			require.True(t, ok && what != "", "%s: %q", payloadsFile, line)
			if path == "." {
				path = ""
			}
			all[what][path] = kind
		}
	}
	return all
}

// judge lists what changed between two states of the payloads, and says of each change whether builds that run go on.
func judge(old, now map[string]shape) string {
	var good, bad []string
	places := map[string]bool{}
	for what := range old {
		places[what] = true
	}
	for what := range now {
		places[what] = true
	}
	for _, what := range slices.Sorted(maps.Keys(places)) {
		was, is := old[what], now[what]
		switch {
		case was == nil:
			good = append(good, "+ "+what+": nothing that runs knows it")
			continue
		case is == nil:
			bad = append(bad, "- "+what+": builds that began before may still ask for it, or hold it; keep it until none runs")
			continue
		}
		paths := maps.Clone(was)
		maps.Copy(paths, is)
		for _, path := range slices.Sorted(maps.Keys(paths)) {
			before, had := was[path]
			after, has := is[path]
			at := what + " " + cmp.Or(path, "(the whole)")
			switch {
			case had && has && before == after, parentChanged(was, is, path):
			case !had && strings.HasSuffix(after, optional):
				good = append(good, "+ "+at+": "+after+". Older histories lack it: that must mean what was meant before")
			case !had:
				bad = append(bad, "+ "+at+": "+after+". Older histories lack it, and its zero value looks like a value: make it omitempty or omitzero if zero means what was meant before; else ask for a version before it is used")
			case !has:
				bad = append(bad, "- "+at+": "+before+". Older histories hold it, and older workers wait for it: keep the field")
			case strings.TrimSuffix(before, optional) == strings.TrimSuffix(after, optional):
				good = append(good, "~ "+at+": "+before+" became "+after+". It is read as before")
			default:
				bad = append(bad, "~ "+at+": "+before+" became "+after+". What histories hold cannot be read, or is read as something else: add a new field beside it")
			}
		}
	}
	var b strings.Builder
	for _, part := range []struct {
		title string
		lines []string
	}{{"NOT compatible, running builds would break or lose what they know:", bad}, {"Compatible:", good}} {
		if len(part.lines) > 0 {
			b.WriteString(part.title + "\n  " + strings.Join(part.lines, "\n  ") + "\n")
		}
	}
	return b.String()
}

// parentChanged says that something around a path came or went: that is told once.
func parentChanged(was, is shape, path string) bool {
	for i := len(path) - 1; i > 0; i-- {
		if strings.ContainsRune(".[{", rune(path[i])) {
			_, had := was[path[:i]]
			_, has := is[path[:i]]
			if had != has {
				return true
			}
		}
	}
	return false
}

func TestAChangedPayloadIsJudged(t *testing.T) {
	type inner struct {
		A int `json:"a"`
	}
	type before struct {
		Name  string        `json:"name"`
		Size  int           `json:"size"`
		Wait  time.Duration `json:"wait"`
		Lost  []inner       `json:"lost"`
		Inner inner         `json:"inner"`
		Same  *inner        `json:"same,omitempty"`
		Blob  []byte        `json:"blob"`
		At    time.Time     `json:"at,omitzero"`
		inner               // not exported, and yet its fields are the struct's
		No    chan int      `json:"-"`
		Self  map[string]any
	}
	type after struct {
		Name  string                   `json:"name"`
		Size  string                   `json:"size"`
		Wait  int                      `json:"wait"`
		Inner inner                    `json:"inner,omitzero"`
		Same  *inner                   `json:"same,omitempty"`
		Blob  []byte                   `json:"blob"`
		At    time.Time                `json:"at,omitzero"`
		More  map[string]time.Duration `json:"more,omitempty"`
		Must  bool                     `json:"must"`
		inner
		Self map[string]any
	}
	was, is := shapeOf(reflect.TypeFor[before]()), shapeOf(reflect.TypeFor[after]())
	require.Equal(t, shape{
		"": "object", ".name": "string", ".size": "integer", ".wait": "duration in nanoseconds", ".lost": "list", ".lost[]": "object", ".lost[].a": "integer",
		".inner": "object", ".inner.a": "integer", ".same": "object, or null, optional", ".same.a": "integer", ".blob": "bytes as base64",
		".at": "time as RFC 3339, optional", ".a": "integer", ".Self": "map by string", ".Self{}": "interface",
	}, was)
	var names []string
	for _, f := range fields(reflect.TypeFor[before]()) {
		names = append(names, f.name)
	}
	text, err := json.Marshal(before{Same: &inner{}, At: time.Unix(1, 0)})
	require.NoError(t, err)
	var object map[string]any
	require.NoError(t, json.Unmarshal(text, &object))
	require.ElementsMatch(t, slices.Collect(maps.Keys(object)), names, "encoding/json agrees")

	good := map[string]shape{"x": was}
	require.Empty(t, judge(good, good))
	verdict := judge(map[string]shape{"x": was, "gone": {"": "string"}}, map[string]shape{"x": is, "new": {"": "string"}})
	incompatible, compatible, ok := strings.Cut(verdict, "Compatible:\n")
	require.True(t, ok, verdict)
	for _, change := range []string{"- gone:", "~ x .size: integer became string.", "~ x .wait: duration in nanoseconds became integer.", "- x .lost: list.", "+ x .must: bool."} {
		require.Contains(t, incompatible, change)
	}
	for _, change := range []string{"+ new:", "~ x .inner: object became object, optional.", "+ x .more: map by string, optional."} {
		require.Contains(t, compatible, change)
	}
	require.Equal(t, 5+3+2, strings.Count(verdict, "\n"), "nothing else has changed, and nothing is told twice:\n%s", verdict)
	all := map[string]shape{"x": was, "y z": is}
	require.Equal(t, all, parse(t, render(all)))
}
