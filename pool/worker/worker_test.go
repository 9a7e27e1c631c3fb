package worker

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// job is a function as a Job.
type job func(ctx context.Context)

func (f job) Run(ctx context.Context) { f(ctx) }

func nothing(context.Context) {}

// blocked submits n jobs that run until release is called, and waits until they
// do.
func blocked(t *testing.T, p *Pool, n int) (release func()) {
	t.Helper()
	gate := make(chan struct{})
	for range n {
		if err := p.Submit(t.Context(), job(func(context.Context) { <-gate })); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Wait()
	if got := p.Stats().Running; got < n {
		t.Fatalf("%d jobs run, want %d", got, n)
	}
	return func() { close(gate); synctest.Wait() }
}

func TestGoroutinesStartWithJobsAndEndIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Config{Workers: 4, IdleAfter: time.Minute})
		if n := p.Stats().Workers; n != 0 {
			t.Errorf("%d workers before any job", n)
		}
		release := blocked(t, p, 3)
		if n := p.Stats().Workers; n != 3 {
			t.Errorf("%d workers for 3 jobs", n)
		}
		release()
		p.Submit(t.Context(), job(nothing))
		synctest.Wait()
		if s := p.Stats(); s.Workers != 3 || s.Running != 0 || s.Done != 4 {
			t.Errorf("after the jobs: %+v; want the 3 workers waiting", s)
		}
		validate(t, p)
		time.Sleep(2 * time.Minute) // virtual
		synctest.Wait()
		if n := p.Stats().Workers; n != 0 {
			t.Errorf("%d workers after the idle time, want 0", n)
		}
		p.Submit(t.Context(), job(nothing))
		synctest.Wait()
		if s := p.Stats(); s.Done != 5 {
			t.Errorf("a job after the idle time: %+v", s)
		}
		closed(t, p)
	})
}

func TestFullQueueRefusesPerClass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Config{Workers: 2, QueueMax: 3})
		release := blocked(t, p, 2)
		for i := range 3 {
			if err := p.SubmitClass(t.Context(), Basic, job(nothing)); err != nil {
				t.Errorf("job %d: %v", i, err)
			}
		}
		if err := p.SubmitClass(t.Context(), Basic, job(nothing)); !errors.Is(err, ErrQueueFull) {
			t.Errorf("job over the limit: %v, want ErrQueueFull", err)
		}
		if err := p.SubmitClass(t.Context(), Premium, job(nothing)); err != nil {
			t.Errorf("premium job: %v; basic jobs must not take its room", err)
		}
		s := p.Stats()
		if s.Queued != [3]int{1, 0, 3} || s.Refused != [3]uint64{0, 0, 1} || s.Workers != 2 {
			t.Errorf("stats %+v", s)
		}
		validate(t, p)
		release()
		if s := p.Stats(); s.Done != 6 || s.Submitted != 6 {
			t.Errorf("stats %+v, want 6 done", s)
		}
		closed(t, p)
	})
}

func TestPremiumGoesFirstAndBasicDoesNotStarve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Config{Workers: 1, QueueMax: 100})
		release := blocked(t, p, 1)
		var order strings.Builder
		submit := func(class Class, n int) {
			for range n {
				err := p.SubmitClass(t.Context(), class, job(func(context.Context) {
					order.WriteByte(class.String()[0])
				}))
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		submit(Basic, 3)
		submit(Standard, 3)
		submit(Premium, 34)
		release()
		want := strings.Repeat("p", 15) + "b" + strings.Repeat("p", 15) + "b" + "pppp" + "sss" + "b"
		if order.String() != want {
			t.Errorf("order %s, want %s", order.String(), want)
		}
		closed(t, p)
	})
}

func TestPanicIsCountedAndTheWorkerLivesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []string
		p := New(Config{Workers: 1, OnPanic: func(v any, stack []byte) {
			seen = append(seen, fmt.Sprint(v, strings.Contains(string(stack), "TestPanicIsCounted")))
		}})
		p.Submit(t.Context(), job(func(context.Context) { panic("boom") }))
		synctest.Wait()
		p.Submit(t.Context(), job(func(context.Context) { runtime.Goexit() }))
		p.Submit(t.Context(), job(nothing)) // waits behind the one that kills its goroutine
		synctest.Wait()
		p.Submit(t.Context(), job(func(context.Context) { runtime.Goexit() }))
		synctest.Wait()
		if s := p.Stats(); s.Panics != 3 || s.Done != 4 || s.Running != 0 || s.Workers != 0 {
			t.Errorf("stats %+v, want 3 panics, 4 done, no worker", s)
		}
		if fmt.Sprint(seen) != "[boomtrue]" {
			t.Errorf("OnPanic saw %v", seen)
		}
		validate(t, p)
		closed(t, p)
	})
}

func TestJobContextEndsWithTheSubmitterTheTimeoutAndThePool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Config{Workers: 8, JobTimeout: time.Second})
		ctx, cancel := context.WithCancel(t.Context())
		var got [2]atomic.Value
		wait := func(i int) job { return func(ctx context.Context) { <-ctx.Done(); got[i].Store(ctx.Err()) } }
		p.Submit(ctx, wait(0))
		p.Submit(t.Context(), wait(1))
		synctest.Wait()
		cancel()
		synctest.Wait()
		if got[0].Load() != context.Canceled || got[1].Load() != nil {
			t.Errorf("after the submitter's end: %v, %v", got[0].Load(), got[1].Load())
		}
		time.Sleep(2 * time.Second) // virtual
		synctest.Wait()
		if got[1].Load() != context.DeadlineExceeded {
			t.Errorf("after the timeout: %v", got[1].Load())
		}
		if err := p.Submit(ctx, job(nothing)); err != context.Canceled {
			t.Errorf("submit with an ended context: %v", err)
		}
		closed(t, p)
	})
}

func TestAcceptedJobRunsEvenWhenItsSubmitterHasGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Config{Workers: 1})
		release := blocked(t, p, 1)
		ctx, cancel := context.WithCancel(t.Context())
		var got error
		p.Submit(ctx, job(func(ctx context.Context) { got = ctx.Err() }))
		cancel()
		release()
		if got != context.Canceled {
			t.Errorf("the job saw %v, want an ended context", got)
		}
		closed(t, p)
	})
}

func TestCloseWaitsForAcceptedJobs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Config{Workers: 2})
		var done atomic.Int32
		for range 10 {
			p.Submit(t.Context(), job(func(context.Context) {
				time.Sleep(time.Second) // virtual
				done.Add(1)
			}))
		}
		if err := p.Close(t.Context()); err != nil || done.Load() != 10 {
			t.Errorf("Close: %v with %d of 10 jobs done", err, done.Load())
		}
		if err := p.Submit(t.Context(), job(nothing)); err != ErrClosed {
			t.Errorf("submit after Close: %v, want ErrClosed", err)
		}
		if s := p.Stats(); s.Workers != 0 {
			t.Errorf("%d workers after Close", s.Workers)
		}
		closed(t, p)
	})
}

func TestCloseGivesUpAndTellsTheJobs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Config{Workers: 1})
		told := 0
		for range 2 { // one runs, one waits
			p.Submit(t.Context(), job(func(ctx context.Context) { <-ctx.Done(); told++ }))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close: %v, want the deadline", err)
		}
		synctest.Wait()
		if told != 2 {
			t.Errorf("%d of 2 jobs were told", told)
		}
		closed(t, p)
	})
}

func TestIdleWorkersEndWithClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Config{})
		blocked(t, p, 5)()
		closed(t, p) // synctest fails the test when a goroutine is left
	})
}

func TestConfigSaysWhatIsWrong(t *testing.T) {
	for want, cfg := range map[string]Config{
		"Workers is -1":      {Workers: -1},
		"QueueMax is -2":     {QueueMax: -2},
		"JobTimeout is -1ns": {JobTimeout: -1},
		"IdleAfter is -1ns":  {IdleAfter: -1},
	} {
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", cfg, err, want)
		}
	}
	if err := (Config{}).Validate(); err != nil {
		t.Error(err)
	}
	defer func() {
		if recover() == nil {
			t.Error("New of a bad config does not panic")
		}
	}()
	New(Config{Workers: -1})
}

func TestClassNamesAreLabels(t *testing.T) {
	if got := fmt.Sprint(Premium, Standard, Basic, Class(9)); got != "premium standard basic class-9" {
		t.Errorf("names %q", got)
	}
}

func TestValidateSeesDamage(t *testing.T) {
	for name, damage := range map[string]func(p *Pool){
		"too many workers": func(p *Pool) { p.workers = 1000 },
		"running":          func(p *Pool) { p.stats.Running = 5 },
		"queue too long":   func(p *Pool) { p.queues[0].count = 5000 },
		"nobody runs":      func(p *Pool) { p.queues[0].push(task{}) },
		"lost job":         func(p *Pool) { p.stats.Submitted++ },
	} {
		p := New(Config{})
		damage(p)
		if p.Validate() == nil {
			t.Errorf("%s: Validate saw nothing", name)
		}
	}
}

// Submitters, workers that go idle at once, panics and a Close, all at a time:
// every accepted job runs exactly once.
func TestEveryAcceptedJobRunsOnce(t *testing.T) {
	for range 20 {
		p := New(Config{Workers: 3, QueueMax: 8, IdleAfter: time.Nanosecond})
		const submitters, each = 4, 300
		var runs [submitters * each]atomic.Int32
		var accepted [submitters * each]bool
		var group sync.WaitGroup
		for s := range submitters {
			group.Go(func() {
				for i := range each {
					n := s*each + i
					err := p.SubmitClass(context.Background(), Class(n%3), job(func(context.Context) {
						runs[n].Add(1)
						switch n % 50 {
						case 1:
							panic(n)
						case 2:
							runtime.Goexit()
						case 3:
							runtime.Gosched()
						}
					}))
					accepted[n] = err == nil
					if i%16 == 0 {
						if err := p.Validate(); err != nil {
							t.Error(err)
						}
						runtime.Gosched()
					}
				}
			})
		}
		group.Wait()
		closed(t, p)
		for n := range runs {
			if got := runs[n].Load(); (got == 1) != accepted[n] || got > 1 {
				t.Fatalf("job %d ran %d times, accepted: %v", n, got, accepted[n])
			}
		}
	}
}

func TestQueueGivesItsMemoryBack(t *testing.T) {
	var f fifo
	for round := range 3 {
		for i := range 1000 {
			f.push(task{job: job(nothing)})
			if i%3 == 0 {
				f.pop()
			}
		}
		for f.len() > 0 {
			if f.pop().job == nil {
				t.Fatal("lost a task")
			}
		}
		if f.ring != nil {
			t.Errorf("round %d: an empty queue holds a ring of %d", round, len(f.ring))
		}
	}
}

// BenchmarkSubmit is a job from Submit to its end, on warm workers.
func BenchmarkSubmit(b *testing.B) {
	p := New(Config{Workers: 2, QueueMax: 1 << 20})
	var done sync.WaitGroup
	j := job(func(context.Context) { done.Done() })
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		done.Add(100)
		for range 100 {
			if err := p.Submit(context.Background(), j); err != nil {
				b.Fatal(err)
			}
		}
		done.Wait()
		n += 100
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/job")
	if s := p.Stats(); int(s.Submitted) != n {
		b.Errorf("%d jobs accepted, want %d", s.Submitted, n)
	}
	if err := p.Close(context.Background()); err != nil {
		b.Error(err)
	}
}

func closed(t *testing.T, p *Pool) {
	t.Helper()
	if err := p.Close(context.Background()); err != nil {
		t.Error(err)
	}
	validate(t, p)
}

func validate(t *testing.T, p *Pool) {
	t.Helper()
	if err := p.Validate(); err != nil {
		t.Error(err)
	}
}
