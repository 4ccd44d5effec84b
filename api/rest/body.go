package rest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/labstack/echo/v4"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// MaxBody is the most that a JSON request may hold, in bytes (oslo.middleware's max_request_body_size).
const MaxBody = 114688

// maxDepth is how deep a body may nest; OpenStack's deepest has seven levels.
const maxDepth = 64

// schemaName is absolute: the compiler takes a relative one for a file in the working directory, which may be gone.
const schemaName = "slipway:schema"

// Schema compiles a JSON Schema that is part of the program; formats are checked. A schema that does not compile is a
// bug, so it panics.
func Schema(text string) *jsonschema.Schema {
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		panic(fmt.Sprintf("JSON schema: %v\n%s", err, text))
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource(schemaName, doc); err != nil {
		panic(fmt.Sprintf("JSON schema: %v\n%s", err, text))
	}
	schema := compiler.MustCompile(schemaName)
	compiled.Lock()
	defer compiled.Unlock()
	compiled.all = append(compiled.all, schema)
	return schema
}

// compiled has what Schema has compiled.
var compiled struct {
	sync.Mutex
	all []*jsonschema.Schema
}

// Schemas are all that bodies of this program are held against, for tests that make bodies of them.
func Schemas() []*jsonschema.Schema {
	compiled.Lock()
	defer compiled.Unlock()
	return slices.Clone(compiled.all)
}

// Bind reads a JSON body into dst: 415 for another content type, 413 over MaxBody, 400 for what is not one JSON document
// or does not fit the schema, in Nova's words. A nil schema checks nothing but the form.
func Bind(c echo.Context, schema *jsonschema.Schema, dst any) error {
	return BindType(c, schema, dst, jsonType)
}

// BindType is Bind for bodies of another content type.
func BindType(c echo.Context, schema *jsonschema.Schema, dst any, contentTypes ...string) error {
	raw, err := ReadBody(c, contentTypes...)
	if err != nil {
		return err
	}
	doc, err := parse(raw)
	if err != nil {
		return err
	}
	if schema != nil {
		if err := checkParsed(schema, doc); err != nil {
			return err
		}
	}
	if dst == nil {
		return nil
	}
	// What was checked is what is read.
	if raw, err = json.Marshal(doc); err != nil {
		return fmt.Errorf("read a body: %w", err)
	}
	if err := json.Unmarshal(raw, dst); err != nil {
		return misfit(err)
	}
	return nil
}

// Document reads a JSON body as it is: numbers are json.Number. An empty body is nil.
func Document(c echo.Context) (any, error) {
	raw, err := ReadBody(c, jsonType)
	if err != nil || len(raw) == 0 {
		return nil, err
	}
	return parse(raw)
}

// ReadBody reads a whole body of one of the content types (none given: any), at most MaxBody.
func ReadBody(c echo.Context, contentTypes ...string) ([]byte, error) {
	req := c.Request()
	if req.ContentLength > MaxBody {
		return nil, fault.New(fault.TooLarge, "Request is too large.")
	}
	if header := req.Header.Get("Content-Type"); header != "" && len(contentTypes) > 0 {
		got, _, err := mime.ParseMediaType(header)
		if err != nil || !slices.Contains(contentTypes, got) {
			return nil, Status(http.StatusUnsupportedMediaType, "Unsupported Content-Type")
		}
	}
	raw, err := io.ReadAll(http.MaxBytesReader(c.Response(), req.Body, MaxBody))
	if err != nil {
		var tooBig *http.MaxBytesError
		if errors.As(err, &tooBig) {
			return nil, fault.New(fault.TooLarge, "Request is too large.")
		}
		// Cut off or too slow: the client's doing, and mostly nobody is left to read the answer.
		return nil, fault.Wrap(fault.Invalid, err, "The request's body ended too early.")
	}
	return raw, nil
}

func malformed() error { return fault.New(fault.Invalid, "Malformed request body") }

// parse reads one JSON document. Duplicate keys, text that is no Unicode, numbers that no field could hold and deep nesting
// are refused: readers that disagree on them are how checks are walked around.
func parse(raw []byte) (any, error) {
	dec := jsontext.NewDecoder(bytes.NewBuffer(raw))
	doc, err := value(dec)
	if err == nil {
		if _, err = dec.ReadToken(); errors.Is(err, io.EOF) {
			return doc, nil
		}
	}
	var (
		f      *fault.Error
		syntax *jsontext.SyntacticError
	)
	switch {
	case errors.As(err, &f):
		return nil, err
	case errors.Is(err, jsontext.ErrDuplicateName) && errors.As(err, &syntax):
		return nil, fault.New(fault.Invalid, "Malformed request body: the key '%s' occurs twice", show(syntax.JSONPointer.LastToken()))
	}
	return nil, malformed()
}

func value(dec *jsontext.Decoder) (any, error) {
	if dec.StackDepth() > maxDepth {
		return nil, fault.New(fault.Invalid, "Malformed request body: it nests deeper than %d levels", maxDepth)
	}
	tok, err := dec.ReadToken()
	if err != nil {
		return nil, err
	}
	switch tok.Kind() {
	case '"':
		return text(tok)
	case '0':
		n := json.Number(tok.String())
		return asInteger(n), checkNumber(n)
	case 't', 'f':
		return tok.Bool(), nil
	case '[':
		list := []any{}
		for dec.PeekKind() != ']' {
			v, err := value(dec)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := dec.ReadToken()
		return list, err
	case '{':
		object := map[string]any{}
		for dec.PeekKind() != '}' {
			name, err := dec.ReadToken()
			if err != nil {
				return nil, err
			}
			key, err := text(name)
			if err != nil {
				return nil, err
			}
			if object[key], err = value(dec); err != nil {
				return nil, err
			}
		}
		_, err := dec.ReadToken()
		return object, err
	}
	return nil, nil //nolint:nilnil // null
}

// text refuses the one character that Postgres cannot keep.
func text(tok jsontext.Token) (string, error) {
	s := tok.String()
	if strings.ContainsRune(s, 0) {
		return s, fault.New(fault.Invalid, "Malformed request body: a text holds a null character")
	}
	return s, nil
}

// checkNumber refuses numbers that are costly to compare exactly (1e999999999 as a fraction) or that nothing could hold.
func checkNumber(n json.Number) error {
	if len(n) <= 40 {
		if i := strings.IndexAny(string(n), "eE"); i < 0 {
			return nil
		} else if exp, err := strconv.Atoi(string(n[i+1:])); err == nil && exp >= -40 && exp <= 40 {
			return nil
		}
	}
	return fault.New(fault.Invalid, "Malformed request body: the number %s is out of range", show(string(n)))
}

// asInteger writes a number without a fraction as an integer: to JSON Schema 5.0 and 5e0 are integers, to Go they are none.
func asInteger(n json.Number) json.Number {
	if !strings.ContainsAny(string(n), ".eE") || checkNumber(n) != nil {
		return n
	}
	if r, ok := new(big.Rat).SetString(string(n)); ok && r.IsInt() {
		return json.Number(r.Num().String())
	}
	return n
}

// misfit explains a body that fits the schema but not the Go type (1.5 for a whole number where no schema said so).
func misfit(err error) error {
	var t *json.UnmarshalTypeError
	if errors.As(err, &t) && t.Field != "" {
		field := t.Field[strings.LastIndexByte(t.Field, '.')+1:]
		return fault.New(fault.Invalid, "Invalid input for field/attribute %s. Value: %s. It is not of type '%s'", field, t.Value, typeName(t.Type.Kind().String()))
	}
	return malformed()
}

func typeName(k string) string {
	switch {
	case strings.HasPrefix(k, "int"), strings.HasPrefix(k, "uint"):
		return "integer"
	case strings.HasPrefix(k, "float"):
		return "number"
	case k == "bool":
		return "boolean"
	case k == "slice":
		return "array"
	case k == "map", k == "struct":
		return "object"
	}
	return "string"
}

// explain words a schema violation as Nova does (nova/api/validation/validators.py): the last element of the path, the
// value, and python-jsonschema's message.
func explain(v *jsonschema.ValidationError, doc any) string {
	leaf := deepest(v)
	instance := valueAt(doc, leaf.InstanceLocation)
	message := describe(leaf, instance)
	if len(leaf.InstanceLocation) == 0 {
		return message
	}
	field := leaf.InstanceLocation[len(leaf.InstanceLocation)-1]
	return fmt.Sprintf("Invalid input for field/attribute %s. Value: %s. %s", show(field), Python(instance), message)
}

// deepest picks one violation to show: the first leaf, in the order of where it is, so that the same body always gets the
// same text.
func deepest(v *jsonschema.ValidationError) *jsonschema.ValidationError {
	switch v.ErrorKind.(type) {
	case *kind.AnyOf, *kind.OneOf:
		// "is not valid under any of the given schemas" says no more than one branch's complaint would mislead.
		return v
	}
	var best *jsonschema.ValidationError
	for _, cause := range v.Causes {
		leaf := deepest(cause)
		if best == nil || before(leaf, best) {
			best = leaf
		}
	}
	if best == nil {
		return v
	}
	return best
}

func before(a, b *jsonschema.ValidationError) bool {
	if len(a.InstanceLocation) != len(b.InstanceLocation) {
		return len(a.InstanceLocation) < len(b.InstanceLocation)
	}
	return strings.Join(a.InstanceLocation, "/") < strings.Join(b.InstanceLocation, "/")
}

func valueAt(doc any, path []string) any {
	for _, p := range path {
		switch d := doc.(type) {
		case map[string]any:
			doc = d[p]
		case []any:
			i, err := strconv.Atoi(p)
			if err != nil || i < 0 || i >= len(d) {
				return nil
			}
			doc = d[i]
		}
	}
	return doc
}

func describe(v *jsonschema.ValidationError, instance any) string {
	is := repr(instance)
	switch k := v.ErrorKind.(type) {
	case *kind.Type:
		want := make([]string, len(k.Want))
		for i, w := range k.Want {
			want[i] = "'" + w + "'"
		}
		return fmt.Sprintf("%s is not of type %s", is, strings.Join(want, ", "))
	case *kind.Enum:
		return fmt.Sprintf("%s is not one of %s", is, repr(k.Want))
	case *kind.Const:
		return fmt.Sprintf("%s was expected", repr(k.Want))
	case *kind.Required:
		return fmt.Sprintf("'%s' is a required property", k.Missing[0])
	case *kind.AdditionalProperties:
		return additional(k.Properties)
	case *kind.FalseSchema:
		return fmt.Sprintf("False schema does not allow %s", is)
	case *kind.MinLength, *kind.MinItems:
		return is + " is too short"
	case *kind.MaxLength, *kind.MaxItems:
		return is + " is too long"
	case *kind.MinProperties:
		return is + " does not have enough properties"
	case *kind.MaxProperties:
		return is + " has too many properties"
	case *kind.UniqueItems:
		return is + " has non-unique elements"
	case *kind.Minimum:
		return fmt.Sprintf("%s is less than the minimum of %s", is, k.Want.RatString())
	case *kind.Maximum:
		return fmt.Sprintf("%s is greater than the maximum of %s", is, k.Want.RatString())
	case *kind.Pattern:
		return fmt.Sprintf("%s does not match '%s'", is, k.Want)
	case *kind.Format:
		return fmt.Sprintf("%s is not a '%s'", is, k.Want)
	case *kind.AnyOf, *kind.OneOf:
		return is + " is not valid under any of the given schemas"
	default:
		return is + " is not valid"
	}
}

func additional(names []string) string {
	names = slices.Clone(names)
	slices.Sort(names)
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = "'" + show(n) + "'"
	}
	verb := "was"
	if len(names) > 1 {
		verb = "were"
	}
	return fmt.Sprintf("Additional properties are not allowed (%s %s unexpected)", strings.Join(quoted, ", "), verb)
}

// maxShown is how many runes of a client's value an error text repeats.
const maxShown = 300

func show(s string) string {
	if r := []rune(s); len(r) > maxShown {
		return string(r[:maxShown]) + "..."
	}
	return s
}

// Python is a value as Python's str() writes it, repr as its repr(): OpenStack's texts are made of them.
func Python(v any) string {
	if s, ok := v.(string); ok {
		return show(s)
	}
	return repr(v)
}

func repr(v any) string {
	switch t := v.(type) {
	case nil:
		return "None"
	case bool:
		if t {
			return "True"
		}
		return "False"
	case string:
		if strings.Contains(t, "'") && !strings.Contains(t, `"`) {
			return `"` + show(t) + `"`
		}
		return "'" + strings.ReplaceAll(show(t), "'", `\'`) + "'"
	case json.Number:
		return t.String()
	case []any:
		parts := make([]string, len(t))
		for i, e := range t {
			parts[i] = repr(e)
		}
		return show("[" + strings.Join(parts, ", ") + "]")
	case map[string]any:
		keys := make([]string, 0, len(t))
		for k := range t {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		parts := make([]string, len(keys))
		for i, k := range keys {
			parts[i] = repr(k) + ": " + repr(t[k])
		}
		return show("{" + strings.Join(parts, ", ") + "}")
	default:
		return fmt.Sprint(t)
	}
}

// Check holds a document that is put together from several requests or parts against a schema, with Bind's texts.
func Check(schema *jsonschema.Schema, document any) error {
	raw, err := json.Marshal(document)
	if err != nil {
		return fmt.Errorf("check a document: %w", err)
	}
	doc, err := parse(raw)
	if err != nil {
		return err
	}
	return checkParsed(schema, doc)
}

func checkParsed(schema *jsonschema.Schema, doc any) error {
	err := schema.Validate(doc)
	if err == nil {
		return nil
	}
	var v *jsonschema.ValidationError
	if errors.As(err, &v) {
		return fault.New(fault.Invalid, "%s", explain(v, doc))
	}
	return fmt.Errorf("validate a body: %w", err)
}
