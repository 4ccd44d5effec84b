package cli

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/internal/cli/session"
	"github.com/slipway-cloud/slipway/internal/cli/show"
	"github.com/slipway-cloud/slipway/internal/imageformat"
)

// guessFormat names the disk format by the file's own marks; what has none is raw. Whether the file is sound is the API's to
// say.
func guessFormat(name string, head, tail []byte) (string, error) {
	format, trouble := imageformat.Recognise(head, tail)
	if trouble != "" {
		return "", show.UsageError("%s %s", name, strings.ReplaceAll(trouble, "disk_format", "--disk-format"))
	}
	return format, nil
}

// chooseFormats fills the formats in that the user did not give.
func (c *client) chooseFormats(ctx context.Context, cmd *cobra.Command, from *source, disk, container *string) error {
	if *disk == "" && from != nil {
		head, tail, err := from.ends(ctx)
		if err != nil {
			return session.Doing(err, "read the image")
		}
		if *disk, err = guessFormat(from.name, head, tail); err != nil {
			return err
		}
		c.say(cmd, "disk format: %s, by the content of %s", *disk, from.name)
	}
	if *container == "" {
		*container = "bare"
		if amazon := strings.ToLower(*disk); slices.Contains([]string{"aki", "ari", "ami"}, amazon) {
			*container = amazon // Glance wants both to be the same for these
		}
	}
	return nil
}
