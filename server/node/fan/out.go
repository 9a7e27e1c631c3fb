package fan

import (
	"fmt"
	"time"

	"shoal/loop"
	"shoal/pool/shared"
	"shoal/server/channel"
	"shoal/server/hub"
	"shoal/server/node/track"
)

const (
	sliceMembers = 2048 // members per slice, or what costs as much: some 0.1 ms between two looks at everything else
	turnMembers  = 32   // of which a job gets in one go: a small one need not wait for the next slice
	wideMax      = 16   // times as many conns wait to be written when many channels are busy
)

// Shard is what the fan-out asks of the loop's shard, on the loop.
type Shard interface {
	// Treat says how the channel's pushes are treated.
	Treat(name []byte) Treatment
	// Send gives the round to one member. It returns how many pushes the member took, and
	// what it cost to find out beyond looking at it, in members.
	Send(m hub.Member, j *Job) (sent, cost int)
	// Sent counts what members took.
	Sent(pushes int)
	// Lost counts pushes that no member gets.
	Lost(d channel.Drop, pushes int)
}

// Out is a loop's fan-out. Use [New]. Loop-owned.
type Out struct {
	l      *loop.Loop
	hub    *hub.Hub
	tracks *track.Tracks
	bytes  *shared.Pool
	shard  Shard

	jobs    map[uint32]*Job // by the hub's channel number
	lanes   lanes
	spare   []*Job
	members []hub.Member
	working bool // the loop has it as a [loop.Work]
	since   loop.Tick
}

// New returns the fan-out of a loop to the members of h, whose streams are t.
func New(l *loop.Loop, h *hub.Hub, t *track.Tracks, bytes *shared.Pool, s Shard) *Out {
	return &Out{l: l, hub: h, tracks: t, bytes: bytes, shard: s, jobs: map[uint32]*Job{}, members: make([]hub.Member, 0, turnMembers)}
}

// Busy says whether a job has a turn.
func (o *Out) Busy() bool { return o.working }

// pressedTime is how long there has to be something to send without a break for others to give way.
const pressedTime = time.Second

// Pressed says whether the fan-out has been under way for long without a break: to very many, or more than the loop bears.
func (o *Out) Pressed() bool {
	return o.working && o.l.Now()-o.since >= o.l.Ticks(pressedTime)
}

// Jobs is the number of channels with pushes on their way.
func (o *Out) Jobs() int { return len(o.jobs) }

// Job is that of a channel, by the hub's number; nil when nothing is on its way there.
func (o *Out) Job(ch uint32) *Job { return o.jobs[ch] }

// enqueue adds a push to its channel's job.
func (o *Out) enqueue(p *Push) {
	if id, ok := o.hub.ID(p.name); ok {
		if j, busy := o.jobs[id]; busy {
			j.next.Push(p)
			if j.waits && j.next.Len() >= j.Full {
				o.begin(j)
			}
			return
		}
	}
	c, ok := o.hub.Begin(p.name)
	if !ok {
		o.shard.Lost(channel.DropUnsubscribed, 1)
		p.done()
		return
	}
	j := o.newJob()
	j.cursor, j.Treatment = c, o.shard.Treat(p.name)
	j.next.Push(p)
	o.jobs[c.Channel()] = j
	o.await(j)
}

// await begins the job's next round, or waits with it for more to arrive: until the next
// whole multiple of the delay, when those of other channels begin too.
func (o *Out) await(j *Job) {
	if j.waits = j.Delay > 0 && j.next.Len() < j.Full; j.waits {
		nanos := o.l.Clock().UnixNano()
		o.l.WorkAfter(j, j.Delay-time.Duration(nanos)%j.Delay)
	} else {
		o.begin(j)
	}
}

// begin gives the job a turn; its round begins with that, so that what arrives until then
// goes out together.
func (o *Out) begin(j *Job) {
	j.waits = false
	o.lanes.push(j)
	if !o.working {
		o.working, o.since = true, o.l.Now()
		o.l.Work(o)
	}
}

// Slice implements [loop.Work]: the jobs take turns until the slice is full, or enough
// conns wait to be written. The more channels are busy, the more conns may wait: who is
// in many of them then gets what all have by one write.
func (o *Out) Slice(l *loop.Loop) (more bool) {
	var j *Job
	defer func() {
		if j == nil {
			return
		}
		o.lanes.charge(turnMembers)
		if o.working = o.lanes.jobs > 0; o.working { // the loop drops what panicked
			o.l.Work(o)
		}
		o.abandon(j)
	}()
	sent, wide := 0, min(o.lanes.jobs, wideMax)
	for budget := sliceMembers; budget > 0 && o.lanes.jobs > 0; {
		if n, slice := l.Unwritten(); n >= wide*slice {
			break
		}
		j = o.lanes.pop()
		took, cost := o.turn(j, min(budget, turnMembers))
		sent += took
		budget -= cost
		o.lanes.charge(cost)
		j = nil
	}
	o.shard.Sent(sent)
	o.working = o.lanes.jobs > 0
	return o.working
}

// turn serves the job's next members, and has it go on or ends it.
func (o *Out) turn(j *Job, members int) (sent, cost int) {
	if len(j.Run) == 0 {
		j.advance()
	}
	o.members = o.hub.Next(&j.cursor, o.members[:0], members)
	cost = 1 + len(o.members) // one without members costs too
	for _, m := range o.members {
		took, extra := o.shard.Send(m, j)
		sent, cost = sent+took, cost+extra
	}
	if len(o.members) > 0 {
		o.lanes.push(j)
	} else if j.release(); j.next.Len() > 0 {
		o.await(j)
	} else {
		o.finish(j)
	}
	return sent, cost
}

// Follow is to be called when the first member of a channel follows its stream, which
// nobody did until now. It says whether a round is under way, that may still reach the
// member.
func (o *Out) Follow(ch uint32, first bool) (underWay bool) {
	j := o.jobs[ch]
	if j == nil || len(j.Run) == 0 {
		return false
	}
	if first {
		j.follow()
	}
	return true
}

// abandon ends a job over which a slice panicked. What it had is lost: the positioned
// members find out.
func (o *Out) abandon(j *Job) {
	delete(o.jobs, j.cursor.Channel())
	o.hub.End(&j.cursor)
	n := len(j.Run)
	j.release()
	for ; j.next.Len() > 0; n++ {
		j.next.Pop().done()
	}
	o.shard.Lost(channel.DropPanic, n)
}

// finish ends a job that has delivered everything.
func (o *Out) finish(j *Job) {
	delete(o.jobs, j.cursor.Channel())
	o.hub.End(&j.cursor)
	if len(o.spare) < sparesMax {
		o.spare = append(o.spare, j)
	}
}

func (o *Out) newJob() *Job {
	if n := len(o.spare); n > 0 {
		j := o.spare[n-1]
		o.spare = o.spare[:n-1]
		return j
	}
	return &Job{out: o}
}

// Trim drops what idle fan-outs left.
func (o *Out) Trim() {
	o.spare = nil
	if len(o.jobs) == 0 {
		o.jobs, o.lanes = map[uint32]*Job{}, lanes{}
	}
}

// Validate checks the jobs against themselves. For tests, on the loop.
func (o *Out) Validate() error {
	turns := 0
	for id, j := range o.jobs {
		if j.cursor.Channel() != id || len(j.Run)+j.next.Len() == 0 {
			return fmt.Errorf("fan: the job of channel %d walks channel %d with %d pushes", id, j.cursor.Channel(), len(j.Run))
		}
		if !j.waits {
			turns++
		}
	}
	ready := 0
	for _, n := range o.lanes.of {
		if n != nil {
			ready += n.turns.Len()
		}
	}
	if turns != ready || ready != o.lanes.jobs || o.working != (ready > 0) {
		return fmt.Errorf("fan: %d jobs have a turn, %d are in lanes, %d are counted, working %t", turns, ready, o.lanes.jobs, o.working)
	}
	return nil
}
