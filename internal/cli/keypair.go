package cli

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"github.com/slipway-cloud/slipway/internal/cli/session"
	"github.com/slipway-cloud/slipway/internal/cli/show"
)

// Key pairs are known by their names alone, and Nova lists each inside an object of its own.
var keypairKind = &kind{
	noun: "key pair", service: "compute", path: "os-keypairs", plural: "keypairs", singular: "keypair",
	listHint: "slipway keypair list", brief: true,
	layout: show.Layout{ID: "name", List: []show.Column{
		show.Col("NAME", "name"), show.Col("TYPE", "type"), show.Col("FINGERPRINT", "fingerprint"), show.Col("PUBLIC KEY", "public_key").OnlyWide(),
	}, Show: []show.Column{
		show.Col("NAME", "name"), show.Col("TYPE", "type"), show.Col("FINGERPRINT", "fingerprint"), show.Col("PUBLIC KEY", "public_key"),
		show.Col("USER", "user_id"), show.Col("CREATED", "created_at"),
	}},
}

func (c *client) keypairCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "keypair",
		Aliases: []string{"keypairs", "key"},
		Short:   "List, show, create and delete key pairs",
		Example: "  slipway keypair create laptop --public-key ~/.ssh/id_ed25519.pub\n  slipway keypair list",
	}
	cmd.AddCommand(c.listCommand(keypairKind, "List your key pairs", "", "  slipway keypair list"),
		c.showCommand(keypairKind, "  slipway keypair show laptop"), c.keypairCreate(),
		c.deleteCommand(keypairKind, "  slipway keypair delete laptop"))
	return cmd
}

func (c *client) keypairCreate() *cobra.Command {
	var publicFile, privateFile string
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Import a public key, or make a new pair",
		Long: `Import a public key with --public-key. Without it a new Ed25519 pair is made on this machine: the public half goes to
the API, the private half to --private-key (mode 0600; an existing file is not touched) or to standard output, and nowhere
else.`,
		Example: "  slipway keypair create laptop --public-key ~/.ssh/id_ed25519.pub\n  slipway keypair create ci --private-key ci.pem\n  slipway keypair create ci > ci.pem",
		Args:    cobra.ExactArgs(1),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			name := args[0]
			if publicFile != "" {
				public, err := readInput(cmd, publicFile)
				if err != nil {
					return session.Doing(err, "read the public key")
				}
				if strings.Contains(string(public), "PRIVATE KEY") {
					return show.UsageError("%s is a private key: give the public one (%s.pub?)", publicFile, publicFile)
				}
				if n := bytes.Count(bytes.TrimSpace(public), []byte("\n")) + 1; n > 1 {
					return show.UsageError("%s has %d lines: a key pair is one public key, on one line", publicFile, n)
				}
				keypair, err := importKey(ctx, s, name, string(public))
				if err != nil {
					return err
				}
				return c.output.One(cmd.OutOrStdout(), &keypairKind.layout, keypair)
			}
			public, private, err := newKey(name)
			if err != nil {
				return session.Doing(err, "make the key pair %q", name)
			}
			if privateFile == "" {
				keypair, err := importKey(ctx, s, name, public)
				if err != nil {
					return err
				}
				c.say(cmd, "created key pair %s (%s); its private key is on standard output and nowhere else", name, show.Text(keypair, "fingerprint"))
				_, err = cmd.OutOrStdout().Write(private)
				return err
			}
			// The private key is safe on disk before the API knows the public one.
			if err := writeNew(privateFile, private); err != nil {
				return session.Doing(err, "write the private key")
			}
			keypair, err := importKey(ctx, s, name, public)
			if err != nil {
				os.Remove(privateFile)
				return err
			}
			c.say(cmd, "the private key is in %s", privateFile)
			return c.output.One(cmd.OutOrStdout(), &keypairKind.layout, keypair)
		}),
	}
	cmd.Flags().StringVar(&publicFile, "public-key", "", "file with the public key to import, - for standard input")
	cmd.Flags().StringVar(&privateFile, "private-key", "", "new file for the private key of a new pair (default standard output)")
	cmd.MarkFlagsMutuallyExclusive("public-key", "private-key")
	return cmd
}

func importKey(ctx context.Context, s *session.Session, name, public string) (show.Object, error) {
	answer, _, err := s.Call(ctx, session.Request{Service: "compute", Method: http.MethodPost, Path: keypairKind.path,
		Body: show.Object{"keypair": show.Object{"name": name, "type": "ssh", "public_key": strings.TrimSpace(public)}}})
	if err != nil {
		return nil, session.Doing(err, "create the key pair %q", name)
	}
	return keypairKind.unwrap(answer), nil
}

// newKey makes an Ed25519 pair in OpenSSH's forms.
func newKey(comment string) (public string, private []byte, err error) {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", nil, fmt.Errorf("making a key: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(key, comment)
	if err != nil {
		return "", nil, fmt.Errorf("writing the private key: %w", err)
	}
	line, err := ssh.NewPublicKey(pub)
	if err != nil {
		return "", nil, fmt.Errorf("writing the public key: %w", err)
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(line))) + " " + comment, pem.EncodeToMemory(block), nil
}

// writeNew writes a file that only its owner reads, and never over another.
func writeNew(name string, data []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		f.Close()
		os.Remove(name)
		return err
	}
	return f.Close()
}
