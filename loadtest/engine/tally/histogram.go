package tally

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	histogramMin    = int64(time.Microsecond)
	histogramMax    = int64(10 * time.Minute)
	histogramDigits = 3
	bracketTicks    = 5 // brackets for each halving of what is left
)

// Histogram is a distribution in nanoseconds, from 1 µs to 10 min with three digits. The zero value is an empty one and holds
// nothing; about 180 KB are made with the first value. As JSON it is the text of HdrHistogram's compressed V2 encoding.
type Histogram struct{ h *hdrhistogram.Histogram }

// Record takes a value; one out of range (a clock that was set) becomes the nearest within.
func (h *Histogram) Record(ns int64) {
	if h.h == nil {
		h.h = hdrhistogram.New(histogramMin, histogramMax, histogramDigits)
	}
	_ = h.h.RecordValue(min(max(ns, 0), histogramMax)) // within the range it cannot fail
}

// Add adds all values of another.
func (h *Histogram) Add(o Histogram) {
	switch {
	case o.h == nil:
	case h.h == nil:
		h.h = hdrhistogram.Import(o.h.Export())
	default:
		h.h.Merge(o.h) // of one range: nothing is dropped
	}
}

// Clone is a copy of its own.
func (h Histogram) Clone() (c Histogram) {
	c.Add(h)
	return c
}

// TotalCount is how many values there are; the others are 0 when that is 0.
func (h Histogram) TotalCount() int64 {
	if h.h == nil {
		return 0
	}
	return h.h.TotalCount()
}

// Min is the lowest value.
func (h Histogram) Min() int64 {
	if h.h == nil {
		return 0
	}
	return h.h.Min()
}

// Max is the highest value.
func (h Histogram) Max() int64 {
	if h.h == nil {
		return 0
	}
	return h.h.Max()
}

// Mean is the mean.
func (h Histogram) Mean() float64 {
	if h.h == nil {
		return 0
	}
	return h.h.Mean()
}

// ValueAtPercentile is the value that so many percent do not exceed.
func (h Histogram) ValueAtPercentile(p float64) int64 {
	if h.h == nil {
		return 0
	}
	return h.h.ValueAtPercentile(p)
}

// Brackets is the distribution as quantiles and counts, closer together towards the end; nil when it is empty.
func (h Histogram) Brackets() []hdrhistogram.Bracket {
	if h.h == nil {
		return nil
	}
	return h.h.CumulativeDistributionWithTicks(bracketTicks)
}

// MarshalJSON implements json.Marshaler.
func (h Histogram) MarshalJSON() ([]byte, error) {
	if h.TotalCount() == 0 {
		return []byte(`""`), nil
	}
	text, err := h.h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		return nil, fmt.Errorf("tally: a histogram cannot be encoded: %w", err)
	}
	return json.Marshal(string(text))
}

// UnmarshalJSON implements json.Unmarshaler. What is of another range is refused: it could not be added.
func (h *Histogram) UnmarshalJSON(b []byte) error {
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return fmt.Errorf("tally: a histogram is no text: %w", err)
	}
	if h.h = nil; text == "" {
		return nil
	}
	d, err := hdrhistogram.Decode([]byte(text))
	if err != nil {
		return fmt.Errorf("tally: a histogram cannot be read: %w", err)
	}
	if d.HighestTrackableValue() != histogramMax || d.SignificantFigures() != histogramDigits {
		return fmt.Errorf("tally: a histogram up to %d with %d digits; want %d and %d", d.HighestTrackableValue(), d.SignificantFigures(), histogramMax, histogramDigits)
	}
	h.h = d
	return nil
}

// Since is what came after an earlier state of the same distribution.
func (h Histogram) Since(before Histogram) Histogram {
	if h.h == nil || before.h == nil {
		return h.Clone()
	}
	s, earlier := h.h.Export(), before.h.Export()
	for i, n := range earlier.Counts {
		s.Counts[i] -= n
	}
	return Histogram{hdrhistogram.Import(s)}
}
