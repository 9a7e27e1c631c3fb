package report

import (
	"fmt"

	"shoal/loadtest/observe"
	"shoal/loadtest/plan"
	"shoal/loadtest/units"
)

// Judge fills in OK and Failures.
func (r *Report) Judge() {
	fail := failing(&r.Failures)
	fail(r.Connections.Failed, "connections that could not be opened: %s")
	fail(r.Connections.Died, "connections that died: %s")
	for _, v := range r.Verifications() {
		v.failures(fail)
	}
	if d := r.Delivery; d != nil {
		fail(d.Refused, "publications refused: %s")
	}
	if e := r.Echo; e != nil {
		fail(e.Refused, "messages refused: %s")
	}
	if p := r.Pressure; p != nil {
		fail(p.Refused, "publications refused: %s")
		r.Failures = append(r.Failures, p.failures(r.Scenario, r.Observed)...)
	}
	for i := range r.Phases {
		f := &r.Phases[i]
		if f.judge(r.Observed); r.Delivery != nil || r.Echo != nil || r.Pressure != nil {
			continue // its failures are among those above
		}
		for _, text := range f.Failures {
			if len(r.Phases) > 1 {
				text = "phase " + f.Name + ": " + text
			}
			r.Failures = append(r.Failures, text)
		}
	}
	r.Accept.failures(fail)
	if o := r.Others; o != nil && !o.Alike {
		r.Failures = append(r.Failures, fmt.Sprintf("connections received different publications: %s to %s each, or not in the same order",
			units.Grouped(o.Min), units.Grouped(o.Max)))
	}
	r.OK = len(r.Failures) == 0
}

func (v *Verified) failures(fail func(int, string)) {
	fail(v.Lost, "messages lost: %s")
	fail(v.LostDead, "messages lost with connections that died: %s")
	fail(v.Duplicates, "messages that came twice: %s")
	fail(v.Reordered, "messages out of order: %s")
	fail(v.Altered, "messages altered: %s")
	fail(v.Misrouted, "messages at the wrong connection: %s")
}

// Verifications are what became of messages, of each result that has some; a plan of several phases has it in them.
func (r *Report) Verifications() (all []Verified) {
	if r.Delivery != nil {
		all = append(all, r.Delivery.Verified)
	}
	if r.Echo != nil {
		all = append(all, r.Echo.Verified)
	}
	if r.Pressure != nil {
		all = append(all, r.Pressure.Verified)
	}
	return all
}

// failures says which promise of a scenario was broken, beside what Verified has. o is what the target counted, nil when it does
// not tell.
func (p *Pressure) failures(scenario plan.Scenario, o *observe.Observed) (all []string) {
	fail := failing(&all)
	if scenario != plan.Slow {
		fail(p.Told, "messages lost, though the clients know: %s")
	}
	if s := p.Slow; s != nil {
		s.failures(fail)
		all = append(all, s.uncounted(o)...)
	}
	if s := p.Storm; s != nil {
		s.failures(fail)
	}
	p.Accept.failures(fail)
	return all
}

// failing gives a function that adds a line for a number above zero.
func failing(all *[]string) func(n int, format string) {
	return func(n int, format string) {
		if n > 0 {
			*all = append(*all, fmt.Sprintf(format, units.Grouped(n)))
		}
	}
}

func (s *Slow) failures(fail func(int, string)) {
	fail(s.Silent, "messages lost silently by those who did not read: %s")
	fail(s.Away, "connections that did not read, were ended and did not come back: %s")
	fail(s.Gone, "connections that did not read and were told to stay away for good: %s")
}

func (s *Storming) failures(fail func(int, string)) {
	fail(s.Cut-s.Back, "connections that did not come back: %s")
	fail(s.Unrecovered, "subscriptions that came back and did not recover: %s")
}

func (q *Queue) failures(fail func(int, string)) {
	if q != nil {
		fail(int(q.Overflows), "connections that found the accept queue full (ListenOverflows): %s")
		fail(int(q.Drops), "connections that found the accept queue full (ListenDrops): %s")
	}
}

// uncounted says which losses of those who did not read are missing in the target's counters.
func (s *Slow) uncounted(o *observe.Observed) (all []string) {
	if o == nil {
		if s.Unseen > 0 {
			all = append(all, fmt.Sprintf("messages lost on channels without offsets, of which neither the clients nor metrics tell: %s; "+
				"let the channel have history, or name the target's --metrics", units.Grouped(s.Unseen)))
		}
		return all
	}
	for _, c := range [...]struct {
		lost, counted int
		what          string
	}{
		{s.Skipped + s.Unseen, o.Dropped(), "messages lost on connections that held: %s, and the target counted %s dropped (" + observe.MetricDrops + ")"},
		{s.Ends, o.Ended(), "connections that did not read and were ended: %s, and the target counted %s (" + observe.MetricClosed + ")"},
		{s.Unsubscribed, o.Resubscribe, "subscriptions ended to begin anew: %s, and the target counted %s (" + observe.MetricInsufficient + ")"},
	} {
		if c.lost > c.counted {
			all = append(all, fmt.Sprintf(c.what, units.Grouped(c.lost), units.Grouped(c.counted)))
		}
	}
	return all
}
