package report

import (
	"shoal/loadtest/units"
)

// pressure writes the part for a person to read.
func (t *table) pressure(p *Pressure) {
	if p.Channels == 0 {
		t.row("channels", "one for each connection")
	} else {
		t.row("channels", "%s, %s of them for each connection, %s to %s receivers each", units.Grouped(p.Channels), units.Grouped(p.Subscriptions),
			units.Grouped(p.ReceiversMin), units.Grouped(p.ReceiversMax))
	}
	t.row("published", "%s, %s confirmed (%.6g/s asked)", units.Grouped(p.Published), units.Grouped(p.Answered), p.AskedRate)
	t.steps(p.Steps)
	t.verified(&p.Verified)
	if p.Told > 0 {
		t.row("", "of the expected, %s were lost and the clients know", units.Grouped(p.Told))
	}
	t.row("deliveries", "%s/s", units.Grouped(int(p.PerSecond)))
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

func (t *table) slow(s *Slow) {
	t.row("did not read", "%s for %.1f s: %s received everything, %s were ended, %s were told of a gap", units.Grouped(s.Stalled), s.Seconds,
		units.Grouped(s.Whole), units.Grouped(s.Ended), units.Grouped(s.Missed))
	for _, text := range byCount(s.Codes) {
		t.row("", "%9s × %s", units.Grouped(s.Codes[text]), text)
	}
	if s.Gone > 0 {
		t.row("", "%s were told to stay away and lost %s", units.Grouped(s.Gone), units.Grouped(s.LostGone))
	}
	if s.Skipped > 0 {
		t.row("", "offsets left out %s on connections that held", units.Grouped(s.Skipped))
	}
	if s.Unseen > 0 {
		t.row("", "of the expected, they lost %s on channels without offsets", units.Grouped(s.Unseen))
	}
	if s.Silent > 0 {
		t.row("", "of the expected, they lost %s silently", units.Grouped(s.Silent))
	}
	t.row("came back", "%s subscriptions recovered with %s publications, %s did not recover, %s had nothing to recover from; %s had been ended "+
		"by the target", units.Grouped(s.Recovered), units.Grouped(s.RecoveredPublications), units.Grouped(s.Unrecovered), units.Grouped(s.Anew), units.Grouped(s.Unsubscribed))
	t.quantiles("others before", s.Before)
	t.quantiles("others during", s.During)
	t.quantiles("others after", s.After)
}

func (t *table) storm(s *Storming) {
	t.row("cut", "%s, of whom %s are back", units.Grouped(s.Cut), units.Grouped(s.Back))
	if s.Resumed > 0 {
		t.add(", %s by their resume token", units.Grouped(s.Resumed))
	}
	if s.Again > 0 {
		t.add(", %s refused or ended on the way", units.Grouped(s.Again))
	}
	t.row("came back", "%s subscriptions recovered with %s publications, %s did not recover", units.Grouped(s.Recovered),
		units.Grouped(s.RecoveredPublications), units.Grouped(s.Unrecovered))
	t.quantiles("own time", s.Own)
	t.quantiles("away", s.Away)
	if s.CPU > 0 {
		t.row("return", "%.1f µs of processor time", s.CPU)
	}
}
