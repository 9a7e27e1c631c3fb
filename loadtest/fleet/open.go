package fleet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"shoal/loadtest/engine"
	"shoal/loadtest/fleet/share"
)

// Config says who carries the connections. Fields without a stated zero meaning are required.
type Config struct {
	Engine engine.Config // of all: Connections is of all members together; First, All, Index, Of and ClockOffset are the fleet's to set
	Make   Make          // engines of this process
	Build  string
	Clock  func() time.Time
	// Resources are those of this process.
	Resources share.Resources

	// Workers is how many worker processes carry this host's part. 0 = this process does, or as many as are needed where it cannot.
	Workers int
	// Command starts a worker process that serves its standard input and output: the program and its arguments. nil = there are none.
	Command []string
	// EngineMax bounds the connections of an engine. 0 = as many as its table of descriptors has room for.
	EngineMax int

	Listener  net.Listener  // where other hosts join; nil = nowhere. Open closes it
	Hosts     int           // that have to join
	Key       string        // they have to have; "" = none
	JoinTime  time.Duration // they have for it; 0 = 5 min
	Elsewhere bool          // this host carries no connections
	// Tell takes a line about who joined or was refused; any goroutine. nil = nobody is told.
	Tell func(line string)

	patience patience // zero = patient()
}

// Validate says what is wrong with the configuration.
func (c Config) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("fleet: "+format, args...))
		}
	}
	check(c.Make != nil, "nothing to make engines with")
	check(c.Clock != nil, "no clock")
	check(c.Engine.Connections >= 1, "%d connections; at least 1", c.Engine.Connections)
	check(c.Workers >= 0 && c.Workers <= workersMax, "%d workers; at most %d", c.Workers, workersMax)
	check(c.Workers == 0 || len(c.Command) > 0, "no command to start workers with")
	check(c.EngineMax >= 0, "%d connections of an engine; 0 or more", c.EngineMax)
	check((c.Listener != nil) == (c.Hosts > 0), "hosts that join and an address to join at come together")
	check(c.Hosts >= 0 && c.Hosts <= hostsMax, "%d hosts; at most %d", c.Hosts, hostsMax)
	check(!c.Elsewhere || c.Hosts > 0, "no host carries the connections")
	check(!c.Elsewhere || c.Workers == 0, "workers of a host that carries no connections")
	return errors.Join(errs...)
}

const (
	workersMax = 1024
	hostsMax   = 1024
	// thisProcess is the member whose engines are in this process.
	thisProcess = "this process"
	// clockings is how often a clock is compared; the quickest answer counts.
	clockings = 9
)

// opening is a fleet that is being put together.
type opening struct {
	Config

	mu      sync.Mutex
	remotes []*remote // in the order they came
}

// Open puts a fleet together: starts worker processes, waits for the hosts that have to join, compares clocks, shares the
// connections out by what each member can hold and has the engines made. It holds no connection yet. Nothing is left behind when it
// fails; the error says what to change.
func Open(ctx context.Context, cfg Config) (*Fleet, error) {
	if cfg.Listener != nil {
		defer func() { _ = cfg.Listener.Close() }()
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.patience == (patience{}) {
		cfg.patience = patient()
	}
	o := &opening{Config: cfg}
	f, err := o.open(ctx)
	if err != nil {
		var all sync.WaitGroup
		for _, m := range o.remotes {
			all.Go(m.dismiss)
		}
		all.Wait()
	}
	return f, err
}

func (o *opening) open(ctx context.Context) (*Fleet, error) {
	if most := o.Resources.Table(); o.Workers == 0 && o.Hosts == 0 && !o.Resources.Tables && most > 0 && len(o.Command) > 0 {
		if need := (o.Engine.Connections + most - 1) / most; need > 1 {
			o.Workers = min(need, workersMax)
		}
	}
	if err := o.startWorkers(ctx); err != nil {
		return nil, err
	}
	if o.Hosts > 0 {
		if err := o.gather(ctx); err != nil {
			return nil, err
		}
	}
	return o.muster(ctx)
}

func (o *opening) tell(line string) {
	if o.Tell != nil {
		o.Tell(line)
	}
}

func (o *opening) add(m *remote) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.remotes = append(o.remotes, m)
}

// identity is what is said to one worker.
func (o *opening) identity() identity { return identity{o.Build, o.Key, newNonce()} }

// startWorkers starts all worker processes.
func (o *opening) startWorkers(ctx context.Context) error {
	errs := make([]error, o.Workers)
	made := make([]*remote, o.Workers)
	var all sync.WaitGroup
	for i := range o.Workers {
		all.Go(func() { made[i], errs[i] = o.startWorker(ctx, fmt.Sprintf("worker %d", i+1)) })
	}
	all.Wait()
	for _, m := range made {
		if m != nil {
			o.add(m)
		}
	}
	return merge(errs)
}

func (o *opening) startWorker(ctx context.Context, name string) (*remote, error) {
	c, rwc, err := start(o.Command)
	if err != nil {
		return nil, err
	}
	s := newStream(rwc)
	h, err := admit(ctx, s, identity{build: o.Build, nonce: newNonce()}, func(share.Resources) string { return name })
	if err != nil {
		s.close(err)
		return nil, fmt.Errorf("%s: %w", name, c.ended(err))
	}
	return newRemote(name, s, h.Resources, o.Clock, o.patience, c.ended), nil
}

// muster shares the connections out and has the engines made.
func (o *opening) muster(ctx context.Context) (*Fleet, error) {
	here := o.Workers == 0 && !o.Elsewhere
	var carriers []share.Member
	if here {
		carriers = append(carriers, share.Member{Name: thisProcess, Resources: o.Resources})
	}
	for _, m := range o.remotes {
		carriers = append(carriers, share.Member{Name: m.name, Resources: m.resources})
	}
	err := o.reach()
	if err != nil {
		return nil, err
	}
	assignments, err := o.assign(carriers)
	if err != nil {
		return nil, err
	}
	var members []member
	if here {
		c, err := newCrew(thisProcess, assignments[0], o.Make)
		if err != nil {
			return nil, err
		}
		members = append(members, c)
		assignments = assignments[1:]
	}
	errs := make([]error, len(o.remotes))
	var all sync.WaitGroup
	for i, m := range o.remotes {
		members = append(members, m)
		all.Go(func() { errs[i] = o.prepare(ctx, m, assignments[i]) })
	}
	all.Wait()
	if err := merge(errs); err != nil {
		if here {
			_ = members[0].Close(ctx) // it has no connections yet
		}
		return nil, err
	}
	return newFleet(members, o.Engine.Channels), nil
}

// reach says why the target's address is not that of one machine for all.
func (o *opening) reach() error {
	at := o.Engine.Remote.Addr()
	for _, m := range o.remotes {
		if at.IsLoopback() && m.resources.Boot != "" && m.resources.Boot != o.Resources.Boot {
			return fmt.Errorf("the target's address %s means another machine on %s: give --target the address that all hosts reach it by", at, m.name)
		}
	}
	return nil
}

// assign says what each is to carry.
func (o *opening) assign(members []share.Member) ([]*assignment, error) {
	want := share.Want{Connections: o.Engine.Connections, Sources: o.Engine.Sources, EngineMax: o.EngineMax}
	parts, err := share.Out(want, members)
	if err != nil {
		return nil, err
	}
	of := 0
	for _, engines := range parts {
		of += len(engines)
	}
	var all []*assignment
	for _, engines := range parts {
		all = append(all, &assignment{Config: o.Engine, Engines: engines, Of: of})
	}
	return all, nil
}

// prepare compares the member's clock and gives it its part.
func (o *opening) prepare(ctx context.Context, m *remote, a *assignment) error {
	if m.resources.Boot == "" || m.resources.Boot != o.Resources.Boot {
		offset, err := m.compare(ctx)
		if err != nil {
			return err
		}
		a.Ahead = offset.Ahead
	}
	return m.begin(ctx, a)
}

// compare finds out how far this host's clock is from the worker's, as NTP does (RFC 5905, section 8): the worker read its clock
// somewhere between question and answer, so half the way there and back is the most the middle can be wrong by.
func (m *remote) compare(ctx context.Context) (best Offset, err error) {
	for i := range clockings {
		asked := m.clock()
		got, err := m.ask(ctx, ask{Verb: verbState})
		answered := m.clock()
		if err != nil || got.State == nil {
			return best, fmt.Errorf("%s: its clock cannot be compared: %w", m.name, errors.Join(err, m.cause()))
		}
		around := answered.Sub(asked)
		o := Offset{Ahead: time.Duration(asked.UnixNano()-got.State.Now) + around/2, Uncertainty: around / 2}
		if i == 0 || o.Uncertainty < best.Uncertainty {
			best = o
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.clocked = best
	return best, nil
}

// Self is the command that starts another process of this program with these arguments.
func Self(args ...string) ([]string, error) {
	path, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("this program cannot find itself to start worker processes: %w", err)
	}
	return append([]string{path}, args...), nil
}
