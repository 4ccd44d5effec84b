package ec2

import (
	"encoding/base64"
	"slices"
	"strings"

	"github.com/slipway-cloud/slipway/internal/ids"
)

// filter is one of a describing request: any of its values, and of several filters all.
type filter struct {
	Name   string   `ec2:"Name,required"`
	Values []string `ec2:"Value"`
}

// filtered is what requests have that describe.
type filtered struct {
	Filters []filter `ec2:"Filter"`
}

// paged is what they have that describe many.
type paged struct {
	filtered
	MaxResults *int   `ec2:"MaxResults"`
	NextToken  string `ec2:"NextToken"`
}

// attributes are what things of a kind are filtered by: a filter's name, and a thing's values of it. A name that ends in a colon is
// followed by a key ("tag:Name").
type attributes[T any] map[string]func(T, string) []string

// is is an attribute of one value.
func is[T any](value func(T) string) func(T, string) []string {
	return func(of T, _ string) []string { return []string{value(of)} }
}

// constant is an attribute that all have alike.
func constant[T any](value string) func(T, string) []string {
	return func(T, string) []string { return []string{value} }
}

// nothing is what no thing of a kind has.
func nothing[T any](T, string) []string { return nil }

// having are attributes, and more that all have of one function.
func having[T any](some attributes[T], value func(T, string) []string, names ...string) attributes[T] {
	for _, name := range names {
		some[name] = value
	}
	return some
}

// sift leaves what all filters select.
func sift[T any](all []T, filters []filter, by attributes[T]) ([]T, error) {
	for _, f := range filters {
		key := ""
		values, known := by[f.Name]
		if !known {
			if prefix, rest, cut := strings.Cut(f.Name, ":"); cut {
				key = rest
				values, known = by[prefix+":"]
			}
		}
		if !known {
			return nil, invalid("The filter '%s' is invalid", f.Name)
		}
		if len(f.Values) == 0 {
			return nil, invalid("The filter '%s' has no value", f.Name)
		}
		all = slices.DeleteFunc(slices.Clone(all), func(of T) bool {
			for _, has := range values(of, key) {
				if slices.ContainsFunc(f.Values, func(pattern string) bool { return like(pattern, has) }) {
					return false
				}
			}
			return true
		})
	}
	return all, nil
}

// like matches EC2's wildcards: * any text, ? one character, and a backslash before one of them takes it as it is.
func like(pattern, text string) bool {
	p, t := []rune(pattern), []rune(text)
	// The last * and where in the text it is tried to end.
	star, end := -1, 0
	i, j := 0, 0
	for j < len(t) {
		switch {
		case i < len(p) && p[i] == '*':
			star, end = i, j
			i++
			continue
		case i < len(p) && p[i] == '?':
			i, j = i+1, j+1
			continue
		case i < len(p):
			at := i
			if p[at] == '\\' && at+1 < len(p) {
				at++
			}
			if p[at] == t[j] {
				i, j = at+1, j+1
				continue
			}
		}
		if star < 0 {
			return false
		}
		end++
		i, j = star+1, end
	}
	for i < len(p) && p[i] == '*' {
		i++
	}
	return i == len(p)
}

// page cuts a page out of what is listed, in the order of its keys, which are unique: a token is where the page before it ended.
func (p paged) page(named bool) (after string, most int, err error) {
	if p.MaxResults != nil {
		switch {
		case named:
			return "", 0, refuse(ids.EC2Code("InvalidParameterCombination"), "The parameter MaxResults cannot be used with ids")
		case *p.MaxResults < 5 || *p.MaxResults > 1000:
			return "", 0, invalid("Value ( %d ) for parameter maxResults is invalid. Expecting a value from 5 to 1000.", *p.MaxResults)
		}
		most = *p.MaxResults
	}
	if p.NextToken == "" {
		return "", most, nil
	}
	key, err := base64.RawURLEncoding.DecodeString(p.NextToken)
	if err != nil || len(key) == 0 {
		return "", 0, invalid("Unable to parse pagination token")
	}
	return string(key), most, nil
}

// cut is a page of what is listed: named says that the request named what it wants, key is each one's place in the order.
func cut[T any](all []T, p paged, named bool, key func(T) string) (page []T, next string, err error) {
	after, most, err := p.page(named)
	if err != nil {
		return nil, "", err
	}
	slices.SortFunc(all, func(x, y T) int { return strings.Compare(key(x), key(y)) })
	if after != "" {
		all = slices.DeleteFunc(all, func(of T) bool { return key(of) <= after })
	}
	if most > 0 && len(all) > most {
		all = all[:most]
		next = base64.RawURLEncoding.EncodeToString([]byte(key(all[most-1])))
	}
	return all, next, nil
}
