package metrics

import "time"

// Labeled is one value of a metric that has a label: a reason, a code or a method.
type Labeled struct {
	Label string
	Count uint64
}

// Histogram counts values by size.
type Histogram struct {
	Bounds []float64 // rising
	Counts []uint64  // values up to each bound
	Count  uint64    // all values
	Sum    float64
}

// LoopSnapshot is the sum over all event loops. Counters run since the start of the process.
type LoopSnapshot struct {
	Loops          int
	Conns          int // sockets open now, of any kind
	Accepted       uint64
	Closed         []Labeled // by loop.Reason
	ReadBytes      uint64
	WrittenBytes   uint64
	Reads          uint64 // system calls
	Writes         uint64
	Writevs        uint64
	Turns          uint64
	Lag            Histogram     // how long passes took
	TickLag        time.Duration // the latest a tick came since the start; 0 when none was late by more than three
	BacklogBytes   int64         // waiting for slow peers now
	SlotBytes      int64         // memory held for connections
	EmfileEpisodes uint64
	Refused        uint64 // accepted and closed at once
	AcceptErrors   uint64
	ShedBytes      uint64 // queued to slow peers and dropped with them
	Reliefs        uint64 // times the largest backlogs were cut
	MailboxFull    uint64
	Panics         uint64

	ListenOverflows, ListenDrops uint64 // of the whole network namespace, since it began
}

// WebSocketSnapshot is the sum over all WebSocket transports.
type WebSocketSnapshot struct {
	Open                     int
	Opened                   uint64
	MessagesIn, MessagesOut  uint64
	PayloadIn, PayloadOut    uint64    // bytes of data messages, after inflating and before deflating
	PingsIn, PongsIn         uint64    // control frames
	Floods                   uint64    // connections that sent too many of them
	Compressed, Uncompressed uint64    // messages sent on conns with permessage-deflate
	Refused                  []Labeled // upgrades refused, by name of the failure
	Failed                   []Labeled // connections that broke RFC 6455 or 7692, by name of the rule
}

// NodeSnapshot is what sessions, hubs and the broker of this node count.
type NodeSnapshot struct {
	Sessions, Users, Channels, Subscriptions int // now

	Commands      []Labeled // from clients, by method
	Errors        []Labeled // replies with an error, by code
	Disconnects   []Labeled // by code
	Malformed     uint64    // messages that held no command
	Publications  uint64    // accepted
	PublishErrors uint64    // publications not accepted
	InflightBytes int64     // encoded publications on their way to receivers, now
	Deliveries    uint64    // to one subscriber each
	Drops         []Labeled // deliveries that did not happen, by reason
	PingsSent     uint64
	PongsMissed   uint64
	Dormant       int
	Handshakes    int // connections without a successful connect

	ConnectsRefused     []Labeled // connect commands, by reason
	Addresses           int       // remembered by admission, now
	AddressesNotTracked uint64    // connections let in uncounted

	Recoveries            []Labeled // subscriptions that asked for what they missed, by result
	RecoveredPublications uint64
	RecoveriesWaiting     int
	RecoveryBacklog       int64
	RecoveriesPostponed   uint64
	RecoveriesRefused     uint64
	Insufficient          uint64    // subscriptions that missed a publication
	Unsubscribed          uint64    // subscriptions ended by the server
	SignalsFailed         uint64    // joins and leaves that were not told
	MessagesDropped       uint64    // of send commands
	CommandsRefused       []Labeled // over a limit of commands, by method
	RenewalsPostponed     uint64    // of credentials and grants that ended
	Resumes               []Labeled // resume tokens that clients sent, by outcome
	ResumeTokens          uint64    // given
	Acknowledged          uint64    // positions
	Redeliveries          []Labeled // subscriptions that began at an acknowledged position, by result
	Cursors               int       // acknowledged positions kept, now
	CursorBytes           int
	CursorsEvicted        uint64
	Hooks                 []HookSnapshot
	Tenants               []TenantSnapshot // none unless configured
	Workers               WorkerSnapshot
	History               HistorySnapshot

	Tokens        []Labeled // verified tokens, by result
	APIRequests   []Labeled // by method
	APIErrors     []Labeled // by code
	APIRejections uint64    // wrong or missing API key
	HandedOver    uint64    // requests that left a loop for the HTTP server
}

// TenantSnapshot is what one tenant has and did.
type TenantSnapshot struct {
	Name                                 string
	Connections, Channels, Subscriptions int       // now
	Messages, Bytes                      uint64    // taken
	Asked, Waiting                       int       // questions, now
	Backlog                              int64     // bytes, now
	Refused                              []Labeled // by limit
}

// HookSnapshot is what one event at one endpoint of the backend counts.
type HookSnapshot struct {
	Name    string // event/endpoint
	Calls   uint64
	Retries uint64
	Time    time.Duration // of all calls together
	Errors  []Labeled     // by kind
	Pending int           // channel-state events that wait, now
	Open    bool          // the breaker lets nothing through
}

// WorkerSnapshot is what the workers do, on which questions wait that may take long.
type WorkerSnapshot struct {
	Running, Queued int // now
	Done, Refused   uint64
	Panics          uint64
}

// HistorySnapshot is what the broker keeps.
type HistorySnapshot struct {
	Streams, Publications int
	Bytes                 int
	IdempotencyKeys       int
	KeysEvicted           uint64
}

// MemorySnapshot is what the pools hold now.
type MemorySnapshot struct {
	Buffers, BufferBytes int64 // borrowed
	SharedBytes          int64 // immutable messages still referred to
	InternedStrings      int64
	GCPercent            int   // heap growth that starts a collection
	MemoryLimit          int64 // that the Go runtime tries to stay below
	HeapLive             int64 // bytes that the last collection found in use
}

// OverloadSnapshot is what is left undone because there is too much to do, and why.
type OverloadSnapshot struct {
	Level          int     // 0 to 3
	Share          float64 // of the new connections that are let in
	Signals        []Value // as last measured
	Transitions    []Labeled
	Closed         []Labeled // connections, by reason
	SignalsOmitted uint64    // joins and leaves
}

// Value is one value of a gauge that has a label.
type Value struct {
	Label string
	Value float64
}

// Sources says where snapshots come from. A nil function leaves its metrics out. The functions are called on the
// scraping goroutine, one scrape at a time.
type Sources struct {
	Version   string
	Loop      func() LoopSnapshot
	WebSocket func() WebSocketSnapshot
	Node      func() NodeSnapshot
	Memory    func() MemorySnapshot
	Overload  func() OverloadSnapshot
}

// snapshot is all of them, taken once for a scrape.
type snapshot struct {
	version   string
	loop      *LoopSnapshot
	webSocket *WebSocketSnapshot
	node      *NodeSnapshot
	memory    *MemorySnapshot
	overload  *OverloadSnapshot
}

func (s *Sources) take() snapshot {
	return snapshot{
		version: s.Version, loop: call(s.Loop), webSocket: call(s.WebSocket), node: call(s.Node),
		memory: call(s.Memory), overload: call(s.Overload),
	}
}

func call[T any](f func() T) *T {
	if f == nil {
		return nil
	}
	v := f()
	return &v
}
