package ec2

import (
	"encoding/xml"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
)

type sample struct {
	Name   string   `ec2:"Name,required"`
	Count  *int     `ec2:"Count"`
	On     bool     `ec2:"On"`
	Data   blob     `ec2:"Data"`
	IDs    []string `ec2:"Id"`
	Nested []struct {
		Key  string   `ec2:"Key,required"`
		Deep []string `ec2:"Deep"`
	} `ec2:"Nested"`
	One *struct {
		Word string `ec2:"Word"`
	} `ec2:"One"`
	Never refused `ec2:"Never" why:"there is none"`
	paged
}

func TestParametersAreReadByStructTags(t *testing.T) {
	var got sample
	require.NoError(t, decode(url.Values{
		"Name": {"n"}, "Count": {"3"}, "On": {"true"}, "Data": {"aGVs\nbG8="}, "Id.2": {"b"}, "Id.10": {"c"}, "Id.1": {"a"},
		"Nested.1.Key": {"k"}, "Nested.1.Deep.1": {"d"}, "Nested.7.Key": {"l"}, "One.Word": {"w"}, "MaxResults": {"9"}, "Filter.1.Name": {"f"},
		"Filter.1.Value.1": {"v"},
	}, &got))
	require.Equal(t, "n", got.Name)
	require.Equal(t, 3, *got.Count)
	require.True(t, got.On)
	require.Equal(t, "hello", string(got.Data))
	require.Equal(t, []string{"a", "b", "c"}, got.IDs)
	require.Len(t, got.Nested, 2)
	require.Equal(t, []string{"d"}, got.Nested[0].Deep)
	require.Equal(t, "l", got.Nested[1].Key)
	require.Equal(t, "w", got.One.Word)
	require.Equal(t, 9, *got.MaxResults)
	require.Equal(t, []filter{{"f", []string{"v"}}}, got.Filters)
}

func TestWhatNoFieldNamesIsRefused(t *testing.T) {
	for name, code := range map[string]string{
		"name": "UnknownParameter", "Name.1": "UnknownParameter", "Id": "UnknownParameter", "Id.x": "UnknownParameter", "Id.01": "UnknownParameter",
		"Id.-1": "UnknownParameter", "Id.1.1": "UnknownParameter", "Id.99999999999": "UnknownParameter", "Nested.1": "UnknownParameter",
		"Nested.1.Other": "MissingParameter", "Nested.1.Deep.1": "MissingParameter", "One": "UnknownParameter", "Id.": "UnknownParameter", ".": "UnknownParameter",
		"Never": "UnsupportedOperation", "Never.1.Word": "UnsupportedOperation", "Count": "InvalidParameterValue", "On": "InvalidParameterValue",
		"Data": "InvalidData.Malformed", "Count.1": "UnknownParameter", strings.Repeat("A.", 20) + "A": "UnknownParameter",
	} {
		values := url.Values{"Name": {"n"}}
		if name == "Name.1" {
			values.Del("Name")
		}
		values.Set(name, "?")
		err := decode(values, &sample{})
		require.Equal(t, fault.Invalid, fault.KindOf(err), name)
		require.Equal(t, code, string(codeOf(err)), name)
	}
	require.Equal(t, "MissingParameter", string(codeOf(decode(url.Values{}, &sample{}))))
}

func TestAListIsThereWhenItIsEmpty(t *testing.T) {
	text, err := xml.Marshal(describedInstances{Reservations: set[reservationItem]{{ID: "r-1"}}})
	require.NoError(t, err)
	require.Contains(t, string(text), "<instancesSet></instancesSet>")
	require.Contains(t, string(text), "<reservationSet><item><reservationId>r-1</reservationId>")
}

func TestWildcardsAreEC2s(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		like          bool
	}{
		{"", "", true}, {"", "a", false}, {"a", "a", true}, {"a", "A", false}, {"*", "", true}, {"*", "abc", true}, {"a*", "abc", true}, {"*c", "abc", true},
		{"*b*", "abc", true}, {"*d*", "abc", false}, {"a?c", "abc", true}, {"a?c", "ac", false}, {"??", "é!", true}, {`a\*`, "a*", true}, {`a\*`, "ab", false},
		{`a\?`, "a?", true}, {`a\\`, `a\`, true}, {`a\`, `a\`, true}, {"*a*a*a*b", strings.Repeat("a", 2000), false}, {"a*b*c", "aXXbYYc", true}, {"a*b", "ab", true},
		{`*\*`, "x*", true}, {`*\*`, "xy", false},
	} {
		require.Equal(t, c.like, like(c.pattern, c.text), "%q like %q", c.text, c.pattern)
	}
}

func TestPagesGoOnWhereTheLastOneEnded(t *testing.T) {
	all := func() []string { return strings.Split("gbdacefhijk", "") }
	var seen []string
	p := paged{MaxResults: new(5)}
	for range 3 {
		page, next, err := cut(all(), p, false, func(s string) string { return s })
		require.NoError(t, err)
		seen = append(seen, page...)
		p.NextToken = next
		if next == "" {
			break
		}
	}
	require.Equal(t, strings.Split("abcdefghijk", ""), seen)
	require.Empty(t, p.NextToken)
	_, _, err := cut(all(), paged{MaxResults: new(5)}, true, func(s string) string { return s })
	require.Equal(t, "InvalidParameterCombination", string(codeOf(err)))
}

func FuzzParameters(f *testing.F) {
	f.Add("Name=n&Id.1=a&Nested.1.Key=k&Filter.1.Name=f&Filter.1.Value.1=v")
	f.Add("Name.1.2=&Id.-1=&Nested..=&One.Word.x=1")
	f.Fuzz(func(t *testing.T, raw string) {
		values, err := parse(raw)
		if err == nil {
			err = decode(values, &sample{})
		}
		require.True(t, err == nil || fault.Is(err, fault.Invalid), "%q: %v", raw, err)
	})
}
