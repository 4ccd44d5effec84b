package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/internal/cli"
	"github.com/slipway-cloud/slipway/internal/cli/show"
	"github.com/slipway-cloud/slipway/internal/pki"
)

// defaultPKI is the folder of the CA where no other is named.
const defaultPKI = "/etc/slipway/pki"

// exitExpires is the exit code of `slipway pki show` alone, for monitoring: a certificate ends within a month, or has ended.
const exitExpires = cli.ExitFindings

func pkiCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pki",
		Short: "Issue, renew, revoke and show certificates, with a small CA of your own",
		Long: `A CA in a folder, for installations on more than one machine that have none. It asks no API: run it on a machine that you trust
with the CA's key, and copy to each other machine ca.pem, crl.pem, and its own certificate and key. A hypervisor gets them with its settings, in the file of
"slipway host create --enrolment".

A certificate says what its holder is: control (api, worker, Temporal's server), host (a hypervisor; NAME is its hostname),
operator (a person, or what scrapes metrics), ovn-central, or ovn-chassis (NAME is the chassis' id).`,
	}
	var dir string
	cmd.PersistentFlags().StringVar(&dir, "dir", defaultPKI, "folder of the CA")
	cmd.AddCommand(pkiInitCommand(&dir), pkiIssueCommand(&dir), pkiRenewCommand(&dir), pkiRevokeCommand(&dir), pkiShowCommand(&dir))
	return cmd
}

func pkiInitCommand(dir *string) *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make the CA, for ten years; one that is there stays as it is",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := pki.Init(cmd.Context(), *dir, name); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "The CA is in %s. Whoever has its ca.key can be anybody: it stays there, and has a copy in a safe place.\n", *dir)
			return nil
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "common name of the CA (default: one that tells it from others)")
	return cmd
}

func pkiIssueCommand(dir *string) *cobra.Command {
	var r pki.Request
	var days int
	cmd := &cobra.Command{
		Use:   "issue ROLE NAME",
		Short: "Make a key and its certificate",
		Long: `Writes ROLE-NAME.pem and ROLE-NAME.key. A server's certificate is valid for the names and addresses by which clients ask for it,
and for no other; a host's is valid for its hostname without being asked.`,
		Example: `  slipway pki issue control cloud --dns cloud.example.org --ip 10.0.0.1
  slipway pki issue host hv2
  slipway pki issue operator ada`,
		Args: cobra.ExactArgs(2), ValidArgsFunction: completeRoles,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			r.Role, r.Name = args[0], args[1]
			return written(cmd, *dir, days, func(ctx context.Context, ca *pki.Authority, validity time.Duration) (pki.Certificate, error) {
				r.Validity = validity
				return ca.Issue(ctx, r)
			})
		},
	}
	cmd.Flags().StringSliceVar(&r.DNS, "dns", nil, "DNS names that it is valid for (comma separated, or repeated)")
	cmd.Flags().StringSliceVar(&r.IPs, "ip", nil, "IP addresses that it is valid for")
	daysFlag(cmd, &days)
	return cmd
}

func daysFlag(cmd *cobra.Command, days *int) {
	cmd.Flags().IntVar(days, "days", int(pki.Year/(24*time.Hour)), "how long it is valid")
}

func completeRoles(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return pki.Roles, cobra.ShellCompDirectiveNoFileComp
}

// written makes a certificate and says where it is.
func written(cmd *cobra.Command, dir string, days int, do func(context.Context, *pki.Authority, time.Duration) (pki.Certificate, error)) error {
	if days < 1 {
		return show.UsageError("--days %d: a certificate is valid for one day at least", days)
	}
	ca, err := pki.Open(dir)
	if err != nil {
		return err
	}
	validity := time.Duration(days) * 24 * time.Hour
	if !cmd.Flags().Changed("days") {
		validity = 0 // a year, or as long as the CA has
	}
	c, err := do(cmd.Context(), ca, validity)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, c.Role+"-"+c.Name)
	fmt.Fprintf(cmd.OutOrStdout(), "%s.pem and %s.key are valid until %s.\n", path, path, c.NotAfter.Format(time.DateOnly))
	if c.Role != pki.Operator && len(c.DNS)+len(c.IPs) == 0 {
		fmt.Fprintln(cmd.ErrOrStderr(), "It has no --dns and no --ip: it proves who a client is, and no listener can use it.")
	}
	return nil
}

func pkiRenewCommand(dir *string) *cobra.Command {
	var days int
	cmd := &cobra.Command{
		Use:   "renew ROLE NAME",
		Short: "Make a new key and certificate with the names that the last one has",
		Long: `Writes ROLE-NAME.pem and ROLE-NAME.key anew. What was there before stays valid until its own end, so there is time to copy the new
files; processes take them up without a restart.`,
		Args: cobra.ExactArgs(2), ValidArgsFunction: completeRoles,
		RunE: func(cmd *cobra.Command, args []string) error {
			return written(cmd, *dir, days, func(ctx context.Context, ca *pki.Authority, validity time.Duration) (pki.Certificate, error) {
				return ca.Renew(ctx, args[0], args[1], validity)
			})
		},
	}
	daysFlag(cmd, &days)
	return cmd
}

func pkiRevokeCommand(dir *string) *cobra.Command {
	var serial string
	cmd := &cobra.Command{
		Use:   "revoke ROLE NAME",
		Short: "End the certificates of a holder, in the revocation list crl.pem",
		Long: `Ends all certificates that the holder has, also those that were renewed, or the one that --serial names. It takes effect where
the new crl.pem is: copy it beside each ca.pem. There it ends open connections too.`,
		Args: cobra.ExactArgs(2), ValidArgsFunction: completeRoles,
		RunE: func(cmd *cobra.Command, args []string) error {
			ca, err := pki.Open(*dir)
			if err != nil {
				return err
			}
			ended, err := ca.Revoke(cmd.Context(), args[0], args[1], serial)
			if err != nil {
				return err
			}
			list := filepath.Join(*dir, pki.CRLFile)
			for _, c := range ended {
				fmt.Fprintf(cmd.OutOrStdout(), "Revoked %s %s, serial %s.\n", c.Role, c.Name, c.Serial)
			}
			if len(ended) == 0 {
				fmt.Fprintf(cmd.OutOrStdout(), "Nothing of %s %s is valid: it is revoked already, or has expired.\n", args[0], args[1])
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Copy %s beside each ca.pem.\n", list)
			return nil
		},
	}
	cmd.Flags().StringVar(&serial, "serial", "", "only the one with this serial (slipway pki show -o wide)")
	return cmd
}

var certificateLayout = show.Layout{ID: "serial", Name: "name", List: []show.Column{
	show.Col("ROLE", "role"), show.Col("NAME", "name"), show.Col("STATE", "state"), show.Col("DAYS LEFT", "days_left"), show.Col("NOT AFTER", "not_after"),
	show.Computed("VALID FOR", func(o show.Object) string {
		return strings.Trim(show.Text(o, "dns")+", "+show.Text(o, "ips"), ", ")
	}),
	show.Col("SERIAL", "serial").OnlyWide(), show.Col("FILE", "file").OnlyWide(),
}}

func pkiShowCommand(dir *string) *cobra.Command {
	var output show.Output
	cmd := &cobra.Command{
		Use:   "show",
		Short: "List the CA and what it has issued",
		Long: `Lists the CA and what it has issued. The exit code is 3, with a warning for each, where one that is in use ends within 30 days
or has ended.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := output.Check(); err != nil {
				return show.UsageError("%v", err)
			}
			ca, err := pki.Open(*dir)
			if err != nil {
				return err
			}
			all, err := ca.Show()
			if err != nil {
				return err
			}
			var items []show.Object
			text, err := json.Marshal(all)
			if err := errors.Join(err, json.Unmarshal(text, &items)); err != nil {
				return err
			}
			if err := output.Many(cmd.OutOrStdout(), &certificateLayout, items); err != nil {
				return err
			}
			var failure error
			for _, c := range all {
				if c.Soon {
					fmt.Fprintf(cmd.ErrOrStderr(), "Warning: %s\n", expires(c, *dir))
					failure = &show.Error{Code: exitExpires}
				}
			}
			return failure
		},
	}
	output.Bind(cmd.Flags())
	return cmd
}

// expires says what to do about a certificate that ends soon.
func expires(c pki.Shown, dir string) string {
	when := fmt.Sprintf("ends in %d days", c.DaysLeft)
	if c.State == pki.Expired {
		when = "has expired"
	}
	if c.Role == "ca" {
		return fmt.Sprintf("the CA %s: make another one in another folder (slipway pki init --dir), and have every machine trust both", when)
	}
	option := ""
	if dir != defaultPKI {
		option = " --dir " + dir
	}
	return fmt.Sprintf("%s %s %s: slipway pki renew %s %s%s, or revoke it if nobody uses it", c.Role, c.Name, when, c.Role, c.Name, option)
}
