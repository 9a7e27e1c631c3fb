package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"shoal/loadtest/engine"
	"shoal/loadtest/fleet"
	"shoal/loadtest/fleet/share"
)

// membersFlags say who carries the connections of a load test.
type membersFlags struct {
	Workers   int           `placeholder:"N" help:"Worker processes that carry the connections (default: none where this process can, else as many as it takes)."`
	Listen    string        `placeholder:"[HOST]:PORT" help:"Where other hosts join the load test."`
	Hosts     int           `placeholder:"N" help:"Hosts that have to join before it begins. This one carries its part, too."`
	JoinTime  time.Duration `default:"5m" help:"How long they have for it."`
	Elsewhere bool          `help:"This host carries no connections; those that join do."`
	Join      string        `placeholder:"HOST:PORT" help:"Carry a part of the load test whose coordinator listens there; it knows all the rest."`
	Key       string        `env:"SHOAL_LOADTEST_KEY" placeholder:"KEY" help:"That hosts must have to join, on all of them (default: whoever comes may join)."`
	Worker    bool          `hidden:"" help:"Serve a coordinator on standard input and output."`
}

// serves says whether this process is to carry a part of somebody else's load test.
func (m *membersFlags) serves() bool { return m.Worker || m.Join != "" }

// serve carries a part of somebody else's load test. wait is how long the coordinator may take to listen.
func (m *membersFlags) serve(ctx context.Context, to Process, wait time.Duration) error {
	w := fleet.Worker{Build: to.versionText(), Clock: to.Clock}
	if m.Worker {
		w.Make, w.Resources = fleet.Engines(false), share.Read(false)
		// Ctrl-C reaches all processes of a terminal; what it means is the coordinator's to say.
		return w.Serve(context.WithoutCancel(ctx), stdio{to.In, to.Out})
	}
	apart := share.OwnTables() == nil
	w.Key, w.Make, w.Resources = m.Key, fleet.Engines(apart), share.Read(apart)
	fmt.Fprintf(to.Err, "joining the load test at %s\n", m.Join)
	err := w.Join(ctx, m.Join, wait)
	if err == nil {
		fmt.Fprintln(to.Err, "the load test is over; its report is with the coordinator")
	}
	return err
}

// open makes what carries a load test out. progress takes lines about hosts that join; nil = nobody is told.
func (m *membersFlags) open(ctx context.Context, to Process, progress io.Writer, cfg engine.Config) (engine.Driver, error) {
	apart := m.Workers == 0 && share.OwnTables() == nil
	fc := fleet.Config{
		Engine: cfg, Make: fleet.Engines(apart), Build: to.versionText(), Clock: to.Clock, Resources: share.Read(apart),
		Workers: m.Workers, Hosts: m.Hosts, Key: m.Key, Elsewhere: m.Elsewhere, JoinTime: m.JoinTime,
	}
	var err error
	if fc.Command, err = fleet.Self("loadtest", "--worker"); err != nil {
		return nil, err
	}
	if progress != nil {
		fc.Tell = func(line string) { fmt.Fprintln(progress, line) }
	}
	if m.Listen != "" {
		if fc.Listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", m.Listen); err != nil {
			return nil, fmt.Errorf("--listen: %w; name an address of this host and a free port, as in :7000", err)
		}
		if progress != nil {
			fmt.Fprintf(progress, "%d hosts are to join; on each of them: shoal loadtest --join HOST%s\n", m.Hosts, portOf(fc.Listener))
		}
	}
	f, err := fleet.Open(ctx, fc)
	if err != nil {
		return nil, err // not a nil Fleet as a Driver
	}
	return f, nil
}

// Validate is called by kong.
func (m *membersFlags) Validate() error {
	switch {
	case (m.Listen == "") != (m.Hosts == 0):
		return errors.New("--listen and --hosts come together: where hosts join, and how many")
	case m.Elsewhere && m.Hosts == 0:
		return errors.New("--elsewhere without --hosts: nobody would carry the connections")
	case m.Elsewhere && m.Workers > 0:
		return errors.New("--elsewhere and --workers: this host carries connections or it does not")
	case m.Workers < 0 || m.Hosts < 0:
		return errors.New("--workers or --hosts below zero")
	}
	return nil
}

// portOf is the port of a listener, with its colon.
func portOf(ln net.Listener) string {
	_, port, _ := net.SplitHostPort(ln.Addr().String()) // made by the kernel
	return ":" + port
}

// stdio is the standard streams as one.
type stdio struct {
	io.Reader
	io.Writer
}

// Close implements io.Closer. The process ends soon, and its streams with it.
func (stdio) Close() error { return nil }
