package node

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"sync"
	"testing"

	"shoal/codec/proto"
	"shoal/loop"
	"shoal/server/broker"
	"shoal/server/channel"
	"shoal/server/hub"
)

// counting is a broker that notes what the node is subscribed to.
type counting struct {
	mu   sync.Mutex
	subs map[string]int
	fail error
}

func (b *counting) Publish(context.Context, string, *channel.Publication) (channel.Position, error) {
	return channel.Position{}, b.fail
}

func (b *counting) Subscribe(name string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail == nil {
		b.subs[strings.Clone(name)]++
	}
	return b.fail
}

func (b *counting) Unsubscribe(name string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.subs[name]--
	if b.subs[name] == 0 {
		delete(b.subs, name)
	}
	return b.fail
}

func (b *counting) Run(context.Context, broker.Deliverer) error { return nil }

func TestDirectoryAgainstAModel(t *testing.T) {
	b := &counting{subs: map[string]int{}}
	d := newDirectory(b)
	model := map[string]audience{}
	rnd := rand.New(rand.NewPCG(1, 1))
	for step := range 20_000 {
		name := fmt.Sprintf("channel-%d", rnd.IntN(300))
		at, form := rnd.IntN(LoopsMax), hub.Form(rnd.IntN(hub.FormsMax))
		a := model[name]
		if rnd.IntN(2) == 0 {
			if err := d.join([]byte(name), at, form); err != nil {
				t.Fatal(err)
			}
			a[form] |= 1 << at
		} else {
			if err := d.leave([]byte(name), at); err != nil {
				t.Fatal(err)
			}
			for f := range a {
				a[f] &^= 1 << at
			}
		}
		if model[name] = a; a.loops() == 0 {
			delete(model, name)
		}
		if got := d.lookup([]byte(name)); got != a {
			t.Fatalf("step %d: %s has audience %v, want %v", step, name, got, a)
		}
	}
	if d.channels() != len(model) || len(b.subs) != len(model) {
		t.Errorf("%d channels, %d at the broker, want %d", d.channels(), len(b.subs), len(model))
	}
	for name, n := range b.subs {
		if n != 1 {
			t.Errorf("the broker heard %d subscriptions of %s", n, name)
		}
	}
	if err := d.Validate(); err != nil {
		t.Error(err)
	}
	for name := range model {
		for l := range LoopsMax {
			if err := d.leave([]byte(name), l); err != nil {
				t.Fatal(err)
			}
		}
	}
	if d.channels() != 0 || len(b.subs) != 0 {
		t.Errorf("left: %d channels, %v at the broker", d.channels(), b.subs)
	}
}

func TestDirectoryKeepsNothingTheBrokerRefused(t *testing.T) {
	b := &counting{subs: map[string]int{}, fail: errors.New("no")}
	d := newDirectory(b)
	if err := d.join([]byte("a"), 0, 0); !errors.Is(err, b.fail) {
		t.Errorf("got %v", err)
	}
	if a := d.lookup([]byte("a")); a.loops() != 0 || d.channels() != 0 {
		t.Error("the channel is kept")
	}
	b.fail = nil
	if err := d.join([]byte("a"), 0, 0); err != nil {
		t.Error(err)
	}
	b.fail = errors.New("no")
	if err := d.leave([]byte("a"), 0); err == nil || d.channels() != 0 {
		t.Errorf("a failed departure: %v, %d channels", err, d.channels())
	}
}

func TestDirectoryFromManyGoroutines(t *testing.T) {
	b := &counting{subs: map[string]int{}}
	d := newDirectory(b)
	var wg sync.WaitGroup
	for l := range 8 {
		wg.Go(func() {
			for i := range 2000 {
				name := fmt.Appendf(nil, "c%d", i%20)
				if err := d.join(name, l, hub.Form(i%4)); err != nil {
					t.Error(err)
				}
				if a := d.lookup(name); a[i%4]&(1<<l) == 0 {
					t.Error("a loop that joined is not found")
				}
				if err := d.leave(name, l); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if d.channels() != 0 || len(b.subs) != 0 {
		t.Errorf("left: %d channels, %v at the broker", d.channels(), b.subs)
	}
}

func TestDirectoryLookupDoesNotAllocate(t *testing.T) {
	d := newDirectory(&counting{subs: map[string]int{}})
	name := []byte("news")
	if err := d.join(name, 1, 0); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { d.lookup(name) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func idText(ids *clientIDs, id loop.ConnID) string {
	return string(ids.append(nil, new([16]byte), id))
}

func TestClientIDsComeBack(t *testing.T) {
	key := [24]byte{1, 2, 3}
	ids, err := newClientIDs(key)
	if err != nil {
		t.Fatal(err)
	}
	form := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
	seen := map[string]bool{}
	for i := range 1000 {
		id := loop.ConnID(uint64(i)<<40 | uint64(i)*7919)
		text := idText(ids, id)
		if !form.MatchString(text) || seen[text] {
			t.Fatalf("conn %v is called %s", id, text)
		}
		seen[text] = true
		if got, ok := ids.parse(text); !ok || got != id {
			t.Fatalf("%s parses to %v %t, want %v", text, got, ok, id)
		}
	}
	// The key decides: another node, or the same after a restart, knows none of them.
	key[20]++
	other, err := newClientIDs(key)
	if err != nil {
		t.Fatal(err)
	}
	for text := range seen {
		if _, ok := other.parse(text); ok {
			t.Fatalf("%s is known to another node", text)
		}
	}
}

func TestInventedClientIDsAreNobodys(t *testing.T) {
	ids, err := newClientIDs([24]byte{9})
	if err != nil {
		t.Fatal(err)
	}
	good := idText(ids, 12345)
	for i := range good {
		for _, c := range []byte("0f-x") {
			if bad := good[:i] + string(c) + good[i+1:]; bad != good {
				if _, ok := ids.parse(bad); ok {
					t.Errorf("%s is accepted", bad)
				}
			}
		}
	}
	for _, bad := range []string{"", "x", good[:35], good + "0", strings.Repeat("-", 36), strings.Repeat("0", 36), "00000000-0000-0000-0000-000000000000"} {
		if _, ok := ids.parse(bad); ok {
			t.Errorf("%q is accepted", bad)
		}
	}
	var dst [clientIDBytes]byte
	block := new([16]byte)
	if n := testing.AllocsPerRun(100, func() { ids.append(dst[:0], block, 7) }); n != 0 {
		t.Errorf("%v allocations per id", n)
	}
}

func FuzzClientID(f *testing.F) {
	ids, err := newClientIDs([24]byte{9})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(idText(ids, 1))
	f.Add("00000000-0000-0000-0000-000000000000")
	f.Fuzz(func(t *testing.T, text string) {
		if id, ok := ids.parse(text); ok && idText(ids, id) != strings.ToLower(text) {
			t.Errorf("%q and %q are the same conn", text, idText(ids, id))
		}
	})
}

func TestEncodeMakesOnlyTheFormsInUse(t *testing.T) {
	r := newRig(t, 1)
	n := r.node
	pub := &channel.Publication{Data: []byte(`{"a":1}`), Tags: map[string]string{"k": "v"}, Info: &channel.ClientInfo{User: "u", Client: "c"}}
	var e encoder
	for mask := range 1 << len(n.cfg.Forms) {
		var a audience
		for i := range n.cfg.Forms {
			if mask>>i&1 != 0 {
				a[i] = 1
			}
		}
		out := e.encode(n, "news", pub, &a)
		for i, f := range n.cfg.Forms {
			b := out.bytes[i]
			if (b != nil) != (a[i] != 0) {
				t.Fatalf("forms %b: form %d encoded %t", mask, i, b != nil)
			}
			if b == nil {
				continue
			}
			want, err := proto.AppendPublicationPush(nil, f.Encoding, "news", &proto.Publication{
				Data: pub.Data, Tags: pub.Tags, Info: &proto.ClientInfo{User: "u", Client: "c"},
			})
			if err != nil {
				t.Fatal(err)
			}
			if got := string(b.Bytes()); got != fmt.Sprintf("<%d:%s>\n", i, want) {
				t.Errorf("form %d is %q", i, got)
			}
		}
		out.release()
	}
	if e.pub.Data != nil || e.pub.Info != nil || e.info.User != "" {
		t.Error("the encoder keeps what belongs to the publisher")
	}
}

func TestEncodeBarsFormsThatCannotCarryTheData(t *testing.T) {
	r := newRig(t, 1)
	var a audience
	for i := range r.node.cfg.Forms {
		a[i] = 1
	}
	var e encoder
	out := e.encode(r.node, "news", &channel.Publication{Data: []byte{0, 0xff}}, &a)
	defer out.release()
	for i, f := range r.node.cfg.Forms {
		if barred := out.barred>>i&1 != 0; barred != (f.Encoding == proto.JSON) || barred == (out.bytes[i] != nil) {
			t.Errorf("form %d (%s): barred %t, encoded %t", i, f.Encoding, barred, out.bytes[i] != nil)
		}
	}
}
