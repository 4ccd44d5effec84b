package network

import (
	"slices"
	"strings"

	"github.com/slipway-cloud/slipway/api/rest"
)

// may is what clients do with an attribute.
type may uint8

const (
	post     may = 1 << iota // say it of a new object
	put                      // change it
	required                 // have to say it of a new object
	filter                   // select lists by it
	sorts                    // and sort them
)

// attribute is a row of the table of a kind of objects: bodies are read and refused by it, lists filtered and sorted, objects shown.
// T is what is shown, D a draft: what bodies describe.
type attribute[T, D any] struct {
	name string
	may  may
	read value         // how its values are read, of bodies and of filters; nil is only shown
	set  func(*D, any) // puts what read gave into a draft; nil: the only value that read lets through is the one that it has anyway
	show func(T) any   // nil: it is not shown; hidden: not to this caller
}

// hidden is the value of an attribute that the caller may not see.
type hidden struct{}

// table is the attributes of a kind of objects, in the order in which bodies are checked.
type table[T, D any] []attribute[T, D]

func (t table[T, D]) find(name string) (attribute[T, D], bool) {
	for _, a := range t {
		if a.name == name {
			return a, true
		}
	}
	return attribute[T, D]{}, false
}

// view is an object with its fields, all where none are named.
func (t table[T, D]) view(o T, fields []string) object {
	row := object{}
	for _, a := range t {
		if a.show == nil || len(fields) > 0 && !slices.Contains(fields, a.name) {
			continue
		}
		if v := a.show(o); v != any(hidden{}) {
			row[a.name] = v
		}
	}
	return row
}

// drafts reads what a body with one object or, in bulk, a list of them creates (neutron/api/v2/base.py prepare_request_body).
func (k resource[T, D]) drafts(body any) (all []D, bulk bool, err error) {
	o, err := objectOf(body)
	if err != nil {
		return nil, false, err
	}
	items := []any{o[k.one]}
	if many, is := o[k.many]; is {
		items, bulk = nil, true
		if list, ok := many.([]any); ok {
			items = list
		}
		if len(items) == 0 {
			return nil, true, badRequest("Resources required")
		}
	} else if _, is := o[k.one]; !is {
		return nil, false, badRequest("Unable to find '%s' in request body", k.one)
	}
	for _, item := range items {
		if wrapped, ok := item.(object); bulk && ok && len(wrapped) == 1 && wrapped[k.one] != nil {
			item = wrapped[k.one]
		}
		said, err := k.said(item)
		if err != nil {
			return nil, bulk, err
		}
		d := k.draft()
		for _, a := range k.attributes {
			v, is := said[a.name]
			switch {
			case is && a.may&post == 0:
				return nil, bulk, badRequest("Attribute '%s' not allowed in POST", a.name)
			case !is && a.may&required != 0:
				return nil, bulk, badRequest("Failed to parse request. Required attribute '%s' not specified", a.name)
			}
			if is {
				if err := a.into(&d, v); err != nil {
					return nil, bulk, err
				}
			}
		}
		all = append(all, d)
	}
	return all, bulk, nil
}

// change reads what a body changes of an object that is there.
func (k resource[T, D]) change(body any) (func(*D), error) {
	o, err := objectOf(body)
	if err != nil {
		return nil, err
	}
	if _, is := o[k.one]; !is {
		return nil, badRequest("Unable to find '%s' in request body", k.one)
	}
	said, err := k.said(o[k.one])
	if err != nil {
		return nil, err
	}
	var sets []func(*D)
	for _, a := range k.attributes {
		v, is := said[a.name]
		if !is {
			continue
		}
		if a.may&put == 0 {
			return nil, badRequest("Cannot update read-only attribute %s", a.name)
		}
		v, err := a.read(a.name, v)
		if err != nil {
			return nil, err
		}
		if a.set != nil {
			sets = append(sets, func(d *D) { a.set(d, v) })
		}
	}
	return func(d *D) {
		for _, set := range sets {
			set(d)
		}
	}, nil
}

func (a attribute[T, D]) into(d *D, v any) error {
	v, err := a.read(a.name, v)
	if err == nil && a.set != nil {
		a.set(d, v)
	}
	return err
}

// said is an object of a body, if all of its attributes are known.
func (k resource[T, D]) said(item any) (object, error) {
	o, ok := item.(object)
	if !ok {
		return nil, badRequest("Object '%s' contains invalid data", k.one)
	}
	if tenant, project := o["tenant_id"], o["project_id"]; tenant != nil && project != nil && tenant != project {
		return nil, badRequest("'project_id' and 'tenant_id' do not match")
	}
	return o, known(o, func(name string) bool {
		a, is := k.attributes.find(name)
		return is && (a.show != nil || a.may&(post|put) != 0)
	})
}

// known refuses attributes that there are none of.
func known(o object, is func(string) bool) error {
	var unknown []string
	for _, name := range sortedKeys(o) {
		if !is(name) {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) > 0 {
		return badRequest("Unrecognized attribute(s) '%s'", strings.Join(unknown, ", "))
	}
	return nil
}

func objectOf(body any) (object, error) {
	if body == nil {
		return nil, badRequest("Resource body required")
	}
	o, ok := body.(object)
	if !ok {
		return nil, badRequest("Body contains invalid data")
	}
	return o, nil
}

// listed is Python's list of texts, as some of Neutron's refusals have it.
func listed(texts ...string) string {
	all := make([]any, len(texts))
	for i, t := range texts {
		all[i] = t
	}
	return rest.Python(all)
}
