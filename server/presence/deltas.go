package presence

import (
	"fmt"
	"hash/maphash"

	"shoal/pool/intern"
	"shoal/server/channel"
)

// Deltas collects joins and leaves of big channels for a window and gives them out
// without those that cancel out: of a client that came and went nothing is told, nor of
// one that went and came back the same. What remains keeps its order. It must be made by
// [NewDeltas] and is not safe for concurrent use.
//
// For each channel the caller asks [Deltas.Collects] after every change of its size. While
// that says yes, signals go through Join and Leave; when it turns to no, the caller calls
// FlushChannel before it sends the next signal itself. At the end of each window it calls
// Flush.
//
// Nothing is ever dropped: when a bound is reached, Join and Leave do not take the signal,
// and the caller sends what waits for the channel early and the signal behind it. A lost
// leave would show a member for good who is gone; an early flush costs one push more.
type Deltas struct {
	cfg     DeltasConfig
	names   *intern.Table // a reference while collecting, one while signals wait
	states  []collected   // by channel id
	texts   *intern.Table // ids, users and infos of the signals that wait
	pairs   pairs         // (channel id, client id's text) -> entry+1 of its last signal
	entries []pending
	free    uint32 // first free entry+1, linked by next
	signals int    // that wait
	bytes   int    // of their texts
}

// DeltasConfig rules [Deltas].
type DeltasConfig struct {
	// Members above which the signals of a channel are collected. 0: of no channel.
	Members int
	// ChannelSignalsMax is how many may wait for one channel. 0: 8,192.
	ChannelSignalsMax int
	// SignalsMax is how many may wait in all; ≥ ChannelSignalsMax. 0: 8 times that.
	SignalsMax int
	// BytesMax is how long the ids, users and infos of those that wait may be together.
	// 0: 16 MiB.
	BytesMax int
}

const (
	channelSignalsDefault = 8192
	signalsFactor         = 8
	deltaBytesDefault     = 16 << 20
	// keepBytes is what stays after a flush, so that quiet windows need no new memory.
	keepBytes = 128 << 10
)

// collected is a channel; the zero value collects nothing and has nothing.
type collected struct {
	head, tail uint32 // entry+1, in order
	signals    uint32
	collects   bool
}

// pending is a signal that waits. Texts are ids of Deltas.texts; 0 = nil.
type pending struct {
	client, user, conn, chann uint32
	prev, next                uint32 // entry+1 within the channel
	before                    uint32 // of a join: entry+1 of the same client's leave that also waits
	leave                     bool
}

// NewDeltas returns an empty collection, which holds no memory.
func NewDeltas(cfg DeltasConfig) (*Deltas, error) {
	if cfg.ChannelSignalsMax == 0 {
		cfg.ChannelSignalsMax = channelSignalsDefault
	}
	if cfg.SignalsMax == 0 {
		cfg.SignalsMax = signalsFactor * cfg.ChannelSignalsMax
	}
	if cfg.BytesMax == 0 {
		cfg.BytesMax = deltaBytesDefault
	}
	if cfg.Members < 0 || cfg.ChannelSignalsMax < 0 || cfg.BytesMax < 0 || cfg.SignalsMax < cfg.ChannelSignalsMax || cfg.SignalsMax >= 1<<31 {
		return nil, fmt.Errorf("presence: joins and leaves cannot be collected above %d members, %d per channel, %d in all, %d B: "+
			"nothing may be negative, and all channels together may have 2147483647 at most and no fewer than one of them",
			cfg.Members, cfg.ChannelSignalsMax, cfg.SignalsMax, cfg.BytesMax)
	}
	return &Deltas{cfg: cfg, names: intern.New(), texts: intern.New(), pairs: newPairs(maphash.MakeSeed())}, nil
}

// Wants says whether a channel of this size should be collected: one that is not
// collected from above Members on, one that is until it has come down to three quarters
// of that, so that a channel around the number does not flip.
func (d *Deltas) Wants(members int, collecting bool) bool {
	if d.cfg.Members == 0 {
		return false
	}
	if collecting {
		return members > d.cfg.Members-d.cfg.Members/4
	}
	return members > d.cfg.Members
}

// Collects says whether the signals of a channel with so many members are to go through
// Join and Leave from now on, by Wants and what it answered for the channel before.
func (d *Deltas) Collects(name []byte, members int) bool {
	id, known := d.names.Lookup(name)
	was := known && d.state(id).collects
	now := d.Wants(members, was)
	if now == was {
		return now
	}
	if now {
		id = d.names.Acquire(name)
		d.state(id).collects = true
	} else {
		d.state(id).collects = false
		d.names.Release(id)
	}
	return now
}

// Join notes that a client came; see Leave.
func (d *Deltas) Join(name []byte, info *channel.ClientInfo) (taken bool) {
	return d.note(name, info, false)
}

// Leave notes that a client went. taken is false when a bound is reached: then call
// FlushChannel and send this signal yourself, behind the others. Nothing of the arguments
// is kept. The calls for one client and channel alternate; a join of somebody who is there
// replaces the info, a second leave says nothing.
func (d *Deltas) Leave(name []byte, info *channel.ClientInfo) (taken bool) {
	return d.note(name, info, true)
}

// note finds the last signal of the client that waits. There are four cases: none, a join,
// a leave, a leave and a join after it.
func (d *Deltas) note(name []byte, info *channel.ClientInfo, leave bool) bool {
	id, known := d.names.Lookup(name)
	client, had := d.texts.LookupString(info.Client)
	if known && had {
		if p := d.pairs.get(id, uint64(client)); p != nil {
			return d.follow(id, p, info, leave)
		}
	}
	if !d.fits(id, known, info) {
		return false
	}
	if !known || d.state(id).signals == 0 {
		id = d.names.Acquire(name)
	}
	e := d.add(id, info, leave)
	d.pairs.insert(id, uint64(d.entries[e-1].client), e)
	return true
}

// follow notes a signal of a client whose last one waits in cell p.
func (d *Deltas) follow(id uint32, p *cell, info *channel.ClientInfo, leave bool) bool {
	last := p.value
	e := &d.entries[last-1]
	switch {
	case leave && e.leave: // gone already
	case leave: // it came and goes: as if it had not come; a leave before that stands
		d.forget(id, p)
	case !e.leave: // there already: what it is like now counts
		if d.same(e, info) {
			break
		}
		if e.before != 0 && d.same(&d.entries[e.before-1], info) { // like before it went
			d.forget(id, p)
			d.forget(id, p)
			break
		}
		if !d.fits(id, true, info) {
			return false
		}
		d.drop(e)
		d.describe(e, info)
	case d.same(e, info): // back, and the same: as if it had not gone
		d.forget(id, p)
	default: // back, and different
		if !d.fits(id, true, info) {
			return false
		}
		next := d.add(id, info, false)
		d.entries[next-1].before = last
		p.value = next
	}
	return true
}

// fits says whether one more signal may wait.
func (d *Deltas) fits(id uint32, known bool, info *channel.ClientInfo) bool {
	return d.signals < d.cfg.SignalsMax && d.bytes+textBytes(info) <= d.cfg.BytesMax &&
		(!known || int(d.state(id).signals) < d.cfg.ChannelSignalsMax)
}

func textBytes(i *channel.ClientInfo) int {
	return len(i.Client) + len(i.User) + len(i.ConnInfo) + len(i.ChanInfo)
}

// state returns what is known of a channel; the pointer is good until the next call.
func (d *Deltas) state(id uint32) *collected {
	for int(id) >= len(d.states) {
		d.states = append(d.states, collected{})
	}
	return &d.states[id]
}
