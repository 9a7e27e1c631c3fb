package brokertest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"shoal/server/broker"
	"shoal/server/channel"
)

func deliveryTests() map[string]func(*testing.T, Subject) {
	return map[string]func(*testing.T, Subject){
		"refuses before Run and after it":       refusesWhenNotRunning,
		"delivers what was published":           deliversWhatWasPublished,
		"delivers joins and leaves":             deliversSignals,
		"copies what it keeps":                  copiesWhatItKeeps,
		"keeps one order per channel":           keepsOneOrder,
		"delivers one at a time per channel":    deliversOneAtATime,
		"keeps channels apart":                  keepsChannelsApart,
		"subscribes twice, unsubscribes twice":  subscribesTwice,
		"delivers again after a resubscription": deliversAfterResubscription,
		"delivers nothing after Run":            deliversNothingAfterRun,
		"may be used by a Deliver":              mayBeUsedByDeliver,
	}
}

func refusesWhenNotRunning(t *testing.T, b Subject) {
	try := func(when string) {
		if _, err := b.Publish(context.Background(), "a", &channel.Publication{Data: []byte("1")}, broker.PublishOptions{}); !errors.Is(err, broker.ErrNotRunning) {
			t.Errorf("%s: Publish returned %v, want ErrNotRunning", when, err)
		}
		if err := b.Signal(context.Background(), "a", []channel.Signal{{}}); !errors.Is(err, broker.ErrNotRunning) {
			t.Errorf("%s: Signal returned %v, want ErrNotRunning", when, err)
		}
	}
	try("before Run")
	n := newNode()
	stop := running(t, b, n, "a")
	publish(t, b, "a", "2")
	n.wait(t, "a", 1)
	stop()
	try("after Run")
	if got := n.wait(t, "a", 1); len(got) != 1 || got[0].data != "2" {
		t.Errorf("delivered were %v, want only 2", got)
	}
}

func deliversWhatWasPublished(t *testing.T, b Subject) {
	n := newNode()
	running(t, b, n, "a")
	info := channel.ClientInfo{User: "u", Client: "c", ConnInfo: []byte(`{"x":1}`)}
	for i, data := range []string{"{}", "", "\x00\xff", string(make([]byte, 100_000))} {
		pub := channel.Publication{Data: []byte(data), Tags: map[string]string{"k": "v"}, Info: &info, Time: 1, Exclude: "c2"}
		if _, err := b.Publish(context.Background(), "a", &pub, broker.PublishOptions{}); err != nil {
			t.Fatal(err)
		}
		d := n.wait(t, "a", i+1)[i]
		if d.data != data || d.tags["k"] != "v" || d.info.User != "u" || d.info.Client != "c" || string(d.info.ConnInfo) != `{"x":1}` || d.time != 1 || d.exclude != "c2" {
			t.Errorf("publication %d arrived as %.60q %v %+v at %d but for %q", i, d.data, d.tags, d.info, d.time, d.exclude)
		}
	}
}

func deliversSignals(t *testing.T, b Subject) {
	n := newNode()
	running(t, b, n, "a", "b")
	signals := make([]channel.Signal, 2)
	for i := range 50 {
		for k := range signals {
			signals[k] = channel.Signal{Leave: k == 1, Info: channel.ClientInfo{User: "u", Client: fmt.Sprint(i), ConnInfo: []byte("1"), ChanInfo: []byte("2")}}
		}
		if err := b.Signal(context.Background(), []string{"a", "b"}[i%2], signals); err != nil {
			t.Fatal(err)
		}
		signals[0].Info.ConnInfo[0], signals[1] = 'x', channel.Signal{}
	}
	n.until(t, "100 signals", func() bool { return len(n.signals["a"]) == 50 && len(n.signals["b"]) == 50 })
	for i := range 100 {
		s := n.signals[[]string{"a", "b"}[i/2%2]][i/4*2+i%2]
		if s.Leave != (i%2 == 1) || s.Info.Client != fmt.Sprint(i/2) || s.Info.User != "u" || string(s.Info.ConnInfo)+string(s.Info.ChanInfo) != "12" {
			t.Errorf("signal %d arrived as %+v", i, s)
		}
	}
	if got := n.got["a"]; len(got) != 0 {
		t.Errorf("and with them %v", got)
	}
}

func copiesWhatItKeeps(t *testing.T, b Subject) {
	n := newNode()
	running(t, b, n, "abc")
	data := make([]byte, 8)
	for i := range 100 {
		copy(data, fmt.Sprintf("%08d", i))
		if _, err := b.Publish(context.Background(), "abc", &channel.Publication{Data: data}, broker.PublishOptions{}); err != nil {
			t.Fatal(err)
		}
		copy(data, "xxxxxxxx")
	}
	for i, d := range n.wait(t, "abc", 100) {
		if d.data != fmt.Sprintf("%08d", i) {
			t.Fatalf("publication %d arrived as %s", i, d.data)
		}
	}
}

func keepsOneOrder(t *testing.T, b Subject) {
	first := newNode()
	running(t, b, first, "a", "b")
	const publishers, each = 4, 100
	var wg sync.WaitGroup
	for p := range publishers {
		wg.Go(func() {
			for i := range each {
				publish(t, b, []string{"a", "b"}[i%2], fmt.Sprintf("%d-%d", p, i))
			}
		})
	}
	wg.Wait()
	for _, name := range []string{"a", "b"} {
		last := map[int]int{}
		var offset uint64
		for _, d := range first.wait(t, name, publishers*each/2) {
			var p, i int
			if _, err := fmt.Sscanf(d.data, "%d-%d", &p, &i); err != nil {
				t.Fatal(err)
			}
			if before, seen := last[p]; seen && i <= before {
				t.Errorf("%s: publication %d of publisher %d came after its %d", name, i, p, before)
			}
			last[p] = i
			if d.pos.Offset != 0 && d.pos.Offset != offset+1 {
				t.Errorf("%s: offset %d follows %d", name, d.pos.Offset, offset)
			}
			offset = d.pos.Offset
		}
	}
}

func deliversOneAtATime(t *testing.T, b Subject) {
	n := newNode()
	n.hook = func(string) { time.Sleep(100 * time.Microsecond) }
	running(t, b, n, "a")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 25 {
				publish(t, b, "a", "x")
			}
		})
	}
	wg.Wait()
	n.wait(t, "a", 100)
	if n.overlap {
		t.Error("Deliver was called for a channel while it ran for the same channel")
	}
}

func keepsChannelsApart(t *testing.T, b Subject) {
	n := newNode()
	names := []string{"a", "A", "a:b", "a.b", "*", "a b", "é", string(make([]byte, 255))}
	running(t, b, n, names...)
	for _, name := range names {
		publish(t, b, name, "to "+name)
	}
	for _, name := range names {
		if got := n.wait(t, name, 1); len(got) != 1 || got[0].data != "to "+name {
			t.Errorf("%q got %v", name, got)
		}
	}
}

func subscribesTwice(t *testing.T, b Subject) {
	n := newNode()
	running(t, b, n, "a", "a")
	publish(t, b, "a", "1")
	n.wait(t, "a", 1)
	publish(t, b, "a", "2")
	if got := n.wait(t, "a", 2); len(got) != 2 {
		t.Errorf("%d deliveries of 2 publications", len(got))
	}
	for range 2 {
		if err := b.Unsubscribe("a"); err != nil {
			t.Error(err)
		}
	}
	if err := b.Unsubscribe("never-subscribed"); err != nil {
		t.Error(err)
	}
}

func deliversAfterResubscription(t *testing.T, b Subject) {
	n := newNode()
	running(t, b, n)
	for i := range 20 {
		if err := b.Subscribe("a"); err != nil {
			t.Fatal(err)
		}
		publish(t, b, "a", fmt.Sprint(i))
		got := n.wait(t, "a", i+1)
		if got[i].data != fmt.Sprint(i) {
			t.Fatalf("publication %d arrived as %s", i, got[i].data)
		}
		if err := b.Unsubscribe("a"); err != nil {
			t.Fatal(err)
		}
	}
}

func deliversNothingAfterRun(t *testing.T, b Subject) {
	n := newNode()
	stop := running(t, b, n, "a")
	var ended sync.Mutex
	over := false
	n.hook = func(string) {
		ended.Lock()
		defer ended.Unlock()
		if over {
			t.Error("Deliver was called after Run had returned")
		}
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	accepted := 0
	for range 4 {
		wg.Go(func() {
			for {
				if _, err := b.Publish(context.Background(), "a", &channel.Publication{Data: []byte("x")}, broker.PublishOptions{}); err != nil {
					return
				}
				mu.Lock()
				accepted++
				mu.Unlock()
			}
		})
	}
	n.wait(t, "a", 100)
	stop()
	ended.Lock()
	over = true
	ended.Unlock()
	wg.Wait()
	if got := len(n.wait(t, "a", 1)); got < accepted {
		t.Errorf("%d publications were accepted, %d were delivered", accepted, got)
	}
}

// A Deliver may use the broker for another channel, as a hook of the node might.
func mayBeUsedByDeliver(t *testing.T, b Subject) {
	n := newNode()
	n.hook = func(name string) {
		if name == "a" {
			if err := b.Subscribe("b"); err != nil {
				t.Error(err)
			}
		}
	}
	running(t, b, n, "a")
	publish(t, b, "a", "1")
	n.wait(t, "a", 1)
	publish(t, b, "b", "2")
	n.wait(t, "b", 1)
}
