package server

import (
	"strconv"
	"time"

	"shoal/codec/handshake"
	"shoal/codec/ws"
	"shoal/loop"
	"shoal/server/api/hooks"
	"shoal/server/auth"
	"shoal/server/channel"
	"shoal/server/entry"
	"shoal/server/metrics"
	"shoal/server/node/evict"
	"shoal/server/node/seal"
	"shoal/server/overload"
	"shoal/server/tenant"
	transport "shoal/server/transport/ws"
	"shoal/server/watch"
	"shoal/tuning"
)

// sources tells the metrics where their figures come from.
func (p *Program) sources() metrics.Sources {
	return metrics.Sources{
		Version: p.opts.Version, Loop: p.loopSnapshot, WebSocket: p.webSocketSnapshot,
		Node: p.nodeSnapshot, Memory: p.memorySnapshot, Overload: p.overloadSnapshot(),
	}
}

func (p *Program) loopSnapshot() metrics.LoopSnapshot {
	s := p.loops.Stats()
	out := metrics.LoopSnapshot{
		Loops: p.loops.Loops(), Conns: int(s.Conns), Accepted: s.Accepted,
		ReadBytes: s.BytesIn, WrittenBytes: s.BytesOut, Reads: s.Reads, Writes: s.Writes, Writevs: s.Writevs,
		Turns: s.Turns, TickLag: time.Duration(s.LateTicksMax) * p.cfg.Loop.Tick, BacklogBytes: s.BacklogBytes, SlotBytes: s.SlotBytes + s.IndexBytes,
		EmfileEpisodes: s.DescriptorEpisodes, Refused: s.Refused, AcceptErrors: s.AcceptErrors, ShedBytes: s.ShedBytes, Reliefs: s.Reliefs, MailboxFull: s.MailboxFull, Panics: s.Panics,
	}
	out.Lag = metrics.Histogram{Count: s.Lag.Count(), Sum: s.Lag.Sum().Seconds()}
	s.Lag.Each(func(bound time.Duration, passes uint64) {
		out.Lag.Bounds, out.Lag.Counts = append(out.Lag.Bounds, bound.Seconds()), append(out.Lag.Counts, passes)
	})
	q := tuning.ReadAcceptQueue()
	out.ListenOverflows, out.ListenDrops = q.Overflows, q.Drops
	for _, r := range loop.Reasons() {
		out.Closed = append(out.Closed, metrics.Labeled{Label: r.String(), Count: s.Closed[r]})
	}
	return out
}

func (p *Program) webSocketSnapshot() metrics.WebSocketSnapshot {
	out := metrics.WebSocketSnapshot{Open: int(p.node.Stats().Sessions.Load())}
	var transports []*transport.Stats
	for _, r := range p.rows {
		transports = append(transports, r.ws.Stats())
	}
	for _, s := range transports {
		out.Opened += s.Opened.Load()
		out.MessagesIn += s.MessagesIn.Load()
		out.MessagesOut += s.MessagesOut.Load()
		out.PayloadIn += s.PayloadIn.Load()
		out.PayloadOut += s.PayloadOut.Load()
		out.PingsIn += s.PingsIn.Load()
		out.PongsIn += s.PongsIn.Load()
		out.Floods += s.Floods.Load()
		out.Compressed += s.Compressed.Load()
		out.Uncompressed += s.Uncompressed.Load()
	}
	out.MessagesOut += p.node.Stats().Delivered.Load()
	for _, st := range handshake.Statuses() {
		if !st.Failed() {
			continue
		}
		n := p.door.Refusals(st)
		out.Refused = append(out.Refused, metrics.Labeled{Label: st.String(), Count: n})
	}
	corrupt := uint64(0)
	for _, s := range transports {
		corrupt += s.InflateErrors.Load()
	}
	out.Failed = append(out.Failed, metrics.Labeled{Label: "corrupt-deflate", Count: corrupt})
	for _, reason := range ws.Reasons() {
		n := uint64(0)
		for _, s := range transports {
			n += s.Failures(reason)
		}
		out.Failed = append(out.Failed, metrics.Labeled{Label: reason.String(), Count: n})
	}
	return out
}

// entrySnapshot fills in what admission counts.
func (p *Program) entrySnapshot(out *metrics.NodeSnapshot) {
	s := p.entry.Stats()
	out.Handshakes, out.Addresses, out.AddressesNotTracked = int(p.entry.Pending()), p.entry.Addresses(), s.Untracked.Load()
	s.EachRefusal(func(why entry.Reason, n uint64) {
		out.ConnectsRefused = append(out.ConnectsRefused, metrics.Labeled{Label: why.String(), Count: n})
	})
}

func (p *Program) nodeSnapshot() metrics.NodeSnapshot {
	s := p.node.Stats()
	out := metrics.NodeSnapshot{
		Sessions: int(s.Sessions.Load()), Users: int(s.Users.Load()), Channels: p.node.Channels(),
		Subscriptions: int(s.Subscriptions.Load()), Malformed: s.Malformed.Load(),
		PublishErrors: s.PublishFailed.Load(), InflightBytes: p.node.InflightBytes(), Publications: s.Published.Load(), Deliveries: s.Delivered.Load(),
		Dormant: int(s.Dormant.Load()), PingsSent: s.Pings.Load(), PongsMissed: s.PongsMissed.Load(),
		APIRejections: p.api.rejected.Load(), HandedOver: p.door.HandedOver.Load(),
		Recoveries: []metrics.Labeled{
			{Label: "recovered", Count: s.Recovered.Load()}, {Label: "unrecovered", Count: s.Unrecovered.Load()},
		},
		RecoveredPublications: s.RecoveredPublications.Load(), Insufficient: s.Insufficient.Load(),
		RecoveriesWaiting: int(s.Recoveries.Waiting.Load()), RecoveryBacklog: s.Recoveries.Bytes.Load(),
		RecoveriesPostponed: s.Recoveries.Postponed.Load(), RecoveriesRefused: s.Recoveries.Refused.Load(),
		Unsubscribed: s.Unsubscribed.Load(), SignalsFailed: s.SignalsFailed.Load(), MessagesDropped: s.MessagesDropped.Load(), RenewalsPostponed: s.RenewalsPostponed.Load(),
		ResumeTokens: s.ResumeTokens.Load(), Acknowledged: s.Acknowledged.Load(),
		Redeliveries: []metrics.Labeled{
			{Label: "redelivered", Count: s.Redelivered.Load()}, {Label: "lost", Count: s.RedeliveryLost.Load()},
		},
		Tenants: p.tenantSnapshots(), Hooks: p.hookSnapshots(), Workers: p.workerSnapshot(), History: p.historySnapshot(),
	}
	for r := range seal.ReasonCount {
		out.Resumes = append(out.Resumes, metrics.Labeled{Label: r.String(), Count: s.Resumes[r].Load()})
	}
	out.Cursors, out.CursorsEvicted, out.CursorBytes = p.node.Cursors()
	p.entrySnapshot(&out)
	s.EachCommand(func(m string, n uint64) { out.Commands = append(out.Commands, metrics.Labeled{Label: m, Count: n}) })
	p.rates.EachRefused(func(m string, n uint64) {
		out.CommandsRefused = append(out.CommandsRefused, metrics.Labeled{Label: m, Count: n})
	})
	s.EachError(func(code uint32, n uint64) { out.Errors = append(out.Errors, coded(code, n)) })
	s.EachDisconnect(func(code uint32, n uint64) { out.Disconnects = append(out.Disconnects, coded(code, n)) })
	for d := channel.DropNone + 1; int(d) < channel.DropCount; d++ {
		out.Drops = append(out.Drops, metrics.Labeled{Label: d.String(), Count: s.Dropped[d].Load()})
	}
	for r := auth.Reason(0); int(r) < auth.ReasonCount; r++ {
		label := r.String()
		if r == auth.ReasonNone {
			label = "accepted"
		}
		out.Tokens = append(out.Tokens, metrics.Labeled{Label: label, Count: s.Tokens[r].Load()})
	}
	p.api.mu.Lock()
	defer p.api.mu.Unlock()
	for method, n := range p.api.calls {
		out.APIRequests = append(out.APIRequests, metrics.Labeled{Label: method, Count: n})
	}
	for code, n := range p.api.errors {
		out.APIErrors = append(out.APIErrors, coded(code, n))
	}
	return out
}

func (p *Program) tenantSnapshots() (out []metrics.TenantSnapshot) {
	p.tenants.Each(func(s tenant.Stats) {
		t := metrics.TenantSnapshot{
			Name: s.Name, Connections: s.Connections, Channels: s.Channels, Subscriptions: s.Subscriptions,
			Messages: s.Messages, Bytes: s.Bytes, Asked: s.Asked, Waiting: s.Waiting, Backlog: s.Backlog,
		}
		for l, n := range s.Refused {
			if n > 0 {
				t.Refused = append(t.Refused, metrics.Labeled{Label: tenant.Limit(l).String(), Count: n})
			}
		}
		out = append(out, t)
	})
	return out
}

func (p *Program) hookSnapshots() []metrics.HookSnapshot {
	if p.hooks == nil {
		return nil
	}
	var out []metrics.HookSnapshot
	for _, s := range p.hooks.Stats(nil) {
		h := metrics.HookSnapshot{
			Name: s.Event.String() + "/" + s.Endpoint, Calls: s.Calls, Retries: s.Retries, Time: s.Duration, Pending: s.Pending,
			Open: s.Breaker == hooks.Open,
		}
		for kind := hooks.KindNone + 1; int(kind) < hooks.KindCount; kind++ {
			h.Errors = append(h.Errors, metrics.Labeled{Label: kind.String(), Count: s.Errors[kind]})
		}
		out = append(out, h)
	}
	return out
}

func (p *Program) workerSnapshot() metrics.WorkerSnapshot {
	s := p.workers.Stats()
	out := metrics.WorkerSnapshot{Running: s.Running, Done: s.Done, Panics: s.Panics}
	for class := range s.Queued {
		out.Queued += s.Queued[class]
		out.Refused += s.Refused[class]
	}
	return out
}

func (p *Program) historySnapshot() metrics.HistorySnapshot {
	s := p.broker.Stats()
	return metrics.HistorySnapshot{
		Streams: s.Streams, Publications: s.Publications, Bytes: s.HistoryBytes + s.KeyBytes,
		IdempotencyKeys: s.IdempotencyKeys, KeysEvicted: s.KeysEvicted,
	}
}

func coded(code uint32, n uint64) metrics.Labeled {
	return metrics.Labeled{Label: strconv.FormatUint(uint64(code), 10), Count: n}
}

func (p *Program) memorySnapshot() metrics.MemorySnapshot {
	buffers, bytes := p.buffers.InUse()
	f := watch.NewRuntime().Read()
	return metrics.MemorySnapshot{GCPercent: f.Percent, MemoryLimit: f.Limit, HeapLive: f.Live, Buffers: buffers, BufferBytes: bytes, SharedBytes: p.loops.Stats().HeldBytes, InternedStrings: p.node.Stats().Interned.Load()}
}

// overloadSnapshot gives the source of what is left undone; nil while that is nothing ever.
func (p *Program) overloadSnapshot() func() metrics.OverloadSnapshot {
	if p.overload == nil {
		return nil
	}
	return func() metrics.OverloadSnapshot {
		s := p.node.Stats()
		out := metrics.OverloadSnapshot{Level: int(p.overload.Level()), Share: p.overload.Share(), SignalsOmitted: s.SignalsOmitted.Load()}
		p.watch.Each(func(s overload.Signal, value float64) {
			out.Signals = append(out.Signals, metrics.Value{Label: s.String(), Value: value})
		})
		p.overload.EachChange(func(t overload.Transition, n uint64) {
			label := t.From.String() + "," + t.To.String() + "," + t.Reason.String()
			out.Transitions = append(out.Transitions, metrics.Labeled{Label: label, Count: n})
		})
		s.Evicted.Each(func(why evict.Reason, n uint64) {
			out.Closed = append(out.Closed, metrics.Labeled{Label: why.String(), Count: n})
		})
		return out
	}
}
