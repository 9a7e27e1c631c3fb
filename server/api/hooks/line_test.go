package hooks

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"shoal/server/backend"
	"shoal/server/channel"
)

const ms = time.Millisecond

func TestOnlyWhatMayBeAskedTwiceIsRepeated(t *testing.T) {
	w := newWeb(t, nil)
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		again  bool
	}{
		{"502", says(502, ""), true},
		{"503", says(503, ""), true},
		{"504", says(504, ""), true},
		{"503 with a transform", says(503, ""), true},
		{"cut", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, true},
		{"500", says(500, ""), false},
		{"429", says(429, ""), false},
		{"garbage", says(200, "x"), false},
		{"refused", says(200, `{"error":{"code":400}}`), false},
	} {
		w.script(c.answer)
		e := Endpoint{URL: w.URL, Retries: 3, RetryDelay: 40 * ms}
		if c.name == "503 with a transform" {
			e.Transforms = []Transform{{Status: 503, Error: channel.Error{Code: 400}}}
		}
		r := newRig(t, everywhere(t, e))
		askAll(t, r.Hooks, who())
		for _, event := range []backend.Event{backend.Connect, backend.Refresh, backend.Subscribe, backend.SubRefresh, backend.Publish, backend.RPC} {
			want := uint64(0)
			if c.again && event != backend.Publish && event != backend.RPC {
				want = 3
			}
			if got := r.stat(t, event, "default").Retries; got != want {
				t.Errorf("%s: %v repeated %d times, want %d", c.name, event, got, want)
			}
		}
		if slept := r.slept(); c.again && fmt.Sprint(slept[:3]) != "[20ms 40ms 80ms]" { // half of 40, 80, 160
			t.Errorf("%s: waits %v", c.name, slept[:3])
		}
	}
}

func TestARepetitionCanSucceed(t *testing.T) {
	var n atomic.Int32
	w := newWeb(t, func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) == 1 {
			w.WriteHeader(503)
			return
		}
		says(200, `{"result":{"user":"u"}}`)(w, r)
	})
	r := newRig(t, everywhere(t, Endpoint{URL: w.URL, Retries: 1, Transforms: []Transform{{Status: 503, Error: channel.Error{Code: 400}}}}))
	reply, err := r.Connect(context.Background(), &backend.ConnectRequest{})
	if err != nil || reply.User != "u" || reply.Refused() {
		t.Errorf("%+v, %v", reply, err)
	}
}

func TestRepetitionsEndWithTheContext(t *testing.T) {
	w := newWeb(t, says(503, ""))
	ctx, cancel := context.WithCancel(context.Background())
	cfg := everywhere(t, Endpoint{URL: w.URL, Retries: 10})
	cfg.Sleep = func(ctx context.Context, _ time.Duration) error {
		cancel()
		return ctx.Err()
	}
	r := newRig(t, cfg)
	_, err := r.Subscribe(ctx, &backend.SubscribeRequest{Client: who(), Channel: "news"})
	if kindOf(t, err) != KindCanceled || len(w.all()) != 1 {
		t.Errorf("%v after %d questions", err, len(w.all()))
	}
}

func TestAHangingBackendIsLeftAtTheTimeout(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	hang := func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}
	for name, answer := range map[string]http.HandlerFunc{
		"before the header": hang,
		"in the body": func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write([]byte(`{"result":`))
			_ = http.NewResponseController(w).Flush()
			hang(w, r)
		},
	} {
		w := newWeb(t, answer)
		r := newRig(t, everywhere(t, Endpoint{URL: w.URL, Timeout: 30 * ms, Retries: 5, BreakerFailures: 1}))
		_, err := r.Subscribe(context.Background(), &backend.SubscribeRequest{Client: who(), Channel: "news"})
		if kindOf(t, err) != KindTimeout || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
		s := r.stat(t, backend.Subscribe, "default")
		if s.Retries != 0 || s.Breaker != Open || s.Errors[KindTimeout] != 1 || s.Active != 0 {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

// A tenant whose class has little patience must not have a backend that is slow left alone by
// everybody.
func TestACallerWithLessPatienceThanTheProxyBlamesNobody(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	w := newWeb(t, func(http.ResponseWriter, *http.Request) { <-release })
	r := newRig(t, everywhere(t, Endpoint{URL: w.URL, Timeout: time.Minute, BreakerFailures: 1}))
	for range 3 {
		ctx, cancel := context.WithTimeout(context.Background(), 20*ms)
		_, err := r.RPC(ctx, &backend.RPCRequest{Client: who(), Method: "m"})
		cancel()
		if kindOf(t, err) != KindTimeout {
			t.Error(err)
		}
	}
	if s := r.stat(t, backend.RPC, "default"); s.Breaker != Closed || s.Errors[KindTimeout] != 3 {
		t.Errorf("%+v", s)
	}
}

func TestACallerThatGivesUpBlamesNobody(t *testing.T) {
	entered := make(chan struct{})
	w := newWeb(t, func(_ http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		<-r.Context().Done()
	})
	r := newRig(t, everywhere(t, Endpoint{URL: w.URL, Timeout: time.Minute, BreakerFailures: 1, Retries: 3}))
	for _, asks := range []func(ctx context.Context) error{
		func(ctx context.Context) error {
			_, err := r.Subscribe(ctx, &backend.SubscribeRequest{Client: who(), Channel: "news"})
			return err
		},
		func(ctx context.Context) error {
			_, err := r.Refresh(ctx, &backend.RefreshRequest{Client: who()})
			return err
		},
		func(ctx context.Context) error {
			_, err := r.SubRefresh(ctx, &backend.SubRefreshRequest{Client: who(), Channel: "news"})
			return err
		},
	} {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- asks(ctx) }()
		<-entered
		cancel()
		if err := <-done; kindOf(t, err) != KindCanceled {
			t.Error(err)
		}
	}
	if s := r.stat(t, backend.Subscribe, "default"); s.Breaker != Closed || s.Active != 0 {
		t.Errorf("%+v", s)
	}
	if r.log.String() != "" {
		t.Errorf("logged: %s", r.log.String())
	}
}

func TestQuestionsOverTheLimitFailAtOnce(t *testing.T) {
	const limit = 3
	entered, release := make(chan struct{}), make(chan struct{})
	w := newWeb(t, func(w http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		<-release
		says(200, `{}`)(w, r)
	})
	r := newRig(t, everywhere(t, Endpoint{URL: w.URL, ConcurrencyMax: limit, Timeout: time.Minute, BreakerFailures: 1}))
	ask := func() error {
		_, err := r.RPC(context.Background(), &backend.RPCRequest{Client: who()})
		return err
	}
	var wg sync.WaitGroup
	for range limit {
		wg.Go(func() {
			if err := ask(); err != nil {
				t.Error(err)
			}
		})
		<-entered
	}
	for range 5 {
		if err := ask(); kindOf(t, err) != KindConcurrency {
			t.Error(err)
		}
	}
	if s := r.stat(t, backend.RPC, "default"); s.Active != limit || s.Errors[KindConcurrency] != 5 || s.Breaker != Closed {
		t.Errorf("%+v", s)
	}
	close(release)
	wg.Wait()
	go func() { <-entered }()
	if err := ask(); err != nil {
		t.Error(err)
	}
}

func TestBreakerOfAnEventAtAnEndpoint(t *testing.T) {
	w := newWeb(t, says(500, ""))
	r := newRig(t, everywhere(t, Endpoint{URL: w.URL, BreakerFailures: 3, BreakerCooldown: 4 * time.Second}))
	ask := func() error {
		_, err := r.RPC(context.Background(), &backend.RPCRequest{Client: who(), Method: "math:add"})
		return err
	}
	for range 3 {
		if err := ask(); kindOf(t, err) != KindStatus {
			t.Error(err)
		}
	}
	for range 10 {
		if err := ask(); kindOf(t, err) != KindBreaker {
			t.Error(err)
		}
	}
	// It is left alone by this event only: what clients can make fail must not stop others.
	_, err := r.Subscribe(context.Background(), &backend.SubscribeRequest{Client: who(), Channel: "other:x"})
	if kindOf(t, err) != KindStatus {
		t.Error(err)
	}
	_, err = r.Subscribe(context.Background(), &backend.SubscribeRequest{Client: who(), Channel: "x"})
	if kindOf(t, err) != KindStatus {
		t.Error(err)
	}
	if n := len(w.all()); n != 5 {
		t.Errorf("asked %d times", n)
	}
	w.script(says(200, `{}`))
	r.clock.pass(4 * time.Second)
	for range 5 {
		if err := ask(); err != nil {
			t.Error(err)
		}
	}
	if s := r.stat(t, backend.RPC, "other"); s.Breaker != Closed || s.Opened != 1 || s.Errors[KindBreaker] != 10 || s.Calls != 18 {
		t.Errorf("%+v", s)
	}
}

func TestABreakerThatOpensEndsTheRepetitions(t *testing.T) {
	w := newWeb(t, says(503, ""))
	r := newRig(t, everywhere(t, Endpoint{URL: w.URL, BreakerFailures: 2, Retries: 10}))
	_, err := r.Subscribe(context.Background(), &backend.SubscribeRequest{Client: who(), Channel: "x"})
	if kindOf(t, err) != KindStatus || len(w.all()) != 2 {
		t.Errorf("%v after %d questions", err, len(w.all()))
	}
}

type panicking struct{}

func (panicking) RoundTrip(*http.Request) (*http.Response, error) { panic("bug") }

func TestAPanickingRoundTripperLeavesNothingBehind(t *testing.T) {
	r := newRig(t, everywhere(t, Endpoint{URL: "http://x", RoundTripper: panicking{}, BreakerFailures: 1}))
	for range 2 {
		func() {
			defer func() { _ = recover() }()
			_, _ = r.RPC(context.Background(), &backend.RPCRequest{Client: who()})
		}()
	}
	if s := r.stat(t, backend.RPC, "default"); s.Active != 0 || s.Breaker != Open || s.Errors[KindBreaker] != 1 {
		t.Errorf("%+v", s)
	}
}

func TestFailuresAreLoggedRarely(t *testing.T) {
	w := newWeb(t, says(500, ""))
	r := newRig(t, everywhere(t, Endpoint{URL: w.URL}))
	for range 25 {
		_, _ = r.RPC(context.Background(), &backend.RPCRequest{Client: who()})
		r.clock.pass(time.Second)
	}
	if n := lines(r.log.String()); n != 3 {
		t.Errorf("%d lines in 25 s:\n%s", n, r.log.String())
	}
}

func lines(s string) (n int) {
	for i := range len(s) {
		if s[i] == '\n' {
			n++
		}
	}
	return n
}

func TestDurationsAreCountedInBuckets(t *testing.T) {
	var r *rig
	takes := []time.Duration{0, ms, ms + 1, 10 * time.Second, 11 * time.Second}
	i := 0
	w := newWeb(t, func(w http.ResponseWriter, q *http.Request) {
		r.clock.pass(takes[i])
		i++
		says(200, `{}`)(w, q)
	})
	r = newRig(t, everywhere(t, Endpoint{URL: w.URL}))
	for range takes {
		if _, err := r.RPC(context.Background(), &backend.RPCRequest{Client: who()}); err != nil {
			t.Fatal(err)
		}
	}
	s := r.stat(t, backend.RPC, "default")
	if s.Duration != 21*time.Second+2*ms+1 || s.Buckets != [BucketCount + 1]uint64{0: 2, 1: 1, BucketCount - 1: 1, BucketCount: 1} {
		t.Errorf("%v, %v", s.Duration, s.Buckets)
	}
}
