package engine

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strconv"

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

const (
	apiHeadBytesMax = 16 << 10
	apiBodyBytesMax = 1 << 20
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
	r, n, err := parseAnswer(a.in)
	if err != nil || n == 0 {
		return nil, false, err
	}
	outcome = r.err() // before its bytes are overwritten by those of the next answer
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

// answer is one HTTP response.
type answer struct {
	code int
	body []byte
}

// err is the failure an answer means, nil for success.
func (r *answer) err() error {
	text := r.body[:min(len(r.body), 200)]
	switch {
	case r.code != 200:
		return fmt.Errorf("the API of the target answered HTTP status %d: %s", r.code, bytes.TrimSpace(text))
	case bytes.HasPrefix(r.body, []byte(`{"error"`)):
		return fmt.Errorf("the API of the target refused a publication: %s", bytes.TrimSpace(text))
	case !bytes.HasPrefix(r.body, []byte(`{"result"`)):
		return fmt.Errorf("the API of the target answered what is no result: %q; check --api", text)
	}
	return nil
}

// parseAnswer reads one response from the front of b; n is 0 while it is incomplete. The body's length comes from
// Content-Length or chunks (RFC 9112 §6.3); anything else is refused, since what follows could not be found.
func parseAnswer(b []byte) (r answer, n int, err error) {
	head := bytes.Index(b, []byte("\r\n\r\n"))
	if head < 0 {
		if len(b) > apiHeadBytesMax || len(b) >= 5 && string(b[:5]) != "HTTP/" {
			return r, 0, errNoHTTP
		}
		return r, 0, nil
	}
	code, length, err := parseAnswerHead(b[:head])
	if err != nil {
		return r, 0, err
	}
	rest := b[head+4:]
	r.code = code
	if length == chunked {
		body, used, err := unchunk(rest)
		if used == 0 || err != nil {
			return answer{}, 0, err
		}
		r.body = body
		return r, head + 4 + used, nil
	}
	if len(rest) < length {
		return answer{}, 0, nil
	}
	r.body = rest[:length]
	return r, head + 4 + length, nil
}

const chunked = -1 // instead of a length

var errNoHTTP = errors.New("the API of the target does not speak HTTP/1.1")

// parseAnswerHead reads the status line and the headers that say how long the body is.
func parseAnswerHead(head []byte) (code, length int, err error) {
	lines := bytes.Split(head, []byte("\r\n"))
	status := bytes.Fields(lines[0])
	if len(status) < 2 || !bytes.HasPrefix(status[0], []byte("HTTP/1.")) {
		return 0, 0, errNoHTTP
	}
	if code, err = strconv.Atoi(string(status[1])); err != nil {
		return 0, 0, errNoHTTP
	}
	length = apiBodyBytesMax + 1
	for _, line := range lines[1:] {
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("Transfer-Encoding")) && bytes.EqualFold(value, []byte("chunked")):
			return code, chunked, nil
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(value)); err != nil || length < 0 {
				return 0, 0, errors.New("the API of the target answered with an unusable Content-Length")
			}
		}
	}
	if length > apiBodyBytesMax {
		return 0, 0, fmt.Errorf("the API of the target answered status %d with a body of unknown or excessive length", code)
	}
	return code, length, nil
}

// unchunk reads a chunked body (RFC 9112 §7.1); used is 0 while it is incomplete.
func unchunk(b []byte) (body []byte, used int, err error) {
	for at := 0; ; {
		end := bytes.Index(b[at:], []byte("\r\n"))
		if end < 0 {
			return nil, 0, nil
		}
		digits, _, _ := bytes.Cut(b[at:at+end], []byte(";"))
		size, err := strconv.ParseUint(string(bytes.TrimSpace(digits)), 16, 32)
		if err != nil || size > apiBodyBytesMax || len(body) > apiBodyBytesMax {
			return nil, 0, errors.New("the API of the target answered with an unusable chunk")
		}
		at += end + 2
		if len(b) < at+int(size)+2 {
			return nil, 0, nil
		}
		if size == 0 {
			if trailer := bytes.Index(b[at-2:], []byte("\r\n\r\n")); trailer >= 0 {
				return body, at - 2 + trailer + 4, nil
			}
			return nil, 0, nil
		}
		body = append(body, b[at:at+int(size)]...)
		at += int(size) + 2
	}
}
