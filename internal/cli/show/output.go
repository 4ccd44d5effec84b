// Package show is what the user sees of an answer: tables and their columns, the API's own JSON and YAML, progress, plain words
// for sizes and times, and a failure with what to do about it. It draws what it is given, and asks nobody.
package show

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/pflag"
	yaml "go.yaml.in/yaml/v3"
)

// Object is a resource as the API wrote it: JSON with numbers kept as written.
type Object = map[string]any

// Formats are what -o takes.
var Formats = []string{"table", "wide", "json", "yaml", "value", "name"}

// Output is the form of what goes to standard output, the same for every verb.
type Output struct {
	Format    string
	Columns   []string
	noHeaders bool
	Quiet     bool
}

// Bind declares the flags.
func (o *Output) Bind(flags *pflag.FlagSet) {
	flags.StringVarP(&o.Format, "output", "o", "table", "output: table, wide, json, yaml (the API's own field names), value (bare, between tabs), name")
	flags.StringSliceVarP(&o.Columns, "columns", "c", nil, "columns of a table, by title or by the API's field name (comma separated, or --column repeated)")
	flags.BoolVar(&o.noHeaders, "no-headers", false, "tables without their first line")
	flags.BoolVarP(&o.Quiet, "quiet", "q", false, "print ids only, one a line, and no progress")
}

// Check refuses values that the flags do not take.
func (o *Output) Check() error {
	if !slices.Contains(Formats, o.Format) {
		return fmt.Errorf("-o %s: choose one of %s", o.Format, strings.Join(Formats, ", "))
	}
	if slices.ContainsFunc(o.Columns, func(name string) bool { return strings.TrimSpace(name) == "" }) {
		return errors.New("--columns has an empty name in it")
	}
	return nil
}

// Whole says whether the API's own answer is printed.
func (o *Output) Whole() bool { return !o.Quiet && (o.Format == "json" || o.Format == "yaml") }

// Column is one column of a list, or one row of a single resource.
type Column struct {
	title string
	text  func(Object) string
	wide  bool
}

// Col is a field of the resource, or of what is nested in it.
func Col(title string, path ...string) Column {
	return Column{title: title, text: func(o Object) string { return Text(o, path...) }}
}

// Computed is a column that f words.
func Computed(title string, f func(Object) string) Column { return Column{title: title, text: f} }

// OnlyWide leaves the column out of every form but -o wide.
func (c Column) OnlyWide() Column { c.wide = true; return c }

// Layout is how a resource is shown: in a list, and alone (Show; nil means every column of the list).
type Layout struct {
	List []Column
	Show []Column
	Name string // the field that -o name prints; "" is "name"
	ID   string // the field that --quiet prints; "" is "id"
}

// Identity is the id of a resource.
func (l *Layout) Identity(o Object) string {
	field := l.ID
	if field == "" {
		field = "id"
	}
	return Text(o, field)
}

// Label is the name of a resource, or its id where it has none.
func (l *Layout) Label(o Object) string {
	field := l.Name
	if field == "" {
		field = "name"
	}
	if name := Text(o, field); name != "" {
		return name
	}
	return l.Identity(o)
}

// Many prints a list.
func (o *Output) Many(w io.Writer, l *Layout, items []Object) error {
	if items == nil {
		items = []Object{}
	}
	if done, err := o.plain(w, l, items, items); done {
		return err
	}
	columns, err := o.choose(l, l.List, items)
	if err != nil {
		return err
	}
	if o.Format == "value" {
		for _, item := range items {
			values := make([]string, len(columns))
			for i, c := range columns {
				values[i] = Printable(c.text(item))
			}
			if _, err := fmt.Fprintln(w, strings.Join(values, "\t")); err != nil {
				return err
			}
		}
		return nil
	}
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	row := make([]string, len(columns))
	emit := func(cell func(Column) string) {
		for i, c := range columns {
			row[i] = cell(c)
		}
		fmt.Fprintln(table, strings.TrimRight(strings.Join(row, "\t"), "\t"))
	}
	if !o.noHeaders {
		emit(func(c Column) string { return c.title })
	}
	for _, item := range items {
		emit(func(c Column) string {
			if value := Printable(c.text(item)); value != "" {
				return value
			}
			return "-"
		})
	}
	return table.Flush()
}

// One prints a single resource, a field a line. It may have been made just now: what is known of it comes before an error
// about a column that is not.
func (o *Output) One(w io.Writer, l *Layout, item Object) error {
	if done, err := o.plain(w, l, item, []Object{item}); done {
		return err
	}
	rows := l.Show
	if rows == nil {
		rows = l.List
	}
	var unknown error
	if len(o.Columns) > 0 {
		rows, unknown = o.choose(l, rows, []Object{item})
	}
	if o.Format == "value" {
		for _, r := range rows {
			if _, err := fmt.Fprintln(w, Printable(r.text(item))); err != nil {
				return err
			}
		}
		return unknown
	}
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, r := range rows {
		value := r.text(item)
		if value == "" && o.Format != "wide" {
			continue
		}
		title := strings.ToLower(r.title)
		for line := range strings.SplitSeq(value, "\n") {
			fmt.Fprintf(table, "%s\t%s\n", title, Printable(line))
			title = ""
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	return unknown
}

// plain prints the forms that are not tables; whole is what json and yaml show.
func (o *Output) plain(w io.Writer, l *Layout, whole any, items []Object) (done bool, err error) {
	switch {
	case o.Quiet:
		for _, item := range items {
			if _, err := fmt.Fprintln(w, Printable(l.Identity(item))); err != nil {
				return true, err
			}
		}
		return true, nil
	case o.Format == "name":
		for _, item := range items {
			if _, err := fmt.Fprintln(w, Printable(l.Label(item))); err != nil {
				return true, err
			}
		}
		return true, nil
	case o.Format == "json":
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		if err := e.Encode(whole); err != nil {
			return true, fmt.Errorf("writing JSON: %w", err)
		}
		_, err := w.Write(b.Bytes())
		return true, err
	case o.Format == "yaml":
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
func (o *Output) choose(l *Layout, all []Column, items []Object) (chosen []Column, err error) {
	if len(o.Columns) == 0 {
		for _, c := range all {
			if !c.wide || o.Format == "wide" {
				chosen = append(chosen, c)
			}
		}
		return chosen, nil
	}
	titled := slices.Concat(all, l.List, l.Show)
	var unknown []string
	for _, want := range o.Columns {
		want = strings.TrimSpace(want)
		i := slices.IndexFunc(titled, func(c Column) bool { return strings.EqualFold(c.title, want) })
		has := func(item Object) bool { _, has := item[want]; return has }
		switch {
		case i >= 0:
			chosen = append(chosen, titled[i])
		case len(items) == 0 || slices.ContainsFunc(items, has):
			chosen = append(chosen, Col(strings.ToUpper(want), want))
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

// plainNumbers turns json.Number, which YAML would quote as text, into numbers.
func plainNumbers(value any) any {
	switch v := value.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, _ := v.Float64()
		return f
	case Object:
		copied := make(Object, len(v))
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
	case []Object:
		copied := make([]any, len(v))
		for i, e := range v {
			copied[i] = plainNumbers(e)
		}
		return copied
	}
	return value
}

// SizeColumn is a field that counts bytes.
func SizeColumn(title, field string) Column {
	return Computed(title, func(o Object) string {
		n, ok := Number(o, field)
		if !ok {
			return ""
		}
		return Bytes(n)
	})
}
