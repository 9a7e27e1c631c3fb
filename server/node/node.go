package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"

	"shoal/codec/proto"
	"shoal/codec/ws"
	"shoal/loop"
	"shoal/pool/shared"
	"shoal/server/auth"
	"shoal/server/broker"
	"shoal/server/channel"
	"shoal/server/hub"
	"shoal/server/session"
)

// Form is one way in which publications reach sessions. Frame appends the framed
// payload; scratch may be used and is returned for the next call. It is called on
// the publisher's goroutine and must be safe for concurrent use.
type Form struct {
	Encoding proto.Encoding
	Deflated bool
	Frame    func(dst, scratch, payload []byte) (frame, scratchOut []byte)
}

// Wire sends to the conns of one loop; a transport implements it. Only the loop's
// goroutine calls it.
type Wire interface {
	Frame(slot uint32, op ws.Op, payload []byte)
	Ping(slot uint32)
	Release(slot uint32) // gives back what is borrowed for the conn
	Close(slot uint32, code uint32, reason string, why loop.Reason)
}

// Config is fixed for the life of a node. All fields are required unless they say
// otherwise.
type Config struct {
	Version  string // of the server
	Session  session.Config
	Auth     *auth.Authority
	Forms    []Form   // at most hub.FormsMax
	Random   [24]byte // key of the client ids
	Logger   *slog.Logger
	Bytes    *shared.Pool
	Commands proto.Limits

	// InflightBytesMax bounds the encoded publications that were accepted and not
	// yet handed to all their receivers, each with 256 bytes for its keeping; above it
	// publishing is refused with error 111. 0 = 64 MiB.
	InflightBytesMax int64
}

const inflightDefault = 64 << 20

// encodersMax is the number of idle encoders a node keeps, of at most 256 KiB each.
const encodersMax = 4

// Node joins loops, broker and API. Use [New], then [Node.Attach] for each loop.
// Publish, Deliver and the API's calls may be used from any goroutine.
type Node struct {
	cfg      Config
	broker   broker.Broker
	dir      *directory
	ids      *clientIDs
	shards   []*Shard
	inflight atomic.Int64
	stats    Stats
	fanouts  spares[fanout]
	encoders spares[encoder]
}

// New returns a node without loops.
func New(cfg Config, b broker.Broker) (*Node, error) {
	if len(cfg.Forms) == 0 || len(cfg.Forms) > hub.FormsMax {
		return nil, fmt.Errorf("node: %d wire forms; give 1 to %d", len(cfg.Forms), hub.FormsMax)
	}
	if err := cfg.Session.Validate(); err != nil {
		return nil, err
	}
	if cfg.InflightBytesMax == 0 {
		cfg.InflightBytesMax = inflightDefault
	}
	ids, err := newClientIDs(cfg.Random)
	if err != nil {
		return nil, err
	}
	n := &Node{cfg: cfg, broker: b, dir: newDirectory(b), ids: ids,
		fanouts: newSpares[fanout](sparesMax), encoders: newSpares[encoder](encodersMax)}
	return n, nil
}

// Attach makes loop l part of the node. Before the loops run, in order of their
// indices; the shard is useless until [Shard.Use].
func (n *Node) Attach(l *loop.Loop) (*Shard, error) {
	if l.Index() != len(n.shards) || l.Index() >= LoopsMax {
		return nil, fmt.Errorf("node: loop %d attached in place %d; attach all in order, at most %d", l.Index(), len(n.shards), LoopsMax)
	}
	s := newShard(n, l)
	n.shards = append(n.shards, s)
	return s, nil
}

// Trim gives memory back that channels without members left. Any goroutine; a shard
// has its own.
func (n *Node) Trim() { n.dir.trim() }

// Publish gives a publication to the broker. name and pub are valid during the
// call. It never blocks on receivers.
func (n *Node) Publish(ctx context.Context, name string, pub *channel.Publication) (channel.Position, *channel.Error) {
	if _, e := n.cfg.Session.Rules.Resolve(name); e != nil {
		return channel.Position{}, e
	}
	pos, err := n.broker.Publish(ctx, name, pub)
	if err == nil {
		n.stats.Published.Add(1)
		return pos, nil
	}
	n.stats.PublishFailed.Add(1)
	if e := (*channel.Error)(nil); errors.As(err, &e) {
		return channel.Position{}, e
	}
	if !errors.Is(err, broker.ErrNotRunning) { // while the node stops that is no news
		n.cfg.Logger.Error("publication was not accepted by the broker", "error", err)
	}
	return channel.Position{}, channel.ErrInternal.Err()
}

// Deliver implements [broker.Deliverer]: it encodes the publication once per wire
// form in use and posts it to the loops with members.
func (n *Node) Deliver(name string, pub *channel.Publication) error {
	a := n.dir.lookup(bytesOf(name))
	all := a.loops()
	if all == 0 {
		return nil
	}
	if n.inflight.Load() > n.cfg.InflightBytesMax {
		n.stats.Dropped[channel.DropNodeBacklog].Add(1)
		return channel.ErrTooManyRequests.Err()
	}
	for i := range n.shards {
		if all&(1<<i) != 0 && n.shards[i].l.Crowded() { // before the first post: all loops get it, or none
			n.stats.Dropped[channel.DropMailboxFull].Add(1)
			return channel.ErrTooManyRequests.Err()
		}
	}
	e := n.encoders.get()
	forms := e.encode(n, name, pub, &a)
	n.encoders.put(e)
	taken := false
	for i := range n.shards {
		if all&(1<<i) != 0 && n.post(i, name, &forms, &a) {
			taken = true
		}
	}
	forms.release()
	if !taken {
		return channel.ErrTooManyRequests.Err()
	}
	return nil
}

// post sends one loop the forms its members use.
func (n *Node) post(i int, name string, forms *encoded, a *audience) bool {
	f := n.fanouts.get()
	f.node = n
	f.name = append(f.name[:0], name...)
	f.bar = forms.barred
	f.size = fanoutBytes
	for form := range forms.bytes {
		if a[form]&(1<<i) == 0 {
			continue
		}
		if b := forms.bytes[form]; b != nil {
			b.Retain()
			f.forms[form] = b
			f.size += int64(b.Len())
		}
	}
	n.inflight.Add(f.size)
	if err := n.shards[i].l.Post(f); err != nil {
		n.stats.Dropped[channel.DropMailboxFull].Add(1)
		f.done()
		return false
	}
	return true
}
