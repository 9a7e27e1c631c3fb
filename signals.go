package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// ending turns SIGINT and SIGTERM into the end of a context: the first asks for a graceful end, the second ends the process
// at once.
type ending struct {
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
	return &ending{ctx: ctx, cancel: cancel, signals: make(chan os.Signal, 2), done: make(chan struct{})}
}

func (e *ending) context() context.Context { return e.ctx }

func (e *ending) watch(w io.Writer, exit func(code int)) {
	for {
		select {
		case <-e.done:
			return
		case s := <-e.signals:
			if e.ctx.Err() != nil {
				fmt.Fprintf(w, "shoal: %v again: stopping at once\n", s)
				exit(exitTwice)
				return
			}
			fmt.Fprintf(w, "shoal: %v: stopping gracefully; once more stops at once\n", s)
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
