package node

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"time"

	"shoal/codec/msgpack"
	"shoal/codec/proto"
	"shoal/codec/ws"
	"shoal/loop"
	"shoal/pool/worker"
	"shoal/server/channel"
	"shoal/server/session"
)

// Message handles the commands of one message in order; their replies leave in one
// frame. busy says that the session waits for an outcome: no further message may come
// before Wire.Resume asks for it.
func (s *Shard) Message(slot uint32, _ ws.Op, payload []byte) (busy bool) {
	s.out = s.out[:0] // should a message have panicked, its replies are nobody else's
	ses := s.sessions.At(slot)
	limits := s.node.cfg.Commands
	if s.encodingOf(ses) == proto.MessagePack {
		var err error
		if s.inbound, err = msgpack.AppendCommands(s.inbound[:0], payload, limits); err != nil {
			s.inbound = s.inbound[:0] // which is malformed too
		}
		payload = s.inbound
		limits.MessageBytesMax *= 2 // checked; as Protobuf it may be longer
	}
	if s.unread(slot) && ses.State() == session.StateActive {
		s.rests[slot] = bytes.Clone(payload)
		s.goOn(slot)
		return true
	}
	s.decoder.Reset(payload, s.payloadOf(ses), limits)
	busy = s.commands(slot, ses)
	s.flush(slot)
	return busy
}

// Limits of what one message may do before others have their turn: the rest waits for
// the loop's next pass.
const (
	commandsMax   = 128
	replyBytesMax = 256 << 10
	replyBytesOut = 64 << 10 // replies leave in a frame of their own from here on
	parcelsMax    = 128      // channels and wildcards published to in one callback, some 0.2 ms; then also the next message waits
)

// A client that has not read what it was answered is asked to: its commands wait, so that
// many recoveries, which are much together, do not end it as slow. But not for long.
const (
	unreadBytesMax = 256 << 10
	unreadMax      = 3 * time.Second
)

// unread says whether so much waits for the conn that its commands had better wait too.
func (s *Shard) unread(slot uint32) bool { return s.l.Backlog(slot) >= unreadBytesMax }

// commands steps what the decoder holds. The rest of a session that must wait is kept.
func (s *Shard) commands(slot uint32, ses *session.Session) (busy bool) {
	replied := 0
	s.spent() // from here on
	for n := 1; ; n++ {
		ok, err := s.decoder.Next(&s.command)
		if err != nil {
			s.node.stats.Malformed.Add(1)
			s.step(slot, session.Input{Kind: session.KindMalformed})
			return false
		}
		if !ok {
			return false
		}
		s.node.stats.Commands[s.command.Method()&15].Add(1)
		s.step(slot, session.Input{Kind: session.KindCommand, Command: &s.command})
		if len(s.out) >= replyBytesOut {
			replied += len(s.out)
			s.flush(slot)
		}
		if st := ses.State(); st == session.StateClosing || st == session.StateUnusable || !s.isOpen(ses) {
			return false
		}
		rest := s.decoder.Rest()
		switch {
		case ses.Busy():
			if len(rest) > s.node.cfg.WaitingBytesMax {
				s.step(slot, session.Input{Kind: session.KindDisconnect, Disconnect: channel.DisconnectTooManyRequests.Disconnect()})
				return false
			}
			if len(rest) > 0 {
				s.rests[slot] = bytes.Clone(rest)
			}
			return true
		case len(rest) > 0 && (n >= commandsMax || replied+len(s.out) >= replyBytesMax), s.spent():
			if len(rest) > 0 {
				s.rests[slot] = bytes.Clone(rest)
			}
			s.goOn(slot)
			return true
		}
	}
}

// spent says whether so much was published in the present callback that others shall have
// the loop. What other loops publish meanwhile counts too: at worst it is soon.
func (s *Shard) spent() bool {
	parcels := s.node.parcels.Load()
	if now := s.l.Clock().UnixNano(); now != s.callback {
		s.callback, s.parcels = now, parcels
	}
	return parcels-s.parcels >= parcelsMax
}

// goOn has the session go on, in its turn, with what is in rests.
func (s *Shard) goOn(slot uint32) {
	s.l.Work(&continuation{s, s.l.ID(slot), s.l.Clock().Add(unreadMax)})
}

// continuation goes on with a message that had its turn.
type continuation struct {
	shard *Shard
	id    loop.ConnID
	until time.Time // its client may leave unread what there is for it
}

// Slice implements [loop.Work].
func (c *continuation) Slice(*loop.Loop) (more bool) {
	s := c.shard
	slot, ok := s.l.Lookup(c.id)
	if !ok {
		return false
	}
	if c.Waits() {
		s.pace.Add(c)
		return false
	}
	defer s.l.Caught(slot)
	if ses := s.sessions.Peek(slot); ses != nil && s.isOpen(ses) {
		s.outcome(slot, func(*session.Session) {})
	}
	return false
}

// Waits implements [pace.Work]: the client is still to read first.
func (c *continuation) Waits() bool {
	slot, ok := c.shard.l.Lookup(c.id)
	return ok && c.shard.unread(slot) && c.shard.l.Clock().Before(c.until)
}

// outcome lets tell queue what a session waited for, and goes on with it.
func (s *Shard) outcome(slot uint32, tell func(ses *session.Session)) {
	s.out, s.queue = s.out[:0], s.queue[:0]
	s.reply.answer = answer{} // should a session have closed over its own, it is nobody else's
	ses := s.sessions.At(slot)
	tell(ses)
	s.settle(slot)
	if rest, waits := s.rests[slot]; waits && s.isOpen(ses) && !ses.Busy() {
		delete(s.rests, slot)
		if st := ses.State(); st != session.StateClosing && st != session.StateUnusable {
			limits := s.node.cfg.Commands
			limits.MessageBytesMax *= 2 // checked when it came; see Message
			s.decoder.Reset(rest, s.payloadOf(ses), limits)
			s.commands(slot, ses)
		}
	}
	s.flush(slot)
	if _, waits := s.rests[slot]; !waits && s.isOpen(ses) && !ses.Busy() {
		s.wire.Resume(slot)
	}
}

// awaitTurn has a session wait until it may recover: told goes on, with ok false when it
// waited too long. What told uses of a command must be copied.
func (s *Shard) awaitTurn(slot uint32, resumed bool, told func(ses *session.Session, ok bool)) {
	s.recoveries.Wait(slot, resumed, func(slot uint32, ok bool) {
		if s.isOpen(s.sessions.At(slot)) {
			s.outcome(slot, func(ses *session.Session) { told(ses, ok) })
		}
	})
}

// flush sends the replies gathered so far as one message.
func (s *Shard) flush(slot uint32) {
	if len(s.out) == 0 {
		return
	}
	ses := s.sessions.At(slot)
	switch s.encodingOf(ses) {
	case proto.JSON:
		s.wire.Frame(slot, ws.Text, s.out)
	case proto.Protobuf:
		s.wire.Frame(slot, ws.Binary, s.out)
	case proto.MessagePack:
		var err error
		if s.outbound, err = msgpack.AppendReplies(s.outbound[:0], s.out); err == nil {
			s.wire.Frame(slot, ws.Binary, s.outbound)
		}
	}
	if cap(s.out) > outBytesKept {
		s.out = nil
	}
	if cap(s.outbound) > outBytesKept {
		s.outbound = nil
	}
	if cap(s.inbound) > outBytesKept {
		s.inbound = nil
	}
	s.out = s.out[:0]
}

// errand is a question that may have to wait: ask runs on a worker, then tell on the
// loop, unless the conn is gone by then.
type errand struct {
	shard *Shard
	id    loop.ConnID
	ask   func(ctx context.Context)
	tell  func(slot uint32, ses *session.Session)
}

// later sends an errand for the session of slot. What ask and tell use of a command
// must be copied. It returns error 111 when too many are under way; then neither runs.
func (s *Shard) later(slot uint32, ask func(ctx context.Context), tell func(slot uint32, ses *session.Session)) *channel.Error {
	e := &errand{shard: s, id: s.l.ID(slot), ask: ask, tell: tell}
	switch err := s.tenants.Submit(s.node.cfg.Workers, slot, e); {
	case err == nil:
		return nil
	case errors.Is(err, worker.ErrQueueFull):
		return channel.ErrTooManyRequests.Err()
	default:
		return channel.ErrInternal.Err()
	}
}

// Run implements [worker.Job]. The answer is told whatever became of the question: the
// session waits for it.
func (e *errand) Run(ctx context.Context) {
	defer func() {
		for errors.Is(e.shard.l.Post(e), loop.ErrMailboxFull) {
			runtime.Gosched() // the loop is at work on what fills it
		}
	}()
	e.ask(ctx)
}

// Conn is the conn that a panic of the message ends.
func (e *errand) Conn() loop.ConnID { return e.id }

// Deliver implements [loop.Message].
func (e *errand) Deliver(*loop.Loop) {
	s := e.shard
	slot, ok := s.l.Lookup(e.id)
	if !ok {
		return
	}
	if ses := s.sessions.Peek(slot); ses != nil && s.isOpen(ses) {
		s.outcome(slot, func(ses *session.Session) { e.tell(slot, ses) })
	}
}
