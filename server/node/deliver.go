package node

import (
	"hash/maphash"
	"strings"

	"shoal/loop"
	"shoal/server/channel"
	"shoal/server/node/route"
	"shoal/server/node/track"
	"shoal/server/node/wire"
)

// Deliver implements [broker.Deliverer]: it encodes the publication once per wire
// form in use and posts it to the loops with members.
func (n *Node) Deliver(name string, pub *channel.Publication) error {
	taken, err := n.deliver(name, "", pub)
	for _, pattern := range n.dir.AppendPatterns(nil, name) {
		if !n.cfg.Session.Rules.Match(pattern, name) {
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
	forms := e.Publication(n.cfg.Forms, n.cfg.Bytes, wire.Want{Forms: a.Forms, Deltas: a.Deltas}, name, of, pub)
	n.encoders.Put(e)
	f := parcel{name: name, forms: &forms}
	if of == "" && pub.Offset > 0 {
		f.place = track.Place{Offset: pub.Offset, Epoch: track.Epoch(n.seed, pub.Epoch)}
	}
	if pub.Exclude != "" {
		f.exclude, f.excludes = n.ids.Parse(pub.Exclude)
	}
	if len(pub.Tags) > 0 && n.filtered.Load() > 0 {
		f.tags = pub.Tags
	}
	f.key = n.slowKey(name, of, pub.Tags)
	err = n.send(&a, &f)
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
	forms := e.Signals(n.cfg.Forms, n.cfg.Bytes, wire.Want{Forms: a.Forms}, name, signals)
	n.encoders.Put(e)
	return n.send(&a, &parcel{name: name, forms: &forms, signal: true})
}

// room refuses what would be too much on the way, before anything is made. Each loop has
// an eighth of its mailbox free then: only as many other posts in between make it refuse
// what another took.
func (n *Node) room(loops uint64) error {
	if n.inflight.Load() > n.cfg.InflightBytesMax {
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

// parcel is a push on its way, before it is split between the loops.
type parcel struct {
	name     string
	forms    *wire.Encoded
	place    track.Place
	key      uint64
	exclude  loop.ConnID // of excludes
	tags     map[string]string
	signal   bool
	excludes bool
}

// send posts the parcel to every loop of the audience and gives up its bytes. The error
// says that none took it. Where only some did, the others count it as lost and their
// positioned members come upon the gap: its offset is spent.
func (n *Node) send(a *route.Audience, p *parcel) error {
	taken := false
	for i := range n.shards {
		if a.Loops&(1<<i) != 0 && n.post(i, p) {
			taken = true
		}
	}
	p.forms.Release()
	if !taken {
		return channel.ErrTooManyRequests.Err()
	}
	return nil
}

func (n *Node) post(i int, p *parcel) bool {
	f := n.fanouts.Get()
	f.node = n
	f.name = append(f.name[:0], p.name...)
	f.bar, f.place, f.key, f.signal = p.forms.Barred, p.place, p.key, p.signal
	f.exclude, f.excludes = p.exclude, p.excludes
	f.size = fanoutBytes
	if p.tags != nil {
		f.tags = make(map[string]string, len(p.tags))
		for k, v := range p.tags {
			f.tags[strings.Clone(k)] = strings.Clone(v)
			f.size += int64(len(k) + len(v))
		}
	}
	for v := range p.forms.Bytes {
		for form, b := range p.forms.Bytes[v] {
			if b != nil {
				b.Retain()
				f.forms[v][form] = b
				f.size += int64(b.Len())
			}
		}
	}
	n.inflight.Add(f.size)
	if err := n.shards[i].l.Post(f); err != nil {
		n.stats.Dropped[channel.DropMailboxFull].Add(1)
		f.done()
		return false
	}
	return true
}
