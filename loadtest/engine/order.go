package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"shoal/loadtest/engine/tally"
)

// What an engine says, in package tally.
type (
	Counters    = tally.Counters
	Status      = tally.Status
	Snapshot    = tally.Snapshot
	Census      = tally.Census
	Results     = tally.Results
	Publication = tally.Publication
)

// Driver carries out orders: one [Engine], or many of them. Every method may be called from any goroutine.
type Driver interface {
	Run() error                  // serves until Close
	Order(Order) error           // begins an order; the error says why it cannot be
	Done() <-chan error          // one value for every task that ended: nil, or what stopped it
	Stop() error                 // ends the present task, and the flow, early: what is under way is awaited; Done follows
	Tick()                       // moves things on; call it every few milliseconds
	Snapshot() Snapshot          // as of the last Tick or end of a task
	Census() (Census, error)     // looks at everybody now
	Results() (Results, error)   // as of now, also after Run has returned
	Close(context.Context) error // ends all connections in good order, and Run
}

// Order is one thing to do; exactly one field is set. Most are tasks: one at a time, and Done tells of its end. Flow, Stall and Rouse
// have no Done: they are done at once and may come during a task. Numbers and rates are of all members together.
type Order struct {
	Connect *Connect  `json:",omitempty"`
	Flow    *Flow     `json:",omitempty"`
	Fanout  *Fanout   `json:",omitempty"`
	Echo    *Echo     `json:",omitempty"`
	Stall   *struct{} `json:",omitempty"` // the stuck connections stop reading
	Rouse   *struct{} `json:",omitempty"` // they read again, and those who were ended come back
	Storm   *Storm    `json:",omitempty"`
	Churn   *Churn    `json:",omitempty"`
	Drain   *Drain    `json:",omitempty"`
}

// Connect is the task to take every connection to ready for the first time. It ends when none is under way any more: with nil though
// some may have failed, with an error when the first failed or the host lacks something.
type Connect struct {
	Rate   float64       // begun in a second; 0 = as fast as the server takes them
	To     float64       // the rate it grows or falls to, in a straight line; 0 = stays
	Over   time.Duration // in that time
	Jitter float64       // each is put off by up to so many gaps, 0 to 1
	Window int           // without a rate: under way at once; 0 = 256
}

// The channels of a [Flow].
const (
	Shared = "shared" // those several are subscribed to
	Own    = "own"    // the one each connection has for itself
)

// Flow is a stream of publications by the API, whatever else happens, until Drain, Stop or the next Flow.
type Flow struct {
	To     string  // Shared or Own; "" = Shared
	Rate   float64 // publications a second, over all channels; above 0
	Random bool    // each to a channel drawn at random, not in turn
	Count  int     // publications in all; 0 = no end
}

// Fanout is the task to publish to the shared channels, in turn, and wait until all who are subscribed have received everything that
// this member published. It fails with [ErrGrace] when something is missing, with another error when the server refused a
// publication. Each is listed in Results.
type Fanout struct {
	Count int // publications in all
	Burst int // made at once; 0 = 1
	// Rate is publications a second; bursts are spaced accordingly, whether or not earlier ones have arrived. 0 = the next burst is
	// made when everybody has received the one before.
	Rate float64
	// ByAPI posts them to the server's HTTP API; otherwise the first connection publishes them.
	ByAPI bool
	Grace time.Duration // how long to wait for what is missing when nothing more comes; 0 = 10 s
}

// The ways of an [Echo].
const (
	ViaPublish = "publish" // to the connection's own channel
	ViaBare    = "bare"    // to a bare echo endpoint
	ViaRPC     = "rpc"     // a call that is answered by its own data
)

// Echo is the task to have connections send messages that come back to them, then to wait for what is under way. It fails with
// [ErrGrace] when something did not come back.
type Echo struct {
	Via      string        // ViaPublish, ViaBare or ViaRPC
	Method   string        // of the call
	Duration time.Duration // messages are sent that long
	Active   int           // connections that send; 0 = all
	// Rate is messages a second, over all connections in turn. 0 = every connection sends its next message when the one before
	// came back.
	Rate  float64
	Grace time.Duration // how long to wait for what is missing when nothing more comes; 0 = 10 s
}

// Storm is the task to cut connections all at once, each of which comes back after the backoff of the SDKs, and to wait for them. It
// fails with [ErrAway] when none came for the time of grace and nobody sleeps any more.
type Storm struct {
	Share float64       // of the connections, above 0 to 1; 0 = 1
	Away  time.Duration // nobody comes back before, then after the backoff
	Grace time.Duration // 0 = 10 s
}

// Churn is the task to end connections in good order and have a new one take the place of each at once, and to wait for those. The
// new one is another client: it has no position and gets what is published from then on.
type Churn struct {
	Rate     float64       // a second; above 0
	Duration time.Duration // above 0
	Grace    time.Duration // 0 = 10 s
}

// Drain is the task to end the flow and wait until everybody is back and has received what is owed. It fails with [ErrGrace] when
// something is missing and nothing came, nor anybody back, for the time of grace.
type Drain struct {
	Grace time.Duration // 0 = 10 s
	// Published is how much was published to each shared channel by all members, so that each knows what is owed on those it does
	// not publish to. nil = what this one published.
	Published []uint32 `json:",omitempty"`
}

// Errors of tasks.
var (
	// ErrAllGone: no connection is left.
	ErrAllGone = errors.New("all connections have ended")
	// ErrGrace: messages are owed, and nothing more came.
	ErrGrace = errors.New("messages are missing and nothing more comes")
	// ErrAway: connections did not come back.
	ErrAway = errors.New("connections did not come back")
)

const graceDefault = 10 * time.Second

// Task says whether Done will tell of its end.
func (o Order) Task() bool { return o.Flow == nil && o.Stall == nil && o.Rouse == nil }

// Validate says what is wrong with the order in itself.
func (o Order) Validate() error {
	set := 0
	for _, is := range [...]bool{
		o.Connect != nil, o.Flow != nil, o.Fanout != nil, o.Echo != nil, o.Stall != nil, o.Rouse != nil, o.Storm != nil, o.Churn != nil, o.Drain != nil,
	} {
		if is {
			set++
		}
	}
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("engine: "+format, args...))
		}
	}
	check(set == 1, "an order with %d things to do; exactly 1", set)
	if c := o.Connect; c != nil {
		check(c.Rate >= 0 && c.To >= 0 && c.Over >= 0 && c.Window >= 0, "a rate, a time or a window below zero")
		check(c.Jitter >= 0 && c.Jitter <= 1, "a jitter of %g gaps; 0 to 1", c.Jitter)
		check((c.To == 0) == (c.Over == 0) && (c.To == 0 || c.Rate > 0), "a ramp needs a rate, another and a time")
		check(c.Jitter == 0 || c.Rate > 0, "a jitter without a rate")
	}
	if f := o.Flow; f != nil {
		check(f.Rate > 0 && f.Count >= 0, "%g publications a second, %d in all; the rate is above 0", f.Rate, f.Count)
		check(f.To == "" || f.To == Shared || f.To == Own, "publications to %q; %s or %s", f.To, Shared, Own)
	}
	if f := o.Fanout; f != nil {
		check(f.Count >= 1 && f.Count <= PublicationsMax, "%d publications; 1 to %d", f.Count, PublicationsMax)
		check(f.Burst >= 0 && f.Rate >= 0 && f.Grace >= 0, "a burst, a rate or a grace below zero")
	}
	if c := o.Echo; c != nil {
		check(c.Duration > 0 && c.Active >= 0 && c.Rate >= 0 && c.Grace >= 0, "an echo needs a duration, and no number below zero")
		check(c.Via == ViaPublish || c.Via == ViaBare || c.Via == ViaRPC, "an echo by %q; %s, %s or %s", c.Via, ViaPublish, ViaBare, ViaRPC)
	}
	if s := o.Storm; s != nil {
		check(s.Share >= 0 && s.Share <= 1 && s.Away >= 0 && s.Grace >= 0, "a storm over %g of the connections, with no time below zero; 0 to 1", s.Share)
	}
	if c := o.Churn; c != nil {
		check(c.Rate > 0 && c.Duration > 0 && c.Grace >= 0, "churn needs a rate and a duration, and no number below zero")
	}
	if d := o.Drain; d != nil {
		check(d.Grace >= 0, "a grace below zero")
	}
	return errors.Join(errs...)
}

// PublicationsMax bounds the publications of a [Fanout].
const PublicationsMax = tally.PublicationsMax
