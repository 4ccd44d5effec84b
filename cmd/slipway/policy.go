package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/internal/config"
	"github.com/slipway-cloud/slipway/internal/policy"
)

// policyCommand looks at the rules of the policy and at an operator's file of them. It asks nobody.
func policyCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "policy", Short: "Show what the rules of the policy ask for, and check a file of them"}
	check := &cobra.Command{
		Use:   "check FILE",
		Short: "Read a file of rules as an api process does at its start",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			rules, err := policy.LoadRules(args[0])
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: %d rules\n", args[0], len(rules.All()))
			return nil
		},
	}
	cmd.AddCommand(showRules(), check)
	return cmd
}

func showRules() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show",
		Short: "List the rules, with what each asks for and, where api.policy_file says something else, what that is",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := config.Load(cmd.Flags())
			if err != nil {
				return err
			}
			rules, err := policy.LoadRules(c.API.PolicyFile)
			if err != nil {
				return fmt.Errorf("api.policy_file: %w", err)
			}
			table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			named := policy.Named()
			for _, rule := range slices.Sorted(maps.Keys(named)) {
				fmt.Fprintf(table, "%s\t%s\t%s\n", rule, named[rule], asked(rules, rule))
			}
			return table.Flush()
		},
	}
	config.Flags(cmd.Flags(), "api")
	return cmd
}

// asked is what the file says, as it is written there; "" for nothing.
func asked(rules *policy.Rules, rule string) string {
	roles, said := rules.Said(rule)
	switch {
	case !said:
		return ""
	case len(roles) == 0:
		return "!"
	}
	return "role:" + strings.Join(roles, " or role:")
}
