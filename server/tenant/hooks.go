package tenant

import (
	"context"
	"sync"

	"shoal/pool/queue"
	"shoal/pool/worker"
)

// hooks bounds what a tenant's sessions have asked at once. What is over the limit waits, in
// order, without a worker.
type hooks struct {
	max int

	mu      sync.Mutex
	asked   int               // guarded by mu, like waiting
	waiting queue.FIFO[*call] // only while asked is max
}

// waitingFactor times as many questions wait as are asked: what a worker pool does too.
const waitingFactor = 4

// call is a job for a session of a tenant.
type call struct {
	tenant *tenant
	pool   *worker.Pool
	job    worker.Job
}

// Submit has a pool run a job for the session, in the class of its tenant, of whose jobs only
// so many run at once; the job's context ends when it has run for as long as it may. The job
// of a session that has no tenant yet, because its question is who that is, has no such
// limit. ErrQueueFull says that too many wait.
func (d *Desk) Submit(pool *worker.Pool, slot uint32, job worker.Job) error {
	if d == nil || d.of(slot) == nil {
		return pool.Submit(context.Background(), job)
	}
	t := d.of(slot)
	c, h := &call{t, pool, job}, &t.hooks
	h.mu.Lock()
	switch {
	case h.asked < h.max:
		h.asked++
	case h.waiting.Len() < waitingFactor*h.max:
		h.waiting.Push(c)
		h.mu.Unlock()
		return nil
	default:
		h.mu.Unlock()
		t.refuse(Hooks)
		return worker.ErrQueueFull
	}
	h.mu.Unlock()
	err := pool.SubmitClass(context.Background(), t.class.worker, c)
	if err != nil {
		c.ended(context.Background())
	}
	return err
}

// Run implements [worker.Job].
func (c *call) Run(ctx context.Context) {
	defer c.ended(ctx)
	bounded, cancel := context.WithTimeout(ctx, c.tenant.timeout)
	defer cancel()
	c.job.Run(bounded)
}

// ended has the next job run that waits. Should the pool not take it, it is run here and now,
// but with a context that has ended: it was accepted.
func (c *call) ended(ctx context.Context) {
	next := c.tenant.hooks.next()
	if next == nil || next.pool.SubmitClass(context.Background(), next.tenant.class.worker, next) == nil {
		return
	}
	over, cancel := context.WithCancel(ctx)
	cancel()
	next.Run(over)
}

// next ends a question and takes the one that may be asked instead; nil for none.
func (h *hooks) next() *call {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.waiting.Len() > 0 {
		return h.waiting.Pop()
	}
	h.asked--
	return nil
}

func (h *hooks) now() (asked, waiting int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.asked, h.waiting.Len()
}
