package fleet

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"

	"shoal/loadtest/engine"
	"shoal/loop/poll"
)

// local is an engine of this process.
type local struct {
	Engine
	cfg engine.Config
	out chan struct{} // gone

	mu  sync.Mutex
	why error
}

func newLocal(make_ Make, cfg engine.Config) (*local, error) {
	e, err := make_(cfg)
	if err != nil {
		return nil, err
	}
	return &local{Engine: e, cfg: cfg, out: make(chan struct{})}, nil
}

// Run serves until Close.
func (l *local) Run() error {
	err := l.Engine.Run()
	if err != nil {
		err = fmt.Errorf("the event loop of connections %d to %d ended: %w", l.cfg.First, l.cfg.First+l.cfg.Connections-1, err)
	}
	l.abandon(err)
	return err
}

func (l *local) gone() <-chan struct{} { return l.out }

func (l *local) cause() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.why
}

func (l *local) abandon(cause error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !isGone(l) {
		l.why = cause
		close(l.out)
	}
}

func (l *local) bereft() error {
	if isGone(l) && publishes(l.cfg, l.cfg.Index) {
		return l.cause()
	}
	return nil
}

// publishes says whether the engine of that index publishes to a shared channel.
func publishes(c engine.Config, index int) bool {
	channels := c.Channels
	if channels == 0 && c.Channel != "" && !c.Own {
		channels = 1
	}
	return index < channels
}

func (l *local) statuses() []MemberStatus {
	s := l.Snapshot()
	m := MemberStatus{Engines: 1, Connections: l.cfg.Connections, Ready: s.Ready, Died: s.Died}
	if cause := l.cause(); cause != nil {
		m.Ready, m.Died, m.Gone = 0, s.Died+s.Ready, cause.Error()
	}
	return []MemberStatus{m}
}

// crew is the engines of one process as one member.
type crew struct {
	*group
	name string
	pid  int
	out  chan struct{}
	once sync.Once
	why  error // before out is closed
}

// newCrew makes the engines of an assignment.
func newCrew(name string, a *assignment, make_ Make) (*crew, error) {
	var members []member
	for _, e := range a.Engines {
		m, err := newLocal(make_, a.config(e))
		if err != nil {
			for _, made := range members {
				_ = made.Close(context.Background()) // it has no connections yet
			}
			return nil, err
		}
		members = append(members, m)
	}
	return &crew{group: newGroup(members), name: name, pid: os.Getpid(), out: make(chan struct{})}, nil
}

// Run serves until Close. The crew is gone when all its engines are.
func (c *crew) Run() error {
	ran := make(chan error, 1)
	go func() { ran <- c.group.Run() }()
	var why error
	for _, m := range c.members {
		<-m.gone()
		why = cmp.Or(why, m.cause())
	}
	c.abandon(why)
	<-ran
	return why
}

func (c *crew) gone() <-chan struct{} { return c.out }

func (c *crew) cause() error {
	select {
	case <-c.out:
		return c.why
	default:
		return nil
	}
}

func (c *crew) abandon(cause error) {
	c.once.Do(func() {
		c.why = cause
		close(c.out)
	})
}

func (c *crew) statuses() []MemberStatus {
	sum := MemberStatus{Name: c.name, PID: c.pid, RSS: residentBytes(os.DirFS("/"))}
	for _, m := range c.members {
		for _, s := range m.statuses() {
			sum.Engines += s.Engines
			sum.Connections += s.Connections
			sum.Ready += s.Ready
			sum.Died += s.Died
			if sum.Gone == "" {
				sum.Gone = s.Gone
			}
		}
	}
	return []MemberStatus{sum}
}

// residentBytes is what this process has in memory; 0 = not known.
func residentBytes(root fs.FS) int64 {
	text, err := fs.ReadFile(root, "proc/self/statm")
	if err != nil {
		return 0
	}
	f := strings.Fields(string(text))
	if len(f) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(f[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

// Engines makes engines of this process. apart gives each a table of descriptors of its own where several share a test; see
// share.OwnTables.
func Engines(apart bool) Make {
	tables := new(poll.Tables)
	return func(cfg engine.Config) (Engine, error) {
		if apart && cfg.Of > 1 && cfg.NewPoller == nil {
			cfg.NewPoller = func(int) (poll.Poller, poll.Sys, error) { return tables.Open() }
		}
		return engine.New(cfg)
	}
}
