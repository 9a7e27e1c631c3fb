package sim_test

import (
	"encoding/binary"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"time"

	"shoal/loop"
	"shoal/pool/shared"
)

// Requests are op, two bytes of length, payload. Replies have the same form with op in upper case.
const (
	opEcho      = 'e' // reply by Begin and Commit
	opSend      = 's' // reply by Send
	opBroadcast = 'b' // to all conns of all loops, at once
	opWork      = 'w' // to all conns of this loop, by Work
	opTimer     = 't' // reply after some ticks
	opClose     = 'c' // CloseAfter with a last frame
	opCut       = 'x' // Close
	opAdopt     = 'a' // go on with the other kind
	opPause     = 'p' // stop reading for some ticks
	opMessage   = 'm' // reply by Post, perhaps over another loop
	opKill      = 'k' // Close some conn
	opDial      = 'd' // Dial somewhere
	opDetach    = 'y' // Detach
	opPanic     = '!'
	opShed      = 'S' - 32 // a close frame after dropping the backlog; no other frame begins with it
	headBytes   = 3
)

const (
	kindMain  loop.Kind = 1
	kindOther loop.Kind = 2 // no Shutdowner, no Cutter
)

// app is the test's handler on one loop, for both kinds.
type app struct {
	st                *story
	l                 *loop.Loop
	tracks            map[uint32]*track // by slot: between Open (or Dial) and Closed
	ticks             int               // of the world at the last check
	works             map[*fanout]bool
	posted, delivered int // messages this loop accepted and delivered
	depth             int
	never             shared.Ref
}

// mainKind and otherKind are the rows of the handler table.
type otherKind struct{ *app }

type mainKind struct{ *app }

func (h otherKind) Open(slot uint32)           { h.opened(slot, kindOther) }
func (h otherKind) Data(slot uint32, p []byte) { h.data(slot, p, kindOther) }
func (h mainKind) Open(slot uint32)            { h.opened(slot, kindMain) }
func (h mainKind) Data(slot uint32, p []byte)  { h.data(slot, p, kindMain) }

// Shutdown says goodbye, now or at a timer.
func (h mainKind) Shutdown(slot uint32) {
	if t := h.track(slot, "Shutdown"); t != nil {
		if h.st.rng.IntN(4) == 0 && !t.paused && !t.armed {
			h.arm(t, loop.Tick(1+h.st.rng.IntN(5)), func() { h.closeAfter(t, loop.ReasonShutdown) })
			t.leaving = true
			return
		}
		h.closeAfter(t, loop.ReasonShutdown)
	}
}

// Cut ends a conn with one of the largest backlogs, as a slow one.
func (h mainKind) Cut(slot uint32) {
	t := h.track(slot, "Cut")
	switch {
	case t == nil:
	case h.st.g.Stats().Reliefs == 0 || !h.l.Blocked(slot) || t.backlog() == 0:
		h.st.o.fail("conn %v: cut with a backlog of %d, blocked %t", t.id, t.backlog(), h.l.Blocked(slot))
	case h.st.rng.IntN(4) == 0:
		h.cut(t, loop.ReasonSlow)
	default:
		h.closeAfter(t, loop.ReasonSlow)
	}
}

// clock is the loop's tick now, computed independently.
func (a *app) clock() loop.Tick { return loop.Tick(a.st.w.Elapsed() / a.st.tick) }

// slots are the slots in use, in order: maps have none, and the world must be deterministic.
func (a *app) slots() []uint32 { return slices.Sorted(maps.Keys(a.tracks)) }

func (a *app) openConns() int {
	n := 0
	for _, t := range a.tracks {
		if t.open {
			n++
		}
	}
	return n
}

// some is an open conn chosen by the seed, nil when there is none.
func (a *app) some() *track {
	slots := a.slots()
	if len(slots) == 0 {
		return nil
	}
	if t := a.tracks[slots[a.st.rng.IntN(len(slots))]]; t.open {
		return t
	}
	return nil
}

// track is the conn a callback is about.
func (a *app) track(slot uint32, call string) *track {
	t := a.tracks[slot]
	if t == nil || t.closed || !t.open {
		a.st.o.fail("loop %d: %s for slot %d, which has no open conn", a.l.Index(), call, slot)
		return nil
	}
	if a.l.ID(slot) != t.id {
		a.st.o.fail("loop %d: %s for slot %d: id %v, want %v", a.l.Index(), call, slot, a.l.ID(slot), t.id)
	}
	return t
}

func (a *app) opened(slot uint32, kind loop.Kind) {
	t := a.tracks[slot]
	if t == nil {
		t = a.st.o.begin(a.l, slot, kind, false)
		a.tracks[slot] = t
	}
	if t.open || t.closed || t.kind != kind {
		a.st.o.fail("conn %v: Open as kind %d (open %t, closed %t, kind %d)", t.id, kind, t.open, t.closed, t.kind)
	}
	t.open = true
	if peer, err := a.l.Peer(slot); err == nil && peer != t.client.p.Addr() {
		a.st.o.fail("conn %v: Peer is %v, want %v", t.id, peer, t.client.p.Addr())
	}
	switch a.st.rng.IntN(20) {
	case 4:
		a.panicMaybe(t, "Open")
	case 0:
		a.reply(t, 'O', nil)
	case 1:
		a.cut(t, loop.ReasonServer)
	case 2:
		a.closeAfter(t, loop.ReasonLimit)
	case 3:
		a.pause(t)
	}
}

func (a *app) data(slot uint32, p []byte, kind loop.Kind) {
	t := a.track(slot, "Data")
	if t == nil {
		return
	}
	if t.kind != kind || t.eof || t.paused || len(p) == 0 {
		a.st.o.fail("conn %v: Data of %d bytes for kind %d (is %d), eof %t, paused %t", t.id, len(p), kind, t.kind, t.eof, t.paused)
	}
	a.st.o.brought(t, p)
	t.rest = append(t.rest, p...)
	clear(p) // it may be modified
	a.parse(t)
}

func (a *app) EOF(slot uint32) {
	t := a.track(slot, "EOF")
	if t == nil {
		return
	}
	if c := t.client; t.eof || t.in != len(c.sent) || !c.finished {
		a.st.o.fail("conn %v: EOF after %d of %d bytes (twice %t, peer finished %t)", t.id, t.in, len(c.sent), t.eof, c.finished)
	}
	switch a.st.rng.IntN(4) {
	case 0:
		a.cut(t, loop.ReasonPeer)
	case 1: // goes on for a while
		a.arm(t, loop.Tick(1+a.st.rng.IntN(10)), func() { a.closeAfter(t, loop.ReasonPeer) })
	default:
		a.closeAfter(t, loop.ReasonPeer)
	}
	if t.eof = true; a.st.rng.IntN(20) == 0 && !t.closed {
		a.panicMaybe(t, "EOF")
	}
}

// panicMaybe panics in stories in which handlers do.
func (a *app) panicMaybe(t *track, where string) {
	if !slices.Contains(a.st.ops, opPanic) {
		return
	}
	if other := a.some(); other != nil && other != t {
		a.reply(other, upper('q'), a.st.noise(10)) // must arrive all the same
	}
	a.st.panics++
	t.cut = true
	panic("asked for, in " + where)
}

func (a *app) Timer(slot uint32) {
	t := a.track(slot, "Timer")
	if t == nil {
		return
	}
	if !t.armed || a.l.Now() < t.due || a.clock() < t.due {
		a.st.o.fail("conn %v: Timer at %d, due %d, armed %t", t.id, a.l.Now(), t.due, t.armed)
	}
	then := t.then
	t.armed, t.then = false, nil
	then()
}

func (a *app) Closed(slot uint32, why loop.Reason, err error) {
	t := a.tracks[slot]
	if t == nil || t.closed {
		a.st.o.fail("loop %d: Closed(%v, %v) for slot %d, which has no conn", a.l.Index(), why, err, slot)
		return
	}
	if a.l.ID(slot) != t.id || t.open && why == loop.ReasonDial || !t.open && !slices.Contains(unopened, why) {
		a.st.o.fail("conn %v (%v): Closed with %v, open %t", t.id, a.l.ID(slot), why, t.open)
	}
	if _, ok := a.l.Lookup(t.id); ok {
		a.st.o.fail("conn %v: Lookup finds it inside Closed", t.id)
	}
	if why == loop.ReasonShutdown && t.kind == kindMain && t.open && !t.graceful && !a.st.forced {
		a.st.o.fail("conn %v: Closed by a forced end nobody asked for, or without Shutdown being called", t.id)
	}
	if why == loop.ReasonNodeBacklog && t.kind == kindOther && !t.graceful && !t.cut { // by the loop
		t.shed, t.graceful = true, true
	}
	t.closed, t.why, t.armed, t.closedAt = true, why, false, a.st.w.Elapsed()
	t.reliefs = a.st.g.Stats().Reliefs
	delete(a.tracks, slot)
	a.st.closed[why]++
	if a.l.Send(slot, a.hello()) != loop.Gone {
		a.st.o.fail("conn %v: Send inside Closed is not Gone", t.id)
	}
	if t.dialed && !a.st.calm && a.st.rng.IntN(3) == 0 {
		a.dial() // as a client does that wants to be connected
	}
	if other := a.some(); other != nil && a.st.rng.IntN(3) == 0 && a.depth < 3 {
		a.depth++
		switch a.st.rng.IntN(4) {
		case 0:
			a.closeAfter(other, loop.ReasonServer)
		case 1:
			a.send(other, 'G', a.st.noise(8))
		default:
			a.reply(other, 'G', a.st.noise(8)) // tells it that somebody has gone
		}
		a.depth--
	}
}

// unopened are the reasons for which a conn may close that never opened.
var unopened = []loop.Reason{loop.ReasonDial, loop.ReasonShutdown, loop.ReasonServer}

// hello is a Ref that is held as long as the loop lives.
func (a *app) hello() shared.Ref {
	if a.never == 0 {
		a.never = a.l.Hold(shared.Static([]byte("never sent")))
	}
	return a.never
}

// end gives back what is held when Run has returned.
func (a *app) end() {
	if a.never != 0 {
		a.l.Unhold(a.never)
	}
	for w := range a.works { // dropped by a forced end
		a.l.Unhold(w.r)
	}
}

// frame is op, length, payload.
func frame(op byte, payload []byte) []byte {
	f := append(make([]byte, 0, headBytes+len(payload)), op, byte(len(payload)>>8), byte(len(payload)))
	return append(f, payload...)
}

func upper(op byte) byte { return op &^ 0x20 }

// reply answers by Begin and Commit.
func (a *app) reply(t *track, op byte, payload []byte) {
	f := frame(op, payload)
	b := a.l.Begin(t.slot)
	if t.closed {
		a.l.Commit(t.slot, b) // Begin may have closed it by writing what another conn had
		return
	}
	t.promise(f, shared.Label{})
	a.st.largest = max(a.st.largest, len(b)+len(f)) // what one callback corks is taken as one
	a.l.Commit(t.slot, append(b, f...))
}

// send answers by Send.
func (a *app) send(t *track, op byte, payload []byte) {
	b := a.st.pool.New(headBytes + len(payload))
	b.Buf = append(b.Buf[:0], frame(op, payload)...)
	label := shared.Label{Group: a.st.rng.Uint32N(3)}
	if label.Group != 0 {
		label.Key = a.st.rng.Uint64N(3)
	}
	r := a.l.HoldAs(b, label)
	a.sendRef(t, r, b.Buf, label)
	a.l.Unhold(r)
}

// thin removes some of what send queued.
func (a *app) thin(t *track) {
	label := shared.Label{Group: 1 + a.st.rng.Uint32N(2), Key: a.st.rng.Uint64N(3)}
	backlog := a.l.Backlog(t.slot)
	keep := a.st.rng.IntN(1 + backlog)
	want := t.thinned(label, backlog, keep)
	if got := a.l.Thin(t.slot, label, keep); got != want {
		a.st.o.fail("conn %v: Thin of %v removed %d entries, want %d", t.id, label, got, want)
	}
	a.st.thinned += want
}

// sendRef sends shared bytes and does what the policy says when they are too many.
func (a *app) sendRef(t *track, r shared.Ref, f []byte, label shared.Label) {
	a.st.largest = max(a.st.largest, len(f))
	before := len(t.want)
	t.promise(f, label) // before: the write may fail and close the conn inside Send
	res := a.l.Send(t.slot, r)
	if res == loop.Sent {
		if t.closed {
			a.st.o.fail("conn %v: Send to a closed conn is Sent", t.id)
		}
		return
	}
	t.want, t.bounds, t.labels = t.want[:before], t.bounds[:len(t.bounds)-1], t.labels[:len(t.labels)-1]
	switch {
	case t.closed != (res == loop.Gone):
		a.st.o.fail("conn %v: Send says %v, closed %t", t.id, res, t.closed)
	case res == loop.Gone:
	default:
		a.st.over++
		own := t.backlog() > 0 && t.backlog()+len(f) > a.st.cfg.BacklogBytesMax
		node := a.st.nodeBacklog()+int64(len(f))+1<<18 > a.st.cfg.NodeBacklogBytesMax // the group's sum may lag behind
		if !own && (t.backlog() == 0 || !node) {
			a.st.o.fail("conn %v: Send of %d bytes is OverLimit with a backlog of %d, limit %d", t.id, len(f), t.backlog(), a.st.cfg.BacklogBytesMax)
		}
		switch a.st.rng.IntN(4) {
		case 0: // drop the message
		case 1:
			a.cut(t, loop.ReasonSlow)
		default:
			a.closeAfter(t, loop.ReasonSlow)
		}
	}
}

func (a *app) cut(t *track, why loop.Reason) {
	t.cut = true
	a.l.Close(t.slot, why)
	if !t.closed {
		a.st.o.fail("conn %v: Close returned before Closed", t.id)
	}
}

// closeAfter closes in good order with a last frame.
func (a *app) closeAfter(t *track, why loop.Reason) {
	if t.closed {
		return
	}
	t.graceful, t.cut = true, t.cut || a.st.forced
	t.until = a.st.w.Elapsed() + a.st.cfg.CloseWait - a.st.tick
	if why == loop.ReasonSlow {
		t.shed, t.last = true, frame(opShed, a.st.noise(20))
		a.l.CloseAfter(t.slot, t.last, why)
	} else {
		f := frame('C', a.st.noise(20))
		if a.st.rng.IntN(8) == 0 {
			f = nil
		} else {
			t.promise(f, shared.Label{})
		}
		a.l.CloseAfter(t.slot, f, why)
		clear(f) // "copied where needed"
	}
	if !t.closed {
		a.st.o.fail("conn %v: CloseAfter returned before Closed", t.id)
	}
}

// arm sets the timer, which replaces what it had to do: a pause ends, a close is put off.
func (a *app) arm(t *track, after loop.Tick, then func()) {
	if t.closed {
		return
	}
	if t.paused || t.leaving || t.eof && t.armed { // these must happen
		return
	}
	t.armed, t.due, t.then, t.overdue = true, a.l.Now()+max(after, 1), then, 0
	a.l.Arm(t.slot, after)
}

func (a *app) pause(t *track) {
	if t.closed || t.eof || t.paused {
		return
	}
	a.l.Pause(t.slot)
	ticks := loop.Tick(1 + a.st.rng.IntN(20))
	if a.st.calm {
		ticks = 1
	}
	a.arm(t, ticks, func() {
		t.paused = false
		a.l.Resume(t.slot)
		a.parse(t)
	})
	t.paused = true
}

// parse serves the whole requests that have come, until one closes the conn or pauses it.
func (a *app) parse(t *track) {
	for len(t.rest) >= headBytes && !t.closed && !t.paused {
		n := headBytes + int(binary.BigEndian.Uint16(t.rest[1:]))
		if len(t.rest) < n {
			break
		}
		frame := t.rest[:n:n]
		t.rest = t.rest[n:]
		a.request(t, frame[0], frame[headBytes:])
	}
}

// request does what one request asks for.
func (a *app) request(t *track, op byte, payload []byte) {
	rng := a.st.rng
	switch op {
	case opEcho:
		a.reply(t, upper(op)+byte(t.kind), payload)
	case opSend:
		for range 1 + rng.IntN(3) {
			if !t.closed {
				a.send(t, upper('r'), payload)
			}
		}
		if !t.closed && rng.IntN(3) == 0 {
			a.thin(t)
		}
	case opBroadcast:
		a.broadcast(payload)
	case opWork:
		a.fanout(payload)
	case opTimer:
		n := loop.Tick(rng.IntN(30))
		if rng.IntN(8) == 0 && !t.eof && !t.paused && !t.leaving {
			a.l.Disarm(t.slot)
			t.armed = false
		}
		a.arm(t, n, func() { a.reply(t, upper(op), payload) })
	case opClose:
		a.closeAfter(t, loop.ReasonServer)
	case opCut:
		a.cut(t, loop.ReasonServer)
	case opAdopt:
		t.kind = kindMain + kindOther - t.kind
		a.l.Adopt(t.slot, t.kind)
		a.reply(t, upper(op), payload)
	case opPause:
		a.pause(t)
	case opMessage:
		a.ask(t, payload)
	case opKill:
		if other := a.some(); other != nil {
			a.cut(other, loop.ReasonServer)
		}
	case opDial:
		a.dial()
	case opDetach:
		a.detach(t)
	case opPanic:
		a.panicMaybe(t, "Data or Timer")
	default:
		a.st.o.fail("conn %v: request %q", t.id, op)
	}
}

// broadcast sends to all conns here now, and to those of other loops by Post.
func (a *app) broadcast(payload []byte) {
	b := a.st.pool.New(headBytes + len(payload))
	b.Buf = append(b.Buf[:0], frame('B', payload)...)
	for _, other := range a.st.apps {
		if other != a {
			b.Retain()
			if !other.post(&spread{app: other, b: b}) {
				b.Release()
			}
		}
	}
	(&spread{app: a, b: b}).send()
}

// spread is a broadcast on its way to one loop.
type spread struct {
	app *app
	b   *shared.Bytes
	seq int
}

func (m *spread) number(n int) { m.seq = n }

func (m *spread) Deliver(*loop.Loop) {
	m.app.arrived(m.seq)
	m.send()
}

func (m *spread) send() {
	a := m.app
	r := a.l.Hold(m.b)
	for _, slot := range a.slots() {
		if t := a.tracks[slot]; t != nil && t.open {
			a.sendRef(t, r, m.b.Buf, shared.Label{})
		}
	}
	a.l.Unhold(r)
}

// post posts and keeps the books.
func (a *app) post(m interface {
	loop.Message
	number(n int)
}) bool {
	m.number(a.posted)
	switch err := a.l.Post(m); {
	case err == nil:
		a.posted++
		return true
	case errors.Is(err, loop.ErrMailboxFull):
		a.st.mailboxFull++
	case !errors.Is(err, loop.ErrClosed):
		a.st.o.fail("loop %d: Post: %v", a.l.Index(), err)
	}
	return false
}

// arrived checks the order of messages.
func (a *app) arrived(seq int) {
	if seq != a.delivered {
		a.st.o.fail("loop %d: message %d came as number %d", a.l.Index(), seq, a.delivered)
	}
	a.delivered++
}

// nothing is a message that only counts.
type nothing struct {
	at  *app
	seq int
}

func (m *nothing) number(n int) { m.seq = n }

func (m *nothing) Deliver(l *loop.Loop) {
	m.at.arrived(m.seq)
	m.at.validate(l)
}

// validate is what a debug page asks for, now and then.
func (a *app) validate(l *loop.Loop) {
	if a.st.rng.IntN(10) == 0 {
		if err := l.Validate(); err != nil {
			a.st.o.fail("inside a message: %w", err)
		}
	}
}

// question goes to a loop and comes back to the conn's.
type question struct {
	from    *app
	at      *app
	t       *track
	payload []byte
	back    bool
	seq     int
}

func (m *question) number(n int) { m.seq = n }

func (a *app) ask(t *track, payload []byte) {
	to := a.st.apps[a.st.rng.IntN(len(a.st.apps))]
	to.post(&question{from: a, at: to, t: t, payload: slices.Clone(payload)})
}

func (m *question) Deliver(l *loop.Loop) {
	m.at.arrived(m.seq)
	m.at.validate(l)
	if !m.back {
		m.from.post(&question{from: m.from, at: m.from, t: m.t, payload: m.payload, back: true})
		return
	}
	slot, ok := l.Lookup(m.t.id)
	if ok == m.t.closed || ok && slot != m.t.slot {
		m.at.st.o.fail("conn %v: Lookup by a message says %d, %t; closed %t", m.t.id, slot, ok, m.t.closed)
	}
	if ok {
		m.at.reply(m.t, 'M', m.payload)
	}
	if ok && m.at.st.rng.IntN(20) == 0 && !m.t.closed {
		m.at.panicMaybe(m.t, "Deliver")
	}
}

// Conn names the conn to be closed when Deliver panics.
func (m *question) Conn() loop.ConnID { return m.t.id }

// fanout is a broadcast by Work.
type fanout struct {
	app *app
	ids []*track
	r   shared.Ref
	f   []byte
}

func (a *app) fanout(payload []byte) {
	b := a.st.pool.New(headBytes + len(payload))
	b.Buf = append(b.Buf[:0], frame('W', payload)...)
	w := &fanout{app: a, f: slices.Clone(b.Buf), r: a.l.Hold(b)}
	for _, slot := range a.slots() {
		w.ids = append(w.ids, a.tracks[slot])
	}
	a.works[w] = true
	a.l.WorkAfter(w, time.Duration(a.st.rng.IntN(3))*time.Duration(a.st.rng.IntN(3000))*time.Microsecond)
}

func (w *fanout) Slice(*loop.Loop) bool {
	rng := w.app.st.rng
	if rng.IntN(30) == 0 && slices.Contains(w.app.st.ops, opPanic) {
		w.end()
		w.app.st.panics++
		panic("asked for, in Slice")
	}
	n := min(len(w.ids), 1+rng.IntN(8))
	for _, t := range w.ids[:n] {
		if t.open && !t.closed {
			w.app.sendRef(t, w.r, w.f, shared.Label{})
		}
	}
	if w.ids = w.ids[n:]; len(w.ids) > 0 {
		return true
	}
	w.end()
	return false
}

func (w *fanout) end() {
	w.app.l.Unhold(w.r)
	delete(w.app.works, w)
}

// dial opens a connection to one of the world's servers, or to nobody.
func (a *app) dial() {
	to := a.st.servers[a.st.rng.IntN(len(a.st.servers))]
	kind := kindMain + loop.Kind(a.st.rng.IntN(2))
	slot, err := a.l.Dial(netip.AddrPort{}, to, kind)
	if err != nil {
		return
	}
	if a.tracks[slot] != nil {
		a.st.o.fail("loop %d: Dial gave slot %d, which is in use", a.l.Index(), slot)
	}
	a.st.dialed++
	a.tracks[slot] = a.st.o.begin(a.l, slot, kind, true)
	if a.st.rng.IntN(10) == 0 {
		a.cut(a.tracks[slot], loop.ReasonServer)
	}
}

// detach takes the descriptor out of the loop; somebody else closes it later.
func (a *app) detach(t *track) {
	if a.l.Backlog(t.slot) > 0 {
		return
	}
	t.cut, t.detached = true, true
	p, ok := a.l.Detach(t.slot)
	if !t.closed {
		a.st.o.fail("conn %v: Detach returned before Closed", t.id)
	}
	if !ok {
		return
	}
	fd, _ := p.FD()
	a.st.w.After(time.Duration(a.st.rng.IntN(2000))*time.Millisecond, func() {
		_, s, _ := a.st.w.Loop(a.l.Index())
		if err := s.Close(fd); err != nil {
			a.st.o.fail("conn %v: closing the detached descriptor %d: %v", t.id, fd, err)
		}
	})
}
