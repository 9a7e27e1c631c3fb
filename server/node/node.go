package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"sync/atomic"
	"time"
	"unsafe"

	"shoal/codec/proto"
	"shoal/codec/ws"
	"shoal/loop"
	"shoal/pool/shared"
	"shoal/pool/spare"
	"shoal/pool/worker"
	"shoal/server/auth"
	"shoal/server/backend"
	"shoal/server/broker"
	"shoal/server/channel"
	"shoal/server/entry"
	"shoal/server/hub"
	"shoal/server/node/clientid"
	"shoal/server/node/cursor"
	"shoal/server/node/fan"
	"shoal/server/node/occupancy"
	"shoal/server/node/route"
	"shoal/server/node/seal"
	"shoal/server/node/wire"
	"shoal/server/overload"
	"shoal/server/rate"
	"shoal/server/session"
	"shoal/server/tenant"
)

// Wire sends to the conns of one loop; a transport implements it. Only the loop's
// goroutine calls it.
type Wire interface {
	Frame(slot uint32, op ws.Op, payload []byte)
	Ping(slot uint32)
	Release(slot uint32) // gives back what is borrowed for the conn
	// Resume hands over what arrived since a message made the session wait.
	Resume(slot uint32)
	Close(slot uint32, code uint32, reason string, why loop.Reason)
}

// Config is fixed for the life of a node. All fields are required unless they say
// otherwise.
type Config struct {
	Version  string // of the server
	Session  session.Config
	Auth     *auth.Authority
	Forms    []wire.Form // at most hub.FormsMax
	Random   [24]byte    // key of the client ids
	Logger   *slog.Logger
	Bytes    *shared.Pool
	Commands proto.Limits
	Clock    func() time.Time // required
	Workers  *worker.Pool     // for questions that may have to wait
	Backend  backend.Backend  // nil: nobody is asked
	Entry    *entry.Control   // of connect commands; nil: all are taken
	Rates    *rate.Commands   // what a session may do in how much time; nil: anything
	Tenants  *tenant.Set      // who shares the node, and what each may have; nil: everybody is alike
	Overload *overload.Board  // what is left undone while there is too much to do; nil: nothing

	HistoryMax     int           // publications a history command gives at most; 0 = no limit
	RecoveryMax    int           // publications a subscription recovers at most; 0 = no limit
	ExpiredSubWait time.Duration // between the end of a subscription's token and of the subscription
	ServerTime     bool          // connect replies say what time it is
	HeadersKept    bool          // transports tell the headers of conns, for the backend
	Emulated       []string      // headers of connect commands, in lower case, that the backend is told
	UserHeader     string        // the header, in lower case, that names the user; empty: none
	SingleConn     bool          // a user's new session ends the former ones, with 3504

	// Ended is told of every session that was connected and ends, on its loop: it must
	// not block. 3000 means that the client went. nil: nobody is told.
	Ended func(c backend.Client, why channel.Disconnect)

	Resume     ResumeConfig // tokens with which clients come back in one command
	CursorsMax int          // places that users acknowledged, kept at most; 0 = 1,048,576

	// RecoveryBytesMax bounds what was made for recoveries on a loop and waits for its
	// peers, see [recovery.Gate]. 0 = 64 MiB.
	RecoveryBytesMax int64
	// WaitingBytesMax bounds the commands of a message that wait behind one whose answer
	// takes time; a session that sends more is disconnected with 3013. 0 = 64 KiB.
	WaitingBytesMax int
	// InflightBytesMax bounds the encoded publications that were accepted and not
	// yet handed to all their receivers, each with 256 bytes for its keeping; above it
	// publishing is refused with error 111. 0 = 64 MiB.
	InflightBytesMax int64
}

const (
	inflightDefault = 64 << 20
	recoveryDefault = 64 << 20
	waitingDefault  = 64 << 10
)

// encodersMax is the number of idle encoders a node keeps, of at most 1 MiB each.
const encodersMax = 4

// Node joins loops, broker and API. Use [New], then [Node.Attach] for each loop.
// Publish, Deliver and the API's calls may be used from any goroutine.
type Node struct {
	cfg       Config
	broker    broker.Broker
	dir       *route.Directory
	ids       *clientid.IDs
	seed      maphash.Seed // of epochs
	births    atomic.Uint64
	presence  presences
	occupancy *occupancy.Teller
	tokens    seal.Book // for clients that come back
	cursors   *cursor.Set
	shards    []*Shard
	inflight  *fan.Inflight
	filtered  atomic.Int64  // memberships with a tags filter
	parcels   atomic.Uint64 // made so far: what a publication costs who publishes
	stats     Stats
	failures  backend.Seldom
	encoders  spare.List[wire.Encoder]
}

// New returns a node without loops.
func New(cfg Config, b broker.Broker) (*Node, error) {
	if len(cfg.Forms) == 0 || len(cfg.Forms) > hub.FormsMax {
		return nil, fmt.Errorf("node: %d wire forms; give 1 to %d", len(cfg.Forms), hub.FormsMax)
	}
	if err := cfg.Session.Validate(); err != nil {
		return nil, err
	}
	if cfg.Workers == nil || cfg.Clock == nil {
		return nil, errors.New("node: Workers or Clock is missing; give a worker.Pool and a clock")
	}
	if cfg.InflightBytesMax == 0 {
		cfg.InflightBytesMax = inflightDefault
	}
	cfg.RecoveryBytesMax = cmp.Or(cfg.RecoveryBytesMax, recoveryDefault)
	if cfg.WaitingBytesMax == 0 {
		cfg.WaitingBytesMax = waitingDefault
	}
	ids, err := clientid.New(cfg.Random)
	if err != nil {
		return nil, err
	}
	n := &Node{cfg: cfg, broker: b, dir: route.New(cfg.Tenants.Broker(b), cfg.Session.Rules), ids: ids, seed: maphash.MakeSeed(),
		inflight: fan.NewInflight(cfg.InflightBytesMax), encoders: spare.New[wire.Encoder](encodersMax)}
	n.presence.init()
	n.occupancy = occupancy.New(occupancy.Config{
		Backend: cfg.Backend, Rules: cfg.Session.Rules, Workers: cfg.Workers,
		Occupied: func(name string) bool { return n.dir.Lookup(bytesOf(name)).Loops != 0 },
		Failed:   func() { n.stats.StatesFailed.Add(1) },
	})
	n.initCursors()
	if r := &cfg.Resume; r.Window > 0 {
		if err := n.tokens.Open(r.Keys, r.Window, r.Clock); err != nil {
			return nil, fmt.Errorf("node: resume tokens: %w", err)
		}
	}
	return n, nil
}

// Attach makes loop l part of the node. Before the loops run, in order of their
// indices; the shard is useless until [Shard.Use].
func (n *Node) Attach(l *loop.Loop) (*Shard, error) {
	if l.Index() != len(n.shards) || l.Index() >= route.LoopsMax {
		return nil, fmt.Errorf("node: loop %d attached in place %d; attach all in order, at most %d", l.Index(), len(n.shards), route.LoopsMax)
	}
	s := newShard(n, l)
	n.shards = append(n.shards, s)
	return s, nil
}

// Trim gives memory back that channels without members left. Any goroutine; a shard
// has its own.
func (n *Node) Trim() {
	n.dir.Trim()
	n.presence.trim()
	n.tokens.Trim()
	n.cursors.Each(func(t *cursor.Table) { t.Trim() })
}

// TellStates has the backend told of channels that were occupied or vacated, see
// [occupancy.Teller.Tell]. To be called about once a second, on any goroutine.
func (n *Node) TellStates(now time.Time) { n.occupancy.Tell(now) }

// PublishOptions rule one publication beyond what the channel's options say.
type PublishOptions struct {
	SkipHistory    bool
	Delta          bool // make a difference even if the channel's options do not ask for it
	IdempotencyKey string
	Version        uint64
	VersionEpoch   string
}

// Publish gives a publication to the broker. name and pub are valid during the
// call. It never blocks on receivers; it may on a broker that is Blocking.
func (n *Node) Publish(ctx context.Context, name string, pub *channel.Publication, o PublishOptions) (channel.Position, *channel.Error) {
	opts, e := n.cfg.Session.Rules.ResolveStream(name)
	if e == nil {
		e = opts.CheckData(pub.Data)
	}
	if e == nil && n.cfg.Overload.Refuses(opts.LowPriority) {
		e = channel.ErrTooManyRequests.Err()
		n.stats.PublishFailed.Add(1)
	}
	if e != nil {
		return channel.Position{}, e
	}
	r, err := n.broker.Publish(ctx, name, pub, brokerOptions(opts, &o))
	if err == nil {
		n.stats.Published.Add(1)
		return r.Position, nil
	}
	n.stats.PublishFailed.Add(1)
	return channel.Position{}, n.failure("publication was not accepted by the broker", err)
}

// brokerOptions joins the channel's options with those of a publication.
func brokerOptions(opts *channel.Options, o *PublishOptions) broker.PublishOptions {
	out := broker.PublishOptions{
		HistoryMetaTTL: opts.HistoryMetaTTL, IdempotencyKey: o.IdempotencyKey,
		Version: o.Version, VersionEpoch: o.VersionEpoch,
	}
	if !o.SkipHistory && opts.HistorySize > 0 {
		out.HistorySize, out.HistoryTTL = opts.HistorySize, opts.HistoryTTL
		out.Previous = opts.DeltaPublish || o.Delta
	}
	return out
}

// failure is the error that a client or caller of the API is told; what it cannot
// know is logged, not too often.
func (n *Node) failure(what string, err error) *channel.Error {
	if e := (*channel.Error)(nil); errors.As(err, &e) {
		return e
	}
	if !errors.Is(err, broker.ErrNotRunning) && !errors.Is(err, context.Canceled) { // while the node stops that is no news
		if due, before := n.failures.Due(what, n.cfg.Clock()); due {
			n.cfg.Logger.Error(what, "error", err, "unlogged", before)
		}
	}
	return channel.ErrInternal.Err()
}

// bytesOf views a string as bytes that must not be written.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// stringOf views bytes as a string, valid until they change.
func stringOf(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// limited is the number of publications asked for, < 0 for all, as far as max allows;
// 0 is no limit.
func limited(asked, max int) int {
	if max > 0 && (asked < 0 || asked > max) {
		return max
	}
	return asked
}
