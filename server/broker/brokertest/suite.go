package brokertest

import (
	"context"
	"errors"
	"maps"
	"sync"
	"testing"
	"time"

	"shoal/server/broker"
	"shoal/server/channel"
)

// patience bounds every wait; a broker that needs longer is broken.
const patience = 20 * time.Second

// Subject is a broker under test, ready for its Run, on channels that nobody else
// uses.
type Subject struct {
	broker.Broker
	// Pass lets time pass for the broker without anybody waiting. nil: the suite
	// sleeps, and leaves out the property test with its hours.
	Pass func(d time.Duration)
}

func (s Subject) pass(d time.Duration) {
	if s.Pass == nil {
		time.Sleep(d)
		return
	}
	s.Pass(d)
}

// Run runs the suite. open returns a new subject; it may skip the test where what it
// needs is missing.
func Run(t *testing.T, open func(t *testing.T) Subject) {
	for _, tests := range []map[string]func(t *testing.T, s Subject){deliveryTests(), historyTests(), optionTests(), raceTests()} {
		for name, test := range tests {
			t.Run(name, func(t *testing.T) { test(t, open(t)) })
		}
	}
	t.Run("behaves like the model", func(t *testing.T) {
		for seed := range uint64(20) {
			if s := open(t); s.Pass != nil {
				behavesLikeTheModel(t, s, seed)
			}
		}
	})
}

// node is the receiving end.
type node struct {
	mu      sync.Mutex
	got     map[string][]delivery
	signals map[string][]channel.Signal
	busy    map[string]bool
	overlap bool
	hook    func(name string)
}

// delivery is a publication as it was during the call of Deliver, or in the history.
type delivery struct {
	data    string
	prev    string
	tags    map[string]string
	info    channel.ClientInfo
	pos     channel.Position
	time    int64
	exclude string
}

func newNode() *node {
	return &node{got: map[string][]delivery{}, signals: map[string][]channel.Signal{}, busy: map[string]bool{}}
}

func seen(pub *channel.Publication) delivery {
	d := delivery{
		data: string(pub.Data), prev: string(pub.Prev), tags: maps.Clone(pub.Tags), time: pub.Time, exclude: clone(pub.Exclude),
		pos: channel.Position{Offset: pub.Offset, Epoch: clone(pub.Epoch)},
	}
	if pub.Info != nil {
		d.info = copied(*pub.Info)
	}
	return d
}

// clone is strings.Clone, spelled so that no shared memory can hide.
func clone(s string) string { return string(append([]byte(nil), s...)) }

func copied(info channel.ClientInfo) channel.ClientInfo {
	return channel.ClientInfo{
		User: clone(info.User), Client: clone(info.Client),
		ConnInfo: append([]byte(nil), info.ConnInfo...), ChanInfo: append([]byte(nil), info.ChanInfo...),
	}
}

// Deliver implements [broker.Deliverer].
func (n *node) Deliver(name string, pub *channel.Publication) error {
	d, key := seen(pub), clone(name)
	n.enter(key)
	n.mu.Lock()
	n.busy[key] = false
	n.got[key] = append(n.got[key], d)
	n.mu.Unlock()
	return nil
}

// DeliverSignals implements [broker.Deliverer].
func (n *node) DeliverSignals(name string, signals []channel.Signal) error {
	key := clone(name)
	n.enter(key)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.busy[key] = false
	for _, s := range signals {
		n.signals[key] = append(n.signals[key], channel.Signal{Leave: s.Leave, Info: copied(s.Info)})
	}
	return nil
}

func (n *node) enter(key string) {
	n.mu.Lock()
	n.overlap = n.overlap || n.busy[key]
	n.busy[key] = true
	n.mu.Unlock()
	if n.hook != nil {
		n.hook(key)
	}
}

// until waits for a condition on the node, which is locked meanwhile.
func (n *node) until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		n.mu.Lock()
		done := ok()
		n.mu.Unlock()
		if done {
			return
		}
	}
	t.Fatalf("waited in vain for %s", what)
}

// wait returns the deliveries of a channel once there are n.
func (n *node) wait(t *testing.T, name string, count int) (got []delivery) {
	t.Helper()
	n.until(t, "publications of "+name, func() bool {
		got = append([]delivery(nil), n.got[name]...)
		return len(got) >= count
	})
	return got
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
		_, err := b.Publish(context.Background(), probe, &channel.Publication{Data: []byte("0")}, broker.PublishOptions{})
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

// publish publishes without history unless options say otherwise.
func publish(t *testing.T, b broker.Broker, name, data string, o ...broker.PublishOptions) broker.Result {
	t.Helper()
	o = append(o, broker.PublishOptions{})
	r, err := b.Publish(context.Background(), name, &channel.Publication{Data: []byte(data)}, o[0])
	if err != nil {
		t.Errorf("publish %s to %s: %v", data, name, err)
	}
	return r
}
