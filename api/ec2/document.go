package ec2

import (
	"reflect"
	"slices"
	"strings"
)

// Action is one of the table, for the documents.
type Action struct {
	Name    string
	Takes   []string // its parameters, a list's with .N
	Refuses []string // those that are EC2's and not taken here, with the reason
	Why     string   // the whole action is refused
}

// Actions are all of them, by name.
func Actions() []Action {
	var all []Action
	for _, a := range table() {
		one := Action{Name: a.name, Why: a.why}
		if a.takes != nil {
			one.Takes, one.Refuses = parameters(reflect.TypeOf(a.takes), "")
		}
		all = append(all, one)
	}
	slices.SortFunc(all, func(x, y Action) int { return strings.Compare(x.Name, y.Name) })
	return all
}

// parameters are a request struct's, as decode reads them.
func parameters(of reflect.Type, prefix string) (takes, refuses []string) {
	for i := range of.NumField() {
		field := of.Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("ec2"), ",")
		name = prefix + name
		kind := field.Type
		if kind.Kind() == reflect.Pointer {
			kind = kind.Elem()
		}
		if kind.Kind() == reflect.Slice && kind.Elem().Kind() != reflect.Uint8 {
			kind, name = kind.Elem(), name+".N"
		}
		var more, less []string
		switch {
		case field.Anonymous:
			more, less = parameters(kind, prefix)
		case kind == reflect.TypeFor[refused]():
			less = []string{name + " (" + field.Tag.Get("why") + ")"}
		case kind.Kind() == reflect.Struct:
			more, less = parameters(kind, name+".")
		case options == "required":
			more = []string{"**" + name + "**"}
		default:
			more = []string{name}
		}
		takes, refuses = append(takes, more...), append(refuses, less...)
	}
	return takes, refuses
}
