package identity

import (
	"cmp"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/models"
)

// filters are what a kind's lists are filtered by, beside limit and marker.
type filters struct {
	texts   []string // attributes that are compared, also by name__contains and the like
	domain  bool     // domain_id
	enabled bool
	tags    bool              // tags, tags-any, not-tags, not-tags-any
	renamed map[string]string // what else an attribute is called
	fixed   map[string]string // attributes that all of the kind have alike: with another value nothing is found
}

// of reads a list's query. A filter that is not known is refused: a list that ignored it would show what nobody asked for.
func (f filters) of(c echo.Context) (models.IdentityFilter, rest.Page, error) {
	var all models.IdentityFilter
	page, err := rest.PageOf(c, rest.MaxPage)
	if err != nil {
		return all, page, err
	}
	all.Marker = page.Marker
	if c.QueryParam("limit") != "" {
		all.Limit = page.Limit
	}
	for key, values := range c.QueryParams() {
		value := values[0]
		attribute, op, _ := strings.Cut(key, "__")
		attribute = cmp.Or(f.renamed[attribute], attribute)
		switch {
		case key == "limit" || key == "marker":
		case slices.Contains(f.texts, attribute) && models.IsTextOp(op):
			all.Texts = append(all.Texts, models.TextFilter{Column: attribute, Op: op, Value: value})
		case f.domain && key == "domain_id":
			all.DomainID = value
		case f.enabled && key == "enabled":
			on := truth(value)
			all.Enabled = &on
		case f.tags && slices.Contains([]string{"tags", "tags-any", "not-tags", "not-tags-any"}, key):
			all.Tags = append(all.Tags, models.TagFilter{
				Any: strings.HasSuffix(key, "-any"), Not: strings.HasPrefix(key, "not-"), Tags: strings.Split(value, ","),
			})
		case f.fixed[key] != "":
			if !strings.EqualFold(f.fixed[key], value) {
				all.Texts = append(all.Texts, models.TextFilter{Column: "id"})
			}
		default:
			return all, page, fault.New(fault.Invalid, "Lists are not filtered by %q here.", key)
		}
	}
	return all, page, nil
}

// untrue are the words for false that Keystone knows (oslo.utils' FALSE_STRINGS); everything else is true, the bare word too.
var untrue = []string{"0", "f", "false", "off", "n", "no"}

// truth is a filter's boolean.
func truth(value string) bool {
	return !slices.Contains(untrue, strings.ToLower(strings.TrimSpace(value)))
}
