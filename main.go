// Command shoal holds client connections on event loops and pushes to them.
//
//	shoal serve      the push server
//	shoal loadtest   connections and messages to try it with
//	shoal help       what each can do; "help config" lists every configuration key, "help metrics" every metric
//	shoal version
//
// The files of this package only read the command line, the signals and the process-wide settings; server.Program is the
// server, loadtest.Main the load test.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/alecthomas/kong"
)

// version is set by the Makefile: -ldflags "-X main.version=…".
var version string

// Exit codes.
const (
	exitOK       = 0
	exitFailed   = 1 // it started and failed, or could not start
	exitUsage    = 2 // the command line or the configuration is wrong; nothing was started
	exitTwice    = 3 // a second signal did not wait for the graceful end
	exitUnstated = -1
)

// streams are where a command writes: results to out, everything meant for the operator to err.
type streams struct{ out, err io.Writer }

// commands is the command line.
type commands struct {
	Serve    serveCommand    `cmd:"" help:"Run the push server."`
	Loadtest loadtestCommand `cmd:"" help:"Hold connections against a server, send messages and verify that all arrive."`
	Version  versionCommand  `cmd:"" help:"Print the version."`
	Help     helpCommand     `cmd:"" help:"Explain a command, or list configuration keys or metrics."`
}

// usageError is a mistake in the command line or the configuration.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// main is the only place that knows the process: its arguments, streams, signals and exit code.
func main() {
	end := newEnding(os.Stderr, os.Exit)
	code := run(end.context(), os.Args[1:], streams{os.Stdout, os.Stderr})
	end.stop()
	os.Exit(code)
}

// run carries out one command line and returns the exit code. ctx ends when the process should.
func run(ctx context.Context, args []string, to streams) int {
	exited := exitUnstated
	cli := &commands{}
	cli.Serve.Plugins = kong.Plugins{cli.Serve.keys.define()}
	parser, err := kong.New(cli,
		kong.Name("shoal"),
		kong.Description("Holds client connections on event loops and pushes to them."),
		kong.Writers(to.out, to.err),
		kong.Exit(func(code int) { exited = code }), // --help: Parse goes on and fails, which is ignored below
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 110}),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(to),
	)
	if err != nil {
		panic(fmt.Sprintf("shoal: the command line is defined wrongly: %v", err)) // our bug
	}
	line, err := parser.Parse(args)
	if exited != exitUnstated {
		return exited
	}
	if err != nil {
		fmt.Fprintf(to.err, "shoal: %v; «shoal help» shows the commands and their flags\n", err)
		return exitUsage
	}
	return report(line.Run(), to)
}

// report prints the error of a command and chooses the exit code.
func report(err error, to streams) int {
	var usage usageError
	switch {
	case err == nil, errors.Is(err, context.Canceled):
		return exitOK
	case errors.As(err, &usage):
		fmt.Fprintf(to.err, "shoal: %v\n", err)
		return exitUsage
	default:
		fmt.Fprintf(to.err, "shoal: %v\n", err)
		return exitFailed
	}
}

type versionCommand struct{}

// Run prints the version, the toolchain and the platform on one line.
func (versionCommand) Run(to streams) error {
	_, err := fmt.Fprintf(to.out, "shoal %s %s %s/%s\n", versionText(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

// versionText is what the build said, or else the commit Go recorded.
func versionText() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	revision, dirty := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value[:min(len(s.Value), 12)]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "-dirty"
		}
	}
	if revision == "" {
		return "devel"
	}
	return "devel-" + revision + dirty
}
