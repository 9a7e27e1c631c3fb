// Command shoal holds client connections on event loops and pushes to them.
//
//	shoal serve      the push server
//	shoal loadtest   connections and messages to try it with
//	shoal doctor     whether this host can hold many connections
//	shoal help       what each can do; "help config" lists every configuration key, "help metrics" every metric
//	shoal version
//
// This file knows the process: arguments, streams, signals and exit code. server/command reads the command line,
// server.Program is the server, loadtest.Run the load test.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"shoal/server/command"
)

// version is set by the Makefile: -ldflags "-X main.version=…".
var version string

func main() {
	end := newEnding(os.Stderr, os.Exit)
	code := command.Run(end.context(), os.Args[1:], command.Process{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Clock: time.Now, Version: version,
	})
	end.stop()
	os.Exit(code)
}

// ending turns SIGINT and SIGTERM into the end of a context: the first asks for a graceful end, the second ends the process
// at once.
type ending struct {
	now     func() time.Time
	ctx     context.Context
	cancel  context.CancelFunc
	signals chan os.Signal
	done    chan struct{}
}

// newEnding listens to the process's signals. exit is called on the second one.
func newEnding(w io.Writer, exit func(code int)) *ending {
	e := makeEnding()
	signal.Notify(e.signals, os.Interrupt, syscall.SIGTERM)
	go e.watch(w, exit)
	return e
}

func makeEnding() *ending {
	ctx, cancel := context.WithCancel(context.Background())
	return &ending{now: time.Now, ctx: ctx, cancel: cancel, signals: make(chan os.Signal, 2), done: make(chan struct{})}
}

func (e *ending) context() context.Context { return e.ctx }

// sameRequest is how long a second signal counts as the first one come twice: timeout(1) and some supervisors signal the
// process and then its whole group. No hand is that quick.
const sameRequest = 200 * time.Millisecond

func (e *ending) watch(w io.Writer, exit func(code int)) {
	var asked time.Time
	for {
		select {
		case <-e.done:
			return
		case s := <-e.signals:
			if e.now().Sub(asked) < sameRequest {
				continue
			}
			if e.ctx.Err() != nil {
				fmt.Fprintf(w, "shoal: %v again: stopping at once\n", s)
				exit(command.ExitTwice)
				return
			}
			fmt.Fprintf(w, "shoal: %v: stopping gracefully; once more stops at once\n", s)
			asked = e.now()
			e.cancel()
		}
	}
}

// stop gives the signals back. Call it once.
func (e *ending) stop() {
	signal.Stop(e.signals)
	close(e.done)
	e.cancel()
}
