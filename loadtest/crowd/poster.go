package crowd

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"shoal/loadtest/engine/answer"
	"shoal/loop"
)

// poster is one HTTP connection publications are posted on. Requests are pipelined (RFC 9112 §9.3.2) and so arrive in order; what is
// due at the same time goes in one batch.
type poster struct {
	e     *Crowd
	slot  uint32
	state posterState
	next  []byte // commands of the request that is being made
	n     int    // of those
	due   int64  // of the first
	wait  []byte // requests until the connection is open
	asked []asked
	in    []byte // bytes of an incomplete answer
}

type posterState uint8

const (
	posterShut posterState = iota
	posterDialing
	posterOpen
)

// asked is a request without an answer.
type asked struct {
	n   int   // publications
	due int64 // of the first
}

const (
	batchMax      = 64
	batchBytesMax = 256 << 10
)

// add puts a publication into the next request; key is the value of its tag, below 0 for none.
func (p *poster) add(channel, data []byte, key int, due int64) {
	if p.n == batchMax || len(p.next)+len(data) > batchBytesMax && p.n > 0 {
		_ = p.flush() // the next flush says the same
	}
	if p.n == 0 {
		p.due = due
	} else {
		p.next = append(p.next, `,`...)
	}
	p.n++
	p.next = append(append(append(p.next, `{"publish":{"channel":`...), channel...), `,"data":`...)
	p.next = append(p.next, data...)
	if key >= 0 {
		p.next = append(strconv.AppendInt(append(p.next, `,"tags":{"key":"`...), int64(key), 10), `"}`...)
	}
	p.next = append(p.next, "}}"...)
}

// flush sends the request that is being made.
func (p *poster) flush() error {
	if p.n == 0 {
		return nil
	}
	cfg := &p.e.cfg.API
	path, head, body, tail := cfg.Path, "", p.next, ""
	if p.n == 1 {
		body = body[len(`{"publish":`) : len(body)-1]
	} else {
		path, head, tail = strings.TrimSuffix(path, "/publish")+"/batch", `{"commands":[`, `]}`
	}
	b := p.wait
	if p.state == posterOpen {
		b = p.e.l.Begin(p.slot)
	}
	b = fmt.Appendf(b, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n", path, cfg.Host, len(head)+len(body)+len(tail))
	if cfg.Key != "" {
		b = fmt.Appendf(b, "X-API-Key: %s\r\n", cfg.Key)
	}
	b = append(append(append(append(b, "\r\n"...), head...), body...), tail...)
	p.asked = append(p.asked, asked{p.n, p.due})
	p.n, p.next = 0, p.next[:0]
	if p.state == posterOpen {
		p.e.l.Commit(p.slot, b)
		return nil
	}
	p.wait = b
	if p.state == posterDialing {
		return nil
	}
	slot, err := p.e.l.Dial(netip.AddrPort{}, cfg.Remote, kindPoster)
	if err != nil {
		err = fmt.Errorf("the API of the target cannot be reached: %w", err)
		p.fail(err)
		return err
	}
	p.slot, p.state = slot, posterDialing
	return nil
}

// posting is the Crowd as the handler of its posters' connections.
type posting Crowd

func (h *posting) of(slot uint32) *poster {
	for _, p := range h.posters {
		if p.state != posterShut && p.slot == slot {
			return p
		}
	}
	return nil
}

// Open sends what waits.
func (h *posting) Open(slot uint32) {
	p := h.of(slot)
	p.state = posterOpen
	h.l.Commit(slot, append(h.l.Begin(slot), p.wait...))
	p.wait = nil
}

// Data reads answers.
func (h *posting) Data(slot uint32, b []byte) {
	p := h.of(slot)
	p.in = append(p.in, b...)
	rest := p.in
	for len(rest) > 0 {
		r, n, err := answer.Parse(rest)
		if err == nil && n > 0 && len(p.asked) == 0 {
			err = errors.New("the API of the target answered what it was not asked")
		}
		if err != nil {
			p.fail(err)
			h.l.Close(slot, loop.ReasonProtocol)
			return
		}
		if n == 0 {
			break
		}
		p.answered(&r)
		rest = rest[n:]
	}
	p.in = append(p.in[:0], rest...)
}

// EOF ends the connection as the server did.
func (h *posting) EOF(slot uint32) { h.l.CloseAfter(slot, nil, loop.ReasonPeer) }

// Timer is not used.
func (h *posting) Timer(uint32) {}

// Closed is no loss unless something was asked.
func (h *posting) Closed(slot uint32, why loop.Reason, err error) {
	p := h.of(slot)
	p.state, p.in, p.wait = posterShut, nil, nil
	if len(p.asked) == 0 {
		return
	}
	if err == nil {
		err = errors.New(why.String())
	}
	p.fail(fmt.Errorf("the API of the target did not answer %d requests: %w", len(p.asked), err))
}

// answered judges the answer to the oldest request.
func (p *poster) answered(r *answer.Answer) {
	e := p.e
	q := p.asked[0]
	p.asked = append(p.asked[:0], p.asked[1:]...)
	failed, err := 0, error(nil)
	if q.n == 1 || r.Code != 200 {
		if err = r.Err(); err != nil {
			failed = q.n
		}
	} else {
		failed, err = judgeBatch(r.Body, q.n)
	}
	e.count.Answered += q.n - failed
	e.count.Refused += failed
	e.results.Answer.record(e.now() - q.due)
	if err != nil {
		e.refused(err)
	}
	if e.task != nil {
		e.wake()
	}
}

// judgeBatch counts the publications of a batch that were refused, and says why the first of them was.
func judgeBatch(body []byte, n int) (failed int, err error) {
	var b struct {
		Replies []struct {
			Error   json.RawMessage `json:"error"`
			Publish json.RawMessage `json:"publish"`
		} `json:"replies"`
	}
	if json.Unmarshal(body, &b) != nil || len(b.Replies) != n {
		return n, fmt.Errorf("the API of the target answered a batch of %d with what is no result: %q; check --api", n, body[:min(len(body), 200)])
	}
	for _, r := range b.Replies {
		if len(r.Error) > 0 && !bytes.Equal(r.Error, []byte("null")) || len(r.Publish) == 0 {
			if failed++; err == nil {
				err = fmt.Errorf("the API of the target refused a publication: %s", r.Error)
			}
		}
	}
	return failed, err
}

// fail gives up what was asked.
func (p *poster) fail(err error) {
	for _, q := range p.asked {
		p.e.count.Refused += q.n
	}
	p.asked = p.asked[:0]
	if !p.e.closing {
		p.e.refused(err)
	}
}
