package node

import (
	"context"
	"hash/maphash"
	"sync"

	"shoal/pool/queue"
	"shoal/server/channel"
	"shoal/server/hub"
	"shoal/server/presence"
	"shoal/server/session"
)

// presences counts who is present in the channels of the node. Safe for concurrent use.
type presences struct {
	seed    maphash.Seed
	shards  [16]presenceShard
	tellers [16]teller
}

type presenceShard struct {
	mu     sync.Mutex
	counts *presence.Counts
	deltas map[int]*presence.Deltas // by the size of channel from which on they collect
	_      [64]byte                 // a cache line of its own
}

func (p *presences) init() {
	p.seed = maphash.MakeSeed()
	for i := range p.shards {
		p.shards[i].counts, p.shards[i].deltas = presence.NewCounts(), map[int]*presence.Deltas{}
	}
}

func (p *presences) shard(name []byte) *presenceShard {
	return &p.shards[maphash.Bytes(p.seed, name)%uint64(len(p.shards))]
}

func (p *presences) join(name, user []byte) {
	s := p.shard(name)
	s.mu.Lock()
	s.counts.Join(name, user)
	s.mu.Unlock()
}

func (p *presences) leave(name, user []byte) {
	s := p.shard(name)
	s.mu.Lock()
	s.counts.Leave(name, user)
	s.mu.Unlock()
}

func (p *presences) stats(name []byte) (clients, users int) {
	s := p.shard(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts.Stats(name)
}

// collects takes a signal of a big channel, to be told with others at the end of the
// window. flush is called with what must be told before the signal, if it does not.
func (p *presences) collects(name []byte, sig *channel.Signal, size int, flush func(name []byte, signals []channel.Signal)) bool {
	if size <= 0 {
		return false
	}
	s := p.shard(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.deltas[size]
	if d == nil {
		var err error
		if d, err = presence.NewDeltas(presence.DeltasConfig{Members: size}); err != nil {
			return false
		}
		s.deltas[size] = d
	}
	members, _ := s.counts.Stats(name)
	taken := d.Collects(name, members)
	switch {
	case taken && sig.Leave:
		taken = d.Leave(name, &sig.Info)
	case taken:
		taken = d.Join(name, &sig.Info)
	}
	if !taken {
		d.FlushChannel(name, flush)
	}
	return taken
}

// flush tells what was collected.
func (p *presences) flush(f func(name []byte, signals []channel.Signal)) {
	for i := range p.shards {
		s := &p.shards[i]
		s.mu.Lock()
		for _, d := range s.deltas {
			d.Flush(f)
		}
		s.mu.Unlock()
	}
}

func (p *presences) trim() {
	for i := range p.shards {
		s := &p.shards[i]
		s.mu.Lock()
		s.counts.Trim()
		s.mu.Unlock()
	}
}

// PresenceStats counts the clients and the distinct users that are present in a
// channel on this node.
func (n *Node) PresenceStats(name string) (clients, users int, e *channel.Error) {
	if e := n.hasPresence(name); e != nil {
		return 0, 0, e
	}
	clients, users = n.presence.stats(bytesOf(name))
	return clients, users, nil
}

func (n *Node) hasPresence(name string) *channel.Error {
	opts, e := n.cfg.Session.Rules.Resolve(name)
	if e == nil && !opts.Presence {
		e = channel.ErrNotAvailable.Err()
	}
	return e
}

// signal tells the members of a channel that this one came or left.
func (s *Shard) signal(slot uint32, ses *session.Session, sub hub.Sub, leave bool) {
	s.announce(s.hub.Name(sub), channel.Signal{Leave: leave, Info: s.clientInfo(slot, ses, sub)})
}

// announce tells a signal now, or with others if the channel is big.
func (s *Shard) announce(name []byte, sig channel.Signal) {
	if !s.node.broker.Blocking() && !s.node.dir.Lookup(name).Signals {
		return // nobody here reads them, and there is no elsewhere
	}
	if s.node.cfg.Overload.Refuses(true) { // counts and presence stay right: only the telling is left out
		s.node.stats.SignalsOmitted.Add(1)
		return
	}
	opts, e := s.node.cfg.Session.Rules.Resolve(stringOf(name))
	if e != nil {
		return
	}
	if !s.node.presence.collects(name, &sig, opts.JoinLeaveBatchSize, s.node.tell) {
		s.node.tell(name, []channel.Signal{sig})
	}
}

// tell gives joins and leaves to the broker. They are valid during the call only.
func (n *Node) tell(name []byte, signals []channel.Signal) {
	if !n.broker.Blocking() {
		n.told(n.broker.Signal(context.Background(), stringOf(name), signals))
		return
	}
	job := telling{node: n, name: string(name)}
	for i := range signals {
		job.signals = append(job.signals, channel.Signal{Leave: signals[i].Leave, Info: signals[i].Info.Clone()})
	}
	n.told(n.presence.tellers[maphash.Bytes(n.presence.seed, name)%uint64(len(n.presence.tellers))].add(job))
}

func (n *Node) told(err error) {
	if err != nil {
		n.stats.SignalsFailed.Add(1)
	}
}

// telling is a tell that a worker makes.
type telling struct {
	node    *Node
	name    string
	signals []channel.Signal
}

// teller gives the joins and leaves of some channels to a broker that may block, one after
// the other: a leave must not overtake its join. Safe for concurrent use.
type teller struct {
	mu      sync.Mutex
	waiting queue.FIFO[telling]
	working bool // a worker has it
}

// tellerMax bounds what waits for one teller; above it signals are not told.
const tellerMax = 4096

func (t *teller) add(job telling) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.waiting.Len() >= tellerMax {
		return channel.ErrTooManyRequests.Err()
	}
	if !t.working {
		if err := job.node.cfg.Workers.Submit(context.Background(), t); err != nil {
			return err
		}
		t.working = true
	}
	t.waiting.Push(job)
	return nil
}

// Run implements [worker.Job].
func (t *teller) Run(ctx context.Context) {
	for {
		t.mu.Lock()
		if t.working = t.waiting.Len() > 0; !t.working {
			t.mu.Unlock()
			return
		}
		job := t.waiting.Pop()
		t.mu.Unlock()
		job.tell(ctx)
	}
}

func (t *telling) tell(ctx context.Context) {
	told := false
	defer func() {
		if !told { // a panic: the others are told all the same
			_ = recover()
			t.node.told(channel.ErrInternal.Err())
		}
	}()
	t.node.told(t.node.broker.Signal(ctx, t.name, t.signals))
	told = true
}

// presenceSlice is the number of members looked at per slice.
const presenceSlice = 1024

// Presence returns who is present in a channel on this node, by client id. It waits
// for the loops, so it must not be called on one.
func (n *Node) Presence(ctx context.Context, name string) (map[string]channel.ClientInfo, *channel.Error) {
	if e := n.hasPresence(name); e != nil {
		return nil, e
	}
	answers := make([]map[string]channel.ClientInfo, len(n.shards))
	cursors := make([]hub.Cursor, len(n.shards))
	err := n.ask(ctx, func(s *Shard, from uint32) (uint32, bool) {
		i := s.l.Index()
		if from == 0 {
			answers[i] = map[string]channel.ClientInfo{}
			var ok bool
			if cursors[i], ok = s.hub.Begin(bytesOf(name)); !ok {
				return 0, false
			}
		}
		members := s.hub.Next(&cursors[i], nil, presenceSlice)
		for _, m := range members {
			if m.Flags&flagPresent == 0 {
				continue
			}
			info := s.clientInfo(m.Slot, s.sessions.At(m.Slot), m.Sub).Clone()
			answers[i][info.Client] = info
		}
		if len(members) < presenceSlice {
			s.hub.End(&cursors[i])
			return 0, false
		}
		return from + 1, true
	})
	if err != nil {
		return nil, n.failure("presence was not collected", err)
	}
	all := answers[0]
	for _, more := range answers[1:] {
		for client, info := range more {
			all[client] = info
		}
	}
	return all, nil
}
