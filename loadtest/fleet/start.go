package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// exitTime is how long a worker process whose stream has ended has to end itself.
const exitTime = 10 * time.Second

// frugal keeps a worker process small beside its connections: it has one busy goroutine, and next to no garbage.
func frugal() []string { return []string{"GOMAXPROCS=2", "GOGC=50"} }

// child is a worker process of this host.
type child struct {
	cmd    *exec.Cmd
	kill   context.CancelFunc
	errors tail
}

// start starts a worker process. Its standard input and output are the stream; it ends when that does.
func start(command []string) (*child, io.ReadWriteCloser, error) {
	ctx, kill := context.WithCancel(context.Background())
	c := &child{cmd: exec.CommandContext(ctx, command[0], command[1:]...), kill: kill}
	c.cmd.Env = append(c.cmd.Environ(), frugal()...)
	c.cmd.Stderr = &c.errors
	c.cmd.WaitDelay = exitTime
	in, err := c.cmd.StdinPipe()
	if err != nil {
		kill()
		return nil, nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err == nil {
		err = c.cmd.Start()
	}
	if err != nil {
		kill()
		return nil, nil, fmt.Errorf("a worker process cannot be started: %w; see the limit of processes (ulimit -u)", err)
	}
	return c, &pair{Reader: out, Writer: in, closers: []io.Closer{in, out}}, nil
}

// ended waits for the process, whose stream has ended by cause, and says what became of it.
func (c *child) ended(cause error) error {
	ctx, cancel := context.WithTimeout(context.Background(), exitTime)
	defer cancel()
	context.AfterFunc(ctx, c.kill) // also when it is cancelled, after the process has ended
	err := c.cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		cause = fmt.Errorf("the process ended: %w", err)
	}
	if said := c.errors.last(); said != "" {
		cause = fmt.Errorf("%w; it said: %s", cause, said)
	}
	return cause
}

// tailBytes is how much is kept of what a worker process writes to its standard error.
const tailBytes = 2 << 10

// tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	kept []byte
}

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, p...)
	if more := len(t.kept) - tailBytes; more > 0 {
		t.kept = append(t.kept[:0], t.kept[more:]...)
	}
	return len(p), nil
}

// last is what tells most of what was written: the line of a panic, or else the last one.
func (t *tail) last() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := strings.Split(string(bytes.TrimSpace(t.kept)), "\n")
	for _, line := range lines {
		if strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") {
			return line
		}
	}
	return strings.TrimSpace(lines[len(lines)-1])
}
