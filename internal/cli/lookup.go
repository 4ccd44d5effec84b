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

	"github.com/slipway-cloud/slipway/internal/cli/session"
	"github.com/slipway-cloud/slipway/internal/cli/show"
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
	kept     func(show.Object) string     // what to do about one that is not to be deleted; "" for all others
	layout   show.Layout
}

func (k *kind) nameField() string {
	if k.name != "" {
		return k.name
	}
	return "name"
}

func filterName(name string) url.Values { return url.Values{"name": {name}} }

// ownUser stands in a path for the user who is logged in.
const ownUser = "{user}"

// of is the kind with the path that it has for a session's user.
func (k *kind) of(s *session.Session) (*kind, error) {
	if !strings.Contains(k.path, ownUser) {
		return k, nil
	}
	token, err := s.Token()
	if err != nil {
		return nil, err
	}
	own := *k
	own.path = strings.Replace(k.path, ownUser, url.PathEscape(show.Text(token, "user_id")), 1)
	return &own, nil
}

// item is the path of one resource, and of what lies below it.
func (k *kind) item(id string, below ...string) string {
	parts := []string{k.path, url.PathEscape(id)}
	return strings.Join(append(parts, below...), "/")
}

// unwrap takes the resource out of an answer.
func (k *kind) unwrap(answer show.Object) show.Object {
	if k.singular == "" {
		return answer
	}
	inner, _ := answer[k.singular].(show.Object)
	return inner
}

// get reads one resource by its id.
func (k *kind) get(ctx context.Context, s *session.Session, id string) (show.Object, error) {
	k, err := k.of(s)
	if err != nil {
		return nil, err
	}
	answer, _, err := s.Call(ctx, session.Request{Service: k.service, Method: http.MethodGet, Path: k.item(id)})
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
func (k *kind) list(ctx context.Context, s *session.Session, query url.Values) ([]show.Object, error) {
	k, err := k.of(s)
	if err != nil {
		return nil, err
	}
	path := k.listPath
	if path == "" {
		path = k.path
	}
	items, err := s.Pages(ctx, session.Request{Service: k.service, Path: path, Query: query}, k.plural)
	for i, item := range items {
		if inner, wrapped := item[k.singular].(show.Object); wrapped && len(item) == 1 {
			items[i] = inner // Nova wraps each key pair of the list
		}
	}
	return items, err
}

// create makes a resource.
func (k *kind) create(ctx context.Context, s *session.Session, fields show.Object) (show.Object, error) {
	k, err := k.of(s)
	if err != nil {
		return nil, err
	}
	var body any = fields
	if k.singular != "" {
		body = show.Object{k.singular: fields}
	}
	answer, _, err := s.Call(ctx, session.Request{Service: k.service, Method: http.MethodPost, Path: k.path, Body: body})
	if err != nil {
		return nil, err
	}
	return k.unwrap(answer), nil
}

// change asks for one change of a resource that was found, by its path or one below it.
func (k *kind) change(ctx context.Context, s *session.Session, found show.Object, method string, below []string, body any) error {
	_, _, err := s.Call(ctx, session.Request{Service: k.service, Method: method, Path: k.item(show.Text(found, "id"), below...), Body: body})
	return err
}

// find reads the resource that a user named by id or name. An id wins over a name; a name that several have is an error
// with their ids in it.
func (k *kind) find(ctx context.Context, s *session.Session, ref string) (show.Object, error) {
	if ref == "" {
		return nil, show.UsageError("the name or id of the %s is empty", k.noun)
	}
	if _, err := uuid.Parse(ref); err == nil && k.byName != nil {
		item, err := k.get(ctx, s, ref)
		if err == nil {
			return item, nil
		}
		if !session.IsStatus(err, http.StatusNotFound) {
			return nil, session.Doing(err, "read the %s %q", k.noun, ref)
		}
	}
	var query url.Values
	if k.byName != nil {
		query = k.byName(ref)
	}
	candidates, err := k.list(ctx, s, query)
	if err != nil {
		return nil, session.Doing(err, "look for the %s %q", k.noun, ref)
	}
	for _, more := range k.wider {
		if len(candidates) > 0 {
			break
		}
		wide := maps.Clone(query)
		maps.Copy(wide, more)
		candidates, err = k.list(ctx, s, wide)
		if session.IsStatus(err, http.StatusBadRequest) {
			continue // an older API, which does not know this filter
		}
		if err != nil {
			return nil, session.Doing(err, "look for the %s %q", k.noun, ref)
		}
	}
	return k.pick(candidates, ref)
}

// pick chooses the one that a reference means.
func (k *kind) pick(candidates []show.Object, ref string) (show.Object, error) {
	var named []show.Object
	for _, c := range candidates {
		if show.Text(c, "id") == ref {
			return c, nil
		}
		if show.Text(c, k.nameField()) == ref {
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
		ids[i] = show.Text(n, "id")
	}
	slices.Sort(ids)
	return nil, &show.Error{Code: show.ExitUsage, What: fmt.Sprintf("%d %ss are named %q: use an id", len(named), k.noun, ref),
		Reason: strings.Join(ids, "\n")}
}

// findAll resolves several references before anything is done to any of them.
func (k *kind) findAll(ctx context.Context, s *session.Session, refs []string) ([]show.Object, error) {
	items := make([]show.Object, 0, len(refs))
	seen := map[string]bool{}
	for _, ref := range refs {
		item, err := k.find(ctx, s, ref)
		if err != nil {
			return nil, err
		}
		if id := k.layout.Identity(item); !seen[id] {
			seen[id] = true
			items = append(items, item)
		}
	}
	return items, nil
}

// listCommand is `list` of a kind, of all there are; long may be "".
func (c *client) listCommand(k *kind, short, long, example string) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   short,
		Long:    long,
		Example: example,
		Args:    cobra.NoArgs,
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, _ []string) error {
			items, err := k.list(ctx, s, nil)
			if err != nil {
				return session.Doing(err, "list the %ss", k.noun)
			}
			return c.output.Many(cmd.OutOrStdout(), &k.layout, items)
		}),
	}
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
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			items, err := k.findAll(ctx, s, args)
			if err != nil {
				return err
			}
			k, err := k.of(s)
			if err != nil {
				return err
			}
			for _, item := range items {
				id := k.layout.Identity(item)
				_, _, err := s.Call(ctx, session.Request{Service: k.service, Method: http.MethodDelete, Path: k.item(id)})
				if err != nil {
					failure := session.Explain(session.Doing(err, "delete the %s %q", k.noun, k.layout.Label(item)))
					if k.kept != nil && failure.Code == show.ExitRefused && k.kept(item) != "" {
						failure.Hints = []string{k.kept(item)}
					}
					return failure
				}
				c.say(cmd, "deleted %s %s", k.noun, k.layout.Label(item))
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
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			item, err := k.find(ctx, s, args[0])
			if err == nil && k.brief {
				item, err = k.get(ctx, s, k.layout.Identity(item))
			}
			if err != nil {
				return session.Doing(err, "show the %s %q", k.noun, args[0])
			}
			return c.output.One(cmd.OutOrStdout(), &k.layout, item)
		}),
	}
}

// say tells the user on standard error what happened; --quiet silences it.
func (c *client) say(cmd *cobra.Command, format string, args ...any) {
	if !c.output.Quiet {
		fmt.Fprintln(cmd.ErrOrStderr(), show.Printable(fmt.Sprintf(format, args...)))
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
		return c.completing(cmd, func(ctx context.Context, s *session.Session) ([]cobra.Completion, error) {
			items, err := k.list(ctx, s, nil)
			return completionsOf(k, items, args, prefix), err
		})
	}
}

// completing asks the API for what a Tab offers; one that does not answer in time offers nothing.
func (c *client) completing(cmd *cobra.Command, ask func(context.Context, *session.Session) ([]cobra.Completion, error)) ([]cobra.Completion, cobra.ShellCompDirective) {
	parent := cmd.Context()
	if parent == nil {
		parent = context.Background()
	}
	ctx, cancel := context.WithTimeout(parent, completionPatience)
	defer cancel()
	s, err := c.connection.Open(ctx, cmd.ErrOrStderr())
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	found, err := ask(ctx, s)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return found, cobra.ShellCompDirectiveNoFileComp
}

// completionsOf are the completions: a name where it is unique, else the ids that share it, each described by the other.
func completionsOf(k *kind, items []show.Object, taken []string, prefix string) []cobra.Completion {
	count := map[string]int{}
	for _, item := range items {
		count[k.layout.Label(item)]++
	}
	var result []cobra.Completion
	for _, item := range items {
		value, description := k.layout.Label(item), k.layout.Identity(item)
		if count[value] > 1 {
			value, description = description, value
		}
		if strings.HasPrefix(value, prefix) && !slices.Contains(taken, value) {
			result = append(result, cobra.CompletionWithDesc(show.Printable(value), show.Printable(description)))
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

// notFound is the failure to find what the user named.
func (k *kind) notFound(ref string) *show.Error {
	return &show.Error{Code: show.ExitNotFound, What: fmt.Sprintf("there is no %s with the name or id %q", k.noun, ref),
		Hints: []string{k.listHint}}
}
