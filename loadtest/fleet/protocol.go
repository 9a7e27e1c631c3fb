package fleet

import (
	"encoding/json"
	"errors"
	"time"

	"shoal/loadtest/engine"
	"shoal/loadtest/fleet/share"
)

// protocolVersion grows with every change of what is said.
const protocolVersion = 1

// message is one line, either way; exactly one field is set.
type message struct {
	Challenge *challenge `json:"challenge,omitempty"` // coordinator: its first
	Hello     *hello     `json:"hello,omitempty"`     // worker: to the challenge
	Welcome   *welcome   `json:"welcome,omitempty"`   // coordinator: to hello
	Refused   string     `json:"refused,omitempty"`   // either: why it will have nothing to do with the other; its last
	Ask       *ask       `json:"ask,omitempty"`       // coordinator; every one is answered
	Answer    *answer    `json:"answer,omitempty"`    // worker
	Ended     *ended     `json:"ended,omitempty"`     // worker: the order under way has ended
	Leaving   string     `json:"leaving,omitempty"`   // worker: why it goes; its last
}

// empty says whether a line was JSON and yet none of ours.
func (m *message) empty() bool {
	return m.Challenge == nil && m.Hello == nil && m.Welcome == nil && m.Refused == "" && m.Ask == nil && m.Answer == nil &&
		m.Ended == nil && m.Leaving == ""
}

// challenge is what a coordinator says of itself.
type challenge struct {
	Protocol int    `json:"protocol"`
	Build    string `json:"build"`
	Nonce    []byte `json:"nonce"`
	Keyed    bool   `json:"keyed"` // who joins has to prove that it has the key
}

// hello is what a worker says of itself.
type hello struct {
	Protocol  int             `json:"protocol"`
	Build     string          `json:"build"`
	Nonce     []byte          `json:"nonce"`
	Proof     []byte          `json:"proof,omitempty"` // that it has the key
	Resources share.Resources `json:"resources"`
}

// welcome lets a worker in.
type welcome struct {
	Proof []byte `json:"proof,omitempty"` // that the coordinator has the key, too
	Name  string `json:"name"`            // of the member
}

// verb is what is asked.
type verb string

const (
	verbState     verb = "state"     // what time it is and how things are; answered at once
	verbBegin     verb = "begin"     // make the engines of Begin and run them; once
	verbOrder     verb = "order"     // begin Order
	verbStop      verb = "stop"      // end the order under way
	verbCensus    verb = "census"    //
	verbResults   verb = "results"   //
	verbPublished verb = "published" //
	verbClose     verb = "close"     // end all connections in good order, within Within
)

// ask is a question or a command.
type ask struct {
	ID     uint64        `json:"id"`
	Verb   verb          `json:"verb"`
	Begin  *assignment   `json:"begin,omitempty"`
	Order  *engine.Order `json:"order,omitempty"`
	Within time.Duration `json:"within_ns,omitempty"`
}

// answer has the number of its question, and what was asked for, or why there is none.
type answer struct {
	ID        uint64          `json:"id"`
	Failure   *failure        `json:"failure,omitempty"`
	State     *state          `json:"state,omitempty"` // with every answer
	Census    *engine.Census  `json:"census,omitempty"`
	Results   json.RawMessage `json:"results,omitempty"` // an engine.Results; those of a worker that dies later are kept as they came
	Published []uint32        `json:"published,omitempty"`
}

// ended tells how an order ended.
type ended struct {
	Failure *failure `json:"failure,omitempty"`
	State   *state   `json:"state"`
}

// state is how a worker is.
type state struct {
	Now      int64           `json:"now"` // its clock, Unix nanoseconds
	RSS      int64           `json:"rss_bytes"`
	Snapshot engine.Snapshot `json:"snapshot"`
}

// failure is an error as a value: its text and, where it is one of those that are told apart, which.
type failure struct {
	Kind string `json:"kind,omitempty"`
	Text string `json:"text"`
}

// kinds are the errors of orders that are told apart.
func kinds() map[string]error {
	return map[string]error{"all gone": engine.ErrAllGone, "away": engine.ErrAway, "grace": engine.ErrGrace, "nobody": errNobody}
}

// failureOf makes a value of err; nil of nil.
func failureOf(err error) *failure {
	if err == nil {
		return nil
	}
	f := &failure{Text: err.Error()}
	for kind, of := range kinds() {
		if errors.Is(err, of) {
			f.Kind = kind
		}
	}
	return f
}

// error is what the value was made of, as far as errors.Is can tell.
func (f *failure) error() error {
	if f == nil {
		return nil
	}
	kind := kinds()[f.Kind]
	if kind != nil && kind.Error() == f.Text {
		return kind
	}
	return &told{f.Text, kind}
}

// told is an error of a worker.
type told struct {
	text string
	kind error // nil = none that is told apart
}

func (e *told) Error() string { return e.text }
func (e *told) Unwrap() error { return e.kind }
