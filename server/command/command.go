package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/alecthomas/kong"
)

// Exit codes.
const (
	ExitOK       = 0
	ExitFailed   = 1 // it started and failed, or could not start
	ExitUsage    = 2 // the command line or the configuration is wrong; nothing was started
	ExitTwice    = 3 // a second signal did not wait for the graceful end
	exitUnstated = -1
)

// Process is what a command may use of its process. All fields are required.
type Process struct {
	In      io.Reader
	Out     io.Writer // results
	Err     io.Writer // everything meant for the operator
	Clock   func() time.Time
	Version string // of the build; empty = the commit Go recorded
}

// commands is the command line.
type commands struct {
	Serve    serveCommand    `cmd:"" help:"Run the push server."`
	Loadtest loadtestCommand `cmd:"" help:"Hold connections against a server, send messages and verify that all arrive."`
	Report   reportCommand   `cmd:"" help:"Make a page of reports of load tests."`
	Doctor   doctorCommand   `cmd:"" help:"Say whether this host can hold many connections, and what to change."`
	Token    tokenCommand    `cmd:"" help:"Print a token for trying things out, or check one."`
	Version  versionCommand  `cmd:"" help:"Print the version."`
	Help     helpCommand     `cmd:"" help:"Explain a command, or list configuration keys or metrics."`
}

// usageError is a mistake in the command line or the configuration.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// Run carries out one command line and returns the exit code. ctx ends when the
// process should.
func Run(ctx context.Context, args []string, to Process) int {
	exited := exitUnstated
	cli := &commands{}
	cli.Serve.Plugins = kong.Plugins{cli.Serve.keys.define()}
	parser, err := kong.New(cli,
		kong.Name("shoal"),
		kong.Description("Holds client connections on event loops and pushes to them."),
		kong.Writers(to.Out, to.Err),
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
		fmt.Fprintf(to.Err, "shoal: %v; «shoal help» shows the commands and their flags\n", err)
		return ExitUsage
	}
	return report(line.Run(), to)
}

// report prints the error of a command and chooses the exit code.
func report(err error, to Process) int {
	var usage usageError
	switch {
	case err == nil, errors.Is(err, context.Canceled):
		return ExitOK
	case errors.As(err, &usage):
		fmt.Fprintf(to.Err, "shoal: %v\n", err)
		return ExitUsage
	default:
		fmt.Fprintf(to.Err, "shoal: %v\n", err)
		return ExitFailed
	}
}

type versionCommand struct{}

// Run prints the version, the toolchain and the platform on one line.
func (versionCommand) Run(to Process) error {
	_, err := fmt.Fprintf(to.Out, "shoal %s %s %s/%s\n", to.versionText(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

// versionText is what the build said, or else the commit Go recorded.
func (p Process) versionText() string {
	if p.Version != "" {
		return p.Version
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
