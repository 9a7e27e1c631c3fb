package session

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"shoal/codec/proto"
	"shoal/server/channel"
)

// names that commands and outcomes choose from: two that resolve, one that does not.
var names = []string{"", "a", "news:a", "$b", "nope:x"}

// randomCommand makes a command with any combination of requests, most often one.
func randomCommand(r *rand.Rand, id uint32) *proto.Command {
	cmd := &proto.Command{Id: id}
	ch := names[r.IntN(len(names))]
	for more := true; more; more = r.IntN(8) == 0 {
		switch r.IntN(13) {
		case 0:
			cmd.Connect = &proto.ConnectRequest{}
		case 1, 2:
			cmd.Subscribe = &proto.SubscribeRequest{Channel: ch, Type: int32(r.IntN(8) / 7)}
		case 3:
			cmd.Unsubscribe = &proto.UnsubscribeRequest{Channel: ch}
		case 4, 5:
			cmd.Publish = &proto.PublishRequest{Channel: ch, Data: []byte("1")}
		case 6:
			cmd.Refresh = &proto.RefreshRequest{Token: "t"}
		case 7:
			cmd.Rpc = &proto.RPCRequest{}
		case 8:
			cmd.History = &proto.HistoryRequest{Channel: ch}
		case 9:
			cmd.Presence = &proto.PresenceRequest{Channel: ch}
		case 10:
			cmd.SubRefresh = &proto.SubRefreshRequest{Channel: ch}
		case 11:
			cmd.PresenceStats = &proto.PresenceStatsRequest{}
		}
	}
	return cmd
}

func randomRefusal(r *rand.Rand) channel.Refusal {
	switch r.IntN(8) {
	case 0:
		return channel.RefuseError(channel.ErrorCode(100 + r.IntN(14)))
	case 1:
		return channel.RefuseDisconnect(channel.DisconnectInvalidToken)
	}
	return channel.Refusal{}
}

// randomInput makes any input, whether it fits or not.
func randomInput(r *rand.Rand) Input {
	in := Input{Kind: Kind(r.IntN(int(kindCount) + 1)), Native: r.IntN(8) == 0, Rand: r.Uint32(),
		ID: r.Uint32N(4), Channel: names[r.IntN(len(names))], Refusal: randomRefusal(r)}
	if in.Kind == KindDisconnect && r.IntN(4) > 0 {
		in.Kind = KindTimer
	}
	if r.IntN(3) == 0 {
		in.ExpireAt = r.Int64() >> r.IntN(63)
	}
	for range r.IntN(4) * r.IntN(2) {
		in.Subs = append(in.Subs, channel.ServerSub{Channel: names[r.IntN(len(names))]})
	}
	in.Command = randomCommand(r, r.Uint32N(3))
	return in
}

// hostile steps random inputs with a random configuration; the world checks Validate
// and that nothing follows a disconnect.
func hostile(t *testing.T, r *rand.Rand, steps int) {
	w := newWorld(t)
	if r.IntN(2) == 0 {
		w.cfg = w.cfg.Attentive()
	}
	w.cfg.ChannelsMax = r.IntN(4)
	w.cfg.MissesMax = max(w.cfg.MissesMax, r.IntN(5))
	if err := w.cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	for i := range steps {
		if r.IntN(4) > 0 {
			w.now += Tick(r.IntN(300))
		}
		in := randomInput(r)
		if i < 3 { // most of the time get past the connect
			in = []Input{{Kind: KindOpened}, {Kind: KindCommand, Command: &proto.Command{Id: 1, Connect: &proto.ConnectRequest{}}},
				{Kind: KindAuthenticated, ID: 1, Subs: in.Subs}}[i]
		}
		if in.Kind == KindTimer {
			w.armed = 0
		}
		was := w.s.State()
		w.step(in)
		if was == StateClosing && (len(w.effects) > 0 || w.s.State() != StateClosing) {
			t.Fatalf("closing is not final: %s gave %v", in.Kind, w.effects)
		}
		w.out.Reset()
	}
}

func TestHostileInputsNeverBreakASession(t *testing.T) {
	for seed := range uint64(3000) {
		hostile(t, rand.New(rand.NewPCG(seed, 1)), 60)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func FuzzStep(f *testing.F) {
	for seed := range uint64(8) {
		f.Add(seed, uint64(2), uint8(40))
	}
	f.Fuzz(func(t *testing.T, a, b uint64, steps uint8) {
		hostile(t, rand.New(rand.NewPCG(a, b)), int(steps))
	})
}

// honest is a world whose performer answers every asking effect, at once or late, and
// whose client keeps the protocol.
type honest struct {
	*world
	r       *rand.Rand
	asked   []Effect // effects that wait for their outcome
	sent    []uint32 // ids of commands, in order
	replied []uint32
	heardAt Tick // last message to the client
	pongs   []Tick
}

func (h *honest) stepped() {
	for _, e := range h.effects {
		switch e.Kind {
		case EffectAuthenticate, EffectSubscribe, EffectPublish, EffectRefresh:
			h.asked = append(h.asked, e)
		case EffectReplyError, EffectReplyConnect, EffectReplySubscribe, EffectReplyUnsubscribe, EffectReplyPublish, EffectReplyRefresh:
			h.replied = append(h.replied, e.ID)
			h.heardAt = h.now
		case EffectPing:
			h.heardAt = h.now
			h.pongs = append(h.pongs, h.now+Tick(h.r.IntN(int(h.cfg.PongTicks))))
		}
	}
	h.out.Reset()
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
	case EffectSubscribe:
		in.Kind = KindSubscribed
	case EffectPublish:
		in.Kind = KindPublished
	case EffectRefresh:
		in.Kind = KindRefreshed
	}
	if e.Sub == nil && e.Kind != EffectAuthenticate && h.r.IntN(4) == 0 {
		in.Refusal = channel.RefuseError(channel.ErrPermissionDenied)
	}
	h.step(in)
	h.stepped()
}

// command sends one that is within the protocol.
func (h *honest) command() {
	id := uint32(len(h.sent) + 1)
	cmd := &proto.Command{Id: id, Connect: &proto.ConnectRequest{}}
	if id > 1 {
		for ok := false; !ok; {
			cmd = randomCommand(h.r, id)
			m := cmd.Method()
			empty := cmd.Subscribe.GetChannel()+cmd.Unsubscribe.GetChannel()+cmd.Publish.GetChannel() == ""
			ok = m > proto.MethodConnect && m != proto.MethodPing && m != proto.MethodSend &&
				!(m <= proto.MethodPublish && (empty || cmd.Subscribe.GetChannel() == "" && m == proto.MethodSubscribe))
		}
	}
	h.sent = append(h.sent, id)
	h.step(Input{Kind: KindCommand, Command: cmd})
	h.stepped()
}

// turn does one of the things that may happen now.
func (h *honest) turn() {
	switch {
	case h.armed != 0 && h.armed <= h.now:
		h.armed = 0
		h.step(Input{Kind: KindTimer})
		h.stepped()
	case len(h.asked) > 0 && h.r.IntN(3) > 0:
		h.answer()
	case len(h.pongs) > 0 && h.pongs[0] <= h.now && !h.s.Busy():
		h.pongs = h.pongs[1:]
		h.step(Input{Kind: KindCommand, Command: &proto.Command{}})
		h.stepped()
	case !h.s.Busy() && h.r.IntN(40) == 0 || len(h.sent) == 0:
		h.command()
	case h.s.Busy() && h.s.State() == StateActive:
		h.answer() // a wait is short, or the pong would be late
	default:
		h.now++
	}
}

func TestHonestClientsAreAnsweredOnceAndKept(t *testing.T) {
	for seed := range uint64(200) {
		h := &honest{world: newWorld(t), r: rand.New(rand.NewPCG(seed, 3))}
		h.rand = h.r.Uint32()
		h.step(Input{Kind: KindOpened})
		for range 6000 {
			h.turn()
			if err := h.check(); err != nil {
				t.Fatalf("seed %d, tick %d: %v", seed, h.now, err)
			}
		}
		if len(h.sent) < 20 {
			t.Fatalf("seed %d: only %d commands", seed, len(h.sent))
		}
	}
}

func (h *honest) check() error {
	if h.s.State() == StateClosing {
		return fmt.Errorf("an honest client was disconnected")
	}
	if n := len(h.sent) - len(h.replied); n > 1 || n == 1 && !h.s.Busy() {
		return fmt.Errorf("%d commands, %d replies, busy %t", len(h.sent), len(h.replied), h.s.Busy())
	}
	for i, id := range h.replied {
		if id != h.sent[i] {
			return fmt.Errorf("reply %d is to command %d, not %d", i, id, h.sent[i])
		}
	}
	if h.s.SubCount() != len(h.members) {
		return fmt.Errorf("counts %d subscriptions, the world %d", h.s.SubCount(), len(h.members))
	}
	if silence := h.now - h.heardAt; h.s.State() == StateActive && silence > h.cfg.PingTicks {
		return fmt.Errorf("the client heard nothing for %d ticks, it was promised %d", silence, h.cfg.PingTicks)
	}
	return nil
}
