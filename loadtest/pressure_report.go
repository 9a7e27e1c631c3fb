package loadtest

import (
	"fmt"

	"shoal/loadtest/engine"
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
	Told      int         `json:"lost_and_told"`         // the server made these losses visible; not among lost
	PerSecond float64     `json:"deliveries_per_second"` // over the time publications were made
	Latency   *Quantiles  `json:"latency,omitempty"`     // of every receipt of those who read, recovered ones excluded
	Answer    *Quantiles  `json:"answer,omitempty"`
	Writes    *Writes     `json:"writes,omitempty"`
	Slow      *SlowResult `json:"slow,omitempty"`
	Storm     *Storming   `json:"storm,omitempty"`
}

// Writes is what the target's own metrics say of the traffic.
type Writes struct {
	Deliveries  float64 `json:"deliveries"`
	Calls       float64 `json:"write_calls"` // write(2) and writev(2) of its loops, pings and replies included
	PerDelivery float64 `json:"writes_per_delivery"`
	LagMS       float64 `json:"loop_lag_ms"` // the longest since the target's start
}

// SlowResult is what became of those who stopped reading, and of the others meanwhile.
type SlowResult struct {
	Stalled  int            `json:"stalled"`
	Seconds  float64        `json:"seconds"`
	Whole    int            `json:"whole"` // received everything on one connection
	Ended    int            `json:"ended"` // by the target
	Missed   int            `json:"missed"`
	Gone     int            `json:"gone"` // of those ended, could not come back: no position, or a final code
	Away     int            `json:"away"` // of those ended, should be back and are not
	Codes    map[string]int `json:"codes,omitempty"`
	Silent   int            `json:"lost_silently"`
	LostGone int            `json:"lost_with_gone"` // publications owed to those who are gone

	Unsubscribed          int `json:"unsubscribed"`
	Recovered             int `json:"recovered"`
	Unrecovered           int `json:"not_recovered"`
	RecoveredPublications int `json:"recovered_publications"`

	RSSBefore int64      `json:"rss_before_bytes,omitempty"`
	RSSPeak   int64      `json:"rss_peak_bytes,omitempty"` // since the traffic began
	RSSAfter  int64      `json:"rss_after_bytes,omitempty"`
	Before    *Quantiles `json:"latency_before,omitempty"` // of the healthy ones
	During    *Quantiles `json:"latency_during,omitempty"`
	After     *Quantiles `json:"latency_after,omitempty"`
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
	Overflows             *int64     `json:"listen_overflows,omitempty"`
	Drops                 *int64     `json:"listen_drops,omitempty"`
}

// completePressure fills in the report; the quantiles are those of setting up.
func (r *run) completePressure(v Verified, c engine.Counters) *Quantiles {
	res := r.press.c.Results()
	p := &Pressure{
		Channels: r.cfg.Channels, Subscriptions: r.cfg.Subscriptions, ReceiversMin: res.ReceiversMin, ReceiversMax: res.ReceiversMax,
		AskedRate: r.cfg.PublishRate, Published: c.Published, Answered: c.Answered, Refused: c.Refused, Verified: v, Told: res.Told,
		Latency: quantiles(res.Latency.Histogram), Answer: quantiles(res.Answer.Histogram), Writes: writes(r.press.before, r.press.after),
	}
	if c.Published == 0 {
		return quantiles(res.Setup.Histogram)
	}
	r.report.Pressure = p
	p.Expected += res.Told + res.Outcome.Silent + res.LostGone
	from, to := r.report.mark(markIdle), r.report.mark(markTraffic)
	if from != nil && to != nil && to.Seconds > from.Seconds {
		p.PerSecond = float64(c.Received) / (to.Seconds - from.Seconds)
	}
	switch r.cfg.Scenario {
	case Slow:
		o := res.Outcome
		p.Slow = &SlowResult{
			Stalled: res.Stalled, Whole: o.Whole, Ended: o.Ended, Missed: o.Missed, Gone: res.Gone, Away: o.Away, Codes: res.Codes,
			Silent: o.Silent, LostGone: res.LostGone, Unsubscribed: res.Unsubscribed, Recovered: res.Recovered, Unrecovered: res.Unrecovered,
			RecoveredPublications: res.RecoveredPublications, RSSPeak: r.press.rssPeak, Before: quantiles(res.Before.Histogram),
			During: quantiles(res.During.Histogram), After: quantiles(res.After.Histogram),
		}
		p.Slow.times(r.report)
	case Storm:
		p.Storm = &Storming{
			Cut: res.Cut, Back: res.Back, Resumed: res.Resumed, Again: res.Again, Recovered: res.Recovered, Unrecovered: res.Unrecovered,
			RecoveredPublications: res.RecoveredPublications, Own: quantiles(res.Return.Histogram), Away: quantiles(res.Absent.Histogram),
		}
		p.Storm.cost(r.report, r.press.netstat)
	}
	return quantiles(res.Setup.Histogram)
}

// times takes over what the marks say.
func (s *SlowResult) times(r *Report) {
	before, stalled, after := r.mark(markBefore), r.mark(markStalled), r.mark(markAfter)
	if before != nil && stalled != nil {
		s.Seconds = stalled.Seconds - before.Seconds
	}
	if before != nil && before.Server != nil {
		s.RSSBefore = before.Server.RSS
	}
	if after != nil && after.Server != nil {
		s.RSSAfter = after.Server.RSS
	}
}

// cost takes over what the marks and the kernel say.
func (s *Storming) cost(r *Report, netstat [2]accepts) {
	cut, back := r.mark(markCut), r.mark(markBack)
	if cut != nil && back != nil && cut.Server != nil && back.Server != nil && s.Back > 0 {
		s.CPU = us(back.Server.CPU-cut.Server.CPU) / float64(s.Back)
	}
	if netstat[0].known && netstat[1].known {
		overflows, drops := netstat[1].overflows-netstat[0].overflows, netstat[1].lost-netstat[0].lost
		s.Overflows, s.Drops = &overflows, &drops
	}
}

// failures says which promise of a scenario was broken, beside what Verified has.
func (p *Pressure) failures(scenario Scenario) (all []string) {
	fail := func(n int, format string) {
		if n > 0 {
			all = append(all, fmt.Sprintf(format, grouped(n)))
		}
	}
	if scenario != Slow {
		fail(p.Told, "messages lost, though the target told: %s")
	}
	if s := p.Slow; s != nil {
		fail(s.Silent, "messages lost silently by those who did not read: %s")
		fail(s.Away, "connections that did not read, were ended and did not come back: %s")
	}
	if s := p.Storm; s != nil {
		fail(s.Cut-s.Back, "connections that did not come back: %s")
		fail(s.Unrecovered, "subscriptions that came back and did not recover: %s")
		for name, n := range map[string]*int64{"ListenOverflows": s.Overflows, "ListenDrops": s.Drops} {
			if n != nil {
				fail(int(*n), "connections that found the accept queue full ("+name+"): %s")
			}
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
		t.row("", "of the expected, %s were lost and the target told", grouped(p.Told))
	}
	t.row("deliveries", "%s/s", grouped(int(p.PerSecond)))
	t.quantiles("each receipt", p.Latency)
	t.quantiles("confirmation", p.Answer)
	if w := p.Writes; w != nil {
		t.row("writes", "%.3f for each delivery: %s for %s; longest lag of a loop since its start %.1f ms", w.PerDelivery, grouped(int(w.Calls)),
			grouped(int(w.Deliveries)), w.LagMS)
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
		t.row("", "%s could not come back and lost %s", grouped(s.Gone), grouped(s.LostGone))
	}
	if s.Silent > 0 {
		t.row("", "of the expected, they lost %s silently", grouped(s.Silent))
	}
	t.row("came back", "%s subscriptions recovered with %s publications, %s did not recover, %s were ended and began anew",
		grouped(s.Recovered), grouped(s.RecoveredPublications), grouped(s.Unrecovered), grouped(s.Unsubscribed))
	if s.RSSPeak > 0 {
		t.row("memory", "%s before, %s at most, %s after", size(float64(s.RSSBefore)), size(float64(s.RSSPeak)), size(float64(s.RSSAfter)))
	}
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
	if s.Overflows != nil {
		t.row("accept queue", "%d overflows, %d drops", *s.Overflows, *s.Drops)
	}
}
