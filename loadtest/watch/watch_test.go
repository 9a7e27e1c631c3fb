package watch

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"shoal/loadtest/observe"
	"shoal/loadtest/timeline"
)

const patience = 30 * time.Second

// until waits for something that comes sooner or later.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// source is where a test server tells its metrics.
func source(t *testing.T, h http.HandlerFunc) observe.Source {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	at, err := netip.ParseAddrPort(strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	return observe.Source{Remote: at, Host: at.String(), Path: "/metrics"}
}

// clock goes faster than time does, so that a look at the metrics is due at every tick.
type clock struct{ began time.Time }

func (c *clock) now() time.Time { return c.began.Add(50 * time.Since(c.began)) }

func TestATestIsWatchedFromStartToEnd(t *testing.T) {
	var passes atomic.Int64
	metrics := source(t, func(w http.ResponseWriter, _ *http.Request) {
		n := passes.Add(1)
		fmt.Fprintf(w, "shoal_loop_lag_seconds_bucket{le=\"0.002\"} %d\nshoal_loop_lag_seconds_bucket{le=\"+Inf\"} %d\n", n, n)
	})
	c := &clock{began: time.Now()}
	var counted atomic.Int64
	w := Start(Config{
		Clock: c.now, Began: c.began,
		Observer: &observe.Observer{Proc: os.DirFS("/proc"), Sources: []observe.Source{metrics}}, // the target's process is not known
		Count: func(r *timeline.Reading) {
			n := int(counted.Add(1))
			r.Ready, r.Dialed, r.Received = n, n, 10*n
		},
	})
	until(t, "metrics", func() bool { return passes.Load() >= 3 })
	seen := counted.Load()
	until(t, "samples after them", func() bool { return counted.Load() > seen+5 })
	samples := w.Stop()
	if len(samples) < 8 || int(counted.Load()) < len(samples) {
		t.Fatalf("%d samples of %d looks", len(samples), counted.Load())
	}
	lag := 0.0
	for i, s := range samples {
		lag = max(lag, s.Lag)
		if s.RSS != 0 || s.CPU != 0 || s.SelfRSS == 0 || i > 0 && (s.Connects <= 0 || s.Deliveries <= s.Connects || s.Seconds <= samples[i-1].Seconds) {
			t.Fatalf("%d: %+v", i, s)
		}
	}
	if lag != 2000 {
		t.Errorf("the longest pass was %g µs", lag)
	}
}

func TestATargetThatDoesNotAnswerHoldsNothingUp(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	c := &clock{began: time.Now()}
	var counted atomic.Int64
	at := netip.MustParseAddrPort(silent.Addr().String())
	o := &observe.Observer{Proc: os.DirFS("/proc"), Sources: []observe.Source{{Remote: at, Host: at.String(), Path: "/"}}}
	w := Start(Config{Clock: c.now, Began: c.began, Observer: o, Count: func(*timeline.Reading) { counted.Add(1) }})
	until(t, "samples", func() bool { return counted.Load() > 10 })
	done := make(chan []timeline.Sample)
	go func() { done <- w.Stop() }()
	select {
	case s := <-done:
		if len(s) < 5 {
			t.Errorf("%d samples", len(s))
		}
	case <-time.After(patience):
		t.Fatal("it does not end")
	}
}

func TestATargetWithoutMetricsIsNotAsked(t *testing.T) {
	var asked atomic.Int64
	s := source(t, func(http.ResponseWriter, *http.Request) { asked.Add(1) })
	c := &clock{began: time.Now()}
	var counted atomic.Int64
	w := Start(Config{
		Clock: c.now, Began: c.began, Observer: &observe.Observer{Proc: os.DirFS("/proc"), Sources: []observe.Source{s}},
		Count: func(*timeline.Reading) { counted.Add(1) },
	})
	w.Mute()
	until(t, "samples", func() bool { return counted.Load() > 10 })
	w.Stop()
	if asked.Load() != 0 {
		t.Errorf("asked %d times", asked.Load())
	}
}
