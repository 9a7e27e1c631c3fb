package loadtest

import (
	"encoding/json"
	"fmt"
	"time"

	"shoal/loadtest/engine"
	"shoal/loadtest/progress"
)

// meter measures what happened in the last second.
type meter struct {
	at                               time.Time
	last                             engine.Snapshot
	connects, publications, received float64 // a second
	p99                              float64 // microseconds
}

// read takes the rates anew when a second is over.
func (m *meter) read(now time.Time, s engine.Snapshot, d engine.Driver) {
	took := now.Sub(m.at).Seconds()
	if took < 1 {
		return
	}
	if !m.at.IsZero() {
		per := func(now, before int) float64 { return float64(now-before) / took }
		m.connects = per(s.Dialed, m.last.Dialed)
		m.publications = per(s.Published, m.last.Published)
		m.received = per(s.Received+s.Others, m.last.Received+m.last.Others)
		m.p99 = 0
	}
	if m.received > 0 {
		if res, err := d.Results(); err == nil && len(res.Windows) > 0 {
			m.p99 = float64(res.Windows[len(res.Windows)-1].P99) / 1e3
		}
	}
	m.at, m.last = now, s
}

// state is what is to be shown now. What is counted is shown since the phase began, trouble since the start.
func (r *run) state(doing string) progress.State {
	now, c := r.s.Clock(), r.d.Snapshot()
	r.meter.read(now, c, r.d)
	b := &r.base
	s := progress.State{
		Elapsed: now.Sub(r.began), Doing: doing, Phase: r.at, Phases: len(r.plan.Phases), Done: -1, Ready: c.Ready, Asked: r.plan.Connections.Count,
		Connects: r.meter.connects, Publications: r.meter.publications, Deliveries: r.meter.received, P99: r.meter.p99,
		Counts: []progress.Count{
			{N: c.Published - b.Published, What: "published"}, {N: c.Sent - b.Sent, What: "sent"}, {N: c.Received - b.Received, What: "received"},
			{N: c.Others - b.Others, What: "from others"}, {N: c.Pongs - b.Pongs, What: "pongs"},
			{N: c.Stalled - b.Stalled, What: "stopped reading"}, {N: c.Status.Ended - b.Status.Ended, What: "of them ended"},
			{N: c.Told - b.Told, What: "lost and told"}, {N: c.Away, What: "away"}, {N: c.Back - b.Back, What: "back"},
			{N: c.Recovered - b.Recovered, What: "recovered"}, {N: c.Replaced - b.Replaced, What: "replaced"},
		},
		Troubles: []progress.Count{
			{N: c.Failed, What: "failed"}, {N: c.Died, What: "died"}, {N: c.Duplicates, What: "twice"}, {N: c.Late, What: "out of order"},
			{N: c.Altered, What: "altered"}, {N: c.Refused, What: "refused"}, {N: c.Unrecovered, What: "not recovered"},
		},
	}
	s.Number, s.Done, s.Left = r.far(now)
	return s
}

// far is which phase it is, how much of what is done now is done, and how much time the plan still takes; as far as a plan tells.
func (r *run) far(now time.Time) (number int, done float64, left time.Duration) {
	done = -1
	if r.present == nil {
		if r.plan.Connections.Takes() > 0 {
			left = max(r.plan.Takes()-now.Sub(r.began), 0)
		}
		return 0, done, left
	}
	for i := range r.plan.Phases {
		f := &r.plan.Phases[i]
		switch {
		case f == r.present:
			number = i + 1
			if takes, since := f.Takes(), now.Sub(r.since); takes > 0 {
				done = min(since.Seconds()/takes.Seconds(), 1)
				left += max(takes-since, 0)
			}
			left += f.Settle
		case number > 0:
			left += f.Takes() + f.Settle
		}
	}
	return number, done, left
}

// counts are the numbers of an event.
func (r *run) counts() map[string]any {
	c := r.d.Snapshot()
	return map[string]any{
		"ready": c.Ready, "failed": c.Failed, "died": c.Died, "published": c.Published, "sent": c.Sent, "received": c.Received, "others": c.Others,
	}
}

// event writes one JSON line. Every line has event and seconds.
func (r *run) event(name string, more map[string]any) {
	if r.s.Events == nil {
		return
	}
	more["event"] = name
	more["seconds"] = r.s.Clock().Sub(r.began).Seconds()
	line, err := json.Marshal(more)
	if err != nil {
		panic(fmt.Sprintf("loadtest: event %s cannot be encoded: %v", name, err)) // our bug
	}
	_, _ = r.s.Events.Write(append(line, '\n')) // a reader that has gone does not end the test
}
