package wire

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"shoal/codec/handshake"
	"shoal/codec/ws"
	"shoal/loop"
	"shoal/pool/buffer"
)

const (
	// SourcesMax is the number of addresses 127.0.0.1 … 127.0.255.254.
	SourcesMax = 65_534
	// messageBytesMax bounds what a server may send in one message.
	messageBytesMax = 16 << 20
)

// Stream is what is kept of one connection: 32 bytes without pointers. The zero value is a new one.
type Stream struct {
	parser ws.Parser
	tail   uint32 // borrowed buffer with an incomplete frame, 0 = none
	body   uint32 // borrowed buffer with an incomplete message, 0 = none
}

// Held is how many buffers it has borrowed.
func (s *Stream) Held() (n int) {
	for _, i := range [...]uint32{s.tail, s.body} {
		if i != 0 {
			n++
		}
	}
	return n
}

// Wire is what the connections of one loop share. Use [New]. After Attach it belongs to the loop's goroutine.
type Wire struct {
	l       *loop.Loop
	buffers *buffer.Table
	limits  ws.Limits
	offer   handshake.Offer
	run     uint32
	random  uint64
}

// New returns a Wire for connections that make this offer, whose key is set for each. run tells this run from others.
func New(offer handshake.Offer, run uint32) *Wire {
	return &Wire{
		buffers: buffer.NewTable(buffer.New(buffer.Config{})), limits: ws.Limits{MessageBytesMax: messageBytesMax, Client: true},
		offer: offer, run: run, random: uint64(run)<<32 | 0x9e3779b9,
	}
}

// Attach gives it its loop, before that runs.
func (w *Wire) Attach(l *loop.Loop) { w.l = l }

// Draw is a random number; nobody guards secrets here: the generator is xorshift64 (Marsaglia 2003).
func (w *Wire) Draw() uint64 {
	x := w.random
	x ^= x << 13
	x ^= x >> 7
	x ^= x << 17
	w.random = x
	return x
}

func (w *Wire) mask() [4]byte {
	x := w.Draw()
	return [4]byte{byte(x), byte(x >> 8), byte(x >> 16), byte(x >> 24)}
}

// Source is the local address of a connection, of so many; the zero value, for which the kernel chooses, when that is 0.
func Source(sources int, number uint32) netip.AddrPort {
	if sources == 0 {
		return netip.AddrPort{}
	}
	k := number%uint32(sources) + 1
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, byte(k >> 8), byte(k)}), 0)
}

// key is the handshake key of a connection; the same whenever it is asked for, so it need not be kept.
func (w *Wire) key(number uint32) handshake.Key {
	var nonce [16]byte
	binary.BigEndian.PutUint32(nonce[:], w.run)
	binary.BigEndian.PutUint64(nonce[8:], (uint64(number)+1)*0x9e3779b97f4a7c15)
	return handshake.NewKey(nonce)
}

// Request begins the handshake of a connection.
func (w *Wire) Request(slot, number uint32) {
	w.offer.Key = w.key(number)
	w.l.Commit(slot, handshake.AppendRequest(w.l.Begin(slot), &w.offer))
}

// Response reads the answer to it at the front of p. n is its length; p is kept when more is needed.
func (w *Wire) Response(s *Stream, number uint32, p []byte, r *handshake.Response) (n int, status handshake.Status) {
	w.offer.Key = w.key(number)
	if n, status = handshake.ParseResponse(p, &w.offer, r); status == handshake.NeedMore {
		w.keep(s, p)
	}
	return n, status
}

// Send corks one message for a connection.
func (w *Wire) Send(slot uint32, op ws.Op, payload []byte) {
	w.l.Commit(slot, ws.AppendMasked(w.l.Begin(slot), op, w.mask(), payload))
}

// End ends a connection in good order, with a close frame unless the code is 0.
func (w *Wire) End(slot uint32, code ws.CloseCode, why loop.Reason) {
	var last, body []byte
	if code != 0 && code != ws.CodeNoStatus {
		body = binary.BigEndian.AppendUint16(nil, uint16(code))
	}
	if code != 0 {
		last = ws.AppendMasked(nil, ws.CloseOp, w.mask(), body)
	}
	w.l.CloseAfter(slot, last, why)
}

// Join puts what was kept in front of p. lent is to be given to Return when the result was read.
func (w *Wire) Join(s *Stream, p []byte) (all []byte, lent uint32) {
	if s.tail == 0 {
		return p, 0
	}
	lent, s.tail = s.tail, 0
	w.buffers.Grow(lent, len(p))
	b := w.buffers.At(lent)
	b.B = append(b.B, p...)
	return b.B, lent
}

// Return gives back what Join or Next lent; 0 is nothing.
func (w *Wire) Return(lent uint32) {
	if lent != 0 {
		w.buffers.Return(lent)
	}
}

// Next reads from p until something is there: a whole message (ws.Data), a control frame or a fault. ws.None says that p has no
// more; what is incomplete was kept. lent is to be given to Return when the payload was read.
func (w *Wire) Next(s *Stream, p []byte) (rest []byte, ev ws.Event, lent uint32) {
	for {
		n, ev := s.parser.Next(p, &w.limits)
		p = p[n:]
		switch ev.Kind {
		case ws.Data:
			if ev.First && ev.Final {
				return p, ev, 0
			}
			if w.collect(s, &ev) {
				lent, s.body = s.body, 0
				return p, ev, lent
			}
		case ws.None:
			if n == 0 {
				w.keep(s, p)
				return nil, ev, 0
			}
		default:
			return p, ev, 0
		}
	}
}

// collect adds to a message that comes in pieces; with the last one it is the event's payload.
func (w *Wire) collect(s *Stream, ev *ws.Event) (whole bool) {
	if s.body == 0 {
		s.body = w.buffers.Borrow(len(ev.Payload) + s.parser.Pending())
	}
	w.buffers.Grow(s.body, len(ev.Payload))
	b := w.buffers.At(s.body)
	b.B = append(b.B, ev.Payload...)
	ev.Payload = b.B
	return ev.Final
}

// keep borrows a buffer for an incomplete rest.
func (w *Wire) keep(s *Stream, p []byte) {
	if len(p) == 0 {
		return
	}
	s.tail = w.buffers.Borrow(len(p))
	b := w.buffers.At(s.tail)
	b.B = append(b.B, p...)
}

// Release gives back what a connection that ended has borrowed.
func (w *Wire) Release(s *Stream) {
	w.Return(s.tail)
	w.Return(s.body)
	s.tail, s.body = 0, 0
}

// Borrowed is how many buffers are out.
func (w *Wire) Borrowed() int { return w.buffers.Len() }

// Validate checks the buffers; it is slow and for tests.
func (w *Wire) Validate() error { return w.buffers.Validate() }

// Describe says in words why the loop closed a connection that was at that step.
func Describe(step fmt.Stringer, why loop.Reason, err error) error {
	switch {
	case why == loop.ReasonDial && err != nil:
		return fmt.Errorf("the connection cannot be opened: %w", err)
	case err != nil:
		return fmt.Errorf("the connection was lost (%s): %w", step, err)
	default:
		return fmt.Errorf("the connection was lost (%s): %s", step, why)
	}
}
