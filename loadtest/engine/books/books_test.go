package books

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"shoal/codec/proto"
	"shoal/loadtest/engine/layout"
	"shoal/loadtest/engine/message"
	"shoal/loadtest/engine/tally"
)

const testRun = 0xabc

// desk is the books of one member, and what they count.
type desk struct {
	*Books
	count  tally.Counters
	status tally.Status
	cfg    Config
}

// open makes books; names are those of the layout "c".
func open(t *testing.T, cfg Config, each int, own bool) *desk {
	t.Helper()
	d := &desk{}
	var err error
	if cfg.Filler, err = message.NewFiller(64); err != nil {
		t.Fatal(err)
	}
	cfg.Of = max(cfg.Of, 1)
	cfg.Run, cfg.Counters, cfg.Status = testRun, &d.count, &d.status
	cfg.Layout = layout.New(layout.Config{Channel: "c", Channels: cfg.Channels, Subscriptions: each, Own: own})
	d.Books, d.cfg = New(cfg), cfg
	return d
}

// join subscribes all peers to everything.
func (d *desk) join(r *proto.SubscribeResult) {
	for i := range d.cfg.Peers {
		for j := range d.each {
			d.Joined(uint32(i), j, r, nil)
		}
	}
}

// arrival is a publication as it comes.
func (d *desk) arrival(r layout.Ref, seq uint32, offset uint64) *Arrival {
	h := message.Header{Run: testRun, Conn: r.Number() + 1, Seq: seq, Sent: 1}
	m := d.Read(&proto.Publication{Data: d.cfg.Filler.Append(nil, h), Offset: offset}, r)
	return &m
}

func (d *desk) valid(t *testing.T) {
	t.Helper()
	if err := d.Validate(); err != nil {
		t.Error(err)
	}
}

// lost sums up what is missing to all.
func (d *desk) lost() (n int) {
	for i := range d.cfg.Peers {
		lost, unseen, _ := d.Lost(uint32(i))
		n += lost + unseen
	}
	return n
}

// member is the other end of one subscription, for the test below.
type member struct {
	here    bool
	behind  []uint32 // sequences on their way
	top     uint32   // the last it was sent
	dropped int      // sequences it will never get
}

// Any course of a run, against a plain list of what was sent to whom: publications, receipts, losses, connections that are cut and
// recover, and others that take the place of who leaves.
func TestBooksAgreeWithAPlainList(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		d := open(t, Config{Peers: 1 + r.IntN(6), First: r.IntN(10), Channels: 1 + r.IntN(3), Positions: true}, 1, true)
		d.join(&proto.SubscribeResult{Recoverable: true, Epoch: "e"})
		d.Pour(r.IntN(2) == 0)
		members := map[layout.Ref][]*member{} // by channel and peer
		made := map[layout.Ref]uint32{}
		for i := range d.cfg.Peers {
			for j := range d.each {
				ref := d.Ref(uint32(i), j)
				if members[ref] == nil {
					members[ref] = make([]*member, d.cfg.Peers)
				}
				members[ref][i] = &member{here: true}
			}
		}
		receive := func(peer int, ref layout.Ref, m *member, n int) {
			for ; n > 0 && len(m.behind) > 0; n-- {
				d.Receive(uint32(peer), d.arrival(ref, m.behind[0], uint64(m.behind[0])), false, 9)
				m.behind = m.behind[1:]
			}
		}
		parted, dropped := 0, 0
		for range 300 {
			peer := r.IntN(d.cfg.Peers)
			j := r.IntN(d.each)
			ref := d.Ref(uint32(peer), j)
			m := members[ref][peer]
			switch r.IntN(8) {
			case 0, 1, 2: // to everybody there, and to who will recover
				made[ref]++
				if seq := d.Publish(ref, 5); seq != made[ref] {
					t.Fatalf("seed %d: sequence %d, want %d", seed, seq, made[ref])
				}
				for _, m := range members[ref] {
					if m != nil {
						m.behind = append(m.behind, made[ref])
					}
				}
			case 3, 4, 5:
				if m.here {
					receive(peer, ref, m, 1+r.IntN(3))
				}
			case 6: // cut, and back with what was missed, of which the last may be lost for good
				d.Ended(uint32(peer))
				for j := range d.each {
					ref := d.Ref(uint32(peer), j)
					m := members[ref][peer]
					offset, epoch, known := d.Position(uint32(peer), j)
					if !known || epoch != "e" || d.Live(uint32(peer), j) {
						t.Fatalf("seed %d: position %d %q, %t", seed, offset, epoch, known)
					}
					res := &proto.SubscribeResult{Recoverable: true, Recovered: true, Epoch: "e", Offset: offset}
					for _, seq := range m.behind {
						h := message.Header{Run: testRun, Conn: ref.Number() + 1, Seq: seq, Sent: 1}
						res.Publications = append(res.Publications, &proto.Publication{Data: d.cfg.Filler.Append(nil, h), Offset: uint64(seq)})
					}
					m.behind = nil
					d.Joined(uint32(peer), j, res, func(p *proto.Publication, ref layout.Ref) {
						a := d.Read(p, ref)
						d.Receive(uint32(peer), &a, true, 9)
					})
				}
			case 7:
				if r.IntN(2) == 0 && len(m.behind) > 1 { // a loss that offsets show with the next
					m.behind = m.behind[1:]
					receive(peer, ref, m, 1)
					dropped++
					break
				}
				for j := range d.each { // another takes its place
					parted += len(members[d.Ref(uint32(peer), j)][peer].behind)
					members[d.Ref(uint32(peer), j)][peer].behind = nil
				}
				d.Part(uint32(peer))
				for j := range d.each {
					if _, _, known := d.Position(uint32(peer), j); known || d.Live(uint32(peer), j) {
						t.Fatalf("seed %d: who comes in the place of another has its position", seed)
					}
					d.Joined(uint32(peer), j, &proto.SubscribeResult{Recoverable: true, Epoch: "e", Offset: uint64(made[d.Ref(uint32(peer), j)])}, nil)
				}
			}
			d.valid(t)
		}
		under := 0
		for _, all := range members {
			for _, m := range all {
				if m != nil {
					under += len(m.behind)
				}
			}
		}
		if d.Owed() != under || d.lost() != under || d.status.Parted != parted || d.status.Told != dropped || d.count.Late+d.count.Duplicates+d.count.Misrouted+d.count.Altered != 0 {
			t.Fatalf("seed %d: %d owed and %d lost of %d under way, %d parted of %d, %d told of %d: %+v", seed, d.Owed(), d.lost(), under, d.status.Parted, parted, d.status.Told, dropped, d.count)
		}
		for ref, all := range members {
			for i, m := range all {
				if m != nil {
					receive(i, ref, m, 1<<20)
				}
			}
		}
		if d.Owed() != 0 || d.lost() != 0 {
			t.Fatalf("seed %d: %d owed, %d lost, and all has come", seed, d.Owed(), d.lost())
		}
	}
}

// What one member publishes is owed by the other, as soon as it knows how much that was.
func TestMembersOweWhatOthersPublished(t *testing.T) {
	a := open(t, Config{Peers: 2, Channels: 3, Of: 2, Index: 0}, 3, false)
	b := open(t, Config{Peers: 3, First: 2, Channels: 3, Of: 2, Index: 1}, 3, false)
	for _, d := range []*desk{a, b} {
		d.join(&proto.SubscribeResult{})
		d.Pour(true)
	}
	for range 4 {
		a.Publish(0, 1)
		a.Publish(2, 1)
		b.Publish(1, 1)
	}
	for seq := range uint32(4) {
		for peer := range uint32(3) { // the last of channel 0 is lost to one peer of b
			if seq != 3 || peer != 1 {
				b.Receive(peer, b.arrival(0, seq+1, 0), false, 2)
			}
			b.Receive(peer, b.arrival(2, seq+1, 0), false, 2)
			b.Receive(peer, b.arrival(1, seq+1, 0), false, 2)
		}
	}
	if b.Owed() != 0 || b.lost() != 0 {
		t.Errorf("%d owed and %d lost of its own", b.Owed(), b.lost())
	}
	b.valid(t)
	all := a.Published()
	for i, n := range b.Published() {
		all[i] += n
	}
	b.Learn(all)
	b.valid(t)
	if b.OwedElsewise() != 1 || b.lost() != 1 || a.Owed() != 2*8 {
		t.Errorf("%d owed of others, %d lost; %d of the first", b.OwedElsewise(), b.lost(), a.Owed())
	}
	b.WriteOff(1)
	b.valid(t)
	if b.OwedElsewise() != 0 {
		t.Errorf("%d owed to who is gone", b.OwedElsewise())
	}
}

func TestWhoComesWhilePublicationsGoOnCountsFromTheFirstThatComes(t *testing.T) {
	for _, c := range []struct {
		name    string
		own     bool   // this member publishes
		first   uint32 // that comes, of 10 made before and 5 after
		missing int
		afresh  bool // nothing comes
	}{
		{"one that was on its way", true, 8, 0, false}, {"the next", true, 11, 0, false}, {"one too late", true, 12, 1, false}, {"none", true, 0, 5, true},
		{"of another member", false, 8, 0, false}, {"of another member, later", false, 12, 0, false}, {"of another member, none", false, 0, 0, true},
	} {
		d := open(t, Config{Peers: 1, Channels: 1, Of: 2, Index: map[bool]int{true: 0, false: 1}[c.own]}, 1, false)
		d.Pour(true)
		publish := func(n int) {
			for range n {
				if c.own {
					d.Publish(0, 1)
				}
			}
		}
		publish(10)
		d.join(&proto.SubscribeResult{})
		publish(5)
		for seq := c.first; seq <= 15 && !c.afresh; seq++ {
			d.Receive(0, d.arrival(0, seq, 0), false, 1)
		}
		d.valid(t)
		if !c.own {
			d.Learn([]uint32{15})
			d.valid(t)
		}
		if got := d.Owed() + d.OwedElsewise(); got != c.missing || d.lost() != c.missing || d.count.Late+d.count.Duplicates != 0 {
			t.Errorf("%s: %d owed, %d lost, want %d: %+v", c.name, got, d.lost(), c.missing, d.count)
		}
	}
}

func TestWhoComesInQuietCountsFromTheNext(t *testing.T) {
	d := open(t, Config{Peers: 2, Channels: 1}, 1, true)
	d.Joined(0, 0, &proto.SubscribeResult{}, nil)
	for seq := range uint32(3) {
		d.Publish(0, 1)
		d.Receive(0, d.arrival(0, seq+1, 0), false, 1)
	}
	d.Publish(layout.Own(1), 1)
	d.Rule()
	d.join(&proto.SubscribeResult{})
	d.Publish(0, 1)
	own := d.Publish(layout.Own(1), 1)
	for peer := range uint32(2) {
		d.Receive(peer, d.arrival(0, 4, 0), false, 1)
	}
	if d.Owed() != 1 {
		t.Errorf("%d owed, want the one on the own channel", d.Owed())
	}
	d.Receive(1, d.arrival(layout.Own(1), own, 0), false, 1)
	d.valid(t)
	if d.Owed() != 0 || d.lost() != 0 || d.count.Ahead != 0 || d.status.Anew != 1 {
		t.Errorf("%d owed, %d lost: %+v, %+v", d.Owed(), d.lost(), d.count, d.status)
	}
}

func TestWhatIsRefusedIsOwedToNobody(t *testing.T) {
	d := open(t, Config{Peers: 3, Channels: 2}, 2, true)
	d.join(&proto.SubscribeResult{})
	for _, r := range []layout.Ref{0, 1, layout.Own(2)} {
		seq := d.Publish(r, 1)
		d.Answered(r, seq, 1, 2, fmt.Errorf("no"))
	}
	seq := d.Publish(0, 1)
	d.Receive(1, d.arrival(0, seq, 0), false, 2)
	d.Answered(0, seq, 1, 2, fmt.Errorf("no answer")) // but it came
	d.Send(2, true)
	d.Refused(2, true)
	d.Send(2, false)
	d.Refused(2, false)
	d.valid(t)
	if d.Owed() != 2 || d.count.Refused != 5 || d.count.Published != 1 || d.count.Answered != 1 || d.UnderWay(2, true)+d.UnderWay(2, false) != 0 {
		t.Errorf("%d owed, %+v", d.Owed(), d.count)
	}
}

func TestEchoesAreFollowedWithoutAChannel(t *testing.T) {
	d := open(t, Config{Peers: 2, First: 7}, 0, false)
	echo := func(peer, meant, seq uint32) Receipt {
		m := d.Look(d.cfg.Filler.Append(nil, message.Header{Run: testRun, Conn: meant, Seq: seq, Sent: 1}))
		return d.Echoed(peer, &m, 5)
	}
	if echo(0, 8, 1).Counts || d.count.Misrouted != 1 {
		t.Errorf("one came that nobody sent: %+v", d.count)
	}
	for seq := range uint32(5) {
		if got := d.Send(1, false); got != seq+1 {
			t.Errorf("sequence %d, want %d", got, seq+1)
		}
	}
	echo(1, 9, 1)
	echo(1, 9, 3) // one is missing
	echo(1, 9, 3)
	echo(1, 8, 4) // of the other
	if d.valid(t); d.UnderWay(1, false) != 3 || d.Owed() != 3 || d.count.Duplicates != 1 || d.count.Misrouted != 2 || d.count.Received != 2 {
		t.Errorf("%d under way, %d owed, %+v", d.UnderWay(1, false), d.Owed(), d.count)
	}
	if lost := d.WriteOff(1); lost != 3 || d.Owed() != 0 {
		t.Errorf("%d lost with it, %d owed then", lost, d.Owed())
	}
}

func TestOwnChannelsShareTheirEpochs(t *testing.T) {
	d := open(t, Config{Peers: 1000, Positions: true}, 0, true)
	for i := range uint32(1000) {
		d.Joined(i, 0, &proto.SubscribeResult{Recoverable: true, Epoch: fmt.Sprint("epoch ", i%64), Offset: uint64(i)}, nil)
	}
	for i := range uint32(1000) {
		if offset, epoch, known := d.Position(i, 0); !known || offset != uint64(i) || epoch != fmt.Sprint("epoch ", i%64) {
			t.Fatalf("peer %d is at %d of %q, %t", i, offset, epoch, known)
		}
	}
	if len(d.epochs) != 64 {
		t.Errorf("%d epochs are kept, want 64", len(d.epochs))
	}
}

func TestWhatIsKeptOfAPeerHoldsNoPointers(t *testing.T) {
	var walk func(reflect.Type)
	walk = func(ty reflect.Type) {
		switch ty.Kind() {
		case reflect.Struct:
			for i := range ty.NumField() {
				walk(ty.Field(i).Type)
			}
		case reflect.Array:
			walk(ty.Elem())
		case reflect.Pointer, reflect.Slice, reflect.String, reflect.Map, reflect.Chan, reflect.Func, reflect.Interface, reflect.UnsafePointer:
			t.Errorf("%s is a pointer", ty)
		}
	}
	for _, ty := range []reflect.Type{reflect.TypeFor[sub](), reflect.TypeFor[own](), reflect.TypeFor[echo](), reflect.TypeFor[foreign]()} {
		walk(ty)
	}
}
