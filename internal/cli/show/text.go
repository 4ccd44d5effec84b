package show

import (
	"encoding/json"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// At walks into nested objects; a missing step is nil.
func At(o Object, path ...string) any {
	var value any = o
	for _, key := range path {
		inner, ok := value.(Object)
		if !ok {
			return nil
		}
		value = inner[key]
	}
	return value
}

// Text is a field for people: "" for absent and null, compact for anything nested.
func Text(o Object, path ...string) string { return TextOf(At(o, path...)) }

// TextOf is a value for people, as Text gives it.
func TextOf(value any) string {
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
			parts[i] = TextOf(e)
		}
		return strings.Join(parts, ", ")
	case Object:
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		sort.Strings(keys)
		parts := make([]string, len(keys))
		for i, k := range keys {
			parts[i] = k + "=" + TextOf(v[k])
		}
		return strings.Join(parts, ", ")
	}
	return fmt.Sprint(value)
}

// Number is a field as an integer; ok is false when it is absent or no integer.
func Number(o Object, path ...string) (n int64, ok bool) {
	v, isNumber := At(o, path...).(json.Number)
	if !isNumber {
		return 0, false
	}
	n, err := v.Int64()
	return n, err == nil
}

// Objects are the objects in a list; what is no list has none.
func Objects(value any) []Object {
	list, _ := value.([]any)
	result := make([]Object, 0, len(list))
	for _, e := range list {
		if o, ok := e.(Object); ok {
			result = append(result, o)
		}
	}
	return result
}

// Printable keeps what others named from steering the terminal: control characters become '?'.
func Printable(s string) string {
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

// Bytes is a size in binary units, as the tables show it.
func Bytes(n int64) string {
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

// Duration is short for people: milliseconds below a second, tenths below a minute. The API's clock may be ahead of this
// machine's, so a negative one is nothing.
func Duration(d time.Duration) string {
	switch {
	case d < 0:
		return "0 ms"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}

// ParseTime reads the API's times: Nova's actions have no zone and mean UTC. What is no time is zero.
func ParseTime(s string) time.Time {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t
		}
	}
	return time.Time{}
}
