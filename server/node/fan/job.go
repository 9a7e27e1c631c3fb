package fan

import (
	"time"

	"shoal/loop"
	"shoal/pool/queue"
	"shoal/pool/shared"
	"shoal/server/channel"
	"shoal/server/hub"
	"shoal/server/node/track"
	"shoal/server/node/wire"
)

const (
	runMax         = 32       // pushes per round
	joinedBytesMax = 64 << 10 // of a round that is joined
)

// Treatment is what the channel's options say of its fan-out.
type Treatment struct {
	Slow   channel.SlowPolicy
	Keep   int           // bytes that may wait for a member under Slow
	Delay  time.Duration // before a round, for more to arrive
	Full   int           // pushes that are not waited with
	Lane   uint16        // of those who share the loop by weight
	Weight int           // of the lane; 0 is 1
}

// Job is one channel with pushes on their way to its members on this loop.
type Job struct {
	Treatment
	Run   []Held // what the present round delivers; empty between two
	Plain bool   // of it: all members get all of it, but for what their flags say

	out    *Out
	cursor hub.Cursor
	joined joined            // Run, when it is Plain
	next   queue.FIFO[*Push] // arrived since; the next round
	waits  bool              // for the delay, and has no turn
}

// Held is a push whose bytes the loop holds: Send takes references.
type Held struct {
	*Push
	Refs    [wire.Variants][hub.FormsMax]shared.Ref
	Verdict track.Verdict
	Memo    Memo
	spared  bool // Exclude is a conn of this loop, at slot
	slot    uint32
}

// Memo is the last answer of a filter: members that ask for the same come in rows.
type Memo struct {
	Filter uint32
	Fits   bool
}

// Spares says whether the push is not for the conn, which published it.
func (h *Held) Spares(slot uint32) bool { return h.spared && h.slot == slot }

// Bars says whether the push cannot be told in the wire form.
func (h *Held) Bars(form hub.Form) bool { return h.Forms.Barred>>form&1 != 0 }

// joined is a round's pushes as one run of bytes, for each wire form that was asked for: a
// receiver then costs one entry in its backlog and one piece of a write.
type joined struct {
	refs  [hub.FormsMax]shared.Ref // 0: there is none
	asked uint16                   // a bit per form
}

// Label is what the loop knows the bytes of the job by, of pushes with that key.
func (j *Job) Label(key uint64) shared.Label {
	return shared.Label{Group: j.cursor.Channel() + 1, Key: key}
}

// Waiting is the number of pushes for the next round.
func (j *Job) Waiting() int { return j.next.Len() }

// Slice implements [loop.Work]: the delay is over.
func (j *Job) Slice(*loop.Loop) (more bool) {
	if j.waits { // and was not begun before, because it was full
		j.out.begin(j)
	}
	return false
}

// advance begins the next round.
func (j *Job) advance() {
	o := j.out
	j.Plain = true
	for range min(j.next.Len(), runMax) {
		p := j.next.Pop()
		h := Held{Push: p, Verdict: o.tracks.Advance(j.cursor.Channel(), p.Place)}
		if p.Excludes {
			h.slot, h.spared = o.l.Lookup(p.Exclude)
		}
		if p.Signal || h.spared || h.Verdict > track.Next {
			j.Plain = false
		}
		label := shared.Label{}
		if j.Slow != channel.SlowDisconnect && !p.Signal {
			label = j.Label(p.Key)
		}
		for v := range p.Forms.Bytes {
			for i, b := range p.Forms.Bytes[v] {
				if b != nil {
					b.Retain()
					h.Refs[v][i] = o.l.HoldAs(b, label)
				}
			}
		}
		j.Run = append(j.Run, h)
	}
	o.hub.Rewind(&j.cursor)
}

// follow looks at the round again: its channel is followed from now on.
func (j *Job) follow() {
	for i := range j.Run {
		h := &j.Run[i]
		h.Verdict = j.out.tracks.Advance(j.cursor.Channel(), h.Place)
		j.Plain = j.Plain && h.Verdict <= track.Next
	}
}

// Together is the round as one run of bytes in a wire form, made for the first member that
// asks; 0 when a push has no such form or all are too long to be copied. For rounds that
// are Plain.
func (j *Job) Together(form hub.Form) shared.Ref {
	if bit := uint16(1) << form; j.joined.asked&bit == 0 {
		j.joined.asked |= bit
		size := 0
		for i := range j.Run {
			b := j.Run[i].Forms.Bytes[wire.Plain][form]
			if b == nil {
				return 0
			}
			size += b.Len()
		}
		if size > joinedBytesMax {
			return 0
		}
		all := j.out.bytes.New(size)
		for i := range j.Run {
			all.Buf = append(all.Buf, j.Run[i].Forms.Bytes[wire.Plain][form].Bytes()...)
		}
		j.joined.refs[form] = j.out.l.Hold(all)
	}
	return j.joined.refs[form]
}

// release ends the round.
func (j *Job) release() {
	l := j.out.l
	for i := range j.Run {
		for v := range j.Run[i].Refs {
			for _, ref := range j.Run[i].Refs[v] {
				if ref != 0 {
					l.Unhold(ref)
				}
			}
		}
		j.Run[i].done()
		j.Run[i] = Held{}
	}
	j.Run = j.Run[:0]
	for _, ref := range j.joined.refs {
		if ref != 0 {
			l.Unhold(ref)
		}
	}
	j.joined = joined{}
}
