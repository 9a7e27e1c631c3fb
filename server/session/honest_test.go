package session

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"shoal/codec/proto"
	"shoal/server/channel"
)

// honest is a world whose performer answers every asking effect, at once or late, whose
// client keeps the protocol, and whose server adds and removes memberships and renews
// credentials at any time.
type honest struct {
	*world
	r        *rand.Rand
	asked    []Effect // effects that wait for their outcome
	renewing bool
	sent     []uint32 // ids of commands, in order
	replied  []uint32
	told     map[string]bool // memberships as the client knows them
	asking   string          // the channel of a subscribe command under way
	heardAt  Tick            // last message to the client
	pongs    []Tick
	pushed   int
}

func newHonest(t *testing.T, seed uint64) *honest {
	h := &honest{world: newWorld(t), r: rand.New(rand.NewPCG(seed, 3)), told: map[string]bool{}}
	h.rand = h.r.Uint32()
	h.cfg.Send = true
	h.step(Input{Kind: KindOpened})
	return h
}

// do steps an input and does what is asked for.
func (h *honest) do(in Input) {
	h.step(in)
	for _, e := range h.effects {
		h.note(e)
	}
	h.out.Reset()
}

func (h *honest) note(e Effect) {
	switch e.Kind {
	case EffectAuthenticate, EffectSubscribe, EffectPublish, EffectRefresh, EffectAsk, EffectSubRefresh, EffectSend:
		h.asked = append(h.asked, e)
	case EffectRenew:
		if h.renewing {
			h.t.Errorf("asked for a renewal twice")
		}
		h.renewing = true
	case EffectReplyError, EffectReplyConnect, EffectReplySubscribe, EffectReplyUnsubscribe, EffectReplyPublish,
		EffectReplyRefresh, EffectReplyAnswer, EffectReplySubRefresh:
		h.replied = append(h.replied, e.ID)
		h.heardAt = h.now
	case EffectPushSubscribe, EffectPushUnsubscribe, EffectPushRefresh:
		h.pushed++
		h.heardAt = h.now
	case EffectPing:
		h.heardAt = h.now
		h.pongs = append(h.pongs, h.now+Tick(h.r.IntN(int(h.cfg.PongTicks))))
	}
	switch e.Kind { // what the client knows
	case EffectReplySubscribe, EffectPushSubscribe:
		h.told[e.Channel] = true
	case EffectReplyUnsubscribe, EffectPushUnsubscribe:
		delete(h.told, e.Channel)
	case EffectReplyConnect:
		for name := range h.members {
			h.told[name] = true
		}
	}
}

func (h *honest) answer() {
	e := h.asked[0]
	h.asked = h.asked[1:]
	in := Input{ID: e.ID, Channel: e.Channel}
	switch e.Kind {
	case EffectAuthenticate:
		in.Kind = KindAuthenticated
		for _, n := range names[1 : 1+h.r.IntN(3)] {
			in.Subs = append(in.Subs, channel.ServerSub{Channel: n})
		}
		if h.r.IntN(2) == 0 {
			in.ServerRefresh, in.ExpireAt = true, h.later()
		}
	case EffectSubscribe:
		in.Kind = KindSubscribed
		h.asking = ""
	case EffectPublish:
		in.Kind = KindPublished
	case EffectRefresh:
		in.Kind = KindRefreshed
	case EffectAsk:
		in.Kind = KindAnswered
	case EffectSend:
		in.Kind = KindSent
	case EffectSubRefresh:
		in.Kind, in.ExpireAt = KindSubRefreshed, h.later()
	}
	if e.Sub == nil && e.Kind != EffectAuthenticate && h.r.IntN(4) == 0 {
		in.Refusal = channel.RefuseError(channel.ErrPermissionDenied)
	}
	h.do(in)
}

// later is a moment not too far away.
func (h *honest) later() int64 {
	return epoch + int64(h.now/Tick(h.cfg.TicksPerSecond)) + 1 + int64(h.r.IntN(60))
}

// command sends one that is within the protocol.
func (h *honest) command() {
	id := uint32(len(h.sent) + 1)
	cmd := &proto.Command{Id: id, Connect: &proto.ConnectRequest{}}
	for id > 1 {
		cmd = randomCommand(h.r, id)
		if h.allowed(cmd) {
			break
		}
	}
	if cmd.Method() == proto.MethodSend {
		h.do(Input{Kind: KindCommand, Command: cmd})
		return
	}
	h.sent = append(h.sent, id)
	if cmd.Method() == proto.MethodSubscribe {
		h.asking = cmd.Subscribe.Channel
	}
	h.do(Input{Kind: KindCommand, Command: cmd})
	if !h.s.Busy() {
		h.asking = ""
	}
}

// allowed says whether the protocol lets a client send it.
func (h *honest) allowed(cmd *proto.Command) bool {
	switch cmd.Method() {
	case proto.MethodSubscribe:
		return cmd.Subscribe.Channel != ""
	case proto.MethodUnsubscribe:
		return cmd.Unsubscribe.Channel != ""
	case proto.MethodPublish:
		return cmd.Publish.Channel != ""
	case proto.MethodPresence:
		return cmd.Presence.Channel != ""
	case proto.MethodPresenceStats:
		return cmd.PresenceStats.Channel != ""
	case proto.MethodHistory:
		return cmd.History.Channel != ""
	case proto.MethodSubRefresh:
		return cmd.SubRefresh.Channel != ""
	case proto.MethodRefresh:
		return !h.s.has(modeServerRefresh)
	case proto.MethodRPC, proto.MethodSend:
		return true
	}
	return false
}

// serve does one of the things a server does by itself, as the performer's rules say.
func (h *honest) serve() {
	switch name := names[1+h.r.IntN(3)]; h.r.IntN(3) {
	case 0:
		if !h.members[name] && h.s.SubCount() < h.cfg.channelsMax() {
			h.do(Input{Kind: KindAdded, Channel: name})
		}
	case 1:
		if h.members[name] && name != h.asking {
			h.do(Input{Kind: KindRemoved, Channel: name, Unsubscribe: channel.UnsubscribeServer.Unsubscribe()})
		}
	case 2:
		h.do(Input{Kind: KindExtended, ExpireAt: h.later() * int64(h.r.IntN(2))})
	}
}

// turn does one of the things that may happen now.
func (h *honest) turn() {
	switch {
	case h.armed != 0 && h.armed <= h.now:
		h.armed = 0
		h.do(Input{Kind: KindTimer})
	case h.renewing && h.r.IntN(10) == 0:
		h.renewing = false
		h.do(Input{Kind: KindRenewed, ExpireAt: h.later()})
	case len(h.asked) > 0 && h.r.IntN(200) == 0:
		h.answer()
	case len(h.pongs) > 0 && h.pongs[0] <= h.now && !h.s.Busy():
		h.pongs = h.pongs[1:]
		h.do(Input{Kind: KindCommand, Command: &proto.Command{}})
	case !h.s.Busy() && h.r.IntN(40) == 0 || len(h.sent) == 0:
		h.command()
	case h.s.Busy() && h.s.State() == StateIdle:
		h.answer() // not after the deadline to connect
	case h.r.IntN(30) == 0:
		h.serve()
	default:
		if !h.s.has(modeServerRefresh) && h.s.expireAt != 0 && h.r.IntN(20) == 0 {
			h.do(Input{Kind: KindExtended}) // nobody else would, and the end is not far
		}
		h.now++
	}
}

func TestHonestClientsAreAnsweredOnceAndKept(t *testing.T) {
	waits, pushed := 0, 0
	for seed := range uint64(200) {
		h := newHonest(t, seed)
		for range 8000 {
			h.turn()
			if err := h.check(); err != nil {
				t.Fatalf("seed %d, tick %d: %v", seed, h.now, err)
			}
			if h.s.Busy() && h.s.limitAt != 0 && h.s.limitAt < h.now {
				waits++
			}
		}
		if len(h.sent) < 15 {
			t.Fatalf("seed %d: only %d commands", seed, len(h.sent))
		}
		pushed += h.pushed
	}
	if waits == 0 || pushed < 1000 {
		t.Errorf("%d pongs were put off, %d pushes made: the schedule lost its point", waits, pushed)
	}
}

func (h *honest) check() error {
	if h.s.State() == StateClosing {
		return fmt.Errorf("an honest client was disconnected: %v", h.effects)
	}
	if n := len(h.sent) - len(h.replied); n > 1 || n == 1 && !h.s.Busy() {
		return fmt.Errorf("%d commands, %d replies, busy %t", len(h.sent), len(h.replied), h.s.Busy())
	}
	if n := len(h.replied); n > 0 && h.replied[n-1] != h.sent[n-1] {
		return fmt.Errorf("reply %d is to command %d, not %d", n, h.replied[n-1], h.sent[n-1])
	}
	if h.s.SubCount() != len(h.members) {
		return fmt.Errorf("counts %d subscriptions, the world %d", h.s.SubCount(), len(h.members))
	}
	if h.s.State() == StateActive {
		for _, name := range names {
			if h.told[name] != h.members[name] && name != h.asking {
				return fmt.Errorf("the client believes %t of %q, the world %t", h.told[name], name, h.members[name])
			}
		}
	}
	if silence := h.now - h.heardAt; h.s.State() == StateActive && silence > h.cfg.PingTicks {
		return fmt.Errorf("the client heard nothing for %d ticks, it was promised %d", silence, h.cfg.PingTicks)
	}
	if !slices.IsSorted(h.replied) {
		return fmt.Errorf("replies %v", h.replied)
	}
	return nil
}
