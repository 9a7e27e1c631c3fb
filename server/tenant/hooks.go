package tenant

import (
	"context"
	"fmt"
	"sync"

	"shoal/pool/queue"
	"shoal/pool/worker"
)

// questions are what the sessions of all tenants have asked and what waits to be, without a
// worker: so many are asked at once, of each tenant and of all together. When one may be asked
// the best class comes first, within it the tenants in turn; every 16th time the worst class
// does, so that nobody starves.
type questions struct {
	mu      sync.Mutex
	max     int // of all together; 0: no limit
	asked   int // guarded by mu, like all below
	waiting int
	picks   uint64
	turn    [len(classes)]int // whose turn it is, in of
	of      [len(classes)][]*tenant
}

// queued is a tenant's part of them, guarded by their lock.
type queued struct {
	max     int
	asked   int
	waiting queue.FIFO[*call]
}

const (
	// waitingFactor times as many questions wait as are asked: what a worker pool does too.
	waitingFactor = 4
	reverseEvery  = 16
)

// call is a job for a session of a tenant.
type call struct {
	set    *Set
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
	c := &call{d.set, d.of(slot), pool, job}
	now, room := d.set.questions.enter(c)
	switch {
	case !room:
		c.tenant.refuse(Hooks)
		return worker.ErrQueueFull
	case !now:
		return nil
	}
	err := pool.SubmitClass(context.Background(), c.tenant.class.worker, c)
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
	next := c.set.questions.leave(c.tenant)
	if next == nil || next.pool.SubmitClass(context.Background(), next.tenant.class.worker, next) == nil {
		return
	}
	over, cancel := context.WithCancel(ctx)
	cancel()
	next.Run(over)
}

// add makes a tenant known.
func (q *questions) add(t *tenant) {
	rank := t.class.rank()
	q.of[rank] = append(q.of[rank], t)
}

// enter says whether a question is to be asked now, or has to wait, for which there may be no
// room.
func (q *questions) enter(c *call) (now, room bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	t := &c.tenant.queued
	if t.asked < t.max && (q.max == 0 || q.asked < q.max) {
		t.asked++
		q.asked++
		return true, true
	}
	if t.waiting.Len() >= waitingFactor*t.max {
		return false, false
	}
	t.waiting.Push(c)
	q.waiting++
	return false, true
}

// leave ends a question of the tenant and takes the one that may be asked instead; nil for
// none.
func (q *questions) leave(t *tenant) *call {
	q.mu.Lock()
	defer q.mu.Unlock()
	t.queued.asked--
	q.asked--
	if q.waiting == 0 || q.max > 0 && q.asked >= q.max {
		return nil
	}
	q.picks++
	for rank := range q.of {
		if q.picks%reverseEvery == 0 {
			rank = len(q.of) - 1 - rank
		}
		if c := q.pick(rank); c != nil {
			return c
		}
	}
	return nil
}

// pick takes the next question of a class; q is locked.
func (q *questions) pick(rank int) *call {
	of := q.of[rank]
	for i := range of {
		at := (q.turn[rank] + i) % len(of)
		if t := &of[at].queued; t.waiting.Len() > 0 && t.asked < t.max {
			t.asked++
			q.asked++
			q.waiting--
			q.turn[rank] = at + 1
			return t.waiting.Pop()
		}
	}
	return nil
}

func (q *questions) now(t *tenant) (asked, waiting int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return t.queued.asked, t.queued.waiting.Len()
}

// validate checks the sums, and that nothing waits without need.
func (q *questions) validate() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	asked, waiting := 0, 0
	for _, of := range q.of {
		for _, t := range of {
			n, w := t.queued.asked, t.queued.waiting.Len()
			asked, waiting = asked+n, waiting+w
			free := n < t.queued.max && (q.max == 0 || q.asked < q.max)
			if n < 0 || n > t.queued.max || w > waitingFactor*t.queued.max || w > 0 && free {
				return fmt.Errorf("tenant: %s: %d questions are asked, %d wait, the limit is %d", t.name, n, w, t.queued.max)
			}
		}
	}
	if asked != q.asked || waiting != q.waiting || q.max > 0 && asked > q.max {
		return fmt.Errorf("tenant: %d questions are asked and %d wait, %d and %d are counted, the limit is %d", asked, waiting, q.asked, q.waiting, q.max)
	}
	return nil
}
