package engine

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Counters are the sums over all connections. Those of loss are in [Census].
type Counters struct {
	Dialed     int // connections begun
	Ready      int // connected and subscribed now
	ReadyMax   int // the most there were
	Failed     int // ended before they were ready
	Died       int // ended after they were ready, before Close
	Pings      int // application pings of the server
	Pongs      int // answers to them
	PingFrames int // ping frames of the server, all answered

	Published int // publications sent, those that failed excluded
	Refused   int // publications the server refused, those to be echoed included
	Answered  int // publications the server confirmed
	Sent      int // messages sent to be echoed

	Received   int // distinct messages of this run, at the connections meant
	Ahead      int // messages that came before an earlier one
	Late       int // messages that came after a later one
	Duplicates int // messages that came again
	Altered    int // messages whose bytes are not those sent
	Misrouted  int // messages meant for another connection
	Others     int // publications of somebody else
	LostDead   int // messages owed to connections that died

	// Causes says how often connections failed or died, or messages were refused, and of what.
	Causes map[string]int
}

// ended grows with every cause.
func (c *Counters) ended() int { return c.Failed + c.Died + c.Refused }

// Publication is the fate of one publication.
type Publication struct {
	Sequence int   // from 1
	Due      int64 // when it was to be sent, Unix nanoseconds; 0 when somebody else sent it
	Answered int64 // when the server confirmed it; 0 = not
	First    int64 // first receipt
	Last     int64 // last receipt
	Receipts int   // connections that received it
}

// Census is the state of all ready connections at a moment.
type Census struct {
	Ready     int
	Lost      int // messages that were owed and have not come, not counting connections that died
	Short     int // connections that lost some
	GotMin    int // messages of this run on the connection that has fewest
	GotMax    int
	OthersMin int  // publications of others on the connection that has fewest
	OthersMax int  //
	Alike     bool // all connections received the same publications of others in the same order
}

// Histograms are distributions in nanoseconds.
type Histograms struct {
	Setup   *hdrhistogram.Histogram // from dialing to ready
	Latency *hdrhistogram.Histogram // from the time a message was due to its receipt
	Answer  *hdrhistogram.Histogram // from the time a publication was due to the server's confirmation
}

const (
	latencyMin    = int64(time.Microsecond)
	latencyMax    = int64(2 * time.Minute)
	latencyDigits = 3
)

func newHistograms() Histograms {
	return Histograms{newHistogram(), newHistogram(), newHistogram()}
}

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(latencyMin, latencyMax, latencyDigits)
}

// record takes a value; those out of range (a clock that was set) become the nearest one within.
func record(h *hdrhistogram.Histogram, ns int64) {
	_ = h.RecordValue(min(max(ns, 0), latencyMax)) // within the range it cannot fail
}

// publicationsMax bounds the publications of others that are listed one by one; further ones are only counted.
const publicationsMax = 100_000
