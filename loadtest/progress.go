package loadtest

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"shoal/loadtest/units"
)

// progress shows how far the test is: on a terminal one line that rewrites itself, elsewhere a line now and then.
type progress struct {
	w        io.Writer // nil: nothing is shown
	terminal bool
	next     time.Time
	open     bool // the line on the terminal has no end yet
}

func newProgress(w io.Writer, terminal bool) *progress { return &progress{w: w, terminal: terminal} }

const (
	everyTerminal = 100 * time.Millisecond
	everyPlain    = 2 * time.Second
)

// update shows the line when it is time to.
func (p *progress) update(now time.Time, line func() string) {
	if p.w == nil || now.Before(p.next) {
		return
	}
	first := p.next.IsZero()
	p.next = now.Add(everyPlain)
	if p.terminal {
		p.next = now.Add(everyTerminal)
		fmt.Fprintf(p.w, "\r\x1b[K%s", line())
		p.open = true
	} else if !first {
		fmt.Fprintln(p.w, line())
	}
}

// phase shows the line with which a phase ended.
func (p *progress) phase(line string) {
	if p.w == nil {
		return
	}
	if p.terminal {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
	fmt.Fprintln(p.w, line)
	p.open, p.next = false, time.Time{}
}

// end leaves the terminal in order.
func (p *progress) end() {
	if p.open {
		fmt.Fprintln(p.w)
		p.open = false
	}
}

// line is what is to be shown now.
func (r *run) line(phase string) string {
	c := r.d.Snapshot()
	elapsed := r.s.Clock().Sub(r.began).Seconds()
	out := fmt.Sprintf("%6.1f s  %s: %s of %s connections", elapsed, phase, grouped(c.Ready), grouped(r.cfg.Connections))
	add := func(n int, what string) {
		if n > 0 {
			out += ", " + grouped(n) + " " + what
		}
	}
	add(c.Failed, "failed")
	add(c.Died, "died")
	add(c.Published, "published")
	add(c.Sent, "sent")
	add(c.Received, "received")
	add(c.Others, "from others")
	add(c.Duplicates, "twice")
	add(c.Late, "out of order")
	add(c.Altered, "altered")
	add(c.Pongs, "pongs")
	if r.press != nil {
		s := c.Status
		add(s.Stalled, "stopped reading")
		add(s.Ended, "of them ended")
		add(s.Told, "lost and told")
		add(s.Away, "away")
		add(s.Back, "back")
		add(s.Recovered, "recovered")
		add(s.Unrecovered, "not recovered")
	}
	return out
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

func grouped(n int) string { return units.Grouped(n) }
