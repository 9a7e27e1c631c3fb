package tally

import "testing"

func TestWhatCameSinceIsADistributionOfItsOwn(t *testing.T) {
	var h Histogram
	record := func(n int, ns int64) {
		for range n {
			h.Record(ns)
		}
	}
	none := h.Clone()
	record(100, 1_000_000)
	before := h.Clone()
	record(50, 9_000_000)
	since := h.Since(before)
	if since.TotalCount() != 50 || since.Min() < 8_900_000 || since.Max() > 9_100_000 || since.ValueAtPercentile(50) < 8_900_000 {
		t.Errorf("%d values from %d to %d", since.TotalCount(), since.Min(), since.Max())
	}
	if all := h.Since(none); all.TotalCount() != 150 || h.TotalCount() != 150 || before.TotalCount() != 100 {
		t.Errorf("%d since the beginning, %d in all, %d before", all.TotalCount(), h.TotalCount(), before.TotalCount())
	}
	if nothing := h.Since(h.Clone()); nothing.TotalCount() != 0 {
		t.Errorf("%d values came in no time", nothing.TotalCount())
	}
}
