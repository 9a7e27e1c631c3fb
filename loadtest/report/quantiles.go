package report

import (
	"slices"

	"shoal/loadtest/engine"
	"shoal/loadtest/engine/tally"
)

// QuantilesOf describes h; nil when it is empty.
func QuantilesOf(h tally.Histogram) *Quantiles {
	if h.TotalCount() == 0 {
		return nil
	}
	us := func(ns int64) float64 { return float64(ns) / 1e3 }
	return &Quantiles{
		Count: h.TotalCount(), Min: us(h.Min()), Mean: h.Mean() / 1e3, P50: us(h.ValueAtPercentile(50)), P90: us(h.ValueAtPercentile(90)),
		P99: us(h.ValueAtPercentile(99)), P999: us(h.ValueAtPercentile(99.9)), Max: us(h.Max()),
	}
}

// Over describes a list of durations in nanoseconds.
func Over(ns []int64) *Quantiles {
	if len(ns) == 0 {
		return nil
	}
	slices.Sort(ns)
	us := func(q float64) float64 { return float64(ns[min(int(q*float64(len(ns))), len(ns)-1)]) / 1e3 }
	sum := 0.0
	for _, v := range ns {
		sum += float64(v)
	}
	return &Quantiles{
		Count: int64(len(ns)), Min: us(0), Mean: sum / float64(len(ns)) / 1e3, P50: us(0.5), P90: us(0.9), P99: us(0.99), P999: us(0.999), Max: us(1),
	}
}

// listMax bounds the publications listed one by one in a report.
const listMax = 10_000

func List(all []engine.Publication) []Publication {
	out := make([]Publication, 0, min(len(all), listMax))
	for _, p := range all[:min(len(all), listMax)] {
		out = append(out, Publication(p))
	}
	return out
}
