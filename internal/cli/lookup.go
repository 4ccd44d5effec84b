package cli

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
)

// kind is one sort of resource: where it lies, how it is found by name, and how it is shown.
type kind struct {
	noun     string                       // "server"
	service  string                       // in the catalog
	path     string                       // of the collection
	listPath string                       // of the list with details, when that is another
	plural   string                       // key of the list
	singular string                       // key of one; "" when the answer is the resource itself (Glance)
	byName   func(name string) url.Values // narrows the list to a name; nil reads the whole list
	wider    []url.Values                 // lists to look a name up in that the plain list leaves out, in this order
	name     string                       // field of the name; "" is "name"
	listHint string                       // what shows which ones there are
	brief    bool                         // the list leaves out fields that one alone has
	kept     func(object) string          // what to do about one that is not to be deleted; "" for all others
	layout   layout
}

func (k *kind) nameField() string {
	if k.name != "" {
		return k.name
	}
	return "name"
}

func filterName(name string) url.Values { return url.Values{"name": {name}} }

// item is the path of one resource, and of what lies below it.
func (k *kind) item(id string, below ...string) string {
	parts := []string{k.path, url.PathEscape(id)}
	return strings.Join(append(parts, below...), "/")
}

// unwrap takes the resource out of an answer.
func (k *kind) unwrap(answer object) object {
	if k.singular == "" {
		return answer
	}
	inner, _ := answer[k.singular].(object)
	return inner
}

// get reads one resource by its id.
func (s *session) get(ctx context.Context, k *kind, id string) (object, error) {
	answer, _, err := s.call(ctx, request{service: k.service, method: http.MethodGet, path: k.item(id)})
	if err != nil {
		return nil, err
	}
	item := k.unwrap(answer)
	if item == nil {
		return nil, fmt.Errorf("the %s API answered without a %q", k.service, k.singular)
	}
	return item, nil
}

// list reads all resources that the query allows.
func (s *session) list(ctx context.Context, k *kind, query url.Values) ([]object, error) {
	path := k.listPath
	if path == "" {
		path = k.path
	}
	items, err := s.pages(ctx, request{service: k.service, path: path, query: query}, k.plural)
	for i, item := range items {
		if inner, wrapped := item[k.singular].(object); wrapped && len(item) == 1 {
			items[i] = inner // Nova wraps each key pair of the list
		}
	}
	return items, err
}

// create makes a resource.
func (s *session) create(ctx context.Context, k *kind, fields object) (object, error) {
	var body any = fields
	if k.singular != "" {
		body = object{k.singular: fields}
	}
	answer, _, err := s.call(ctx, request{service: k.service, method: http.MethodPost, path: k.path, body: body})
	if err != nil {
		return nil, err
	}
	return k.unwrap(answer), nil
}

// find reads the resource that a user named by id or name. An id wins over a name; a name that several have is an error
// with their ids in it.
func (s *session) find(ctx context.Context, k *kind, ref string) (object, error) {
	if ref == "" {
		return nil, usage("the name or id of the %s is empty", k.noun)
	}
	if _, err := uuid.Parse(ref); err == nil && k.byName != nil {
		item, err := s.get(ctx, k, ref)
		if err == nil {
			return item, nil
		}
		if !isStatus(err, http.StatusNotFound) {
			return nil, doing(err, "read the %s %q", k.noun, ref)
		}
	}
	var query url.Values
	if k.byName != nil {
		query = k.byName(ref)
	}
	candidates, err := s.list(ctx, k, query)
	if err != nil {
		return nil, doing(err, "look for the %s %q", k.noun, ref)
	}
	for _, more := range k.wider {
		if len(candidates) > 0 {
			break
		}
		wide := maps.Clone(query)
		maps.Copy(wide, more)
		candidates, err = s.list(ctx, k, wide)
		if isStatus(err, http.StatusBadRequest) {
			continue // an older API, which does not know this filter
		}
		if err != nil {
			return nil, doing(err, "look for the %s %q", k.noun, ref)
		}
	}
	return k.pick(candidates, ref)
}

// pick chooses the one that a reference means.
func (k *kind) pick(candidates []object, ref string) (object, error) {
	var named []object
	for _, c := range candidates {
		if text(c, "id") == ref {
			return c, nil
		}
		if text(c, k.nameField()) == ref {
			named = append(named, c)
		}
	}
	switch len(named) {
	case 0:
		return nil, k.notFound(ref)
	case 1:
		return named[0], nil
	}
	ids := make([]string, len(named))
	for i, n := range named {
		ids[i] = text(n, "id")
	}
	slices.Sort(ids)
	return nil, &Error{Code: ExitUsage, What: fmt.Sprintf("%d %ss are named %q: use an id", len(named), k.noun, ref),
		Reason: strings.Join(ids, "\n")}
}

// findAll resolves several references before anything is done to any of them.
func (s *session) findAll(ctx context.Context, k *kind, refs []string) ([]object, error) {
	items := make([]object, 0, len(refs))
	seen := map[string]bool{}
	for _, ref := range refs {
		item, err := s.find(ctx, k, ref)
		if err != nil {
			return nil, err
		}
		if id := k.layout.identity(item); !seen[id] {
			seen[id] = true
			items = append(items, item)
		}
	}
	return items, nil
}

// deleteCommand is `delete REF...` of a kind.
func (c *client) deleteCommand(k *kind, example string) *cobra.Command {
	return &cobra.Command{
		Use:               "delete REF...",
		Aliases:           []string{"rm"},
		Short:             fmt.Sprintf("Delete %ss", k.noun),
		Long:              fmt.Sprintf("Delete %ss by name or id. If one of several cannot be found, nothing is deleted.", k.noun),
		Example:           example,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: c.complete(k, true),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session, args []string) error {
			items, err := s.findAll(ctx, k, args)
			if err != nil {
				return err
			}
			for _, item := range items {
				id := k.layout.identity(item)
				_, _, err := s.call(ctx, request{service: k.service, method: http.MethodDelete, path: k.item(id)})
				if err != nil {
					failure := explain(doing(err, "delete the %s %q", k.noun, k.layout.label(item)))
					if k.kept != nil && failure.Code == ExitRefused && k.kept(item) != "" {
						failure.Hints = []string{k.kept(item)}
					}
					return failure
				}
				c.say(cmd, "deleted %s %s", k.noun, k.layout.label(item))
			}
			return nil
		}),
	}
}

// showCommand is `show REF` of a kind.
func (c *client) showCommand(k *kind, example string) *cobra.Command {
	return &cobra.Command{
		Use:               "show REF",
		Short:             fmt.Sprintf("Show one %s", k.noun),
		Long:              fmt.Sprintf("Show one %s by name or id. -o json prints it as the API answers it.", k.noun),
		Example:           example,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.complete(k, false),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session, args []string) error {
			item, err := s.find(ctx, k, args[0])
			if err == nil && k.brief {
				item, err = s.get(ctx, k, k.layout.identity(item))
			}
			if err != nil {
				return doing(err, "show the %s %q", k.noun, args[0])
			}
			return c.output.one(cmd.OutOrStdout(), &k.layout, item)
		}),
	}
}

// say tells the user on standard error what happened; --quiet silences it.
func (c *client) say(cmd *cobra.Command, format string, args ...any) {
	if !c.output.quiet {
		fmt.Fprintln(cmd.ErrOrStderr(), printable(fmt.Sprintf(format, args...)))
	}
}

// completionPatience bounds how long a Tab may hang on an API that does not answer.
const completionPatience = 3 * time.Second

// complete offers the names of a kind, for one argument or for any number.
func (c *client) complete(k *kind, many bool) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 && !many {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return c.completing(cmd, func(ctx context.Context, s *session) ([]cobra.Completion, error) {
			items, err := s.list(ctx, k, nil)
			return offers(k, items, args, prefix), err
		})
	}
}

// completing asks the API for what a Tab offers; one that does not answer in time offers nothing.
func (c *client) completing(cmd *cobra.Command, ask func(context.Context, *session) ([]cobra.Completion, error)) ([]cobra.Completion, cobra.ShellCompDirective) {
	parent := cmd.Context()
	if parent == nil {
		parent = context.Background()
	}
	ctx, cancel := context.WithTimeout(parent, completionPatience)
	defer cancel()
	s, err := c.connection.open(ctx, cmd.ErrOrStderr())
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	found, err := ask(ctx, s)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return found, cobra.ShellCompDirectiveNoFileComp
}

// offers are the completions: a name where it is unique, else the ids that share it, each described by the other.
func offers(k *kind, items []object, taken []string, prefix string) []cobra.Completion {
	count := map[string]int{}
	for _, item := range items {
		count[k.layout.label(item)]++
	}
	var result []cobra.Completion
	for _, item := range items {
		value, description := k.layout.label(item), k.layout.identity(item)
		if count[value] > 1 {
			value, description = description, value
		}
		if strings.HasPrefix(value, prefix) && !slices.Contains(taken, value) {
			result = append(result, cobra.CompletionWithDesc(printable(value), printable(description)))
		}
	}
	return result
}

// completeFlag offers the names of a kind for a flag.
func (c *client) completeFlag(cmd *cobra.Command, flag string, k *kind, fixed ...string) {
	names := c.complete(k, true)
	_ = cmd.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, _ []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
		result, directive := names(cmd, nil, prefix)
		for _, f := range fixed {
			if strings.HasPrefix(f, prefix) {
				result = append(result, f)
			}
		}
		return result, directive
	})
}

// quoted makes a name literal in Nova's name filter, which is a regular expression.
func quoted(name string) url.Values { return url.Values{"name": {regexp.QuoteMeta(name)}} }
