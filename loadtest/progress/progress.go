package progress

import (
	"fmt"
	"io"
	"strings"
	"time"

	"shoal/loadtest/units"
)

// State is what there is to show. What is 0 and could be otherwise is left out, connections excepted.
type State struct {
	Elapsed time.Duration // since the start
	Doing   string        // a word or two: connecting, publishing
	Phase   string        // its name
	Number  int           // of the phase, from 1
	Phases  int
	Done    float64       // of what is done now, 0 to 1; below 0 = not known
	Left    time.Duration // of the whole; 0 = not known

	Ready, Asked int     // connections
	Connects     float64 // a second
	Publications float64 // a second
	Deliveries   float64 // a second; echoes and answers, too
	P99          float64 // latency of the last second, in microseconds

	Counts   []Count // what else there is
	Troubles []Count // what should not be
}

// Count is a number of something.
type Count struct {
	N    int
	What string
}

// View shows states on a writer. Use New.
type View struct {
	w        io.Writer // nil: nothing is shown
	terminal bool
	next     time.Time
	drawn    int // lines of the block on the terminal that have to be rewritten
}

// New makes a view; w may be nil.
func New(w io.Writer, terminal bool) *View { return &View{w: w, terminal: terminal} }

const (
	everyTerminal = 200 * time.Millisecond
	everyPlain    = 2 * time.Second
	columns       = 79 // of a narrow terminal: a longer line would break and not be rewritten whole
	barCells      = 24
)

// Update shows the state when it is time to.
func (v *View) Update(now time.Time, state func() State) {
	if v.w == nil || now.Before(v.next) {
		return
	}
	first := v.next.IsZero()
	v.next = now.Add(everyPlain)
	if v.terminal {
		v.next = now.Add(everyTerminal)
		v.draw(state().block())
	} else if !first {
		_, _ = fmt.Fprintln(v.w, state().line()) // a reader that has gone does not end the test
	}
}

// Done shows the state with which something ended; its line stays.
func (v *View) Done(state func() State) {
	if v.w == nil {
		return
	}
	_, _ = io.WriteString(v.w, v.erase()+state().line()+"\n")
	v.next = time.Time{}
}

// End leaves the terminal in order. More calls do nothing.
func (v *View) End() {
	if v.w != nil {
		_, _ = io.WriteString(v.w, v.erase())
	}
}

// erase takes back the block: to its first line, and everything from there.
func (v *View) erase() string {
	if v.drawn == 0 {
		return ""
	}
	up := ""
	if v.drawn > 1 {
		up = fmt.Sprintf("\x1b[%dA", v.drawn-1)
	}
	v.drawn = 0
	return "\r" + up + "\x1b[J"
}

func (v *View) draw(lines []string) {
	text := v.erase() + strings.Join(lines, "\n")
	v.drawn = len(lines)
	_, _ = io.WriteString(v.w, text)
}

// block is the state for a terminal.
func (s State) block() []string {
	head := fmt.Sprintf("%7.1f s  %s", s.Elapsed.Seconds(), s.Doing)
	if s.Phases > 1 {
		head += fmt.Sprintf(", phase %d of %d", s.Number, s.Phases)
		if s.Phase != "" {
			head += ": " + s.Phase
		}
	}
	if s.Left > 0 {
		head += ", " + span(s.Left) + " left"
	}
	lines := []string{head}
	if s.Done >= 0 {
		lines = append(lines, fmt.Sprintf("%11s%s %3.0f %%", "", bar(s.Done), 100*min(s.Done, 1)))
	}
	conns := fmt.Sprintf("%11s%s %s of %s connections", "", bar(float64(s.Ready)/float64(max(s.Asked, 1))), units.Grouped(s.Ready), units.Grouped(s.Asked))
	lines = append(lines, conns+perSecond(s.Connects, ""))
	if text := s.flowing(); text != "" {
		lines = append(lines, fmt.Sprintf("%11s%s", "", text))
	}
	for _, list := range [][]Count{s.Counts, s.Troubles} {
		if text := counts(list); text != "" {
			lines = append(lines, fmt.Sprintf("%11s%s", "", text))
		}
	}
	for i, line := range lines {
		if short := []rune(line); len(short) > columns {
			lines[i] = string(short[:columns-1]) + "…"
		}
	}
	return lines
}

// flowing are the rates of messages.
func (s State) flowing() string {
	text := strings.TrimPrefix(perSecond(s.Publications, " published")+perSecond(s.Deliveries, " received"), ", ")
	if s.P99 > 0 && text != "" {
		text += ", p99 " + units.Micros(s.P99)
	}
	return text
}

func perSecond(n float64, what string) string {
	if n < 0.5 {
		return ""
	}
	return ", " + units.Grouped(int(n+0.5)) + "/s" + what
}

// counts writes those that are not zero.
func counts(all []Count) string {
	var texts []string
	for _, c := range all {
		if c.N > 0 {
			texts = append(texts, units.Grouped(c.N)+" "+c.What)
		}
	}
	return strings.Join(texts, ", ")
}

// line is the state in one line.
func (s State) line() string {
	name := s.Doing
	if s.Phases > 1 && s.Phase != "" {
		name = s.Phase + ", " + s.Doing
	}
	out := fmt.Sprintf("%6.1f s  %s: %s of %s connections", s.Elapsed.Seconds(), name, units.Grouped(s.Ready), units.Grouped(s.Asked))
	for _, list := range [][]Count{s.Troubles, s.Counts} {
		if text := counts(list); text != "" {
			out += ", " + text
		}
	}
	if s.P99 > 0 {
		out += ", p99 " + units.Micros(s.P99)
	}
	return out
}

// bar is a share in cells, in eighths of one.
func bar(share float64) string {
	eighths := []rune(" ▏▎▍▌▋▊▉█")
	n := int(min(max(share, 0), 1)*barCells*8 + 0.5)
	cells := make([]rune, barCells)
	for i := range cells {
		cells[i] = eighths[min(max(n-8*i, 0), 8)]
	}
	return "▕" + string(cells) + "▏"
}

// span is a duration for a person: 45 s, 3 min, 2 h 5 min.
func span(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%.0f min", d.Minutes())
	default:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	}
}
