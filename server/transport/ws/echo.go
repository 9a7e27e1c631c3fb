package ws

import (
	"shoal/codec/proto"
	"shoal/codec/ws"
	"shoal/loop"
)

// Echo is the landing of the echo endpoint: every message goes back as it came,
// in one frame. It exists for conformance tools; there is no session.
type Echo struct{ t *Transport }

var _ Landing = (*Echo)(nil)

// Use sets the transport to echo through. Before the loop runs.
func (e *Echo) Use(t *Transport) { e.t = t }

// Open implements [Landing].
func (e *Echo) Open(uint32, proto.Encoding, bool, bool) {}

// Alive implements [Landing].
func (e *Echo) Alive(uint32) {}

// Headers implements [Landing].
func (e *Echo) Headers(uint32, [][2][]byte) {}

// Message sends the payload back.
func (e *Echo) Message(slot uint32, op ws.Op, payload []byte) (busy bool) {
	e.t.Frame(slot, op, payload)
	return false
}

// Pong implements [Landing].
func (e *Echo) Pong(uint32) {}

// Timer implements [Landing]; an echo conn sets none.
func (e *Echo) Timer(uint32) {}

// Shutdown ends the conn as RFC 6455 §7.4.1 has it for a server that goes away.
func (e *Echo) Shutdown(slot uint32) {
	e.t.Close(slot, uint32(ws.CodeGoingAway), "shutdown", loop.ReasonShutdown)
}

// Flooded implements [Landing]; the transport ends the conn.
func (e *Echo) Flooded(uint32) {}

// Cut implements [Landing].
func (e *Echo) Cut(slot uint32) {
	e.t.Close(slot, uint32(ws.CodePolicyViolation), "slow", loop.ReasonSlow)
}

// Closed implements [Landing].
func (e *Echo) Closed(uint32, loop.Reason) {}
