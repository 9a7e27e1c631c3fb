package presence

import (
	"bytes"
	"errors"
	"fmt"
	"unsafe"

	"shoal/server/channel"
)

// add puts a signal at the end of the channel's and returns its entry+1.
func (d *Deltas) add(id uint32, info *channel.ClientInfo, leave bool) uint32 {
	e := d.free
	if e == 0 {
		d.entries = append(d.entries, pending{})
		e = uint32(len(d.entries))
	} else {
		d.free = d.entries[e-1].next
	}
	s := d.state(id)
	p := &d.entries[e-1]
	*p = pending{leave: leave, prev: s.tail}
	d.describe(p, info)
	if s.tail != 0 {
		d.entries[s.tail-1].next = e
	} else {
		s.head = e
	}
	s.tail = e
	s.signals++
	d.signals++
	return e
}

// describe gives an entry its texts, drop takes them back.
func (d *Deltas) describe(p *pending, info *channel.ClientInfo) {
	p.client = d.texts.AcquireString(info.Client)
	p.user = d.texts.AcquireString(info.User)
	if info.ConnInfo != nil {
		p.conn = d.texts.Acquire(info.ConnInfo)
	}
	if info.ChanInfo != nil {
		p.chann = d.texts.Acquire(info.ChanInfo)
	}
	d.bytes += textBytes(info)
}

func (d *Deltas) drop(p *pending) {
	for _, t := range [...]*uint32{&p.client, &p.user, &p.conn, &p.chann} {
		if *t != 0 {
			d.bytes -= len(d.texts.Bytes(*t))
			d.texts.Release(*t)
			*t = 0
		}
	}
}

// same says whether an entry's user and infos are these.
func (d *Deltas) same(p *pending, info *channel.ClientInfo) bool {
	return string(d.texts.Bytes(p.user)) == info.User && d.sameBytes(p.conn, info.ConnInfo) && d.sameBytes(p.chann, info.ChanInfo)
}

func (d *Deltas) sameBytes(id uint32, b []byte) bool {
	if id == 0 {
		return b == nil
	}
	return b != nil && bytes.Equal(d.texts.Bytes(id), b)
}

// forget takes the last signal of a client out; c is the client's cell. A leave that
// waits before it becomes the last.
func (d *Deltas) forget(id uint32, c *cell) {
	e := c.value
	p := &d.entries[e-1]
	if p.before != 0 {
		c.value = p.before
	} else {
		d.pairs.remove(id, uint64(p.client))
	}
	s := d.state(id)
	if p.prev != 0 {
		d.entries[p.prev-1].next = p.next
	} else {
		s.head = p.next
	}
	if p.next != 0 {
		d.entries[p.next-1].prev = p.prev
	} else {
		s.tail = p.prev
	}
	d.drop(p)
	*p = pending{next: d.free}
	d.free = e
	d.signals--
	if s.signals--; s.signals == 0 {
		d.names.Release(id)
	}
}

// Flush calls f once for every channel with signals that wait, and returns how many
// signals those were. What f is given is its own and may be kept; it is no longer here
// when f is called. f must not call Deltas. Afterwards memory is given back.
func (d *Deltas) Flush(f func(name []byte, signals []channel.Signal)) (signals int) {
	signals = d.signals
	if signals == 0 {
		return 0
	}
	for id := range d.states {
		if d.states[id].signals > 0 {
			f(d.take(uint32(id)))
		}
	}
	d.Trim()
	return signals
}

// FlushChannel is Flush for one channel.
func (d *Deltas) FlushChannel(name []byte, f func(name []byte, signals []channel.Signal)) (signals int) {
	id, known := d.names.Lookup(name)
	if !known || d.state(id).signals == 0 {
		return 0
	}
	signals = int(d.state(id).signals)
	f(d.take(id))
	return signals
}

// take takes the signals of a channel out, in order. All their texts share one
// allocation.
func (d *Deltas) take(id uint32) (name []byte, signals []channel.Signal) {
	s := d.state(id)
	size := len(d.names.Bytes(id))
	for e := s.head; e != 0; e = d.entries[e-1].next {
		p := &d.entries[e-1]
		for _, t := range [...]uint32{p.client, p.user, p.conn, p.chann} {
			if t != 0 {
				size += len(d.texts.Bytes(t))
			}
		}
	}
	texts := make([]byte, 0, size)
	keep := func(b []byte) []byte {
		at := len(texts)
		texts = append(texts, b...)
		return texts[at:len(texts):len(texts)]
	}
	text := func(id uint32) []byte {
		if id == 0 {
			return nil
		}
		return keep(d.texts.Bytes(id))
	}
	str := func(id uint32) string { b := text(id); return unsafe.String(unsafe.SliceData(b), len(b)) }
	name = keep(d.names.Bytes(id))
	signals = make([]channel.Signal, 0, s.signals)
	for e := s.head; e != 0; e = d.entries[e-1].next {
		p := &d.entries[e-1]
		signals = append(signals, channel.Signal{Leave: p.leave, Info: channel.ClientInfo{
			Client: str(p.client), User: str(p.user), ConnInfo: text(p.conn), ChanInfo: text(p.chann),
		}})
	}
	for last := s.tail; last != 0; last = d.state(id).tail { // from the end, so that a join goes before its leave
		d.forget(id, d.pairs.get(id, uint64(d.entries[last-1].client)))
	}
	return name, signals
}

// Len returns how many signals wait.
func (d *Deltas) Len() int { return d.signals }

// HeldBytes returns the heap bytes held, free places included.
func (d *Deltas) HeldBytes() int {
	return d.names.HeldBytes() + d.texts.HeldBytes() + d.pairs.heldBytes() +
		cap(d.entries)*int(unsafe.Sizeof(pending{})) + cap(d.states)*int(unsafe.Sizeof(collected{}))
}

// Trim gives back what nothing needs, unless it is little, and returns how many bytes
// that were. Flush calls it.
func (d *Deltas) Trim() int {
	before := d.HeldBytes()
	if before <= keepBytes {
		return 0
	}
	d.names.Trim()
	d.texts.Trim()
	d.pairs.trim()
	if d.signals == 0 {
		d.entries, d.free = nil, 0
	}
	last := len(d.states)
	for last > 0 && d.states[last-1] == (collected{}) {
		last--
	}
	if cap(d.states) > 2*last {
		d.states = append(make([]collected, 0, last), d.states[:last]...)
	}
	return max(before-d.HeldBytes(), 0)
}

// Validate checks the collection against itself. It is slow and for tests, the
// simulation and debug pages.
func (d *Deltas) Validate() error {
	if err := errors.Join(d.names.Validate(), d.texts.Validate()); err != nil {
		return err
	}
	last := map[uint32]bool{} // entry+1 that a pair names
	err := d.pairs.validate(func(c *cell) error {
		if int(c.value) > len(d.entries) || d.entries[c.value-1].client != uint32(c.key) {
			return fmt.Errorf("presence: pair (%d, %d) names entry %d, which is not its", c.group, c.key, c.value)
		}
		last[c.value] = true
		return nil
	})
	if err != nil {
		return err
	}
	refs := map[uint32]int{} // of the texts
	signals, named := 0, 0
	for id := range d.states {
		n, heads, err := d.validateChannel(uint32(id), last, refs)
		if err != nil {
			return err
		}
		signals += n
		named += heads
	}
	if signals != d.signals || named != len(last) {
		return fmt.Errorf("presence: %d signals of %d clients counted, %d of %d found", d.signals, len(last), signals, named)
	}
	return d.validateTexts(refs)
}

// validateChannel checks one channel and returns how many signals it has and of how many
// clients.
func (d *Deltas) validateChannel(id uint32, last map[uint32]bool, refs map[uint32]int) (n, named int, err error) {
	s := d.states[id]
	prev, behind := uint32(0), 0
	for e := s.head; e != 0; prev, e = e, d.entries[e-1].next {
		p := &d.entries[e-1]
		if p.prev != prev {
			return 0, 0, fmt.Errorf("presence: entry %d of channel id %d follows %d and says %d", e, id, prev, p.prev)
		}
		if b := p.before; b != 0 && (last[b] || !last[e] || !d.entries[b-1].leave || p.leave) {
			return 0, 0, fmt.Errorf("presence: entry %d of channel id %d stands behind %d, which is no leave of its client's", e, id, b)
		} else if b != 0 {
			behind++
		}
		if last[e] {
			named++
		}
		for _, t := range [...]uint32{p.client, p.user, p.conn, p.chann} {
			if t != 0 {
				refs[t]++
			}
		}
		n++
	}
	want := 0
	if s.collects {
		want++
	}
	if n > 0 {
		want++
	}
	if s.tail != prev || n != int(s.signals) || d.names.Refs(id) != want {
		return 0, 0, fmt.Errorf("presence: channel id %d counts %d signals, has %d; %d references to its name, want %d",
			id, s.signals, n, d.names.Refs(id), want)
	}
	if n != named+behind {
		return 0, 0, fmt.Errorf("presence: channel id %d has %d signals, of which %d are their clients' last and %d wait before those", id, n, named, behind)
	}
	return n, named, nil
}

func (d *Deltas) validateTexts(refs map[uint32]int) (err error) {
	bytes := 0
	d.texts.Each(func(id uint32, s []byte, n int) bool {
		bytes += n * len(s)
		if refs[id] != n {
			err = fmt.Errorf("presence: text %q has %d references, %d signals use it", s, n, refs[id])
		}
		return err == nil
	})
	if err == nil && bytes != d.bytes {
		err = fmt.Errorf("presence: %d B of texts counted, %d found", d.bytes, bytes)
	}
	return err
}
