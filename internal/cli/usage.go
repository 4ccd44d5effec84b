package cli

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/slipway-cloud/slipway/internal/cli/show"
)

// Strict makes each wrong use of a command, and of those below it, an error that says what is wrong and points to that
// command's help.
func Strict(cmd *cobra.Command) {
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usageOf(cmd, flagWords(err)) })
	if cmd.HasSubCommands() && cmd.RunE == nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return usageOf(cmd, fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath()))
		}
		cmd.Args = cobra.ArbitraryArgs
	}
	check := cmd.Args
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if check != nil {
			if err := check(cmd, args); err != nil {
				return usageOf(cmd, argumentWords(cmd, args, err))
			}
		}
		if !cmd.DisableFlagParsing {
			if missing := missingFlags(cmd); len(missing) > 0 {
				return usageOf(cmd, fmt.Errorf("missing: %s", strings.Join(missing, ", ")))
			}
			if err := cmd.ValidateFlagGroups(); err != nil {
				return usageOf(cmd, err)
			}
		}
		return nil
	}
	for _, child := range cmd.Commands() {
		Strict(child)
	}
}

// missingFlags are those that are required and not given. Cobra looks for them later, where the command is not known.
func missingFlags(cmd *cobra.Command) (names []string) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if required := f.Annotations[cobra.BashCompOneRequiredFlag]; len(required) > 0 && required[0] == "true" && !f.Changed {
			names = append(names, "--"+f.Name)
		}
	})
	return names
}

// argumentWords says how many arguments there are and how the command is used, instead of how many it accepts.
func argumentWords(cmd *cobra.Command, args []string, err error) error {
	if errors.As(err, new(*show.Error)) || cmd.HasSubCommands() {
		return err
	}
	given := "no argument is given"
	switch {
	case len(args) == 1:
		given = fmt.Sprintf("one argument is given (%q)", args[0])
	case len(args) > 1:
		given = fmt.Sprintf("%d arguments are given (%q)", len(args), args)
	}
	return fmt.Errorf("%s: the command is %s", given, cmd.UseLine())
}

// valueWords are what a flag's value has to be, by its type.
var valueWords = map[string]string{
	"int": "a whole number", "int32": "a whole number", "int64": "a whole number", "count": "a whole number",
	"uint": "a whole number from 0", "uint16": "a whole number from 0", "uint32": "a whole number from 0", "uint64": "a whole number from 0",
	"float64": "a number", "bool": "true or false", "duration": "a duration such as 90s, 5m or 2h",
}

// flagWords says what a flag wants, instead of which function could not read its value.
func flagWords(err error) error {
	var wrong *pflag.InvalidValueError
	if !errors.As(err, &wrong) {
		return err
	}
	name, value := wrong.GetFlag().Name, wrong.GetValue()
	switch want := valueWords[wrong.GetFlag().Value.Type()]; {
	case want == "":
		return fmt.Errorf("--%s %q: %w", name, value, wrong.Unwrap())
	case strings.HasPrefix(want, "a whole number") && tooLarge(value):
		return fmt.Errorf("--%s: %s is too large a number", name, value)
	default:
		return fmt.Errorf("--%s wants %s, not %q", name, want, value)
	}
}

// tooLarge says whether a text is a number and no int; pflag does not tell.
func tooLarge(text string) bool {
	_, err := strconv.ParseInt(text, 0, 0)
	return errors.Is(err, strconv.ErrRange)
}
