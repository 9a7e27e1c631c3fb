package layout

import (
	"slices"
	"testing"
)

func TestChannelsAreSharedOutEvenly(t *testing.T) {
	for _, c := range []struct{ peers, channels, each, min, max int }{
		{15_000, 1000, 1, 15, 15}, {1500, 20, 20, 1500, 1500}, {2000, 1000, 20, 40, 40}, {1500, 1000, 20, 20, 40}, {3, 7, 2, 0, 2}, {5, 1, 1, 5, 5},
	} {
		l := New(Config{Channel: "c", Channels: c.channels, Subscriptions: c.each})
		receivers := make([]int, c.channels)
		for i := range uint32(c.peers) {
			for j := range c.each {
				at := l.Channel(i, j)
				receivers[at]++
				if l.Find(i, at) != j {
					t.Fatalf("%+v: peer %d has channel %d at %d, found at %d", c, i, at, j, l.Find(i, at))
				}
			}
			for at := range Ref(c.channels) {
				if j := l.Find(i, at); c.channels < 50 && j >= 0 && l.Channel(i, j) != at {
					t.Fatalf("%+v: peer %d is said to have channel %d", c, i, at)
				}
			}
		}
		if least, most := slices.Min(receivers), slices.Max(receivers); least < c.min || most > c.max {
			t.Errorf("%+v: %d to %d receivers", c, least, most)
		}
	}
}

func TestNamesAreReadAsTheyAreWritten(t *testing.T) {
	for _, cfg := range []Config{
		{Channel: "a", Channels: 1, Subscriptions: 1}, {Channel: "a", Channels: 30, Subscriptions: 3, Own: true}, {Channel: "a-u", Own: true},
		{Channel: "a", Channels: 1, Subscriptions: 1, Own: true},
	} {
		l := New(cfg)
		for _, number := range []uint32{0, 1, 29, 31, 999_999, ConnectionsMax - 1} {
			names := map[string]bool{}
			for j := range l.Each() {
				r := l.Channel(number, j)
				name := l.Name(r)
				back, known := l.Ref(name)
				if !known || back != r || l.Find(number, back) != j || names[name] {
					t.Errorf("%+v: channel %d of %d is %q, read as %d (%t)", cfg, j, number, name, back, known)
				}
				names[name] = true
			}
			if l.Find(number+1, Own(number)) != -1 {
				t.Errorf("%+v: %d has the channel of %d", cfg, number+1, number)
			}
		}
	}
}

func TestOtherNamesAreNone(t *testing.T) {
	l := New(Config{Channel: "a", Channels: 3, Subscriptions: 1, Own: true})
	for _, name := range []string{"", "a", "a-", "a-3", "a-00", "a-u", "a-u-1", "a-u01", "a-u2147483648", "b-u1", "a-u1 "} {
		if r, known := l.Ref(name); known {
			t.Errorf("%q is read as %d", name, r)
		}
	}
	if _, known := New(Config{Channel: "a", Channels: 3, Subscriptions: 1}).Ref("a-u1"); known {
		t.Error("own channels where there are none")
	}
}
