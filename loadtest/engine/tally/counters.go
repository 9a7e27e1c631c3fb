package tally

import (
	"maps"
	"reflect"
)

// Counters are the sums over all connections. Those of loss are in [Census].
type Counters struct {
	Dialed     int // connections begun for the first time
	Ready      int // connected and subscribed now
	ReadyMax   int // the most there were
	Failed     int // ended before they were ready
	Died       int // ended after they were ready, before Close
	Pings      int // application pings of the server
	Pongs      int // answers to them
	PingFrames int // ping frames of the server, all answered

	Published int // publications sent, those that failed excluded
	Refused   int // publications and messages the server refused
	Answered  int // publications the server confirmed
	Sent      int // messages sent to come back

	Received   int // distinct messages of this run, at the connections meant
	Ahead      int // messages that came before an earlier one
	Late       int // messages that came after a later one
	Duplicates int // messages that came again
	Altered    int // messages whose bytes are not those sent
	Misrouted  int // messages meant for another connection or channel
	Others     int // publications of somebody else
	LostDead   int // messages owed to connections that died

	// Causes says how often connections failed or died, or messages were refused, and of what.
	Causes map[string]int
}

// CausesMax bounds the different causes one engine tells apart.
const CausesMax = 32

// Note counts a cause.
func (c *Counters) Note(cause error) {
	if c.Causes == nil {
		c.Causes = map[string]int{}
	}
	if text := cause.Error(); len(c.Causes) < CausesMax || c.Causes[text] > 0 {
		c.Causes[text]++
	}
}

// Add adds those of others.
func (c *Counters) Add(o Counters) {
	sum(reflect.ValueOf(c).Elem(), reflect.ValueOf(o))
	c.Causes = addCounts(c.Causes, o.Causes)
}

// Status is where the connections are and what became of them, beside [Counters].
type Status struct {
	Away         int // not connected, in their backoff
	Stalled      int // stopped reading
	Ended        int // of those, ended by the server
	Gone         int // of those, told to stay away
	LostGone     int // messages owed to those
	Cut          int // by storms
	Back         int // of those
	Resumed      int // came back by their resume token
	Again        int // were ended or refused again on their way back
	Unsubscribed int // subscriptions the server ended that began anew
	Unplaced     int // subscriptions that were to have a position and have none
	Left         int // ended in good order by churn
	Replaced     int // of those, have a new connection that is ready
	Parted       int // messages made while a connection left or another came in its place: nobody was promised them

	Recovered             int // subscriptions that came back whole
	RecoveredPublications int
	Unrecovered           int // that came back, and the server said that something was lost
	Anew                  int // that came back where nothing can be recovered
	Told                  int // messages lost of which the client knows
	Skipped               int // of those, left out of the offsets of a connection that held
	Unseen                int // messages lost by those who stopped reading, on channels without offsets: the client cannot know
}

// Add adds that of others.
func (s *Status) Add(o Status) { sum(reflect.ValueOf(s).Elem(), reflect.ValueOf(o)) }

// Snapshot is what is counted at a moment.
type Snapshot struct {
	Counters
	Status
	Members int // engines this is of
	Whole   int // publications of others that all connections have received
}

// Add adds that of others.
func (s *Snapshot) Add(o Snapshot) {
	switch {
	case o.Members == 0:
		return
	case s.Members == 0:
		s.Whole = o.Whole
	default:
		s.Whole = min(s.Whole, o.Whole)
	}
	s.Members += o.Members
	s.Counters.Add(o.Counters)
	s.Status.Add(o.Status)
}

// Outcome is what became of the stuck connections, as of the last census.
type Outcome struct {
	Whole  int // received everything on one connection
	Ended  int // were ended by the server
	Missed int // were told of losses while connected
	Away   int // are not back
	Silent int // messages they lost without being told
	Unseen int // the last ones they lost on channels without offsets; see Status for those before
}

// Add adds that of others.
func (o *Outcome) Add(p Outcome) { sum(reflect.ValueOf(o).Elem(), reflect.ValueOf(p)) }

// sum adds every number of a struct to its namesake, so that none can be forgotten.
func sum(into, from reflect.Value) {
	for i := range into.NumField() {
		if f := into.Field(i); f.Kind() == reflect.Int {
			f.SetInt(f.Int() + from.Field(i).Int())
		}
	}
}

// addCounts adds what is counted by name.
func addCounts(into, from map[string]int) map[string]int {
	if into == nil {
		return maps.Clone(from)
	}
	for name, n := range from {
		into[name] += n
	}
	return into
}

// Census is the state of all ready connections at a moment.
type Census struct {
	Ready     int
	Lost      int // messages that were owed and have not come, not counting connections that died
	Short     int // connections that lost some
	GotMin    int // messages of this run on the connection that has fewest
	GotMax    int
	OthersMin int // publications of others on the connection that has fewest
	OthersMax int
	Alike     bool   // all connections received the same publications of others in the same order
	Digest    uint64 // of those the first connection received
}

// Add adds that of others.
func (c *Census) Add(o Census) {
	c.Lost += o.Lost
	c.Short += o.Short
	switch {
	case o.Ready == 0:
	case c.Ready == 0:
		lost, short := c.Lost, c.Short
		*c = o
		c.Lost, c.Short = lost, short
	default:
		c.Ready += o.Ready
		c.GotMin, c.GotMax = min(c.GotMin, o.GotMin), max(c.GotMax, o.GotMax)
		c.OthersMin, c.OthersMax = min(c.OthersMin, o.OthersMin), max(c.OthersMax, o.OthersMax)
		c.Alike = c.Alike && o.Alike && c.Digest == o.Digest
	}
	c.Alike = c.Alike || c.Ready == 0
}
