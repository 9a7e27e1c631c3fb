package plan

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Expectation is a figure to reach.
type Expectation struct {
	Phase string  // name of a phase; "" = the whole test
	Name  string  // of the figure
	Limit float64 // in microseconds, bytes, or a number, as the figure demands
}

// Kind is what a figure is measured in.
type Kind string

// The kinds, each called as a limit of it is written.
const (
	Duration Kind = "a duration, as in 20ms"
	Bytes    Kind = "a size, as in 500, 64KB or 1GB"
	Number   Kind = "a number, as in 75000 or 2.5"
	Count    Kind = "a number of messages, as in 0"
)

// Figure is something that can be expected. What it is taken from is known to who has the report.
type Figure struct {
	Name  string
	Kind  Kind
	Least bool // the limit is the lowest allowed, not the highest
	Whole bool // it is one of the whole test: no phase has it
}

// Figures are all there are.
func Figures() []Figure {
	return []Figure{
		{Name: "p50", Kind: Duration},
		{Name: "p99", Kind: Duration},
		{Name: "p999", Kind: Duration},
		{Name: "p99_ratio", Kind: Number},
		{Name: "loss", Kind: Count},
		{Name: "duplicates", Kind: Count},
		{Name: "reorder", Kind: Count},
		{Name: "rate", Kind: Number, Least: true},
		{Name: "pace", Kind: Number, Least: true},
		{Name: "broadcast", Kind: Duration},
		{Name: "back", Kind: Duration},
		{Name: "lag", Kind: Duration, Whole: true},
		{Name: "gc", Kind: Duration, Whole: true},
		{Name: "cpu", Kind: Duration},
		{Name: "rss_growth", Kind: Bytes},
		{Name: "connect_rate", Kind: Number, Least: true, Whole: true},
		{Name: "connect_time", Kind: Duration, Whole: true},
		{Name: "rss_per_conn", Kind: Bytes, Whole: true},
		{Name: "rss", Kind: Bytes, Whole: true},
		{Name: "loadtest_rss", Kind: Bytes, Whole: true},
		{Name: "heap_per_conn", Kind: Bytes, Whole: true},
		{Name: "kernel_per_conn", Kind: Bytes, Whole: true},
	}
}

// FigureOf finds one by its name.
func FigureOf(name string) (Figure, bool) {
	for _, f := range Figures() {
		if f.Name == name {
			return f, true
		}
	}
	return Figure{}, false
}

// String is the expectation's name as it is written: phase.NAME.FIGURE, or FIGURE.
func (e Expectation) String() string {
	if e.Phase == "" {
		return e.Name
	}
	return "phase." + e.Phase + "." + e.Name
}

// ParseExpect reads «figure=limit,…», where a figure may be «phase.NAME.figure».
func ParseExpect(text string) (all []Expectation, err error) {
	for one := range strings.SplitSeq(text, ",") {
		if one = strings.TrimSpace(one); one == "" {
			continue
		}
		e, limit, err := expectation(one)
		if err != nil {
			return nil, err
		}
		f, ok := FigureOf(e.Name)
		if !ok {
			return nil, fmt.Errorf("there is no figure %q; %s", e.Name, didYouMean(e.Name, figureNames()))
		}
		if f.Whole && e.Phase != "" {
			return nil, fmt.Errorf("%s is a figure of the whole test and no phase has it; write %s=%s", e.Name, e.Name, limit)
		}
		v, ok := f.Kind.parse(limit)
		if e.Limit = v; !ok || v < 0 || v == 0 && f.Kind != Count {
			return nil, fmt.Errorf("%s=%s is no limit; write %s, above zero", e, limit, f.Kind)
		}
		all = append(all, e)
	}
	return all, nil
}

// expectation takes «[phase.NAME.]figure=limit» apart.
func expectation(text string) (e Expectation, limit string, err error) {
	name, limit, ok := strings.Cut(text, "=")
	if e.Name = strings.TrimSpace(name); !ok {
		return e, "", fmt.Errorf("%q has no limit; write figure=limit, as in p99=20ms", text)
	}
	if rest, is := strings.CutPrefix(e.Name, "phase."); is {
		if e.Phase, e.Name, ok = strings.Cut(rest, "."); !ok || e.Phase == "" {
			return e, "", fmt.Errorf("%q names no figure of a phase; write it as in phase.news.p99=20ms", text)
		}
	}
	return e, strings.TrimSpace(limit), nil
}

func figureNames() (names []string) {
	for _, f := range Figures() {
		names = append(names, f.Name)
	}
	return names
}

// parse reads a limit: a duration as microseconds, a size as bytes, a number as it is.
func (k Kind) parse(text string) (float64, bool) {
	switch k {
	case Duration:
		d, err := time.ParseDuration(text)
		return float64(d) / float64(time.Microsecond), err == nil
	case Bytes:
		return parseSize(text)
	default:
		v, err := strconv.ParseFloat(text, 64)
		return v, err == nil && v <= 1e18
	}
}

func parseSize(text string) (float64, bool) {
	factor := 1.0
	for _, unit := range [...]struct {
		name   string
		factor float64
	}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1}} {
		if rest, is := strings.CutSuffix(text, unit.name); is {
			text, factor = rest, unit.factor
			break
		}
	}
	v, err := strconv.ParseFloat(text, 64)
	return v * factor, err == nil && v <= 1e18
}

// Expectations are all a plan has: its own, and those of its phases, which need no «phase.NAME.» before them. It is for plans
// that are valid.
func (p *Plan) Expectations() []Expectation {
	all, _ := ParseExpect(p.Expect)
	for f := range p.All() {
		of, _ := ParseExpect(f.Expect)
		for _, e := range of {
			if e.Phase == "" {
				e.Phase = f.Name
			}
			all = append(all, e)
		}
	}
	return all
}
