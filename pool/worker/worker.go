package worker

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"
)

// reverseEvery is how often a worker looks at the classes worst first.
const reverseEvery = 16

// Job is one piece of work. An accepted job is run exactly once, also when its
// context has ended meanwhile or the pool is closing: it is the job that has to
// tell somebody the result. Run must return soon after ctx is done.
type Job interface{ Run(ctx context.Context) }

// Pool runs jobs. It must be made by [New]. It is safe for concurrent use.
type Pool struct {
	cfg    Config
	base   context.Context // ends the contexts of all jobs
	cancel context.CancelFunc

	mu      sync.Mutex
	queues  [classes]fifo // guarded by mu, like all below
	workers int
	waiting []*waiter // idle workers, last one in is the first one woken
	picks   uint64
	stats   Stats
	closed  bool
	ended   chan struct{} // closed when closed and no worker is left
}

// waiter is an idle worker.
type waiter struct {
	wake chan task // 1; gets a task, or the zero task when the pool closes
}

// task is a job with the context it was submitted with.
type task struct {
	ctx context.Context
	job Job
}

// New returns a pool without goroutines. It panics on a configuration that does
// not validate.
func New(cfg Config) *Pool {
	if err := cfg.Validate(); err != nil {
		panic(err)
	}
	p := &Pool{cfg: cfg.withDefaults(), ended: make(chan struct{})}
	p.base, p.cancel = context.WithCancel(context.Background())
	return p
}

// Submit hands over a job of class Standard; it never waits. The job's context
// is derived from ctx. On an error (ErrQueueFull, ErrClosed, or that of an ended
// ctx) the job was not taken and will not run.
func (p *Pool) Submit(ctx context.Context, job Job) error {
	return p.SubmitClass(ctx, Standard, job)
}

// SubmitClass is Submit for any class.
func (p *Pool) SubmitClass(ctx context.Context, class Class, job Job) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ErrClosed
	}
	t := task{ctx, job}
	switch {
	case len(p.waiting) > 0:
		last := len(p.waiting) - 1
		w := p.waiting[last]
		p.waiting[last] = nil
		p.waiting = p.waiting[:last]
		p.stats.Running++
		w.wake <- t // has room: a waiter in the list has been sent nothing
	case p.workers < p.cfg.Workers:
		p.workers++
		p.stats.Running++
		go p.work(t)
	case p.queues[class].len() >= p.cfg.QueueMax:
		p.stats.Refused[class]++
		return ErrQueueFull
	default:
		p.queues[class].push(t)
	}
	p.stats.Submitted++
	return nil
}

// Close takes no more jobs, waits until those accepted have ended and returns
// nil. When ctx ends before that, the contexts of all jobs left are ended and
// ctx's error is returned; the jobs then end on their own. It may be called
// again, to wait longer.
func (p *Pool) Close(ctx context.Context) error {
	p.mu.Lock()
	if !p.closed {
		p.closed = true
		for _, w := range p.waiting {
			w.wake <- task{}
		}
		p.workers -= len(p.waiting)
		p.waiting = nil
		if p.workers == 0 {
			close(p.ended)
		}
	}
	p.mu.Unlock()
	select {
	case <-p.ended:
		p.cancel()
		return nil
	default:
	}
	select {
	case <-p.ended:
		p.cancel()
		return nil
	case <-ctx.Done():
		p.cancel()
		return fmt.Errorf("worker: jobs still run after the time given to close: %w", ctx.Err())
	}
}

// Stats returns the counters.
func (p *Pool) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats
	s.Workers = p.workers
	for c := range p.queues {
		s.Queued[c] = p.queues[c].len()
	}
	return s
}

// Validate checks the pool against itself.
func (p *Pool) Validate() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, queued := p.stats, 0
	for c := range p.queues {
		n := p.queues[c].len()
		if queued += n; n > p.cfg.QueueMax {
			return fmt.Errorf("worker: %d %v jobs wait, the limit is %d", n, Class(c), p.cfg.QueueMax)
		}
	}
	if p.workers < 0 || p.workers > p.cfg.Workers {
		return fmt.Errorf("worker: %d goroutines, the limit is %d", p.workers, p.cfg.Workers)
	}
	if s.Running < 0 || s.Running+len(p.waiting) > p.workers {
		return fmt.Errorf("worker: %d workers, but %d run jobs and %d wait", p.workers, s.Running, len(p.waiting))
	}
	if queued > 0 && s.Running == 0 {
		return fmt.Errorf("worker: %d jobs wait and nobody runs one", queued)
	}
	if s.Submitted != s.Done+uint64(s.Running+queued) {
		return fmt.Errorf("worker: %d jobs accepted, but %d done, %d running, %d queued", s.Submitted, s.Done, s.Running, queued)
	}
	return nil
}

// work is the life of one goroutine: jobs, then a wait for more, then the end.
func (p *Pool) work(t task) {
	inJob := true
	defer func() {
		if inJob { // a job called runtime.Goexit: this goroutine dies with it
			p.replace()
		}
	}()
	w := &waiter{wake: make(chan task, 1)}
	var idle *time.Timer
	for {
		p.run(t)
		var more bool
		if t, more = p.next(w); !more {
			break
		}
		if t.job != nil {
			continue
		}
		if idle == nil {
			idle = time.NewTimer(p.cfg.IdleAfter)
		} else {
			idle.Reset(p.cfg.IdleAfter)
		}
		select {
		case t = <-w.wake:
		case <-idle.C:
			t = p.leave(w)
		}
		idle.Stop()
		if t.job == nil {
			break
		}
	}
	inJob = false
}

// run runs one job and survives its panic.
func (p *Pool) run(t task) {
	var ctx context.Context
	var cancel context.CancelFunc
	if p.cfg.JobTimeout > 0 {
		ctx, cancel = context.WithTimeout(t.ctx, p.cfg.JobTimeout)
	} else {
		ctx, cancel = context.WithCancel(t.ctx)
	}
	stop := context.AfterFunc(p.base, cancel)
	defer func() {
		stop()
		cancel()
		if v := recover(); v != nil {
			p.mu.Lock()
			p.stats.Panics++
			p.mu.Unlock()
			if p.cfg.OnPanic != nil {
				p.cfg.OnPanic(v, debug.Stack())
			}
		}
	}()
	t.job.Run(ctx)
}

// next ends the job that ran and returns the next one. Without one, it enters w
// among the waiting, or says that there will be no more.
func (p *Pool) next(w *waiter) (t task, more bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stats.Done++
	if t, ok := p.pick(); ok {
		return t, true
	}
	p.stats.Running--
	if p.closed {
		p.exit()
		return task{}, false
	}
	p.waiting = append(p.waiting, w)
	return task{}, true
}

// pick takes the job to run next; mu is held.
func (p *Pool) pick() (task, bool) {
	p.picks++
	for i := range classes {
		if p.picks%reverseEvery == 0 {
			i = classes - 1 - i
		}
		if p.queues[i].len() > 0 {
			return p.queues[i].pop(), true
		}
	}
	return task{}, false
}

// leave takes w from among the waiting and counts it out, in one step: a job that
// comes between the two would wait for a worker that is going. When w was given a
// task just before, that is returned and has to be run.
func (p *Pool) leave(w *waiter) task {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, other := range p.waiting {
		if other == w {
			p.waiting = slices.Delete(p.waiting, i, i+1)
			p.exit()
			return task{}
		}
	}
	return <-w.wake
}

// replace ends a worker whose job ended the goroutine, and starts another one
// when there is work for it.
func (p *Pool) replace() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stats.Done++
	p.stats.Panics++
	if t, ok := p.pick(); ok {
		go p.work(t)
		return
	}
	p.stats.Running--
	p.exit()
}

// exit counts a worker out; mu is held.
func (p *Pool) exit() {
	if p.workers--; p.workers == 0 && p.closed {
		close(p.ended)
	}
}
