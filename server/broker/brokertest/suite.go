package brokertest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"shoal/server/broker"
	"shoal/server/channel"
)

// patience bounds every wait; a broker that needs longer is broken.
const patience = 20 * time.Second

// Run runs the suite. open returns a new broker, ready for its Run, on channels that
// nobody else uses; it may skip the test where what it needs is missing.
func Run(t *testing.T, open func(t *testing.T) broker.Broker) {
	for name, test := range map[string]func(t *testing.T, b broker.Broker){
		"refuses before Run and after it":       refusesWhenNotRunning,
		"delivers what was published":           deliversWhatWasPublished,
		"copies what it keeps":                  copiesWhatItKeeps,
		"keeps one order per channel":           keepsOneOrder,
		"delivers one at a time per channel":    deliversOneAtATime,
		"keeps channels apart":                  keepsChannelsApart,
		"subscribes twice, unsubscribes twice":  subscribesTwice,
		"delivers again after a resubscription": deliversAfterResubscription,
		"delivers nothing after Run":            deliversNothingAfterRun,
		"may be used by a Deliver":              mayBeUsedByDeliver,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

// node is the receiving end.
type node struct {
	mu      sync.Mutex
	got     map[string][]delivery
	busy    map[string]bool
	overlap bool
	hook    func(name string)
}

// delivery is a publication as it was during the call of Deliver.
type delivery struct {
	data string
	tags map[string]string
	info channel.ClientInfo
	pos  channel.Position
}

func newNode() *node { return &node{got: map[string][]delivery{}, busy: map[string]bool{}} }

// Deliver implements [broker.Deliverer].
func (n *node) Deliver(name string, pub *channel.Publication) error {
	d := delivery{data: string(pub.Data), tags: maps.Clone(pub.Tags), pos: pub.Position}
	if pub.Info != nil {
		d.info = *pub.Info
	}
	key := string(append([]byte(nil), name...))
	n.mu.Lock()
	n.overlap = n.overlap || n.busy[key]
	n.busy[key] = true
	n.mu.Unlock()
	if n.hook != nil {
		n.hook(key)
	}
	n.mu.Lock()
	n.busy[key] = false
	n.got[key] = append(n.got[key], d)
	n.mu.Unlock()
	return nil
}

// wait returns the deliveries of a channel once there are n.
func (n *node) wait(t *testing.T, name string, count int) []delivery {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		n.mu.Lock()
		got := append([]delivery(nil), n.got[name]...)
		n.mu.Unlock()
		if len(got) >= count {
			return got
		}
	}
	t.Fatalf("%d publications of %s did not arrive", count, name)
	return nil
}

// running runs the broker until stop is called, which returns when Run has.
func running(t *testing.T, b broker.Broker, n *node, channels ...string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx, n) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("Run ended with %v", err)
			}
		case <-time.After(patience):
			t.Error("Run did not end with its context")
		}
	})
	t.Cleanup(stop)
	for _, name := range channels {
		if err := b.Subscribe(name); err != nil {
			t.Fatal(err)
		}
	}
	const probe = "brokertest-probe"
	if err := b.Subscribe(probe); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		_, err := b.Publish(context.Background(), probe, &channel.Publication{Data: []byte("0")})
		if err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the broker does not come up: %v", err)
		}
	}
	n.wait(t, probe, 1)
	return stop
}

func publish(t *testing.T, b broker.Broker, name, data string) channel.Position {
	t.Helper()
	pos, err := b.Publish(context.Background(), name, &channel.Publication{Data: []byte(data)})
	if err != nil {
		t.Errorf("publish %s to %s: %v", data, name, err)
	}
	return pos
}

func refusesWhenNotRunning(t *testing.T, b broker.Broker) {
	try := func(when string) {
		if _, err := b.Publish(context.Background(), "a", &channel.Publication{Data: []byte("1")}); !errors.Is(err, broker.ErrNotRunning) {
			t.Errorf("%s: Publish returned %v, want ErrNotRunning", when, err)
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

func deliversWhatWasPublished(t *testing.T, b broker.Broker) {
	n := newNode()
	running(t, b, n, "a")
	info := channel.ClientInfo{User: "u", Client: "c", ConnInfo: []byte(`{"x":1}`)}
	for i, data := range []string{"{}", "", "\x00\xff", string(make([]byte, 100_000))} {
		pub := channel.Publication{Data: []byte(data), Tags: map[string]string{"k": "v"}, Info: &info}
		if _, err := b.Publish(context.Background(), "a", &pub); err != nil {
			t.Fatal(err)
		}
		d := n.wait(t, "a", i+1)[i]
		if d.data != data || d.tags["k"] != "v" || d.info.User != "u" || d.info.Client != "c" || string(d.info.ConnInfo) != `{"x":1}` {
			t.Errorf("publication %d arrived as %.60q %v %+v", i, d.data, d.tags, d.info)
		}
	}
}

func copiesWhatItKeeps(t *testing.T, b broker.Broker) {
	n := newNode()
	running(t, b, n, "abc")
	data := make([]byte, 8)
	for i := range 100 {
		copy(data, fmt.Sprintf("%08d", i))
		if _, err := b.Publish(context.Background(), "abc", &channel.Publication{Data: data}); err != nil {
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

func keepsOneOrder(t *testing.T, b broker.Broker) {
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

func deliversOneAtATime(t *testing.T, b broker.Broker) {
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

func keepsChannelsApart(t *testing.T, b broker.Broker) {
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

func subscribesTwice(t *testing.T, b broker.Broker) {
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

func deliversAfterResubscription(t *testing.T, b broker.Broker) {
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

func deliversNothingAfterRun(t *testing.T, b broker.Broker) {
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
				if _, err := b.Publish(context.Background(), "a", &channel.Publication{Data: []byte("x")}); err != nil {
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
func mayBeUsedByDeliver(t *testing.T, b broker.Broker) {
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
