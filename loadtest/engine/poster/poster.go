package poster

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"shoal/loadtest/engine/answer"
	"shoal/loop"
)

// API is an HTTP API of the server.
type API struct {
	Remote netip.AddrPort
	Host   string // for the Host header
	Path   string // of the method publish
	Key    string // sent as X-API-Key; empty = none
}

// Item is one publication to be confirmed.
type Item struct {
	Ref, Seq uint32 // whose; told back as they are
	Due      int64
}

// Pool is the connections to the APIs of one server or several, a row of the loop's handler table. Use [New]. After Attach it belongs to
// the loop's goroutine.
type Pool struct {
	l        *loop.Loop
	kind     loop.Kind
	apis     int
	conns    int // to each
	answered func(Item, error)
	posters  []*poster        // those to the first API, then those to the next
	waiting  map[place]*heard // with several APIs: publications that not all have answered
	closing  bool
}

// place is a publication among all.
type place struct{ ref, seq uint32 }

// heard is what servers have said of a publication.
type heard struct {
	left int // servers that have not answered
	err  error
}

// New returns a pool of so many connections to each API, opened when there is something to post: servers close silent ones. Every
// publication goes to all of them. answered is called for each, with nil when all servers confirmed it.
func New(apis []API, conns int, answered func(Item, error)) *Pool {
	p := &Pool{apis: len(apis), conns: conns, answered: answered, waiting: map[place]*heard{}}
	for _, api := range apis {
		for range conns {
			p.posters = append(p.posters, &poster{pool: p, api: api})
		}
	}
	return p
}

// Attach gives it its loop and its row, before that runs.
func (p *Pool) Attach(l *loop.Loop, kind loop.Kind) { p.l, p.kind = l, kind }

// Conns is how many connections there are to each API, open or not.
func (p *Pool) Conns() int { return p.conns }

// Add puts a publication into the next request of a connection; channel is its name as JSON, key the value of its tag, below 0 for
// none.
func (p *Pool) Add(turn int, channel, data []byte, key int, it Item) {
	if p.apis > 1 {
		p.waiting[place{it.Ref, it.Seq}] = &heard{left: p.apis}
	}
	for at := turn % p.conns; at < len(p.posters); at += p.conns {
		p.posters[at].add(channel, data, key, it)
	}
}

// tell passes on what a server says of a publication, once all have spoken.
func (p *Pool) tell(it Item, err error) {
	if p.apis > 1 {
		at := place{it.Ref, it.Seq}
		h := p.waiting[at]
		h.left--
		h.err = cmp.Or(h.err, err)
		if h.left > 0 {
			return
		}
		delete(p.waiting, at)
		err = h.err
	}
	p.answered(it, err)
}

// Flush sends the requests that are being made. What cannot be sent is answered by its error.
func (p *Pool) Flush() {
	for _, one := range p.posters {
		one.flush()
	}
}

// Close has nothing answered any more.
func (p *Pool) Close() { p.closing = true }

// poster is one connection.
type poster struct {
	pool  *Pool
	api   API
	slot  uint32
	state state
	next  []byte // commands of the request that is being made
	n     int    // of those
	wait  []byte // requests until the connection is open
	asked []Item // without an answer, in order
	sizes []int  // of the requests they are in
	in    []byte // bytes of an incomplete answer
}

type state uint8

const (
	shut state = iota
	dialing
	open
)

const (
	batchMax      = 64
	batchBytesMax = 256 << 10
)

func (p *poster) add(channel, data []byte, key int, it Item) {
	if p.n == batchMax || len(p.next)+len(data) > batchBytesMax && p.n > 0 {
		p.flush()
	}
	if p.n > 0 {
		p.next = append(p.next, ',')
	}
	p.n++
	p.asked = append(p.asked, it)
	p.next = append(append(append(p.next, `{"publish":{"channel":`...), channel...), `,"data":`...)
	p.next = append(p.next, data...)
	if key >= 0 {
		p.next = append(strconv.AppendInt(append(p.next, `,"tags":{"key":"`...), int64(key), 10), `"}`...)
	}
	p.next = append(p.next, "}}"...)
}

func (p *poster) flush() {
	if p.n == 0 {
		return
	}
	api, l := &p.api, p.pool.l
	path, head, body, tail := api.Path, "", p.next, ""
	if p.n == 1 {
		body = body[len(`{"publish":`) : len(body)-1]
	} else {
		path, head, tail = strings.TrimSuffix(path, "/publish")+"/batch", `{"commands":[`, `]}`
	}
	b := p.wait
	if p.state == open {
		b = l.Begin(p.slot)
	}
	b = fmt.Appendf(b, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n", path, api.Host, len(head)+len(body)+len(tail))
	if api.Key != "" {
		b = fmt.Appendf(b, "X-API-Key: %s\r\n", api.Key)
	}
	b = append(append(append(append(b, "\r\n"...), head...), body...), tail...)
	p.sizes = append(p.sizes, p.n)
	p.n, p.next = 0, p.next[:0]
	if p.state == open {
		l.Commit(p.slot, b)
		return
	}
	p.wait = b
	if p.state == dialing {
		return
	}
	slot, err := l.Dial(netip.AddrPort{}, api.Remote, p.pool.kind)
	if err != nil {
		p.wait = nil
		p.fail(fmt.Errorf("the API of the target cannot be reached: %w", err))
		return
	}
	p.slot, p.state = slot, dialing
}

func (p *Pool) of(slot uint32) *poster {
	for _, one := range p.posters {
		if one.state != shut && one.slot == slot {
			return one
		}
	}
	return nil
}

// Open sends what waits.
func (p *Pool) Open(slot uint32) {
	one := p.of(slot)
	one.state = open
	p.l.Commit(slot, append(p.l.Begin(slot), one.wait...))
	one.wait = nil
}

// Data reads answers.
func (p *Pool) Data(slot uint32, b []byte) {
	if err := p.of(slot).read(b); err != nil {
		p.of(slot).fail(err)
		p.l.Close(slot, loop.ReasonProtocol)
	}
}

// read judges the answers that are there.
func (p *poster) read(b []byte) error {
	p.in = append(p.in, b...)
	rest := p.in
	for len(rest) > 0 {
		r, n, err := answer.Parse(rest)
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		if len(p.sizes) == 0 {
			return errors.New("the API of the target answered what it was not asked")
		}
		p.judge(&r)
		rest = rest[n:]
	}
	p.in = append(p.in[:0], rest...)
	return nil
}

// EOF ends the connection as the server did.
func (p *Pool) EOF(slot uint32) { p.l.CloseAfter(slot, nil, loop.ReasonPeer) }

// Timer is not used.
func (p *Pool) Timer(uint32) {}

// Closed is no loss unless something was asked.
func (p *Pool) Closed(slot uint32, why loop.Reason, err error) {
	one := p.of(slot)
	one.state, one.in, one.wait = shut, nil, nil
	if len(one.sizes) == 0 {
		return
	}
	if err == nil {
		err = errors.New(why.String())
	}
	one.fail(fmt.Errorf("the API of the target did not answer %d requests: %w", len(one.sizes), err))
}

// judge passes on the answer to the oldest request.
func (p *poster) judge(r *answer.Answer) {
	n := p.sizes[0]
	items := p.asked[:n]
	p.sizes, p.asked = p.sizes[1:], p.asked[n:]
	if n == 1 || r.Code != 200 {
		err := r.Err()
		for _, it := range items {
			p.pool.tell(it, err)
		}
		return
	}
	replies, err := batch(r.Body, n)
	for i, it := range items {
		if err == nil && replies[i].refused() {
			p.pool.tell(it, fmt.Errorf("the API of the target refused a publication: %s", replies[i].Error))
		} else {
			p.pool.tell(it, err)
		}
	}
}

// reply is the answer to one command of a batch.
type reply struct {
	Error   json.RawMessage `json:"error"`
	Publish json.RawMessage `json:"publish"`
}

func (r *reply) refused() bool {
	return len(r.Error) > 0 && !bytes.Equal(r.Error, []byte("null")) || len(r.Publish) == 0
}

// batch reads the answer to a batch of n.
func batch(body []byte, n int) ([]reply, error) {
	var b struct {
		Replies []reply `json:"replies"`
	}
	if json.Unmarshal(body, &b) != nil || len(b.Replies) != n {
		return nil, fmt.Errorf("the API of the target answered a batch of %d with what is no result: %q; check --api", n, body[:min(len(body), 200)])
	}
	return b.Replies, nil
}

// fail gives up what was asked; what is being made stays.
func (p *poster) fail(err error) {
	n := len(p.asked) - p.n
	items := p.asked[:n]
	p.sizes, p.asked = nil, p.asked[n:]
	for _, it := range items {
		if !p.pool.closing {
			p.pool.tell(it, err)
		}
	}
}
