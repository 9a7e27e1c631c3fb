package main

import (
	"bytes"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"shoal/server/command"
)

func TestFirstSignalEndsGracefullyAndTheSecondAtOnce(t *testing.T) {
	e := makeEnding()
	var clock atomic.Int64 // s
	e.now = func() time.Time { return time.Unix(clock.Load(), 0) }
	exited := make(chan int, 1)
	var said bytes.Buffer
	go e.watch(&said, func(code int) { exited <- code })

	e.signals <- syscall.SIGTERM
	<-e.context().Done()
	e.signals <- syscall.SIGTERM // as timeout(1) does: to the process, then to its group
	for len(e.signals) > 0 {
		runtime.Gosched()
	}
	e.signals <- syscall.SIGTERM // it is through with the one before when it has taken this
	for len(e.signals) > 0 {
		runtime.Gosched()
	}
	clock.Add(1)
	e.signals <- syscall.SIGINT
	if code := <-exited; code != command.ExitTwice {
		t.Errorf("exit code %d, want %d", code, command.ExitTwice)
	}
	if !strings.Contains(said.String(), "stopping gracefully") || !strings.Contains(said.String(), "stopping at once") {
		t.Errorf("said %q", said.String())
	}
}
