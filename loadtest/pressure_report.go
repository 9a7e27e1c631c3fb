package loadtest

import (
	"fmt"

	"shoal/loadtest/engine"
	"shoal/loadtest/observe"
)

// Pressure is the result of the scenarios channels, slow and storm.
type Pressure struct {
	Channels      int     `json:"channels"`
	Subscriptions int     `json:"subscriptions_per_connection"`
	ReceiversMin  int     `json:"receivers_min"` // of a channel, at the end
	ReceiversMax  int     `json:"receivers_max"`
	AskedRate     float64 `json:"asked_per_second"`
	Published     int     `json:"published"`
	Answered      int     `json:"answered"`
	Refused       int     `json:"refused"`
	Verified
	Told      int         `json:"lost_and_told"`         // the clients know of these losses; not among lost
	PerSecond float64     `json:"deliveries_per_second"` // over the time publications were made
	Latency   *Quantiles  `json:"latency,omitempty"`     // of every receipt of those who read, recovered ones excluded
	Answer    *Quantiles  `json:"answer,omitempty"`
	Memory    *Memory     `json:"memory,omitempty"`
	Accept    *Queue      `json:"accept_queue,omitempty"`
	Slow      *SlowResult `json:"slow,omitempty"`
	Storm     *Storming   `json:"storm,omitempty"`
	Samples   []Sample    `json:"samples,omitempty"`
	Windows   []Window    `json:"windows,omitempty"`
}

// Queue is what the kernel counted meanwhile of connections that found an accept queue full.
type Queue struct {
	Overflows int64 `json:"listen_overflows"`
	Drops     int64 `json:"listen_drops"`
}

// Window is what those who read received in one second.
type Window struct {
	Seconds float64 `json:"seconds"` // since the start
	Count   int64   `json:"count"`
	P50     float64 `json:"p50_us"`
	P99     float64 `json:"p99_us"`
	Max     float64 `json:"max_us"`
}

// SlowResult is what became of those who stopped reading, and of the others meanwhile.
type SlowResult struct {
	Stalled  int            `json:"stalled"`
	Seconds  float64        `json:"seconds"`
	Whole    int            `json:"whole"` // received everything on one connection
	Ended    int            `json:"ended"` // by the target
	Missed   int            `json:"missed"`
	Gone     int            `json:"gone"` // of those ended, were told to stay away
	Away     int            `json:"away"` // of those ended, should be back and are not
	Codes    map[string]int `json:"codes,omitempty"`
	Ends     int            `json:"ends"`                 // of their connections, several of one if need be
	Skipped  int            `json:"lost_and_skipped"`     // of the losses told, left out of the offsets of connections that held
	Unseen   int            `json:"lost_without_offsets"` // no client can know; only the target's counters tell
	Silent   int            `json:"lost_silently"`
	LostGone int            `json:"lost_with_gone"` // publications owed to those who are gone

	Unsubscribed          int `json:"unsubscribed"`
	Recovered             int `json:"recovered"`
	Unrecovered           int `json:"not_recovered"`
	Anew                  int `json:"anew"` // came back where nothing can be recovered
	RecoveredPublications int `json:"recovered_publications"`

	Before *Quantiles `json:"latency_before,omitempty"` // of the healthy ones
	During *Quantiles `json:"latency_during,omitempty"`
	After  *Quantiles `json:"latency_after,omitempty"`
}

// Storming is how all came back.
type Storming struct {
	Cut                   int        `json:"cut"`
	Back                  int        `json:"back"`
	Resumed               int        `json:"resumed,omitempty"`
	Again                 int        `json:"ended_again"` // refused or ended again on the way
	Recovered             int        `json:"recovered"`
	Unrecovered           int        `json:"not_recovered"`
	RecoveredPublications int        `json:"recovered_publications"`
	Own                   *Quantiles `json:"own_time,omitempty"` // from the cut to subscribed and recovered, without the backoff slept
	Away                  *Quantiles `json:"away,omitempty"`     // with it
	CPU                   float64    `json:"cpu_us_per_return,omitempty"`
}

// completePressure fills in the report.
func (r *run) completePressure(v Verified, c *engine.Snapshot, res *engine.Results) {
	p := &Pressure{
		Channels: r.cfg.Channels, Subscriptions: r.cfg.Subscriptions,
		AskedRate: r.cfg.PublishRate, Published: c.Published, Answered: c.Answered, Refused: c.Refused, Verified: v, Told: c.Told,
		Latency: quantiles(res.Latency), Answer: quantiles(res.Answer), Samples: r.press.samples.all,
		Windows: r.report.Timeline.Windows,
	}
	p.ReceiversMin, p.ReceiversMax = res.ReceiversRange()
	if c.Published == 0 {
		return
	}
	r.report.Pressure = p
	r.press.watched(p, r.report)
	p.Expected += c.Told + c.Unseen + res.Outcome.Unseen + res.Outcome.Silent + c.LostGone
	from, to := r.report.mark(markIdle), r.report.mark(markTraffic)
	if from != nil && to != nil && to.Seconds > from.Seconds {
		p.PerSecond = float64(c.Received) / (to.Seconds - from.Seconds)
	}
	switch r.cfg.Scenario {
	case Slow:
		o := res.Outcome
		p.Slow = &SlowResult{
			Stalled: c.Stalled, Whole: o.Whole, Ended: o.Ended, Missed: o.Missed, Gone: c.Gone, Away: o.Away, Codes: res.Codes,
			Ends: c.Ended, Skipped: c.Skipped, Unseen: c.Unseen + o.Unseen, Silent: o.Silent, LostGone: c.LostGone,
			Unsubscribed: c.Unsubscribed, Recovered: c.Recovered, Unrecovered: c.Unrecovered, Anew: c.Anew,
			RecoveredPublications: c.RecoveredPublications, Before: quantiles(res.Before),
			During: quantiles(res.During), After: quantiles(res.After),
		}
		if before, stalled := r.report.mark(markBefore), r.report.mark(markStalled); before != nil && stalled != nil {
			p.Slow.Seconds = stalled.Seconds - before.Seconds
		}
	case Storm:
		p.Storm = &Storming{
			Cut: c.Cut, Back: c.Back, Resumed: c.Resumed, Again: c.Again, Recovered: c.Recovered, Unrecovered: c.Unrecovered,
			RecoveredPublications: c.RecoveredPublications, Own: quantiles(res.Return), Away: quantiles(res.Absent),
		}
		p.Storm.cost(r.report)
	}
}

// watched takes over what was sampled of the target's process and of the kernel.
func (p *press) watched(into *Pressure, r *Report) {
	if m := p.memory; m.Before > 0 {
		m.Peak, m.KernelPeak = p.samples.peak, p.samples.kernel
		if after := r.mark(markAfter); after != nil && after.Server != nil {
			m.After = after.Server.RSS
		}
		into.Memory = &m
	}
	if from, to := p.netstat[0], p.netstat[1]; from.Known && to.Known {
		into.Accept = &Queue{to.Overflows - from.Overflows, to.Drops - from.Drops}
	}
}

// cost takes over what the marks say.
func (s *Storming) cost(r *Report) {
	cut, back := r.mark(markCut), r.mark(markBack)
	if cut != nil && back != nil && cut.Server != nil && back.Server != nil && s.Back > 0 {
		s.CPU = us(back.Server.CPU-cut.Server.CPU) / float64(s.Back)
	}
}

// failures says which promise of a scenario was broken, beside what Verified has. o is what the target counted, nil when it does
// not tell.
func (p *Pressure) failures(scenario Scenario, o *observe.Observed) (all []string) {
	fail := func(n int, format string) {
		if n > 0 {
			all = append(all, fmt.Sprintf(format, grouped(n)))
		}
	}
	if scenario != Slow {
		fail(p.Told, "messages lost, though the clients know: %s")
	}
	if s := p.Slow; s != nil {
		fail(s.Silent, "messages lost silently by those who did not read: %s")
		fail(s.Away, "connections that did not read, were ended and did not come back: %s")
		fail(s.Gone, "connections that did not read and were told to stay away for good: %s")
		all = append(all, s.uncounted(o)...)
	}
	if s := p.Storm; s != nil {
		fail(s.Cut-s.Back, "connections that did not come back: %s")
		fail(s.Unrecovered, "subscriptions that came back and did not recover: %s")
	}
	if q := p.Accept; q != nil {
		fail(int(q.Overflows), "connections that found the accept queue full (ListenOverflows): %s")
		fail(int(q.Drops), "connections that found the accept queue full (ListenDrops): %s")
	}
	return all
}

// uncounted says which losses of those who did not read are missing in the target's counters.
func (s *SlowResult) uncounted(o *observe.Observed) (all []string) {
	if o == nil {
		if s.Unseen > 0 {
			all = append(all, fmt.Sprintf("messages lost on channels without offsets, of which neither the clients nor metrics tell: %s; "+
				"let the channel have history, or name the target's --metrics", grouped(s.Unseen)))
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
			all = append(all, fmt.Sprintf(c.what, grouped(c.lost), grouped(c.counted)))
		}
	}
	return all
}

// pressure writes the part for a person to read.
func (t *table) pressure(p *Pressure) {
	t.row("channels", "%s, %s of them for each connection, %s to %s receivers each", grouped(p.Channels), grouped(p.Subscriptions),
		grouped(p.ReceiversMin), grouped(p.ReceiversMax))
	t.row("published", "%s, %s confirmed (%.6g/s asked)", grouped(p.Published), grouped(p.Answered), p.AskedRate)
	t.verified(&p.Verified)
	if p.Told > 0 {
		t.row("", "of the expected, %s were lost and the clients know", grouped(p.Told))
	}
	t.row("deliveries", "%s/s", grouped(int(p.PerSecond)))
	t.quantiles("each receipt", p.Latency)
	t.quantiles("confirmation", p.Answer)
	if m := p.Memory; m != nil {
		t.row("memory", "%s before, at most %s more", size(float64(m.Before)), size(float64(m.Growth())))
		if m.Stalled > 0 {
			t.add(" (%s while some did not read)", size(float64(max(m.Stalled-m.Before, 0))))
		}
		if m.After > 0 {
			t.add(", %s after", size(float64(m.After)))
		}
	}
	if m := p.Memory; m != nil && m.KernelPeak > 0 {
		t.row("", "the kernel's for TCP, of this host: %s before, at most %s", size(float64(m.KernelBefore)), size(float64(m.KernelPeak)))
	}
	if q := p.Accept; q != nil {
		t.row("accept queue", "%d overflows, %d drops", q.Overflows, q.Drops)
	}
	if p.Slow != nil {
		t.slow(p.Slow)
	}
	if p.Storm != nil {
		t.storm(p.Storm)
	}
}

func (t *table) slow(s *SlowResult) {
	t.row("did not read", "%s for %.1f s: %s received everything, %s were ended, %s were told of a gap", grouped(s.Stalled), s.Seconds,
		grouped(s.Whole), grouped(s.Ended), grouped(s.Missed))
	for _, text := range byCount(s.Codes) {
		t.row("", "%9s × %s", grouped(s.Codes[text]), text)
	}
	if s.Gone > 0 {
		t.row("", "%s were told to stay away and lost %s", grouped(s.Gone), grouped(s.LostGone))
	}
	if s.Skipped > 0 {
		t.row("", "offsets left out %s on connections that held", grouped(s.Skipped))
	}
	if s.Unseen > 0 {
		t.row("", "of the expected, they lost %s on channels without offsets", grouped(s.Unseen))
	}
	if s.Silent > 0 {
		t.row("", "of the expected, they lost %s silently", grouped(s.Silent))
	}
	t.row("came back", "%s subscriptions recovered with %s publications, %s did not recover, %s had nothing to recover from; %s had been ended "+
		"by the target", grouped(s.Recovered), grouped(s.RecoveredPublications), grouped(s.Unrecovered), grouped(s.Anew), grouped(s.Unsubscribed))
	t.quantiles("others before", s.Before)
	t.quantiles("others during", s.During)
	t.quantiles("others after", s.After)
}

func (t *table) storm(s *Storming) {
	t.row("cut", "%s, of whom %s are back", grouped(s.Cut), grouped(s.Back))
	if s.Resumed > 0 {
		t.add(", %s by their resume token", grouped(s.Resumed))
	}
	if s.Again > 0 {
		t.add(", %s refused or ended on the way", grouped(s.Again))
	}
	t.row("came back", "%s subscriptions recovered with %s publications, %s did not recover", grouped(s.Recovered),
		grouped(s.RecoveredPublications), grouped(s.Unrecovered))
	t.quantiles("own time", s.Own)
	t.quantiles("away", s.Away)
	if s.CPU > 0 {
		t.row("return", "%.1f µs of processor time", s.CPU)
	}
}
