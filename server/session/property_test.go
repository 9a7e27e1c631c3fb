package session

import (
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
		switch r.IntN(14) {
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
			cmd.SubRefresh = &proto.SubRefreshRequest{Channel: ch, Token: []string{"", "t"}[r.IntN(2)]}
		case 11:
			cmd.PresenceStats = &proto.PresenceStatsRequest{Channel: ch}
		case 12:
			cmd.Send = &proto.SendRequest{}
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
		ID: r.Uint32N(4), Channel: names[r.IntN(len(names))], Refusal: randomRefusal(r),
		ServerRefresh: r.IntN(4) == 0, Expired: r.IntN(16) == 0}
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
	w.cfg.ChannelsMax, w.cfg.Send = r.IntN(4), r.IntN(2) == 0
	w.cfg.MissesMax = max(w.cfg.MissesMax, r.IntN(5))
	w.admits[proto.Method(r.IntN(16))], w.errors = r.IntN(4), r.IntN(20)-1
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
				{Kind: KindAuthenticated, ID: 1, Subs: in.Subs, ExpireAt: in.ExpireAt, ServerRefresh: in.ServerRefresh}}[i]
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
