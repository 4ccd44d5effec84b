package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/internal/cli/session"
	"github.com/slipway-cloud/slipway/internal/cli/show"
)

// explainedLayout shows what a request would do.
var explainedLayout = &show.Layout{Name: "accepted", Show: []show.Column{
	show.Computed("ACCEPTED", acceptedText), show.Computed("SERVERS", func(o show.Object) string { return show.Text(o, "admitted") + " of " + askedOf(o) }),
	show.Computed("QUOTA", quotaText), show.Computed("IMAGE", imageText), show.Computed("TAKES", takesText),
	show.Computed("PLACED", placedText), show.Computed("HOSTS", hostsText), show.Computed("REMOVED", removedText), show.Computed("EXPECTED", expectedText),
}}

// explain asks what the request would do, and takes nothing. What would not be built is exit 1.
func (c *client) explain(ctx context.Context, cmd *cobra.Command, s *session.Session, name string, r session.Request) error {
	version, err := r.Version, error(nil)
	if version == (session.Microversion{}) {
		if version, err = s.ComputeVersion(ctx); err != nil {
			return session.Doing(err, "explain the server %q", name)
		}
	}
	r.Service, r.Path, r.Headers = "reservations", "reservations/explain", map[string]string{"OpenStack-API-Version": "compute " + version.String()}
	answer, _, err := s.Call(ctx, r)
	if err != nil {
		return session.Doing(err, "explain the server %q", name)
	}
	e, _ := answer["explanation"].(show.Object)
	if err := c.output.One(cmd.OutOrStdout(), explainedLayout, e); err != nil {
		return err
	}
	if reason := show.Text(e, "refused", "message"); reason != "" {
		return &show.Error{Code: show.ExitFailed, What: fmt.Sprintf("the server %q would be refused", name), Reason: reason}
	}
	if reason := show.Text(e, "fault", "message"); reason != "" {
		return &show.Error{Code: show.ExitFailed, What: fmt.Sprintf("the build of the server %q would fail", name), Reason: reason}
	}
	return nil
}

func acceptedText(o show.Object) string {
	if at := show.Text(o, "refused", "step"); at != "" {
		return "no, by " + at
	}
	return "yes"
}

func quotaText(o show.Object) string {
	quota, _ := o["quota"].(show.Object)
	var lines []string
	for _, name := range []string{"instances", "cores", "ram", "server_group_members", "metadata_items", "injected_files"} {
		asked, is := show.Number(quota, name, "asked")
		if !is || asked == 0 {
			continue
		}
		left := show.Text(quota, name, "left")
		if left == "-1" {
			left = "any number"
		}
		lines = append(lines, fmt.Sprintf("%s: %d asked for, %s left", name, asked, left))
	}
	return strings.Join(lines, "\n")
}

func imageText(o show.Object) string {
	if show.Text(o, "image", "id") == "" {
		return ""
	}
	size, _ := show.Number(o, "image", "size")
	return fmt.Sprintf("%s (%s), %s, %s", show.Text(o, "image", "name"), show.Text(o, "image", "id"), show.Text(o, "image", "disk_format"), show.Bytes(size))
}

func takesText(o show.Object) string {
	if show.At(o, "takes") == nil {
		return ""
	}
	return fmt.Sprintf("%s vCPUs, %s MiB of memory, %s GiB of disk", show.Text(o, "takes", "vcpus"), show.Text(o, "takes", "ram_mib"), show.Text(o, "takes", "disk_gib"))
}

func placedText(o show.Object) string {
	n, _ := show.Number(o, "hosts_fit")
	if show.At(o, "takes") == nil {
		return ""
	}
	return fmt.Sprintf("on one of %d hosts", n)
}

func hostsText(o show.Object) string {
	var lines []string
	for _, h := range show.Objects(o["hosts"]) {
		var parts []string
		for _, w := range show.Objects(h["weighers"]) {
			if adds := show.Text(w, "adds"); adds != "0" {
				parts = append(parts, fmt.Sprintf("%s %s (%s)", show.Text(w, "weigher"), decimals(adds), show.Text(w, "value")))
			}
		}
		line := fmt.Sprintf("%s in %s, weight %s", show.Text(h, "host"), show.Text(h, "availability_zone"), decimals(show.Text(h, "weight")))
		if len(parts) > 0 {
			line += ": " + strings.Join(parts, ", ")
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// decimals cuts a number to two.
func decimals(number string) string {
	var f float64
	if _, err := fmt.Sscan(number, &f); err != nil {
		return number
	}
	return fmt.Sprintf("%.2f", f)
}

func removedText(o show.Object) string {
	var lines []string
	for _, f := range show.Objects(o["filters"]) {
		line := fmt.Sprintf("%s: %s", show.Text(f, "filter"), show.Text(f, "removed"))
		var hosts []string
		for _, h := range show.Objects(f["hosts"]) {
			hosts = append(hosts, fmt.Sprintf("%s (%s)", show.Text(h, "host"), show.Text(h, "reason")))
		}
		if len(hosts) > 0 {
			line += ", " + strings.Join(hosts, ", ")
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func expectedText(o show.Object) string {
	if show.At(o, "expected") == nil {
		return ""
	}
	return fmt.Sprintf("%s s, as half of the last %s builds took at most", decimals(show.Text(o, "expected", "seconds")), show.Text(o, "expected", "builds"))
}
