package sim_test

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"shoal/loop"
	"shoal/loop/sim"
	"shoal/pool/shared"
)

// track is what the oracle knows about one conn: what must come in, what must go out, and how it ended.
type track struct {
	id     loop.ConnID
	slot   uint32
	kind   loop.Kind
	client *client
	dialed bool

	open   bool // Open was called
	closed bool // Closed was called
	why    loop.Reason
	eof    bool // EOF was called

	in   int    // bytes of client.sent that Data brought
	rest []byte // of them not parsed yet

	want     []byte         // everything promised to the peer, in order
	bounds   []int          // ends of frames in want
	labels   []shared.Label // of the frames
	last     []byte         // the close frame, when the backlog was shed before it
	shed     bool           // last may follow any whole frame of want
	graceful bool           // CloseAfter: want must arrive whole
	until    time.Duration
	closedAt time.Duration // Closed was called
	cut      bool          // closed for good before that, by Close or a forced end

	reliefs uint64 // rounds when it closed: a later one may cut it short

	paused   bool
	leaving  bool // will close at its timer
	detached bool
	armed    bool
	due      loop.Tick
	overdue  int // ticks that came since due
	then     func()
}

// oracle judges one world. Findings go to the world, which ends.
type oracle struct {
	w       *sim.World
	tracks  []*track
	ids     map[loop.ConnID]bool
	clients map[*sim.Peer]*client
	reliefs func() uint64 // rounds so far
}

func newOracle() *oracle {
	return &oracle{ids: map[loop.ConnID]bool{}, clients: map[*sim.Peer]*client{}}
}

func (o *oracle) fail(format string, args ...any) { o.w.Fail(format, args...) }

// begin makes the track of a conn, at Open or after Dial.
func (o *oracle) begin(l *loop.Loop, slot uint32, kind loop.Kind, dialed bool) *track {
	t := &track{id: l.ID(slot), slot: slot, kind: kind, dialed: dialed, client: o.clients[o.w.Latest()]}
	if t.client == nil {
		o.fail("conn %v belongs to no client", t.id)
		t.client = &client{o: o, p: o.w.Latest()}
	}
	if o.ids[t.id] {
		o.fail("conn id %v was given out twice", t.id)
	}
	if t.client.t != nil {
		o.fail("peer %d got two conns, %v and %v", t.client.p.Index(), t.client.t.id, t.id)
	}
	o.ids[t.id] = true
	t.client.t = t
	o.tracks = append(o.tracks, t)
	return t
}

// promise notes a frame that the loop took.
func (t *track) promise(frame []byte, label shared.Label) {
	t.want = append(t.want, frame...)
	t.bounds = append(t.bounds, len(t.want))
	t.labels = append(t.labels, label)
}

// thinned takes back what Thin removes from a backlog of so many bytes, which is want
// from what the kernel took on, and returns how many frames those are.
func (t *track) thinned(label shared.Label, backlog, keep int) (n int) {
	taken := t.client.p.Taken()
	for i := 0; i < len(t.bounds); {
		begin, end := 0, t.bounds[i]
		if i > 0 {
			begin = t.bounds[i-1]
		}
		of := t.labels[i]
		if begin < taken || backlog <= keep || of.Group != label.Group || label.Key != 0 && of.Key != label.Key {
			i++
			continue
		}
		t.want = slices.Delete(t.want, begin, end)
		t.bounds, t.labels = slices.Delete(t.bounds, i, i+1), slices.Delete(t.labels, i, i+1)
		for j := i; j < len(t.bounds); j++ {
			t.bounds[j] -= end - begin
		}
		backlog -= end - begin
		n++
	}
	return n
}

// brought checks bytes of Data against what the client sent.
func (o *oracle) brought(t *track, p []byte) {
	sent := t.client.sent
	if t.in+len(p) > len(sent) || !bytes.Equal(sent[t.in:t.in+len(p)], p) {
		o.fail("conn %v: Data after %d bytes is not what peer %d sent", t.id, t.in, t.client.p.Index())
	}
	t.in += len(p)
}

// backlog is what must be queued: promised and not taken by the kernel.
func (t *track) backlog() int { return len(t.want) - t.client.p.Taken() }

// received checks the bytes a peer got after got bytes before.
func (o *oracle) received(c *client, p []byte) {
	t := c.t
	if t == nil {
		o.fail("peer %d got %d bytes without a conn", c.p.Index(), len(p))
		return
	}
	for len(p) > 0 {
		if t.shed && c.lastAt < 0 && t.boundary(c.got) && p[0] == opShed {
			c.lastAt = 0 // the backlog was dropped here
		}
		n := 0
		if c.lastAt >= 0 {
			n = common(p, t.last[c.lastAt:])
			c.lastAt += n
		} else {
			if n = common(p, t.want[c.got:]); t.shed { // stop at each boundary: last may follow
				n = min(n, t.next(c.got)-c.got)
			}
			c.got += n
		}
		if n == 0 {
			o.fail("conn %v: peer %d got %d bytes, then %q…, want %q… (shed %t, last at %d of %d, promised %d)", t.id, c.p.Index(), c.got,
				head(p), head(t.want[c.got:]), t.shed, c.lastAt, len(t.last), len(t.want))
			return
		}
		p = p[n:]
	}
}

func head(b []byte) []byte { return b[:min(len(b), 24)] }

func common(a, b []byte) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// boundary says whether a frame ends at offset at of want.
func (t *track) boundary(at int) bool { return at == 0 || t.next(at-1) == at }

// next is the end of the frame that holds offset at.
func (t *track) next(at int) int {
	low, high := 0, len(t.bounds)
	for low < high {
		if mid := (low + high) / 2; t.bounds[mid] > at {
			high = mid
		} else {
			low = mid + 1
		}
	}
	if low == len(t.bounds) {
		return len(t.want)
	}
	return t.bounds[low]
}

// ended checks what a peer got when the stream ended in good order.
func (o *oracle) ended(c *client) {
	t := c.t
	if t == nil {
		return // refused: no conn, no promise
	}
	whole := c.got == len(t.want)
	if t.shed {
		whole = max(c.lastAt, 0) == len(t.last)
	}
	switch {
	case whole:
	case !t.closed:
		o.fail("conn %v: the stream ended although the conn is open", t.id)
	case t.reliefs != o.reliefs():
	case t.graceful && !t.cut && (!c.p.ClosedByLoop() || c.p.ClosedAt() < t.until):
		o.fail("conn %v was closed by CloseAfter (%v), its stream ended after %d of %d bytes (shed %t, last %d of %d)", t.id, t.why, c.got,
			len(t.want), t.shed, c.lastAt, len(t.last))
	}
}

// afterPass looks at everything one loop owns.
func (o *oracle) afterPass(a *app) error {
	if err := a.l.Validate(); err != nil {
		return err
	}
	if err := a.st.pool.Validate(); err != nil {
		return err
	}
	if got, want := a.l.Conns(), a.openConns(); got != want {
		return fmt.Errorf("Conns is %d, want %d", got, want)
	}
	seen := 0
	a.l.Each(func(slot uint32, kind loop.Kind) bool {
		if t := a.tracks[slot]; t != nil && t.open && t.kind == kind {
			seen++
		}
		return true
	})
	if seen != a.openConns() {
		return fmt.Errorf("Each named %d of %d conns", seen, a.openConns())
	}
	ticks, now := o.w.Ticks(a.l.Index()), a.clock()
	for _, slot := range a.slots() {
		if err := o.checkConn(a, a.tracks[slot], ticks-a.ticks, now); err != nil {
			return err
		}
	}
	a.ticks = ticks
	return nil
}

// checkConn looks at one conn between two passes.
func (o *oracle) checkConn(a *app, t *track, ticked int, now loop.Tick) error {
	if slot, ok := a.l.Lookup(t.id); !ok || slot != t.slot {
		return fmt.Errorf("conn %v: Lookup says %d, %t", t.id, slot, ok)
	}
	if !t.open {
		return nil
	}
	got := a.l.Backlog(t.slot)
	if want := t.backlog(); got != want {
		return fmt.Errorf("conn %v: Backlog is %d, but %d bytes were promised and %d taken", t.id, got, len(t.want), t.client.p.Taken())
	}
	limit, largest := a.st.cfg.BacklogBytesMax, a.st.largest
	if largest > limit/4 { // two do not count
		limit += 2 * largest
	}
	if got > limit {
		return fmt.Errorf("conn %v: backlog of %d bytes, limit %d, largest message %d", t.id, got, limit, largest)
	}
	if !t.armed || now < t.due {
		t.overdue = 0
	} else if t.overdue += ticked; t.overdue > 3 { // one that was early, one that only asks for the next pass, one to spare
		return fmt.Errorf("conn %v: its timer was due at tick %d, now is %d after %d more ticks", t.id, t.due, now, t.overdue)
	}
	return nil
}
