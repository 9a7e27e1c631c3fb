package command

import (
	"context"
	"fmt"
	"io"

	"shoal/server/config"
	"shoal/server/metrics"
)

// helpCommand explains a command, or lists what there is.
type helpCommand struct {
	Topic string `arg:"" optional:"" help:"A command, config or metrics."`
}

// Run prints the help of the topic.
func (c helpCommand) Run(ctx context.Context, to Process) error {
	switch c.Topic {
	case "config":
		return printKeys(to.Out)
	case "metrics":
		return metrics.WriteNames(to.Out)
	case "":
		Run(ctx, []string{"--help"}, to)
	default:
		if Run(ctx, []string{c.Topic, "--help"}, to) != ExitOK {
			return usageError{fmt.Errorf("there is no help on %q; try config, metrics or a command", c.Topic)}
		}
	}
	return nil
}

// printKeys lists every configuration key with its variable, default and meaning.
func printKeys(w io.Writer) error {
	for _, key := range config.Keys() {
		value := key.Default
		if value == "" {
			value = "empty"
		}
		if _, err := fmt.Fprintf(w, "%s (%s, default %s)\n    %s\n    %s\n", key.Name, key.Type, value, key.Doc, key.Env); err != nil {
			return err
		}
	}
	return nil
}
