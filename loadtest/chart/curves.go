package chart

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"shoal/loadtest"
)

// Report is one report and what its file's name says: figure__series__x__round.json.
type Report struct {
	Figure, Series string
	X              float64
	Round          int
	loadtest.Report
}

// Reports reads all of a folder, by figure, series, x and round.
func Reports(dir fs.FS) (all []Report, err error) {
	names, err := fs.Glob(dir, "*.json")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		part := strings.Split(strings.TrimSuffix(name, ".json"), "__")
		if len(part) != 4 {
			return nil, fmt.Errorf("chart: %s is not named figure__series__x__round.json", name)
		}
		r := Report{Figure: part[0], Series: strings.ReplaceAll(part[1], "_", " ")}
		x, err1 := strconv.ParseFloat(part[2], 64)
		round, err2 := strconv.Atoi(part[3])
		if err1 != nil || err2 != nil {
			return nil, fmt.Errorf("chart: %s: x or round is no number", name)
		}
		r.X, r.Round = x, round
		text, err := fs.ReadFile(dir, name)
		if err == nil {
			err = json.Unmarshal(text, &r.Report)
		}
		if err != nil {
			return nil, fmt.Errorf("chart: %s: %w", name, err)
		}
		all = append(all, r)
	}
	slices.SortStableFunc(all, func(a, b Report) int {
		return cmp.Or(strings.Compare(a.Figure, b.Figure), cmp.Compare(order(a.Series), order(b.Series)), strings.Compare(a.Series, b.Series),
			cmp.Compare(a.X, b.X), cmp.Compare(a.Round, b.Round))
	})
	return all, nil
}

// order is the place of a series in its figure.
func order(series string) int {
	return slices.Index([]string{"disconnect", "drop oldest", "drop newest", "latest", "conflate", "anew", "by resume token"}, series)
}

const (
	delay  = "batch_delay"
	burst  = "burst"
	memory = "slow_memory"
	waits  = "slow_latency"
	storm  = "storm"
	stuck  = "slow" // the reports of memory and waits
	pause  = 60     // seconds for which they are stuck
)

// Figures are all there are.
func Figures() []Figure {
	const two = "Medians of interleaved runs on 2 shared virtual cores, the server on one and the clients on the other."
	return []Figure{
		{Name: delay, Title: "batch_max_delay: 1,500 clients in 20 busy channels each, 400 publications a second", Note: two, Panels: []Panel{
			{Name: "cpu", X: "batch_max_delay, ms", Y: "processor time for a delivery, µs", Each: true, Dots: true},
			{Name: "writes", X: "batch_max_delay, ms", Y: "writes for a delivery", Each: true, Dots: true},
			{Name: "p99", X: "batch_max_delay, ms", Y: "p99 of the receipts, ms", Each: true, Dots: true},
		}},
		{Name: burst, Title: "Bursts: publications made at once, for 15,000 receivers of one channel", Note: two, Panels: []Panel{
			{Name: "rate", X: "publications in a burst", Y: "deliveries, millions a second", Each: true, Dots: true},
			{Name: "cpu", X: "publications in a burst", Y: "µs of processor time for a delivery", Each: true, Dots: true},
		}},
		{Name: memory, Title: "Memory of the process while a third of its clients does not read", Note: "10 publications of 4 KiB a second to all, in one channel. One run for each slow_policy.",
			Panels: []Panel{{Name: "rss", X: "seconds since they stopped", Y: "resident memory, MB", To: pause, Between: "a third does not read"}}},
		{Name: waits, Title: "What the other two thirds feel of it", Note: "Receipts of each second; the same runs.",
			Panels: []Panel{{Name: "p99", X: "seconds since they stopped", Y: "p99 of the receipts, ms", Log: true, To: pause, Between: "a third does not read"}}},
		{Name: storm, Title: "All 15,000 are cut at once and come back after their own backoff of 0.5 to 1 s",
			Note:   "The median of the runs. A client is back when it is connected, subscribed and has recovered.",
			Panels: []Panel{{Name: "back", X: "seconds since the cut", Y: "back, percent"}}},
	}
}

// Tables makes the table of every figure for which there are reports; a report of a test that failed is an error.
func Tables(all []Report) (map[string][]Row, error) {
	tables := map[string][]Row{}
	for len(all) > 0 {
		n := 1 // the rounds of one point
		for n < len(all) && all[n].Figure == all[0].Figure && all[n].Series == all[0].Series && all[n].X == all[0].X {
			n++
		}
		rounds := all[:n]
		all = all[n:]
		for i := range rounds {
			if r := &rounds[i]; !r.OK {
				return nil, fmt.Errorf("chart: the test %s %s %g failed in round %d: %s", r.Figure, r.Series, r.X, r.Round, strings.Join(r.Failures, "; "))
			}
		}
		switch figure := rounds[0].Figure; figure {
		case delay, burst:
			tables[figure] = append(tables[figure], point(rounds)...)
		case stuck:
			tables[memory] = append(tables[memory], resident(&rounds[0])...)
			tables[waits] = append(tables[waits], latency(&rounds[0])...)
		case storm:
			slices.SortStableFunc(rounds, func(a, b Report) int { return cmp.Compare(a.Pressure.Storm.Own.P99, b.Pressure.Storm.Own.P99) })
			tables[storm] = append(tables[storm], back(&rounds[len(rounds)/2])...)
		default:
			return nil, fmt.Errorf("chart: there is no figure %q", figure)
		}
	}
	return tables, nil
}

// point is one point of each panel: the medians.
func point(rounds []Report) (rows []Row) {
	add := func(panel string, of func(*Report) float64) {
		var v []float64
		for i := range rounds {
			v = append(v, of(&rounds[i]))
		}
		slices.Sort(v)
		rows = append(rows, Row{panel, rounds[0].Series, rounds[0].X, v[len(v)/2]})
	}
	add("cpu", func(r *Report) float64 {
		if r.Cost == nil {
			return 0
		}
		return r.Cost.MessageUS
	})
	switch {
	case rounds[0].Delivery != nil:
		add("rate", func(r *Report) float64 { return r.Delivery.PerSecond / 1e6 })
	case rounds[0].Pressure != nil:
		add("p99", func(r *Report) float64 { return r.Pressure.Latency.P99 / 1e3 })
		add("writes", func(r *Report) float64 {
			if r.Observed == nil || r.Observed.Writes == nil {
				return 0
			}
			return r.Observed.Writes.PerDelivery
		})
	}
	return rows
}

// since is when something began in a test, in seconds.
func since(r *Report, mark string) float64 {
	for _, m := range r.Marks {
		if m.Name == mark {
			return m.Seconds
		}
	}
	return 0
}

// resident is the most memory of each half second.
func resident(r *Report) (rows []Row) {
	at := since(r, "before")
	for _, s := range r.Pressure.Samples {
		x, y := float64(int(2*(s.Seconds-at)))/2, float64(s.RSS)/1e6
		if last := len(rows) - 1; last >= 0 && rows[last].X == x {
			rows[last].Y = max(rows[last].Y, y)
			continue
		}
		rows = append(rows, Row{"rss", r.Series, x, y})
	}
	return rows
}

func latency(r *Report) (rows []Row) {
	at := since(r, "before")
	for _, w := range r.Pressure.Windows {
		rows = append(rows, Row{"p99", r.Series, w.Seconds - at, w.P99 / 1e3})
	}
	return rows
}

// back is the share of clients that are there, from the cut until all are.
func back(r *Report) (rows []Row) {
	at := since(r, "cut")
	all := max(float64(r.Pressure.Storm.Cut), 1)
	rows = []Row{{"back", r.Series, 0, 0}}
	for _, s := range r.Pressure.Samples {
		x := s.Seconds - at
		if x < 0 || len(rows) == 1 && s.Ready == int(all) { // not cut yet
			continue
		}
		rows = append(rows, Row{"back", r.Series, x, 100 * float64(s.Ready) / all})
		if s.Ready == int(all) {
			break
		}
	}
	return rows
}
