package node

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"shoal/codec/delta"
	"shoal/loop/sim"
)

// actor is a client that notes what it should see and refuses anything else.
type actor struct {
	s      *stage
	i      int
	p      *sim.Peer // nil: offline
	id     string    // its client id; empty: not connected
	out    []byte
	in     []byte
	paused bool
	last   uint32
	asked  map[uint32]ask
	subs   map[string]*following
	saved  map[string]*following // where it was in channels it lost
}

// ask is a command that is not answered yet.
type ask struct {
	what string
	sub  *following
}

// following is a subscription and what the client knows of its channel.
type following struct {
	channel    string
	on         bool
	leaving    bool
	server     bool
	positioned bool
	delta      bool
	rejects    bool
	filter     string // the value that tag t must have; empty: none
	since      *place // what it asked to recover from
	epoch      string
	offset     uint64
	jump       bool // the next publication may be anywhere
	base       []byte
	seq        map[string]int  // of the last publication seen, by channel
	here       map[string]bool // by what joins and leaves say, by client
}

type place struct {
	offset uint64
	epoch  string
}

type gotResult struct {
	Recoverable, Positioned, Recovered, Delta bool
	WasRecovering                             bool `json:"was_recovering"`
	Epoch                                     string
	Offset                                    uint64
	Publications                              []gotPub
}

type gotPub struct {
	Data    json.RawMessage
	Offset  uint64
	Delta   bool
	Channel string
}

type gotReply struct {
	ID      uint32
	Error   *struct{ Code uint32 }
	Connect *struct {
		Client string
		Subs   map[string]gotResult
	}
	Subscribe *gotResult
	Push      *struct {
		Channel     string
		Pub         *gotPub
		Join, Leave *struct {
			Info struct{ Client string }
		}
		Subscribe   *gotResult
		Unsubscribe *struct{ Code uint32 }
	}
}

func (a *actor) fail(format string, args ...any) {
	a.s.fail("client %d: %s", a.i, fmt.Sprintf(format, args...))
}

func (a *actor) trace(format string, args ...any) {
	if *propertyTrace {
		a.s.t.Logf("%10s client %2d %s", a.s.w.Elapsed(), a.i, fmt.Sprintf(format, args...))
	}
}

// say queues a command.
func (a *actor) say(what, params string, sub *following) {
	a.last++
	a.asked[a.last] = ask{what, sub}
	a.out = fmt.Appendf(a.out, "{\"id\":%d,%q:{%s}}\n", a.last, what, params)
	a.trace("-> %d %s %s", a.last, what, params)
}

// connect opens a conn and asks for the server-side subscriptions it had.
func (a *actor) connect(want []string) {
	a.p, a.id, a.in, a.out, a.last = a.s.connTo(), "", nil, nil, 0
	if a.s.rng.IntN(2) == 0 {
		a.p.SetBuffers(2<<10, 1<<10)
	} else {
		a.p.SetBuffers(64<<10, 1<<12)
	}
	a.paused, a.asked, a.subs = false, map[uint32]ask{}, map[string]*following{}
	var parts []string
	for _, name := range want {
		f := &following{channel: name, server: true, positioned: true, seq: map[string]int{}}
		text := fmt.Sprintf("%q:{", name)
		if old := a.saved[name]; old != nil {
			f.since = &place{old.offset, old.epoch}
			text += fmt.Sprintf("\"recover\":true,\"offset\":%d,\"epoch\":%q", old.offset, old.epoch)
		}
		parts = append(parts, text+"}")
		a.subs[name] = f
	}
	params := "\"subs\":{" + strings.Join(parts, ",") + "}"
	if token := a.s.tokens[a.i%3]; token != "" {
		params += fmt.Sprintf(",\"token\":%q", token)
	}
	a.say("connect", params, nil)
}

// lose notes where the client was in a channel.
func (a *actor) lose(f *following) {
	if f.on && f.epoch != "" && !f.jump {
		a.saved[f.channel] = f
	}
	if a.subs[f.channel] == f {
		delete(a.subs, f.channel)
	}
}

func (a *actor) end(hangsUp bool) {
	if a.p == nil {
		return
	}
	if hangsUp {
		a.p.Close()
	}
	for _, f := range a.subs {
		a.lose(f)
	}
	a.p, a.id, a.subs = nil, "", nil
}

// pump writes and reads what there is.
func (a *actor) pump() {
	if a.p == nil {
		return
	}
	if len(a.out) > 0 {
		n, err := a.p.Send(a.out)
		a.out = a.out[n:]
		if err != nil {
			a.out = nil
		}
	}
	if a.paused {
		return
	}
	var buf [4096]byte
	for a.p != nil {
		n, err := a.p.Recv(buf[:])
		a.in = append(a.in, buf[:n]...)
		a.lines()
		if a.p == nil {
			return
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				a.s.counts["broken conn"]++
			}
			a.end(true)
			return
		}
		if n == 0 {
			return
		}
	}
}

func (a *actor) lines() {
	for {
		i := bytes.IndexByte(a.in, '\n')
		if i < 0 || a.p == nil {
			return
		}
		line := bytes.Clone(a.in[:i])
		a.in = a.in[i+1:]
		if len(line) > 0 {
			a.line(string(line))
		}
	}
}

func (a *actor) line(text string) {
	if a.s.failed != "" {
		return
	}
	a.trace("<- %s", text)
	if rest, ok := strings.CutPrefix(text, "closed "); ok {
		a.s.counts["closed "+rest]++
		switch rest {
		case "3008", "3503", "3010":
		default:
			a.fail("disconnected with %s", rest)
		}
		a.end(true)
		return
	}
	var r gotReply
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		a.fail("%v in %s", err, text)
		return
	}
	if r.Push != nil {
		a.push(&r, text)
		return
	}
	q, ok := a.asked[r.ID]
	if !ok {
		a.fail("unasked reply %s", text)
		return
	}
	delete(a.asked, r.ID)
	a.reply(&r, q, text)
}

func (a *actor) reply(r *gotReply, q ask, text string) {
	if r.Error != nil {
		a.s.counts[fmt.Sprintf("%s error %d", q.what, r.Error.Code)]++
		switch {
		case q.what == "subscribe" && (r.Error.Code == 105 || r.Error.Code == 112 && q.sub.rejects):
			if a.subs[q.sub.channel] == q.sub {
				delete(a.subs, q.sub.channel)
			}
			if r.Error.Code == 112 {
				delete(a.saved, q.sub.channel)
			}
		case q.what == "history" && r.Error.Code == 112:
		default:
			a.fail("%s answered %s", q.what, text)
		}
		return
	}
	switch q.what {
	case "connect":
		a.id = r.Connect.Client
		for name, f := range a.subs {
			res, ok := r.Connect.Subs[name]
			if !ok {
				a.fail("the connect reply says nothing of %s: %s", name, text)
				return
			}
			a.subscribed(f, &res)
		}
	case "subscribe":
		if f := a.subs[q.sub.channel]; f == nil {
			a.subs[q.sub.channel] = q.sub // the server made one and ended it meanwhile
		} else if f != q.sub {
			a.fail("subscribed to %s, which it is already: %s", q.sub.channel, text)
			return
		}
		a.subscribed(q.sub, r.Subscribe)
	case "unsubscribe":
		if f := a.subs[q.sub.channel]; f != nil {
			a.lose(f)
		}
	}
}

// subscribed begins to follow a channel.
func (a *actor) subscribed(f *following, r *gotResult) {
	f.on, f.positioned, f.delta = true, r.Positioned, r.Delta
	f.epoch, f.offset = r.Epoch, r.Offset
	if r.WasRecovering != (f.since != nil) {
		a.fail("%s: was_recovering %v", f.channel, r.WasRecovering)
	}
	if !r.Recovered {
		a.s.counts["fresh"]++
		if f.since != nil {
			a.s.counts["unrecovered"]++
			a.unrecovered(f, r)
		}
		if len(r.Publications) > 0 {
			a.fail("%s: publications without recovery", f.channel)
		}
		return
	}
	a.s.counts["recovered"]++
	if cached := strings.HasPrefix(f.channel, "cache:") && len(r.Publications) == 0; f.since == nil || !cached && f.offset != f.since.offset {
		a.fail("%s: recovered to %d, asked for %+v", f.channel, r.Offset, f.since)
		return
	}
	if strings.HasPrefix(f.channel, "cache:") {
		if len(r.Publications) > 1 {
			a.fail("%s: recovered %d publications in cache mode", f.channel, len(r.Publications))
		}
		f.jump = len(r.Publications) > 0 || f.filter != ""
	}
	a.s.counts["recovered publications"] += len(r.Publications)
	for i := range r.Publications {
		a.pub(f, &r.Publications[i], true)
	}
}

// unrecovered checks that the client was refused with reason.
func (a *actor) unrecovered(f *following, r *gotResult) {
	if a.s.broker.removed[f.channel] || strings.HasPrefix(f.channel, "short:") || f.since.epoch != r.Epoch {
		return
	}
	size := map[string]uint64{"kept:": 20, "pos:": 20, "rec:": 40, "cach": 1 << 40}[f.channel[:min(4, strings.IndexByte(f.channel, ':')+1)]]
	if r.Recoverable && r.Offset-f.since.offset < size && !strings.HasPrefix(f.channel, "cache:") {
		a.fail("%s: not recovered from %d, the top is %d", f.channel, f.since.offset, r.Offset)
	}
}

func (a *actor) push(r *gotReply, text string) {
	p := r.Push
	if a.id == "" {
		a.fail("a push before the connect reply: %s", text)
		return
	}
	f := a.subs[p.Channel]
	switch {
	case p.Subscribe != nil:
		if f != nil && f.on {
			a.fail("pushed subscription to %s, which it has", p.Channel)
		}
		a.s.counts["pushed subscriptions"]++
		f = &following{channel: p.Channel, server: true, on: true, positioned: p.Subscribe.Positioned, epoch: p.Subscribe.Epoch, offset: p.Subscribe.Offset, seq: map[string]int{}}
		f.jump = strings.HasPrefix(p.Channel, "cache:")
		a.subs[p.Channel] = f
		return
	case f == nil || !f.on:
		a.fail("a push for %s, which it does not follow: %s", p.Channel, text)
	case p.Pub != nil:
		a.pub(f, p.Pub, false)
	case p.Unsubscribe != nil:
		a.s.counts[fmt.Sprint("unsubscribed ", p.Unsubscribe.Code)]++
		if f.server && p.Unsubscribe.Code == 2500 {
			a.fail("%s: a server-side subscription was ended with 2500", p.Channel)
		}
		a.lose(f)
	case p.Join != nil || p.Leave != nil:
		a.s.counts["signals"]++
		a.signal(f, p.Join != nil, r)
	default:
		a.fail("unknown push %s", text)
	}
}

// signal checks that joins and leaves of one client take turns.
func (a *actor) signal(f *following, join bool, r *gotReply) {
	who := r.Push.Leave
	if join {
		who = r.Push.Join
	}
	if was, known := f.here[who.Info.Client]; known && was == join && !a.s.lossy {
		a.fail("%s: %s: join %v twice in a row", f.channel, who.Info.Client, join)
	}
	if f.here == nil {
		f.here = map[string]bool{}
	}
	f.here[who.Info.Client] = join
}

// pub judges a publication.
func (a *actor) pub(f *following, p *gotPub, recovered bool) {
	a.s.counts["publications"]++
	data, err := f.payload(p)
	if err != nil {
		a.fail("%s: offset %d: %v", f.channel, p.Offset, err)
		return
	}
	var body struct{ N int }
	if err := json.Unmarshal(data, &body); err != nil {
		a.fail("%s: %v in %s", f.channel, err, data)
		return
	}
	e := a.s.broker.byNumber[body.N]
	if e == nil || e.data != string(data) {
		a.fail("%s: nobody published %s", f.channel, data)
		return
	}
	wild := strings.HasSuffix(f.channel, "*")
	switch {
	case wild && (p.Channel != e.channel || e.channel[:4] != f.channel[:4]) || !wild && e.channel != f.channel:
		a.fail("%s: got a publication of %s (%q)", f.channel, e.channel, p.Channel)
	case f.filter != "" && e.tag != f.filter:
		a.fail("%s: got tag %q, wants %q", f.channel, e.tag, f.filter)
	case e.exclude == a.id && !recovered:
		a.fail("%s: got publication %d of %s, which excludes it: %+v %+v %s", f.channel, e.n, e.channel, *e, *f, a.id)
	case wild && p.Offset != 0 || !wild && p.Offset != e.place.Offset:
		a.fail("%s: offset %d, published at %+v", f.channel, p.Offset, e.place)
	}
	if f.positioned && p.Offset > 0 {
		a.follow(f, e)
	}
	if last, seen := f.seq[e.channel]; !a.s.lossy && !recovered && !(f.positioned && p.Offset > 0) {
		if seen && e.seq <= last {
			a.fail("%s: publication %d came again or late", f.channel, e.n)
		}
		if seen {
			a.missing(f, e.channel, last+1, e.seq)
		}
		f.seq[e.channel] = e.seq
	}
}

// follow checks that a publication is the next one that the client may see.
func (a *actor) follow(f *following, e *journaled) {
	switch {
	case e.place.Epoch != f.epoch:
		a.fail("%s: epoch %s, follows %s", f.channel, e.place.Epoch, f.epoch)
	case e.place.Offset <= f.offset && !f.jump:
		a.fail("%s: offset %d again, it was at %d", f.channel, e.place.Offset, f.offset)
	case !f.jump:
		a.hidden(f, f.offset, e.place.Offset)
	}
	f.jump, f.offset = false, e.place.Offset
}

// hidden checks that nothing between two offsets was for the client.
func (a *actor) hidden(f *following, from, to uint64) {
	for _, e := range a.s.broker.journal[f.channel] {
		if e.place.Epoch == f.epoch && e.place.Offset > from && e.place.Offset < to && f.sees(a, e) {
			a.fail("%s: offset %d is missing between %d and %d: %+v, filter %q, client %s", f.channel, e.place.Offset, from, to, *e, f.filter, a.id)
			return
		}
	}
}

// missing checks the same by the order of publications.
func (a *actor) missing(f *following, name string, from, to int) {
	for _, e := range a.s.broker.journal[name][from:to] {
		if f.sees(a, e) && !(f.positioned && e.place.Offset > 0) {
			a.fail("%s: publication %d is missing", f.channel, e.n)
			return
		}
	}
}

func (f *following) sees(a *actor, e *journaled) bool {
	return (f.filter == "" || e.tag == f.filter) && (e.exclude == "" || e.exclude != a.id)
}

// payload is the publication's data, of a difference too.
func (f *following) payload(p *gotPub) ([]byte, error) {
	if !f.delta {
		if p.Delta {
			return nil, errors.New("a difference was not asked for")
		}
		return p.Data, nil
	}
	var text string
	if err := json.Unmarshal(p.Data, &text); err != nil {
		return nil, fmt.Errorf("data of a delta subscription: %w in %s", err, p.Data)
	}
	if p.Delta {
		whole, err := delta.Apply(nil, f.base, []byte(text), 1<<20)
		if err != nil {
			return nil, fmt.Errorf("%w: %q to %q", err, text, f.base)
		}
		text = string(whole)
	}
	f.base = []byte(text)
	return f.base, nil
}
