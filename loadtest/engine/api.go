package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"

	"shoal/loadtest/engine/answer"
	"shoal/loop"
)

// api is the one HTTP connection publications are posted on, a handler of the loop. Requests are pipelined (RFC 9112 §9.3.2)
// and so arrive in order. It is opened when there is something to post: servers close a silent one.
type api struct {
	e       *Engine
	slot    uint32
	state   apiState
	waiting []byte // requests not sent yet
	asked   int    // requests without an answer
	next    int    // publication the next answer belongs to, from 0
	in      []byte // bytes of an incomplete answer
}

type apiState uint8

const (
	apiShut apiState = iota
	apiDialing
	apiOpen
)

// publish posts one publication.
func (a *api) publish(channel string, data []byte) error {
	cfg := &a.e.cfg.API
	body, err := json.Marshal(struct {
		Channel string          `json:"channel"`
		Data    json.RawMessage `json:"data"`
	}{channel, data})
	if err != nil {
		return fmt.Errorf("the publication cannot be encoded: %w", err)
	}
	request := fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n", cfg.Path, cfg.Host, len(body))
	if cfg.Key != "" {
		request = fmt.Appendf(request, "X-API-Key: %s\r\n", cfg.Key)
	}
	request = append(append(request, "\r\n"...), body...)
	a.asked++
	if a.state == apiOpen {
		a.e.l.Commit(a.slot, append(a.e.l.Begin(a.slot), request...))
		return nil
	}
	a.waiting = append(a.waiting, request...)
	if a.state == apiDialing {
		return nil
	}
	slot, err := a.e.l.Dial(netip.AddrPort{}, cfg.Remote, kindAPI)
	if err != nil {
		a.asked--
		return fmt.Errorf("the API of the target cannot be reached: %w", err)
	}
	a.slot, a.state = slot, apiDialing
	return nil
}

// Open sends what waits.
func (a *api) Open(slot uint32) {
	a.state = apiOpen
	a.e.l.Commit(slot, append(a.e.l.Begin(slot), a.waiting...))
	a.waiting = nil
}

// Data reads answers.
func (a *api) Data(slot uint32, p []byte) {
	a.in = append(a.in, p...)
	for len(a.in) > 0 {
		outcome, whole, err := a.take()
		if err != nil {
			a.fail(err)
			a.e.l.Close(slot, loop.ReasonProtocol)
			return
		}
		if !whole {
			return
		}
		if a.asked == 0 {
			a.e.l.Close(slot, loop.ReasonProtocol)
			return
		}
		a.asked--
		a.answered(outcome)
	}
}

// take takes the first answer off what has come; whole is false when it is not all there. outcome is what the answer means, err
// that it is none.
func (a *api) take() (outcome error, whole bool, err error) {
	r, n, err := answer.Parse(a.in)
	if err != nil || n == 0 {
		return nil, false, err
	}
	outcome = r.Err() // before its bytes are overwritten by those of the next answer
	a.in = append(a.in[:0], a.in[n:]...)
	return outcome, true, nil
}

// EOF ends the connection as the server did.
func (a *api) EOF(slot uint32) { a.e.l.CloseAfter(slot, nil, loop.ReasonPeer) }

// Timer is not used.
func (a *api) Timer(uint32) {}

// Closed is no loss unless something was asked.
func (a *api) Closed(_ uint32, why loop.Reason, err error) {
	a.state, a.in, a.waiting = apiShut, nil, nil
	if a.asked == 0 {
		return
	}
	if err == nil {
		err = errors.New(why.String())
	}
	a.fail(fmt.Errorf("the API of the target did not answer %d publications: %w", a.asked, err))
}

// answered passes on the answer to the oldest request.
func (a *api) answered(err error) {
	a.next++
	if t, ok := a.e.task.(*publishing); ok {
		t.confirm(a.next-1, err)
	}
}

// fail gives up what was asked.
func (a *api) fail(err error) {
	if a.asked == 0 || a.e.closing {
		return
	}
	for ; a.asked > 0; a.asked-- {
		a.answered(err)
	}
}
