package loadtest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"time"

	"shoal/codec/proto"
	"shoal/loadtest/crowd"
)

// The marks of the scenarios that press, between markIdle and markTraffic.
const (
	markBefore  = "before"  // slow: the stuck stop reading now
	markStalled = "stalled" // slow: they read again
	markCut     = "cut"     // storm: all are cut now
	markBack    = "back"    // storm: all are back
)

// press is what a run of channels, slow or storm has beside.
type press struct {
	c       *crowd.Crowd
	metrics source
	before  measures // of the target, before the traffic
	after   measures
	netstat [2]accepts
	sampled time.Time
	rssPeak int64
}

// crowdConfig is what the crowd is to do.
func (c *Config) crowdConfig(t target, s *Surroundings) crowd.Config {
	e := c.engineConfig(t, s)
	cc := crowd.Config{
		Remote: e.Remote, Host: e.Host, Path: e.Path, Encoding: e.Encoding, Token: e.Token, API: e.API,
		Channel: c.Channel, Channels: c.Channels, Subscriptions: c.Subscriptions, Positions: c.Scenario != Channels, Resume: c.Resume,
		Tokens: c.SubscriptionTokens,
		Stuck:  c.Stuck, Connections: e.Connections, ConnectRate: e.ConnectRate, Window: e.Window, Sources: e.Sources,
		StepTimeout: e.StepTimeout, PayloadBytes: e.PayloadBytes, Run: e.Run, BusyPoll: e.BusyPoll, NewPoller: e.NewPoller,
	}
	if c.Encoding == proto.Protobuf.String() {
		cc.Encoding = proto.Protobuf
	}
	return cc
}

func newPress(c *Config, t target, s *Surroundings) (*press, error) {
	metrics, err := c.metricsSource(t)
	if err != nil {
		return nil, err
	}
	members, err := crowd.New(c.crowdConfig(t, s))
	if err != nil {
		return nil, err
	}
	return &press{c: members, metrics: metrics}, nil
}

// pressure is the traffic of channels, slow and storm: a stream of publications during which something happens.
func (r *run) pressure(ctx context.Context) error {
	cfg, p := &r.cfg, r.press
	if p.c.Status().Unplaced > 0 && cfg.Scenario == Storm {
		return fmt.Errorf("channel %q has no position to recover from: let the target keep history and recover there (force_recovery)", cfg.Channel)
	}
	if ctx.Err() != nil {
		return nil
	}
	var unread, err error
	if p.before, unread = p.metrics.read(context.WithoutCancel(ctx)); unread != nil && cfg.Metrics != "" {
		return unread
	}
	p.netstat[0] = readAccepts(r.proc, cfg.ServerPID)
	r.event("publishing", r.counts())
	if err := p.c.Publish(crowd.Publishing{Rate: cfg.PublishRate, Random: cfg.Random}); err != nil {
		return err
	}
	err = r.hold(ctx, "publishing", cfg.Duration, false)
	if err == nil && ctx.Err() == nil {
		switch cfg.Scenario {
		case Slow:
			err = r.slow(ctx)
		case Storm:
			err = r.storm(ctx)
		}
	}
	// What was published must arrive, also when the test was interrupted.
	rest, cancel := context.WithTimeout(context.WithoutCancel(ctx), cfg.Grace+drainTime)
	defer cancel()
	err = errors.Join(err, r.task(rest, "awaiting the rest", func() error { return p.c.Drain(cfg.Grace) }))
	r.mark(markTraffic)
	r.event("delivered", r.counts())
	p.netstat[1] = readAccepts(r.proc, cfg.ServerPID)
	p.after, _ = p.metrics.read(context.WithoutCancel(ctx))
	return r.settle(ctx, err)
}

// slow has some stop reading, and read again.
func (r *run) slow(ctx context.Context) error {
	r.mark(markBefore)
	r.event("stalling", r.counts())
	if err := r.press.c.Stall(); err != nil {
		return err
	}
	err := r.hold(ctx, "some do not read", r.cfg.Stall, false)
	r.mark(markStalled)
	r.event("reading", r.counts())
	if err := errors.Join(err, r.press.c.Rouse()); err != nil {
		return err
	}
	return r.hold(ctx, "all read again", r.cfg.Duration, false)
}

// storm cuts all, and waits for them.
func (r *run) storm(ctx context.Context) error {
	r.mark(markCut)
	r.event("cut", r.counts())
	if err := r.task(ctx, "coming back", func() error { return r.press.c.Storm(r.cfg.Grace) }); err != nil {
		return err
	}
	r.mark(markBack)
	r.event("back", r.counts())
	return r.hold(ctx, "publishing", r.cfg.Duration, false)
}

// drainTime bounds the wait for the rest beyond the time of grace: a server that sends and sends need not be waited for.
const drainTime = time.Minute

const samplePeriod = 50 * time.Millisecond

// sample notes the highest memory the server's process had since the traffic began.
func (r *run) sample() {
	p := r.press
	if p == nil || r.cfg.ServerPID == 0 || r.report.mark(markIdle) == nil {
		return
	}
	if now := r.s.Clock(); now.Sub(p.sampled) >= samplePeriod {
		p.sampled = now
		p.rssPeak = max(p.rssPeak, residentBytes(r.proc, r.cfg.ServerPID))
	}
}

// residentBytes is the resident memory of a process, 0 when it cannot be read.
func residentBytes(proc fs.FS, pid int) (rss int64) {
	if status, err := fs.ReadFile(proc, path.Join(strconv.Itoa(pid), "status")); err == nil {
		fields(string(status), map[string]*int64{"VmRSS": &rss})
	}
	return rss
}
