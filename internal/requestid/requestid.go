// Package requestid carries the id of the request that caused something (req-<uuid>) from the API through Temporal to each
// step, so that one grep finds all of it in the logs of every process.
package requestid

import (
	"context"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/workflow"
)

// header is the name under which Temporal records it. It is not encrypted, because it is no secret.
const header = "slipway-request-id"

type key struct{}

// With gives a context that carries the id.
func With(ctx context.Context, id string) context.Context { return context.WithValue(ctx, key{}, id) }

// WithIn is With in a workflow, for what it begins of a request of its own.
func WithIn(ctx workflow.Context, id string) workflow.Context {
	return workflow.WithValue(ctx, key{}, id)
}

// Of is the id that a context carries, "" if none.
func Of(ctx context.Context) string {
	id, _ := ctx.Value(key{}).(string)
	return id
}

// Propagators are for every Temporal client: they take the id along into workflows and from them into activities.
func Propagators() []workflow.ContextPropagator { return []workflow.ContextPropagator{propagator{}} }

type propagator struct{}

func (propagator) Inject(ctx context.Context, w workflow.HeaderWriter) error {
	return write(w, Of(ctx))
}

func (propagator) InjectFromWorkflow(ctx workflow.Context, w workflow.HeaderWriter) error {
	id, _ := ctx.Value(key{}).(string)
	return write(w, id)
}

func (propagator) Extract(ctx context.Context, r workflow.HeaderReader) (context.Context, error) {
	id, err := read(r)
	if id == "" || err != nil {
		return ctx, err
	}
	return With(ctx, id), nil
}

func (propagator) ExtractToWorkflow(ctx workflow.Context, r workflow.HeaderReader) (workflow.Context, error) {
	id, err := read(r)
	if id == "" || err != nil {
		return ctx, err
	}
	return workflow.WithValue(ctx, key{}, id), nil
}

func write(w workflow.HeaderWriter, id string) error {
	if id == "" {
		return nil
	}
	p, err := converter.GetDefaultDataConverter().ToPayload(id)
	if err != nil {
		return err
	}
	w.Set(header, p)
	return nil
}

func read(r workflow.HeaderReader) (id string, err error) {
	err = r.ForEachKey(func(name string, p *commonpb.Payload) error {
		if name != header {
			return nil
		}
		return converter.GetDefaultDataConverter().FromPayload(p, &id)
	})
	return id, err
}
