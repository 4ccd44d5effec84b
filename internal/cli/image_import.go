package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/internal/cli/session"
	"github.com/slipway-cloud/slipway/internal/cli/show"
)

// importPatience is how long --wait follows an import: those of large images from slow servers take long.
const importPatience = 2 * time.Hour

var importMethods = []string{"glance-direct", "web-download", "copy-image", "glance-download"}

func (c *client) imageImport() *cobra.Command {
	var method, uri, remoteRegion, remoteImage, remoteInterface string
	var stores []string
	var allStores, mustSucceed, wait bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "import IMAGE --method M",
		Short: "Have the API fetch or copy an image's bytes",
		Long: `Have the API import the bytes of an image:

  glance-direct    what "slipway image stage" uploaded
  web-download     what lies at --uri; the operator says which addresses are allowed
  copy-image       an active image's bytes, to other stores
  glance-download  an image of another region's API (--remote-region, --remote-image)

"slipway image import-info" lists the methods of this API. The import goes on by itself; --wait follows it to its end and
fails with the API's reason if it failed.`,
		Example: `  slipway image create debian-12 --disk-format qcow2
  slipway image import debian-12 --method web-download --uri https://images.example.org/debian-12.qcow2 --wait
  slipway image import debian-12 --method copy-image --store ceph --wait
  slipway image import debian-12 --method copy-image --all-stores --all-stores-must-succeed=false`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.complete(imageKind, false),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			source := show.Object{"name": method}
			switch method {
			case "web-download":
				if u, err := url.Parse(uri); err != nil || u.Host == "" {
					return show.UsageError("--method web-download wants the address in --uri, as https://host/path")
				}
				source["uri"] = uri
			case "glance-download":
				if remoteRegion == "" || remoteImage == "" {
					return show.UsageError("--method glance-download wants --remote-region and --remote-image")
				}
				source["glance_region"], source["glance_image_id"] = remoteRegion, remoteImage
				if remoteInterface != "" {
					source["glance_service_interface"] = remoteInterface
				}
			case "copy-image":
				if len(stores) == 0 && !allStores {
					return show.UsageError("--method copy-image wants to know where to: --store (repeat) or --all-stores; `slipway image store list` shows them")
				}
			}
			if uri != "" && method != "web-download" {
				return show.UsageError("--uri is for --method web-download")
			}
			body := show.Object{"method": source}
			if len(stores) > 0 {
				body["stores"] = stores
			}
			if allStores {
				body["all_stores"] = true
			}
			if cmd.Flags().Changed("all-stores-must-succeed") {
				body["all_stores_must_succeed"] = mustSucceed
			}
			image, err := imageKind.find(ctx, s, args[0])
			if err != nil {
				return err
			}
			begun, err := beginImport(ctx, s, image, body)
			if err != nil {
				return err
			}
			if !wait {
				c.say(cmd, "importing image %s: slipway image task list %s", imageKind.layout.Label(image), begun.id)
				return nil
			}
			ctx, stop := untilStopped(ctx)
			defer stop()
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			imported, err := c.followImport(ctx, cmd, s, begun)
			if err != nil {
				return err
			}
			return c.output.One(cmd.OutOrStdout(), &imageKind.layout, imported)
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&method, "method", "glance-direct", "glance-direct, web-download, copy-image, glance-download")
	flags.StringVar(&uri, "uri", "", "address to download from (web-download)")
	flags.StringSliceVar(&stores, "store", nil, "store to put the bytes in (repeat)")
	flags.BoolVar(&allStores, "all-stores", false, "put them in every store")
	flags.BoolVar(&mustSucceed, "all-stores-must-succeed", true, "fail where one store does; =false keeps the stores that took the image")
	flags.StringVar(&remoteRegion, "remote-region", "", "region to take the image from (glance-download)")
	flags.StringVar(&remoteImage, "remote-image", "", "id of the image there (glance-download)")
	flags.StringVar(&remoteInterface, "remote-service-interface", "", "endpoint to use there: public, internal, admin (glance-download)")
	flags.BoolVar(&wait, "wait", false, "follow the import to its end")
	flags.DurationVar(&timeout, "timeout", importPatience, "with --wait: give up waiting after this long (the import goes on)")
	cmd.MarkFlagsMutuallyExclusive("store", "all-stores")
	offerFixed(cmd, "method", importMethods)
	c.completeStores(cmd, "store")
	return cmd
}

// importing is an import that was begun: of which image, and which tasks of it are older.
type importing struct {
	id, name string
	older    map[string]bool
	tasks    bool // whether the API lists an image's tasks
}

// beginImport starts an import. What it names is read first, so that its task can be told from older ones.
func beginImport(ctx context.Context, s *session.Session, image show.Object, body show.Object) (importing, error) {
	begun := importing{id: show.Text(image, "id"), name: imageKind.layout.Label(image), older: map[string]bool{}}
	tasks, known, err := imageTasks(ctx, s, begun.id)
	if err != nil {
		return begun, session.Doing(err, "list the tasks of the image %q", begun.name)
	}
	begun.tasks = known
	for _, task := range tasks {
		begun.older[show.Text(task, "id")] = true
	}
	_, _, err = s.Call(ctx, session.Request{Service: "image", Method: http.MethodPost, Path: imageKind.item(begun.id, "import"), Body: body})
	if err == nil {
		return begun, nil
	}
	failure := session.Explain(session.Doing(err, "import the image %q", begun.name))
	if session.IsStatus(err, http.StatusConflict) {
		failure.Hints = []string{"slipway image show " + begun.id + "   (its status has to be uploading for glance-direct, queued for web-download, active for copy-image)",
			"slipway image task list " + begun.id + "   (another import may run)"}
	}
	return begun, failure
}

// followImport waits for the end of an import, shows what it does, and gives the image. Its failure is an error with the
// API's reason in it.
func (c *client) followImport(ctx context.Context, cmd *cobra.Command, s *session.Session, begun importing) (show.Object, error) {
	view := show.NewStatusView(cmd.ErrOrStderr(), c.output.Quiet, c.now, "import "+begun.name)
	defer view.Close()
	ticker := time.NewTicker(c.poll)
	defer ticker.Stop()
	var last error
	for {
		image, task, err := importNow(ctx, s, begun)
		switch {
		case err == nil:
			last = nil
			if show.Text(task, "status") != "" {
				view.Show(strings.TrimSpace(show.Text(task, "status") + "  " + show.Text(task, "message")))
			} else {
				view.Show(show.Text(image, "status"))
			}
			if over, failure := begun.ended(image, task); over {
				if failure != nil {
					return nil, failure
				}
				return image, nil
			}
		case ctx.Err() != nil:
		case isTransient(err):
			last = err
		default:
			return nil, session.Doing(err, "follow the import of the image %q", begun.name)
		}
		select {
		case <-ctx.Done():
			return nil, stoppedWatching(ctx, "the import of image "+begun.id+" goes on", last,
				"slipway image task list "+begun.id+"   (look at it again)", "slipway image delete "+begun.id+"   (take it back)")
		case <-ticker.C:
		}
	}
}

// importNow reads the task of an import, and after it the image, which so is no older than the task.
func importNow(ctx context.Context, s *session.Session, begun importing) (image, task show.Object, err error) {
	if begun.tasks {
		tasks, _, err := imageTasks(ctx, s, begun.id)
		if err != nil {
			return nil, nil, err
		}
		tasks = slices.DeleteFunc(tasks, func(t show.Object) bool { return begun.older[show.Text(t, "id")] })
		if len(tasks) > 0 {
			task = newest(tasks)
		}
	}
	image, err = imageKind.get(ctx, s, begun.id)
	return image, task, err
}

// ended says whether an import is over, and how it failed. By the task where the API tells it, else by the image: one that
// is active and names no store to come.
func (b importing) ended(image, task show.Object) (over bool, failure *show.Error) {
	failed := show.Text(image, "os_glance_failed_import")
	switch status := show.Text(task, "status"); {
	case status == "failure":
		return true, b.failed(image, show.Text(task, "message"))
	case status == "success" && failed != "":
		return true, b.failed(image, show.Text(task, "message"))
	case status == "success":
		return true, nil
	case status != "" || b.tasks:
		return false, nil
	}
	pending := show.Text(image, "os_glance_importing_to_stores")
	switch status := show.Text(image, "status"); {
	case status == "killed", status == "deleted", pending == "" && failed != "":
		return true, b.failed(image, "")
	default:
		return status == "active" && pending == "", nil
	}
}

var errImportFailed = errors.New("the import failed")

// failed is the end of an import that failed, whole or for some stores.
func (b importing) failed(image show.Object, message string) *show.Error {
	failure := &show.Error{Code: show.ExitFailed, What: fmt.Sprintf("the import of the image %q failed", b.name), Reason: message, Cause: errImportFailed}
	if stores := show.Text(image, "os_glance_failed_import"); stores != "" {
		failure.Reason = strings.TrimPrefix(failure.Reason+"\nfailed stores: "+stores, "\n")
	}
	if failure.Reason == "" {
		failure.Reason = "the API gives no reason"
	}
	failure.Hints = []string{"slipway image task list " + b.id + "   (what was tried)"}
	if status := show.Text(image, "status"); status != "active" {
		failure.Hints = append(failure.Hints, "its status is "+status+": slipway image delete "+b.id+", or import again")
	}
	return failure
}

var importInfoLayout = show.Layout{ID: "method", Name: "method", List: []show.Column{show.Col("METHOD", "method"), show.Col("DESCRIPTION", "description")}}

var methodMeanings = map[string]string{
	"glance-direct":   "bytes that were staged: slipway image stage IMAGE --file F",
	"web-download":    "the API downloads from --uri",
	"copy-image":      "an active image's bytes to other stores: --store S",
	"glance-download": "the API downloads from another region's",
}

func (c *client) imageImportInfo() *cobra.Command {
	return &cobra.Command{
		Use:     "import-info",
		Aliases: []string{"import-methods"},
		Short:   "List the import methods of the API",
		Long:    "List the ways in which this API imports images. -o json prints its own answer.",
		Example: "  slipway image import-info",
		Args:    cobra.NoArgs,
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, _ []string) error {
			answer, _, err := s.Call(ctx, session.Request{Service: "image", Method: http.MethodGet, Path: "info/import"})
			if err != nil {
				return session.Doing(err, "read the import methods")
			}
			if c.output.Whole() {
				return c.output.One(cmd.OutOrStdout(), &importInfoLayout, answer)
			}
			methods, _ := show.At(answer, "import-methods", "value").([]any)
			rows := make([]show.Object, len(methods))
			for i, m := range methods {
				rows[i] = show.Object{"method": show.TextOf(m), "description": methodMeanings[show.TextOf(m)]}
			}
			return c.output.Many(cmd.OutOrStdout(), &importInfoLayout, rows)
		}),
	}
}
