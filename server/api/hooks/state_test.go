package hooks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"shoal/server/api/hooks/proxypb"
	"shoal/server/backend"
)

// told collects the events a backend accepted.
type told struct {
	mu     sync.Mutex
	events []stateEvent
	fails  int // requests to fail before the next one is accepted
	want   int
	done   chan struct{} // closed at want events
}

func (c *told) take(events []stateEvent) (ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fails > 0 {
		c.fails--
		return false
	}
	before := len(c.events)
	c.events = append(c.events, events...)
	if before < c.want && len(c.events) >= c.want {
		close(c.done)
	}
	return true
}

func (c *told) handler(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var q struct {
		Events []stateEvent `json:"events"`
	}
	switch {
	case json.Unmarshal(body, &q) != nil:
		w.WriteHeader(400)
	case c.take(q.Events):
		_, _ = io.WriteString(w, `{}`)
	case len(q.Events)%2 == 0:
		w.WriteHeader(500)
	default:
		_, _ = io.WriteString(w, `{"error":{"code":1000,"message":"later"}}`)
	}
}

// run starts the senders and gives a function that ends them.
func run(t *testing.T, r *rig) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, send := range r.Senders() {
		wg.Go(func() {
			if err := send(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	return func() {
		cancel()
		wg.Wait()
	}
}

func TestChannelStateIsThePublishedJSON(t *testing.T) {
	w := newWeb(t, says(200, `{}`))
	r := newRig(t, everywhere(t, Endpoint{URL: w.URL, IncludeMeta: true, BinaryEncoding: true}))
	for i, occupied := range []bool{true, false} {
		if err := r.ChannelState(context.Background(), &backend.ChannelStateRequest{Channel: "chat", Occupied: occupied, Time: 1697206286533 + int64(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if s := r.stat(t, backend.ChannelState, "default"); s.Pending != 2 {
		t.Errorf("%+v", s)
	}
	if err := r.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if a := w.all(); len(a) != 1 || a[0].body != `{"events":[{"time_ms":1697206286533,"channel":"chat","type":"occupied"},{"time_ms":1697206286534,"channel":"chat","type":"vacated"}]}` {
		t.Errorf("got %v", a)
	}
}

func TestChannelStateOverGRPC(t *testing.T) {
	c := &told{want: 2, done: make(chan struct{}), fails: 1}
	r := newRig(t, everywhere(t, Endpoint{URL: serve(t, &remote{
		state: func(_ context.Context, q *proxypb.NotifyChannelStateRequest) (*proxypb.NotifyChannelStateResponse, error) {
			var events []stateEvent
			for _, e := range q.Events {
				events = append(events, stateEvent{TimeMS: e.TimeMs, Channel: e.Channel, Type: e.Type})
			}
			if !c.take(events) {
				return &proxypb.NotifyChannelStateResponse{Error: &proxypb.Error{Code: 1000}}, nil
			}
			return &proxypb.NotifyChannelStateResponse{Result: &proxypb.NotifyChannelStateResult{}}, nil
		},
	})}))
	defer run(t, r)()
	for i, occupied := range []bool{true, false} {
		if err := r.ChannelState(context.Background(), &backend.ChannelStateRequest{Channel: "chat", Occupied: occupied, Time: int64(i)}); err != nil {
			t.Fatal(err)
		}
	}
	<-c.done
	if got := fmt.Sprint(c.events); got != "[{0 chat occupied} {1 chat vacated}]" {
		t.Error(got)
	}
}

// TestChannelStateIsToldInOrderAtLeastOnce: several goroutines, several channels, a
// backend that fails now and then.
func TestChannelStateIsToldInOrderAtLeastOnce(t *testing.T) {
	const channels, each = 20, 100
	c := &told{want: channels * each, done: make(chan struct{}), fails: 7}
	w := newWeb(t, c.handler)
	w.Config.Handler = http.HandlerFunc(c.handler)
	r := newRig(t, everywhere(t, Endpoint{URL: w.URL, Retries: 1}))
	defer run(t, r)()
	var wg sync.WaitGroup
	for i := range channels {
		wg.Go(func() {
			name := fmt.Sprintf("c%d", i)
			for n := range each {
				if err := r.ChannelState(context.Background(), &backend.ChannelStateRequest{Channel: name, Occupied: n%2 == 0, Time: int64(n)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	<-c.done
	if err := r.Close(context.Background()); err != nil { // behind the sender, who has yet to read the last answer
		t.Error(err)
	}
	next := map[string]int64{}
	for _, e := range c.events {
		if e.TimeMS != next[e.Channel] {
			t.Fatalf("%s: event %d came where %d was due", e.Channel, e.TimeMS, next[e.Channel])
		}
		next[e.Channel]++
	}
	if s := r.stat(t, backend.ChannelState, "default"); s.Pending != 0 || s.Calls < channels*each/stateBatch {
		t.Errorf("%+v", s)
	}
}

func TestChannelStateOfOneBackendDoesNotWaitForAnother(t *testing.T) {
	c := &told{want: 1, done: make(chan struct{})}
	good, bad := newWeb(t, c.handler), newWeb(t, says(500, ""))
	good.Config.Handler = http.HandlerFunc(c.handler)
	cfg := everywhere(t, Endpoint{URL: bad.URL})
	cfg.Named[0].URL = good.URL
	cfg.Sleep = func(ctx context.Context, _ time.Duration) error {
		<-ctx.Done()
		return ctx.Err()
	}
	r := newRig(t, cfg)
	stop := run(t, r)
	for _, name := range []string{"x", "other:x"} {
		if err := r.ChannelState(context.Background(), &backend.ChannelStateRequest{Channel: name}); err != nil {
			t.Fatal(err)
		}
	}
	<-c.done
	stop()
	if err := r.Close(context.Background()); err == nil || !strings.Contains(err.Error(), "1 channel-state event") {
		t.Errorf("got %v", err)
	}
}

func TestChannelStateOverTheLimitIsRefused(t *testing.T) {
	w := newWeb(t, says(200, `{}`))
	cfg := everywhere(t, Endpoint{URL: w.URL})
	cfg.StatePendingMax = 2
	r := newRig(t, cfg)
	for i := range 3 {
		err := r.ChannelState(context.Background(), &backend.ChannelStateRequest{Channel: "x"})
		if i < 2 && err != nil || i == 2 && (!errors.Is(err, ErrPending) || kindOf(t, err) != KindPending) {
			t.Errorf("%d: %v", i, err)
		}
	}
	if err := r.ChannelState(context.Background(), &backend.ChannelStateRequest{Channel: "quiet:x"}); err == nil {
		t.Error("a channel that is not told about was taken")
	}
	if err := r.ChannelState(context.Background(), &backend.ChannelStateRequest{Channel: "nowhere:x"}); err == nil {
		t.Error("an unknown channel was taken")
	}
}

func TestWaitsBetweenFailedBatchesGrowToABound(t *testing.T) {
	w := newWeb(t, says(500, ""))
	cfg := everywhere(t, Endpoint{URL: w.URL})
	ctx, cancel := context.WithCancel(context.Background())
	var waits []time.Duration
	cfg.Sleep = func(ctx context.Context, d time.Duration) error {
		if waits = append(waits, d); len(waits) == 10 {
			cancel()
		}
		return ctx.Err()
	}
	r := newRig(t, cfg)
	if err := r.ChannelState(ctx, &backend.ChannelStateRequest{Channel: "x"}); err != nil {
		t.Fatal(err)
	}
	if err := r.Senders()[0](ctx); err != nil {
		t.Error(err)
	}
	if got := fmt.Sprint(waits); got != "[75ms 150ms 300ms 600ms 1.2s 2.4s 4.8s 7.5s 7.5s 7.5s]" {
		t.Error(got)
	}
}
