package workers

import (
	"context"
	"fmt"
	"reflect"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/worker"

	"github.com/slipway-cloud/slipway/internal/contract"
)

// register registers the activities that the table has for a scope: each is the method of its name of one of the parts. One
// that is missing, or takes or answers something else than its row says, is a bug that no process should start with.
func register(w worker.ActivityRegistry, scope contract.Scope, parts ...any) {
	for _, a := range contract.Activities() {
		if a.Scope == scope {
			w.RegisterActivityWithOptions(method(a, parts), activity.RegisterOptions{Name: a.Name})
		}
	}
}

func method(a contract.Activity, parts []any) any {
	for _, part := range parts {
		m := reflect.ValueOf(part).MethodByName(a.Name)
		if !m.IsValid() {
			continue
		}
		if want := signature(a); m.Type() != want {
			panic(fmt.Sprintf("%T.%s is a %s, and its row in internal/contract says %s", part, a.Name, m.Type(), want))
		}
		return m.Interface()
	}
	panic(fmt.Sprintf("internal/contract has a row for %s, and no method of that name is among %T", a.Name, parts))
}

func signature(a contract.Activity) reflect.Type {
	out := []reflect.Type{reflect.TypeFor[error]()}
	if a.Output != nil {
		out = []reflect.Type{a.Output, reflect.TypeFor[error]()}
	}
	return reflect.FuncOf([]reflect.Type{reflect.TypeFor[context.Context](), a.Input}, out, false)
}
