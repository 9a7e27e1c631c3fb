package fan

import (
	"strings"
	"sync/atomic"

	"shoal/loop"
	"shoal/pool/spare"
	"shoal/server/node/track"
	"shoal/server/node/wire"
)

// Parcel is a push: its bytes, and what decides who gets it.
type Parcel struct {
	Forms    wire.Encoded
	Place    track.Place       // in the stream; zero: it has none
	Key      uint64            // what a newer one with the same key takes the place of, for members that do not read; 0 nothing
	Exclude  loop.ConnID       // of Excludes: the conn that does not get it
	Tags     map[string]string // nil: none, or nobody asks
	Signal   bool              // joins and leaves
	Excludes bool
}

// Push is a parcel on its way to one loop. Pooled.
type Push struct {
	Parcel // with a reference to each of its bytes
	out    *Out
	of     *Inflight
	name   []byte
	bytes  int64
}

// pushBytes is what a push, its name and the headers of its shared bytes take, so that a
// backlog of tiny publications is not taken for a small one.
const pushBytes = 512

// sparesMax is the number of idle pushes a node keeps, and of idle jobs each loop.
const sparesMax = 1024

// Inflight are the pushes of a node that were accepted and not yet handed to all their
// receivers. Use [NewInflight]. Any goroutine.
type Inflight struct {
	max    int64
	bytes  atomic.Int64
	spares spare.List[Push]
}

// NewInflight returns none, with room for so many bytes, each push with 512 for its keeping.
func NewInflight(bytesMax int64) *Inflight {
	return &Inflight{max: bytesMax, spares: spare.New[Push](sparesMax)}
}

// Bytes is the sum.
func (f *Inflight) Bytes() int64 { return f.bytes.Load() }

// Full says that nothing more is to be accepted.
func (f *Inflight) Full() bool { return f.bytes.Load() > f.max }

// Post sends a parcel to the channel's members on the loop of o. Name, tags and the
// references of p stay the caller's. Its errors are those of [loop.Loop.Post].
func (f *Inflight) Post(o *Out, name string, p *Parcel) error {
	one := f.push(o, name, p)
	err := o.l.Post(one)
	if err != nil {
		one.done()
	}
	return err
}

// push makes one of a parcel, with references of its own.
func (f *Inflight) push(o *Out, name string, p *Parcel) *Push {
	b := f.spares.Get()
	b.Parcel, b.out, b.of, b.name, b.bytes = *p, o, f, append(b.name[:0], name...), pushBytes
	if p.Tags != nil {
		b.Tags = make(map[string]string, len(p.Tags))
		for k, v := range p.Tags {
			b.Tags[strings.Clone(k)] = strings.Clone(v)
			b.bytes += int64(len(k) + len(v))
		}
	}
	for v := range b.Forms.Bytes {
		for _, bytes := range b.Forms.Bytes[v] {
			if bytes != nil {
				bytes.Retain()
				b.bytes += int64(bytes.Len())
			}
		}
	}
	f.bytes.Add(b.bytes)
	return b
}

// Deliver implements [loop.Message].
func (p *Push) Deliver(*loop.Loop) { p.out.enqueue(p) }

// done gives everything back.
func (p *Push) done() {
	p.Forms.Release()
	p.of.bytes.Add(-p.bytes)
	f, name := p.of, p.name
	*p = Push{name: name[:0]}
	f.spares.Put(p)
}
