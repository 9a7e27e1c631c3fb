package entry

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"shoal/codec/handshake"
	"shoal/server/rate"
)

const second = int64(time.Second)

func newAddresses(openMax, perSecond, burst, shardMax int) *addresses {
	return &addresses{openMax: uint32(openMax), pace: rate.PaceOf(perSecond, burst), shardMax: shardMax, seed: 0x9e3779b97f4a7c15}
}

func TestAnIPv6AddressIsItsNetwork(t *testing.T) {
	key := func(text string) uint64 { return keyOf(netip.MustParseAddr(text)) }
	for _, same := range [][2]string{
		{"2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff"},
		{"192.0.2.1", "::ffff:192.0.2.1"},
		{"fe80::1%eth0", "fe80::2%eth1"},
	} {
		if key(same[0]) != key(same[1]) {
			t.Errorf("%s and %s have limits of their own", same[0], same[1])
		}
	}
	seen := map[uint64]string{}
	for _, text := range []string{"2001:db8:1:2::1", "2001:db8:1:3::1", "192.0.2.1", "192.0.2.2", "0.0.0.0", "255.255.255.255", "::1", "fe80::1", "::192.0.2.1"} {
		k := key(text)
		if other, taken := seen[k]; taken && !(other == "::1" && text == "::192.0.2.1") { // both of ::/64
			t.Errorf("%s and %s share their limits", other, text)
		}
		if seen[k] = text; k == 0 {
			t.Errorf("%s has the key of nobody", text)
		}
	}
}

func TestAnAddressHasSoManyOpen(t *testing.T) {
	a := newAddresses(3, 0, 0, 16)
	for range 3 {
		if tracked, s := a.arrive(7, 0); s != handshake.Done || !tracked {
			t.Fatalf("%v %v", tracked, s)
		}
	}
	for range 5 {
		if _, s := a.arrive(7, 0); s != handshake.AddressFull {
			t.Errorf("the fourth: %v", s)
		}
	}
	if _, s := a.arrive(8, 0); s != handshake.Done {
		t.Errorf("another address: %v", s)
	}
	a.leave(7)
	if _, s := a.arrive(7, 0); s != handshake.Done {
		t.Errorf("after one left: %v", s)
	}
	for range 3 {
		a.leave(7)
	}
	a.leave(8)
	if a.count() != 0 || a.open() != 0 {
		t.Errorf("%d addresses are remembered for nothing", a.count())
	}
}

func TestLeavingWithoutHavingComeIsABug(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("nothing happened")
		}
	}()
	newAddresses(3, 0, 0, 16).leave(7)
}

func TestARefusedConnectionCostsAnAddressNothing(t *testing.T) {
	a := newAddresses(1, 10, 2, 16)
	if _, s := a.arrive(7, 0); s != handshake.Done {
		t.Fatal(s)
	}
	for range 100 {
		if _, s := a.arrive(7, 0); s != handshake.AddressFull {
			t.Fatal(s)
		}
	}
	a.leave(7)
	if _, s := a.arrive(7, 0); s != handshake.Done {
		t.Errorf("the second of a burst of two: %v", s)
	}
	a.leave(7)
	if _, s := a.arrive(7, 0); s != handshake.AddressTooFast {
		t.Errorf("the third: %v", s)
	}
	if _, s := a.arrive(7, second/10); s != handshake.Done {
		t.Errorf("a tenth of a second later: %v", s)
	}
}

func TestSweepForgetsWhatNeedNotBeRemembered(t *testing.T) {
	a := newAddresses(5, 1, 1, 1<<20)
	const many = 10_000
	for key := range uint64(many) {
		if _, s := a.arrive(key+1, 0); s != handshake.Done {
			t.Fatal(s)
		}
		if key >= 100 {
			a.leave(key + 1)
		}
	}
	round := func(now int64) {
		for range addressShards / sweepShards {
			a.sweep(now)
		}
	}
	if round(second - 1); a.count() != many {
		t.Errorf("%d are remembered while their buckets fill, want all", a.count())
	}
	if round(second); a.count() != 100 || a.open() != 100 {
		t.Errorf("%d are remembered, %d connections; want those 100 with one open", a.count(), a.open())
	}
	for key := range uint64(100) {
		a.leave(key + 1)
	}
	round(second)
	for i := range a.shards {
		if s := &a.shards[i]; s.of != nil || s.peak != 0 {
			t.Fatalf("shard %d keeps its memory", i)
		}
	}
}

func TestAFloodOfAddressesIsBoundedAndHarmsNobodyElse(t *testing.T) {
	const perShard = 8
	a := newAddresses(2, 0, 0, perShard)
	if _, s := a.arrive(1, 0); s != handshake.Done {
		t.Fatal(s)
	}
	tracked := 0
	for key := range uint64(100_000) {
		counted, s := a.arrive(key+2, 0)
		if s != handshake.Done {
			t.Fatalf("address %d: %v; one that cannot be counted is let in", key, s)
		}
		if counted {
			tracked++
		}
	}
	if n := a.count(); n != addressShards*perShard || n != tracked+1 {
		t.Errorf("%d addresses are remembered, %d were counted; the bound is %d", n, tracked+1, addressShards*perShard)
	}
	if _, s := a.arrive(1, 0); s != handshake.Done {
		t.Errorf("an address that is remembered: %v", s)
	}
	if _, s := a.arrive(1, 0); s != handshake.AddressFull {
		t.Errorf("its limit during the flood: %v", s)
	}
}

func TestLoopsAndTheSweepDoNotDisturbEachOther(t *testing.T) {
	const loops, turns, keys, openMax = 8, 3000, 20, 5
	a := newAddresses(openMax, 1_000_000, 1000, 16)
	done := make(chan int)
	for i := range loops {
		go func() {
			rng, held, most := rand.New(rand.NewPCG(uint64(i), 1)), []uint64{}, 0
			for now := range int64(turns) {
				key := 1 + rng.Uint64N(keys)
				if counted, s := a.arrive(key, now); counted && s == handshake.Done {
					held = append(held, key)
				}
				for len(held) > 0 && rng.IntN(2) == 0 {
					n := rng.IntN(len(held))
					a.leave(held[n])
					held = slices.Delete(held, n, n+1)
				}
				most = max(most, len(held))
			}
			for _, key := range held {
				a.leave(key)
			}
			done <- most
		}()
	}
	for ended := 0; ended < loops; {
		select {
		case most := <-done:
			if ended++; most > keys*openMax {
				t.Errorf("a loop held %d connections, all may have %d", most, keys*openMax)
			}
		default:
			a.sweep(turns)
		}
	}
	for range addressShards / sweepShards {
		a.sweep(1 << 62)
	}
	if a.open() != 0 || a.count() != 0 {
		t.Errorf("left: %d connections, %d addresses", a.open(), a.count())
	}
}

// Addresses one beside the other, as in a network, are spread well.
func TestShardsFillAlike(t *testing.T) {
	a := newAddresses(1, 0, 0, 1<<20)
	const each = 256
	for i := range uint32(addressShards * each) {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], 0x0a000000+i)
		a.arrive(keyOf(netip.AddrFrom4(b)), 0)
	}
	for i := range a.shards {
		if n := len(a.shards[i].of); n > 2*each {
			t.Errorf("shard %d has %d addresses, %d would be its part", i, n, each)
		}
	}
}

func TestWhatIsRememberedHasNoPointers(t *testing.T) {
	if n := reflect.TypeFor[address]().Size(); n != 16 {
		t.Errorf("an address takes %d bytes, want 16", n)
	}
	for f := range reflect.TypeFor[address]().NumField() {
		switch k := reflect.TypeFor[address]().Field(f).Type.Kind(); k {
		case reflect.Int64, reflect.Uint32:
		default:
			t.Errorf("field %d is a %v", f, k)
		}
	}
}
