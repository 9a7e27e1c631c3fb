package server

import (
	"context"
	"fmt"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"shoal/loop"
	"shoal/tuning"
)

// housekeep gives memory back after bursts, every memory_trim_period, until ctx
// ends.
func (p *Program) housekeep(ctx context.Context) error {
	p.every(ctx, p.cfg.Loop.MemoryTrimPeriod, "trimming", func(int) { p.trim() })
	return nil
}

// tend has done, until ctx ends, what is due by the second: subscriptions and histories
// expire, collected joins and leaves are told, positions are compared.
func (p *Program) tend(ctx context.Context) error {
	check := int(p.cfg.Client.ChannelPositionCheckDelay / time.Second)
	p.every(ctx, time.Second, "housekeeping", func(n int) { p.tendOnce(ctx, n, check > 0 && n%check == 0) })
	return nil
}

// measure has the watch measure, every overload.interval, until ctx ends.
func (p *Program) measure(ctx context.Context) error {
	if p.watch != nil {
		p.every(ctx, p.cfg.Overload.Interval, "watch", func(int) { p.watch.Once() })
	}
	return nil
}

// every calls f each period until ctx ends, for the first time with 1; never when the period
// is 0. A panic in it is logged and not the end of the server.
func (p *Program) every(ctx context.Context, period time.Duration, what string, f func(n int)) {
	if period == 0 {
		return
	}
	tick := time.NewTicker(period)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			p.safely(what, func() { f(n) })
		}
	}
}

func (p *Program) safely(where string, f func()) {
	defer func() {
		if v := recover(); v != nil {
			p.opts.Logger.Error("panic recovered", "where", where, "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
		}
	}()
	f()
}

// onLoops has every loop do something for its row, unless it is busy or has ended: then
// another time.
func (p *Program) onLoops(f func(r *row)) {
	for _, r := range p.rows {
		if r.l.Post(task(func() { f(r) })) != nil {
			return
		}
	}
}

// task is a message that does something on a loop.
type task func()

// Deliver implements [loop.Message].
func (t task) Deliver(*loop.Loop) { t() }

// tendOnce is the work of second n.
func (p *Program) tendOnce(ctx context.Context, n int, positions bool) {
	backlog := p.loops.Stats().BacklogBytes
	p.onLoops(func(r *row) { r.shard.Tend(backlog) })
	p.entry.Sweep(p.opts.Clock())
	p.tenants.Report(p.opts.Clock())
	p.watchAcceptQueue(n)
	p.watchBacklog(n)
	p.broker.Expire(expireBudget)
	p.node.TellSignals()
	p.node.TellStates(p.opts.Clock())
	p.node.TendCursors(p.opts.Clock())
	if !positions {
		return
	}
	if err := p.node.CheckPositions(ctx); err != nil && ctx.Err() == nil {
		p.opts.Logger.Warn("positions were not compared with the broker", "error", err)
	}
}

// acceptQueueSeconds is the time between two looks at the kernel's counters of full accept
// queues.
const acceptQueueSeconds = 10

// watchAcceptQueue logs when connections were dropped before any loop saw them.
func (p *Program) watchAcceptQueue(second int) {
	if second%acceptQueueSeconds != 0 {
		return
	}
	now := tuning.ReadAcceptQueue().Overflows
	if n := now - min(p.overflows.Swap(now), now); n > 0 {
		p.opts.Logger.Warn("the kernel dropped connections because an accept queue was full; raise net.core.somaxconn and loop.listen_backlog, or spread the load",
			"dropped", n, "of", "all sockets of this host or container", "seconds", acceptQueueSeconds)
	}
}

// backlogSeconds is the time between two looks at what was cut for want of room.
const backlogSeconds = 10

// watchBacklog logs when the backlogs of slow connections came near the node's limit.
func (p *Program) watchBacklog(second int) {
	if second%backlogSeconds != 0 {
		return
	}
	s := p.loops.Stats()
	if n := s.Reliefs - p.reliefs; n > 0 {
		p.opts.Logger.Warn("connections with the largest backlogs were disconnected, because what waits for slow clients came near loop.node_backlog_size; raise it if there is memory, or lower client.queue_max_size",
			"times", n, "backlog", s.BacklogBytes, "limit", p.cfg.Loop.NodeBacklogSize, "seconds", backlogSeconds)
	}
	p.reliefs = s.Reliefs
}

// expireBudget is how many channels are looked at for expired history in a second.
const expireBudget = 100_000

// evict has every loop close some of its conns.
func (p *Program) evict() {
	p.onLoops(func(r *row) { r.shard.CloseCostly(p.cfg.Overload.ClosePercent, p.cfg.Overload.IdleAfter) })
}

// ledger is what the server counts of its own memory without pointers.
func (p *Program) ledger() int64 {
	s := p.loops.Stats()
	return s.SlotBytes + s.IndexBytes + s.HeldBytes + int64(p.broker.Stats().HistoryBytes)
}

// trim has every loop and pool give up what it does not need, and returns to the
// system what the heap then has too much.
func (p *Program) trim() {
	p.onLoops((*row).trim)
	p.node.Trim()
	p.broker.Trim()
	p.buffers.Trim()
	p.bytes.Trim()
	p.codec.Trim()
	if idleHeap() > idleHeapMax {
		debug.FreeOSMemory()
	}
}

// idleHeapMax is the memory the Go runtime may keep without using it.
const idleHeapMax = 1 << 20

// idleHeap is the memory the Go runtime holds from the system and does not use,
// garbage not counted.
func idleHeap() uint64 {
	samples := []metrics.Sample{{Name: "/memory/classes/heap/free:bytes"}}
	metrics.Read(samples)
	return samples[0].Value.Uint64()
}

// trim has a loop tidy up.
func (r *row) trim() {
	r.buffers.Trim()
	r.ws.Trim()
	if r.echo != nil {
		r.echo.Trim()
	}
	r.door.Trim()
	r.gate.Trim()
	r.shard.Trim()
}
