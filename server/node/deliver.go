package node

import (
	"hash/maphash"

	"shoal/server/channel"
	"shoal/server/node/fan"
	"shoal/server/node/route"
	"shoal/server/node/track"
	"shoal/server/node/wire"
)

// Deliver implements [broker.Deliverer]: it encodes the publication once per wire
// form in use and posts it to the loops with members.
func (n *Node) Deliver(name string, pub *channel.Publication) error {
	taken, err := n.deliver(name, "", pub)
	for _, pattern := range n.dir.AppendPatterns(nil, name) {
		if !n.cfg.Session.Rules.Match(pattern, name) || !n.cfg.Tenants.Covers(pattern, name) {
			continue
		}
		also, e := n.deliver(pattern, name, pub)
		if taken = taken || also; err == nil {
			err = e
		}
	}
	if taken { // an error would make the broker give its offset to another one
		return nil
	}
	return err
}

// deliver sends a publication to the members of the channel name. of is the channel
// it was published to, when name is a wildcard that fits; else empty. taken says that a loop has it.
func (n *Node) deliver(name, of string, pub *channel.Publication) (taken bool, err error) {
	a := n.dir.Lookup(bytesOf(name))
	if a.Loops == 0 {
		return false, nil
	}
	if e := n.room(a.Loops); e != nil {
		return false, e
	}
	e := n.encoders.Get()
	p := fan.Parcel{Forms: e.Publication(n.cfg.Forms, n.cfg.Bytes, wire.Want{Forms: a.Forms, Deltas: a.Deltas}, name, of, pub)}
	n.encoders.Put(e)
	if of == "" && pub.Offset > 0 {
		p.Place = track.Place{Offset: pub.Offset, Epoch: track.Epoch(n.seed, pub.Epoch)}
	}
	if pub.Exclude != "" {
		p.Exclude, p.Excludes = n.ids.Parse(pub.Exclude)
	}
	if len(pub.Tags) > 0 && n.filtered.Load() > 0 {
		p.Tags = pub.Tags
	}
	p.Key = n.slowKey(name, of, pub.Tags)
	err = n.send(name, &a, &p)
	return err == nil, err
}

// slowKey stands for what a newer publication takes the place of, for members that do
// not read: the channel under a wildcard, the value of conflate_tag. 0 is the whole
// channel or, under conflate, nothing. Different ones have the same number with the odds
// of 2⁻⁶⁴.
func (n *Node) slowKey(name, of string, tags map[string]string) uint64 {
	o, e := n.cfg.Session.Rules.Resolve(name)
	if e != nil {
		return 0
	}
	value, some := o.Supersedes(tags)
	if !some || value == "" && of == "" {
		return 0
	}
	return max(maphash.Comparable(n.seed, [2]string{of, value}), 1)
}

// DeliverSignals implements [broker.Deliverer]: joins and leaves go to the members that
// want them, in one message.
func (n *Node) DeliverSignals(name string, signals []channel.Signal) error {
	a := n.dir.Lookup(bytesOf(name))
	if a.Loops == 0 || !a.Signals {
		return nil
	}
	if e := n.room(a.Loops); e != nil {
		return e
	}
	e := n.encoders.Get()
	p := fan.Parcel{Signal: true, Forms: e.Signals(n.cfg.Forms, n.cfg.Bytes, wire.Want{Forms: a.Forms}, name, signals)}
	n.encoders.Put(e)
	return n.send(name, &a, &p)
}

// room refuses what would be too much on the way, before anything is made. Each loop has
// an eighth of its mailbox free then: only as many other posts in between make it refuse
// what another took.
func (n *Node) room(loops uint64) error {
	if n.inflight.Full() {
		n.stats.Dropped[channel.DropNodeBacklog].Add(1)
		return channel.ErrTooManyRequests.Err()
	}
	for i := range n.shards {
		if loops&(1<<i) != 0 && n.shards[i].l.Crowded() {
			n.stats.Dropped[channel.DropMailboxFull].Add(1)
			return channel.ErrTooManyRequests.Err()
		}
	}
	return nil
}

// send posts the parcel to every loop of the audience and gives up its bytes. The error
// says that none took it. Where only some did, the others count it as lost and their
// positioned members come upon the gap: its offset is spent.
func (n *Node) send(name string, a *route.Audience, p *fan.Parcel) error {
	taken := false
	n.parcels.Add(1)
	for i, s := range n.shards {
		switch {
		case a.Loops&(1<<i) == 0:
		case n.inflight.Post(s.fan, name, p) == nil:
			taken = true
		default:
			n.stats.Dropped[channel.DropMailboxFull].Add(1)
		}
	}
	p.Forms.Release()
	if !taken {
		return channel.ErrTooManyRequests.Err()
	}
	return nil
}
