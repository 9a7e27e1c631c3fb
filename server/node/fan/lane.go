package fan

import "shoal/pool/queue"

// lane is the jobs of those who share one part of the loop.
type lane struct {
	turns  queue.FIFO[*Job]
	weight int
	credit int  // members that it may be served now; < 0: it had more
	listed bool // in lanes.ready
}

func (n *lane) quantum() int { return n.weight * turnMembers }

// lanes are those with jobs. While there are several, each gets its weight of the members
// that are served: deficit round robin (Shreedhar and Varghese, 1995).
type lanes struct {
	of    []*lane           // by number; nil: it never had a job
	ready queue.FIFO[*lane] // in the order of their goes
	jobs  int               // that have a turn
}

// push gives the job a turn behind those of its lane.
func (t *lanes) push(j *Job) {
	for int(j.Lane) >= len(t.of) {
		t.of = append(t.of, nil)
	}
	n := t.of[j.Lane]
	if n == nil {
		n = &lane{}
		t.of[j.Lane] = n
	}
	n.weight = max(j.Weight, 1)
	if !n.listed {
		n.listed, n.credit = true, n.quantum()
		t.ready.Push(n)
	}
	n.turns.Push(j)
	t.jobs++
}

// pop takes the job whose turn it is; there must be one. Before the next, charge is to be
// called, with the job behind the others of its lane if it goes on.
func (t *lanes) pop() *Job {
	for t.first().credit <= 0 {
		n := t.ready.Pop()
		n.credit += n.quantum()
		t.ready.Push(n)
	}
	t.jobs--
	return t.first().turns.Pop()
}

func (t *lanes) first() *lane { return *t.ready.First() }

// charge takes what the turn cost from its lane.
func (t *lanes) charge(cost int) {
	n := t.first()
	if n.credit -= cost; n.turns.Len() == 0 {
		t.ready.Pop().listed = false
	}
}
