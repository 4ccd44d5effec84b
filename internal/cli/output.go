package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/spf13/pflag"
	yaml "go.yaml.in/yaml/v3"
)

// object is a resource as the API wrote it: JSON with numbers kept as written.
type object = map[string]any

var formats = []string{"table", "wide", "json", "yaml", "value", "name"}

// output is the form of what goes to standard output, the same for every verb.
type output struct {
	format    string
	columns   []string
	noHeaders bool
	quiet     bool
}

func (o *output) bind(flags *pflag.FlagSet) {
	flags.StringVarP(&o.format, "output", "o", "table", "output: table, wide, json, yaml (the API's own field names), value (bare, between tabs), name")
	flags.StringSliceVarP(&o.columns, "columns", "c", nil, "columns of a table, by title or by the API's field name (comma separated, or --column repeated)")
	flags.BoolVar(&o.noHeaders, "no-headers", false, "tables without their first line")
	flags.BoolVarP(&o.quiet, "quiet", "q", false, "print ids only, one a line, and no progress")
}

func (o *output) check() error {
	if !slices.Contains(formats, o.format) {
		return fmt.Errorf("-o %s: choose one of %s", o.format, strings.Join(formats, ", "))
	}
	if slices.ContainsFunc(o.columns, func(name string) bool { return strings.TrimSpace(name) == "" }) {
		return errors.New("--columns has an empty name in it")
	}
	return nil
}

// whole says whether the API's own answer is printed.
func (o *output) whole() bool { return !o.quiet && (o.format == "json" || o.format == "yaml") }

// column is one column of a list, or one row of a single resource.
type column struct {
	title string
	text  func(object) string
	wide  bool
}

func col(title string, path ...string) column {
	return column{title: title, text: func(o object) string { return text(o, path...) }}
}

func computed(title string, f func(object) string) column { return column{title: title, text: f} }

func (c column) onlyWide() column { c.wide = true; return c }

// layout is how a resource is shown: in a list, and alone (show; nil means every column of the list).
type layout struct {
	list []column
	show []column
	name string // the field that -o name prints; "" is "name"
	id   string // the field that --quiet prints; "" is "id"
}

func (l *layout) identity(o object) string {
	field := l.id
	if field == "" {
		field = "id"
	}
	return text(o, field)
}

func (l *layout) label(o object) string {
	field := l.name
	if field == "" {
		field = "name"
	}
	if name := text(o, field); name != "" {
		return name
	}
	return l.identity(o)
}

// many prints a list.
func (o *output) many(w io.Writer, l *layout, items []object) error {
	if items == nil {
		items = []object{}
	}
	if done, err := o.plain(w, l, items, items); done {
		return err
	}
	columns, err := o.choose(l, l.list, items)
	if err != nil {
		return err
	}
	if o.format == "value" {
		for _, item := range items {
			values := make([]string, len(columns))
			for i, c := range columns {
				values[i] = printable(c.text(item))
			}
			if _, err := fmt.Fprintln(w, strings.Join(values, "\t")); err != nil {
				return err
			}
		}
		return nil
	}
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	row := make([]string, len(columns))
	emit := func(cell func(column) string) {
		for i, c := range columns {
			row[i] = cell(c)
		}
		fmt.Fprintln(table, strings.TrimRight(strings.Join(row, "\t"), "\t"))
	}
	if !o.noHeaders {
		emit(func(c column) string { return c.title })
	}
	for _, item := range items {
		emit(func(c column) string {
			if value := printable(c.text(item)); value != "" {
				return value
			}
			return "-"
		})
	}
	return table.Flush()
}

// one prints a single resource, a field a line. It may have been made just now: what is known of it comes before an error
// about a column that is not.
func (o *output) one(w io.Writer, l *layout, item object) error {
	if done, err := o.plain(w, l, item, []object{item}); done {
		return err
	}
	rows := l.show
	if rows == nil {
		rows = l.list
	}
	var unknown error
	if len(o.columns) > 0 {
		rows, unknown = o.choose(l, rows, []object{item})
	}
	if o.format == "value" {
		for _, r := range rows {
			if _, err := fmt.Fprintln(w, printable(r.text(item))); err != nil {
				return err
			}
		}
		return unknown
	}
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, r := range rows {
		value := r.text(item)
		if value == "" && o.format != "wide" {
			continue
		}
		title := strings.ToLower(r.title)
		for line := range strings.SplitSeq(value, "\n") {
			fmt.Fprintf(table, "%s\t%s\n", title, printable(line))
			title = ""
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	return unknown
}

// plain prints the forms that are not tables; whole is what json and yaml show.
func (o *output) plain(w io.Writer, l *layout, whole any, items []object) (done bool, err error) {
	switch {
	case o.quiet:
		for _, item := range items {
			if _, err := fmt.Fprintln(w, printable(l.identity(item))); err != nil {
				return true, err
			}
		}
		return true, nil
	case o.format == "name":
		for _, item := range items {
			if _, err := fmt.Fprintln(w, printable(l.label(item))); err != nil {
				return true, err
			}
		}
		return true, nil
	case o.format == "json":
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		if err := e.Encode(whole); err != nil {
			return true, fmt.Errorf("writing JSON: %w", err)
		}
		_, err := w.Write(b.Bytes())
		return true, err
	case o.format == "yaml":
		e := yaml.NewEncoder(w)
		e.SetIndent(2)
		if err := e.Encode(plainNumbers(whole)); err != nil {
			return true, fmt.Errorf("writing YAML: %w", err)
		}
		return true, e.Close()
	}
	return false, nil
}

// choose applies -o wide and --columns to the columns of a list, or the rows of one resource. What --columns names is a title
// of the layout, or a field of the API's answer: those differ between clouds and images, so that only the answer tells them.
// Where that is empty every name may be one. The error comes with the columns that there are.
func (o *output) choose(l *layout, all []column, items []object) (chosen []column, err error) {
	if len(o.columns) == 0 {
		for _, c := range all {
			if !c.wide || o.format == "wide" {
				chosen = append(chosen, c)
			}
		}
		return chosen, nil
	}
	titled := slices.Concat(all, l.list, l.show)
	var unknown []string
	for _, want := range o.columns {
		want = strings.TrimSpace(want)
		i := slices.IndexFunc(titled, func(c column) bool { return strings.EqualFold(c.title, want) })
		has := func(item object) bool { _, has := item[want]; return has }
		switch {
		case i >= 0:
			chosen = append(chosen, titled[i])
		case len(items) == 0 || slices.ContainsFunc(items, has):
			chosen = append(chosen, col(strings.ToUpper(want), want))
		default:
			unknown = append(unknown, fmt.Sprintf("%q", want))
		}
	}
	if len(unknown) == 0 {
		return chosen, nil
	}
	var titles, fields []string
	for _, c := range titled {
		if !slices.Contains(titles, c.title) {
			titles = append(titles, c.title)
		}
	}
	for _, item := range items {
		for field := range item {
			if !slices.Contains(fields, field) {
				fields = append(fields, field)
			}
		}
	}
	slices.Sort(fields)
	return chosen, &Error{Code: ExitUsage, What: "there is no column " + strings.Join(unknown, ", "), Hints: []string{
		"columns: " + strings.Join(titles, ", "), "fields of the API's answer: " + strings.Join(fields, ", "),
	}}
}

// at walks into nested objects; a missing step is nil.
func at(o object, path ...string) any {
	var value any = o
	for _, key := range path {
		inner, ok := value.(object)
		if !ok {
			return nil
		}
		value = inner[key]
	}
	return value
}

// text is a field for people: "" for absent and null, compact for anything nested.
func text(o object, path ...string) string { return textOf(at(o, path...)) }

func textOf(value any) string {
	switch v := value.(type) {
	case nil:
		return ""
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case json.Number:
		return v.String()
	case []any:
		parts := make([]string, len(v))
		for i, e := range v {
			parts[i] = textOf(e)
		}
		return strings.Join(parts, ", ")
	case object:
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		sort.Strings(keys)
		parts := make([]string, len(keys))
		for i, k := range keys {
			parts[i] = k + "=" + textOf(v[k])
		}
		return strings.Join(parts, ", ")
	}
	return fmt.Sprint(value)
}

// number is a field as an integer; ok is false when it is absent or no integer.
func number(o object, path ...string) (n int64, ok bool) {
	v, isNumber := at(o, path...).(json.Number)
	if !isNumber {
		return 0, false
	}
	n, err := v.Int64()
	return n, err == nil
}

func objects(value any) []object {
	list, _ := value.([]any)
	result := make([]object, 0, len(list))
	for _, e := range list {
		if o, ok := e.(object); ok {
			result = append(result, o)
		}
	}
	return result
}

// printable keeps what others named from steering the terminal: control characters become '?'.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t' || r == '\n':
			return ' '
		case unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || unicode.Is(unicode.Bidi_Control, r):
			return '?'
		}
		return r
	}, s)
}

// plainNumbers turns json.Number, which YAML would quote as text, into numbers.
func plainNumbers(value any) any {
	switch v := value.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, _ := v.Float64()
		return f
	case object:
		copied := make(object, len(v))
		for k, e := range v {
			copied[k] = plainNumbers(e)
		}
		return copied
	case []any:
		copied := make([]any, len(v))
		for i, e := range v {
			copied[i] = plainNumbers(e)
		}
		return copied
	case []object:
		copied := make([]any, len(v))
		for i, e := range v {
			copied[i] = plainNumbers(e)
		}
		return copied
	}
	return value
}

// bytesText is a size in binary units, as the tables show it.
func bytesText(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n), ""
	for _, u := range []string{"KiB", "MiB", "GiB", "TiB", "PiB"} {
		value, unit = value/1024, u
		if value < 1024 {
			break
		}
	}
	return fmt.Sprintf("%.1f %s", value, unit)
}

func sizeColumn(title, field string) column {
	return computed(title, func(o object) string {
		n, ok := number(o, field)
		if !ok {
			return ""
		}
		return bytesText(n)
	})
}
