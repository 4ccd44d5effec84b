package ec2

import (
	"encoding/base64"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-cloud/slipway/internal/ids"
)

// decode reads parameters into a request struct. A field's tag is the parameter's name: `ec2:"ImageId"`, with ",required" where it has
// to be there. Structs are Name.Field, lists Name.1, Name.2 and so on; an embedded struct's parameters are its holder's own. A field
// of the type refused is a parameter that EC2 has and that nothing here does. What no field names is refused.
func decode(values url.Values, into any) error {
	root := &parameter{}
	for _, name := range sortedKeys(values) {
		if err := root.put(name, strings.Split(name, "."), values.Get(name)); err != nil {
			return err
		}
	}
	return root.into("", reflect.ValueOf(into).Elem())
}

// refused is a parameter that is in EC2's reference and cannot be honoured here; its field's tag why says why.
type refused struct{}

// blob is base64 in a parameter.
type blob []byte

// parameter is one, or those whose names begin with its own.
type parameter struct {
	name  string // whole
	value *string
	below map[string]*parameter
}

// maxDepth is how deep names may nest; EC2's deepest have six parts.
const maxDepth = 10

func (p *parameter) put(name string, parts []string, value string) error {
	if len(parts) > maxDepth || slices.Contains(parts, "") {
		return unknown(name)
	}
	for i, part := range parts {
		if p.value != nil {
			return unknown(name)
		}
		if p.below == nil {
			p.below = map[string]*parameter{}
		}
		if p.below[part] == nil {
			p.below[part] = &parameter{name: strings.Join(parts[:i+1], ".")}
		}
		p = p.below[part]
	}
	if p.below != nil {
		return unknown(name)
	}
	p.value = &value
	return nil
}

func unknown(name string) error {
	return refuse(ids.EC2Code("UnknownParameter"), "The parameter %s is not recognized", name)
}

// into reads a parameter into what its name stands for.
func (p *parameter) into(why string, v reflect.Value) error {
	switch v.Interface().(type) {
	case refused:
		return unsupported("The parameter %s is not supported: %s.", p.name, why)
	case blob:
		text, err := p.text()
		if err != nil {
			return err
		}
		data, err := base64.StdEncoding.DecodeString(strings.Map(func(r rune) rune {
			if strings.ContainsRune(" \t\r\n", r) {
				return -1
			}
			return r
		}, text))
		if err != nil {
			return refuse(ids.EC2Code("Invalid"+p.name+".Malformed"), "Invalid BASE64 encoding of %s.", p.name)
		}
		v.SetBytes(data)
		return nil
	}
	switch v.Kind() { //nolint:exhaustive // what request structs are made of
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		return p.into(why, v.Elem())
	case reflect.Struct:
		return p.intoStruct(v)
	case reflect.Slice:
		return p.intoList(why, v)
	}
	text, err := p.text()
	if err != nil {
		return err
	}
	switch v.Kind() { //nolint:exhaustive // as above
	case reflect.String:
		v.SetString(text)
	case reflect.Int:
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			return invalid("Value (%s) for parameter %s is invalid. It has to be a number.", text, p.name)
		}
		v.SetInt(n)
	case reflect.Bool:
		b, err := boolean(p.name, text)
		if err != nil {
			return err
		}
		v.SetBool(b)
	default:
		panic("no parameter is a " + v.Type().String())
	}
	return nil
}

// boolean reads true or false; "" is false.
func boolean(name, text string) (bool, error) {
	switch strings.ToLower(text) {
	case "true", "1":
		return true, nil
	case "false", "0", "":
		return false, nil
	}
	return false, invalid("Value (%s) for parameter %s is invalid. It has to be true or false.", text, name)
}

func (p *parameter) text() (string, error) {
	if p.value == nil {
		return "", unknown(p.first())
	}
	return *p.value, nil
}

// first is the whole name of the first parameter below.
func (p *parameter) first() string {
	for len(p.below) > 0 {
		p = p.below[sortedKeys(p.below)[0]]
	}
	return p.name
}

func (p *parameter) intoStruct(v reflect.Value) error {
	if p.value != nil {
		return unknown(p.name)
	}
	known, err := p.intoFields(v)
	if err != nil {
		return err
	}
	for _, name := range sortedKeys(p.below) {
		if !slices.Contains(known, name) {
			return unknown(p.below[name].first())
		}
	}
	return nil
}

func (p *parameter) intoFields(v reflect.Value) (known []string, err error) {
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if field.Anonymous {
			more, err := p.intoFields(v.Field(i))
			if err != nil {
				return nil, err
			}
			known = append(known, more...)
			continue
		}
		name, options, _ := strings.Cut(field.Tag.Get("ec2"), ",")
		known = append(known, name)
		switch below := p.below[name]; {
		case below != nil:
			if err := below.into(field.Tag.Get("why"), v.Field(i)); err != nil {
				return nil, err
			}
		case options == "required":
			if p.name != "" {
				name = p.name + "." + name
			}
			return nil, missing(name)
		}
	}
	return known, nil
}

// intoList reads Name.1, Name.2 …; numbers may be left out.
func (p *parameter) intoList(why string, v reflect.Value) error {
	if p.value != nil {
		return unknown(p.name)
	}
	var numbers []int
	for number := range p.below {
		n, err := strconv.ParseInt(number, 10, 32)
		if err != nil || n < 0 || strconv.FormatInt(n, 10) != number {
			return unknown(p.below[number].first())
		}
		numbers = append(numbers, int(n))
	}
	slices.Sort(numbers)
	list := reflect.MakeSlice(v.Type(), len(numbers), len(numbers))
	for i, n := range numbers {
		if err := p.below[strconv.Itoa(n)].into(why, list.Index(i)); err != nil {
			return err
		}
	}
	v.Set(list)
	return nil
}
