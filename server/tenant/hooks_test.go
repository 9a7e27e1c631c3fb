package tenant

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"shoal/pool/worker"
	"shoal/server/channel"
)

type job func(ctx context.Context)

func (j job) Run(ctx context.Context) { j(ctx) }

// asking is a set with a session of each class on a desk: slot 0 premium, 1 standard, 2 basic.
func asking(t *testing.T, most int, limits [3]int) (*Set, *Desk) {
	t.Helper()
	cfg := Config{Claim: "tenant"}
	for i, c := range classes {
		cfg.List = append(cfg.List, Options{Name: c.name, Limits: Limits{Class: c.name, HookLimit: limits[i]}})
	}
	rules, err := channel.Compile(channel.Config{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(cfg, Host{Rules: rules, Epoch: epoch, Logger: slog.New(slog.DiscardHandler), AskedMax: most})
	if err != nil {
		t.Fatal(err)
	}
	d := s.Desk()
	for slot, c := range classes {
		enter(t, d, uint32(slot), c.name)
	}
	return s, d
}

func closed(t *testing.T, p *worker.Pool) {
	t.Helper()
	if err := p.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestATenantAsksSoMuchAtOnceAndTheRestWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, d := asking(t, 0, [3]int{2, 2, 1})
		pool := worker.New(worker.Config{Workers: 100})
		release, done := make(chan struct{}), make(chan int, 100)
		hang := job(func(context.Context) { <-release; done <- 1 })
		for i := range 1 + waitingFactor {
			if err := d.Submit(pool, 2, hang); err != nil {
				t.Fatalf("question %d: %v", i, err)
			}
		}
		for range 3 {
			if err := d.Submit(pool, 2, hang); err != worker.ErrQueueFull {
				t.Errorf("one more: %v", err)
			}
		}
		ran := false
		if err := d.Submit(pool, 0, job(func(context.Context) { ran = true })); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if !ran {
			t.Error("another tenant's question waits for those of the slow one")
		}
		s.Each(func(st Stats) {
			if st.Name == "basic" && (st.Asked != 1 || st.Waiting != waitingFactor || st.Refused[Hooks] != 3) {
				t.Errorf("%+v", st)
			}
		})
		if err := s.questions.validate(); err != nil {
			t.Error(err)
		}
		close(release)
		for range 1 + waitingFactor {
			<-done
		}
		synctest.Wait()
		if s.questions.asked != 0 || s.questions.waiting != 0 {
			t.Errorf("left: %d, %d", s.questions.asked, s.questions.waiting)
		}
		closed(t, pool)
	})
}

// Where there is not enough for all the best class goes first, and the worst does not starve.
func TestThePremiumAskFirstUnderContention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, d := asking(t, 1, [3]int{100, 100, 100})
		pool := worker.New(worker.Config{Workers: 100})
		release := make(chan struct{})
		if err := d.Submit(pool, 2, job(func(context.Context) { <-release })); err != nil {
			t.Fatal(err)
		}
		var order strings.Builder
		for slot, n := range []int{34, 3, 3} {
			for range n {
				if err := d.Submit(pool, uint32(slot), job(func(context.Context) { order.WriteByte(classes[slot].name[0]) })); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := s.questions.validate(); err != nil {
			t.Error(err)
		}
		close(release)
		synctest.Wait()
		want := strings.Repeat("p", 15) + "b" + strings.Repeat("p", 15) + "b" + "pppp" + "sss" + "b"
		if order.String() != want {
			t.Errorf("the order is %s, want %s", order.String(), want)
		}
		closed(t, pool)
	})
}

// Of two tenants of a class neither waits for all of the other.
func TestTenantsOfAClassTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rules, _ := channel.Compile(channel.Config{})
		s, err := New(Config{Claim: "tenant", List: []Options{named("a"), named("b"), named("c")}},
			Host{Rules: rules, Logger: slog.New(slog.DiscardHandler), AskedMax: 1})
		if err != nil {
			t.Fatal(err)
		}
		d, pool, release := s.Desk(), worker.New(worker.Config{}), make(chan struct{})
		var order strings.Builder
		for slot, name := range []string{"a", "b", "c"} {
			enter(t, d, uint32(slot), name)
		}
		_ = d.Submit(pool, 0, job(func(context.Context) { <-release }))
		for slot, n := range []int{6, 2, 3} {
			for range n {
				if err := d.Submit(pool, uint32(slot), job(func(context.Context) { order.WriteByte("abc"[slot]) })); err != nil {
					t.Fatal(err)
				}
			}
		}
		close(release)
		synctest.Wait()
		if order.String() != "abcabcacaaa" {
			t.Errorf("the order is %s", order.String())
		}
		closed(t, pool)
	})
}

func TestAQuestionMayTakeAsLongAsTheClassSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, d := asking(t, 0, [3]int{})
		pool := worker.New(worker.Config{})
		for slot, c := range classes {
			begin := time.Now()
			took := make(chan time.Duration, 1)
			if err := d.Submit(pool, uint32(slot), job(func(ctx context.Context) { <-ctx.Done(); took <- time.Since(begin) })); err != nil {
				t.Fatal(err)
			}
			if got := <-took; got != c.timeout {
				t.Errorf("%s: %s, want %s", c.name, got, c.timeout)
			}
		}
		var none bool
		_ = d.Submit(pool, 99, job(func(ctx context.Context) { _, some := ctx.Deadline(); none = !some }))
		synctest.Wait()
		if !none {
			t.Error("who has no tenant yet has its deadline")
		}
		closed(t, pool)
	})
}

// A question that was accepted is asked, whatever the pool says by then; a panic takes no
// place with it.
func TestAcceptedQuestionsRunWhateverHappens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, d := asking(t, 0, [3]int{1, 1, 1})
		pool := worker.New(worker.Config{Workers: 1, QueueMax: 1})
		release := make(chan struct{})
		_ = d.Submit(pool, 2, job(func(context.Context) { <-release; panic("boom") }))
		var over int
		for range 4 {
			_ = d.Submit(pool, 2, job(func(ctx context.Context) {
				if ctx.Err() != nil {
					over++
				}
			}))
		}
		filler := job(func(context.Context) {})
		if err := pool.SubmitClass(context.Background(), worker.Basic, filler); err != nil { // its queue is full now
			t.Fatal(err)
		}
		if err := d.Submit(pool, 1, filler); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := pool.SubmitClass(context.Background(), worker.Standard, filler); err != worker.ErrQueueFull {
			t.Fatal(err)
		}
		_, full := asking(t, 0, [3]int{1, 1, 1})
		if err := full.Submit(pool, 1, filler); err != worker.ErrQueueFull || full.set.questions.asked != 0 {
			t.Errorf("a pool that is full: %v, %d asked", err, full.set.questions.asked)
		}
		close(release)
		synctest.Wait()
		if over != 4 || s.questions.asked != 0 {
			t.Errorf("%d ran with an ended context, want 4; %d are asked", over, s.questions.asked)
		}
		closed(t, pool)
	})
}

func TestQuestionsHoldUnderAnyPattern(t *testing.T) {
	seed := rand.Uint64()
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(seed, 1))
		s, d := asking(t, 7, [3]int{6, 4, 2})
		pool := worker.New(worker.Config{Workers: 5, QueueMax: 2})
		var mu sync.Mutex
		accepted, ran := 0, 0
		for range 3000 {
			wait := time.Duration(rng.IntN(5)) * time.Millisecond
			if d.Submit(pool, uint32(rng.IntN(3)), job(func(ctx context.Context) {
				if ctx.Err() == nil {
					time.Sleep(wait)
				}
				mu.Lock()
				ran++
				mu.Unlock()
			})) == nil {
				accepted++
			}
			if rng.IntN(4) == 0 {
				time.Sleep(time.Duration(rng.IntN(3)) * time.Millisecond)
			}
			if err := s.questions.validate(); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if ran != accepted || s.questions.asked != 0 || s.questions.waiting != 0 {
			t.Errorf("seed %d: %d accepted, %d ran; %d asked, %d waiting", seed, accepted, ran, s.questions.asked, s.questions.waiting)
		}
		closed(t, pool)
	})
}

func BenchmarkSubmit(b *testing.B) {
	for _, on := range []bool{false, true} {
		b.Run(fmt.Sprint("tenants=", on), func(b *testing.B) {
			var s *Set
			if on {
				s = newSet(b, Config{Claim: "tenant", List: []Options{named("acme")}})
			}
			d := s.Desk()
			d.Enter(1, "acme", nil, channel.Refusal{})
			pool, done := worker.New(worker.Config{}), make(chan struct{})
			for b.Loop() {
				_ = d.Submit(pool, 1, job(func(context.Context) { done <- struct{}{} }))
				<-done
			}
		})
	}
}
