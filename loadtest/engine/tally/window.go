package tally

import (
	"encoding/binary"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Window is what those who read received in one second, by the time of receipt. Durations are nanoseconds.
type Window struct {
	From          int64 // Unix nanoseconds
	Count         int64
	P50, P99, Max int64
	Shape         []byte // the distribution, coarsely: what is added up has its quantiles from here, within a tenth
}

const (
	windowTime   = int64(time.Second)
	windowsMax   = 10_000 // later ones are not told apart
	windowDigits = 2
	shapeDigits  = 1
)

// Windows cut a stream of receipts into seconds; a second without any is left out. The zero value is empty.
type Windows struct {
	all  []Window
	from int64
	now  *hdrhistogram.Histogram // of the present one
}

// Record takes one receipt.
func (w *Windows) Record(now, ns int64) {
	if w.now == nil {
		w.now = hdrhistogram.New(histogramMin, histogramMax, windowDigits)
	}
	if now-w.from >= windowTime || now < w.from {
		w.cut()
		w.from = now - now%windowTime
	}
	_ = w.now.RecordValue(min(max(ns, 0), histogramMax)) // within the range it cannot fail
}

// cut ends the present window.
func (w *Windows) cut() {
	if one, some := w.present(); some && len(w.all) < windowsMax {
		w.all = append(w.all, one)
	}
	w.now.Reset()
}

// present is the window that is being filled.
func (w *Windows) present() (one Window, some bool) {
	if w.now == nil || w.now.TotalCount() == 0 {
		return one, false
	}
	shape := hdrhistogram.New(histogramMin, histogramMax, shapeDigits)
	for _, bar := range w.now.Distribution() {
		if bar.Count > 0 {
			_ = shape.RecordValues(bar.To, bar.Count)
		}
	}
	return Window{w.from, w.now.TotalCount(), w.now.ValueAtPercentile(50), w.now.ValueAtPercentile(99), w.now.Max(), pack(shape)}, true
}

// All are the windows so far, the present one included.
func (w *Windows) All() []Window {
	all := w.all[:len(w.all):len(w.all)]
	if one, some := w.present(); some {
		all = append(all, one)
	}
	return all
}

// pack writes the counts of a shape: for each that is not 0, how many places it is beyond the one before, and the count.
func pack(h *hdrhistogram.Histogram) (b []byte) {
	gap := uint64(0)
	for _, n := range h.Export().Counts {
		if n == 0 {
			gap++
			continue
		}
		b = binary.AppendUvarint(binary.AppendUvarint(b, gap), uint64(n))
		gap = 0
	}
	return b
}

// unpack adds a shape to h; what cannot be one is left out.
func unpack(h *hdrhistogram.Snapshot, b []byte) {
	at := uint64(0)
	for len(b) > 0 {
		gap, n := binary.Uvarint(b)
		count, m := binary.Uvarint(b[max(n, 0):])
		if at += gap; n <= 0 || m <= 0 || at >= uint64(len(h.Counts)) {
			return
		}
		h.Counts[at] += int64(count)
		at++
		b = b[n+m:]
	}
}

// addWindows joins two lists in order of time.
func addWindows(a, b []Window) []Window {
	return merge(a, b, func(w Window) int64 { return w.From }, func(x, y Window) Window {
		s := hdrhistogram.New(histogramMin, histogramMax, shapeDigits).Export()
		unpack(s, x.Shape)
		unpack(s, y.Shape)
		h := hdrhistogram.Import(s)
		x.Count += y.Count
		x.Max = max(x.Max, y.Max)
		x.P50, x.P99 = min(h.ValueAtPercentile(50), x.Max), min(h.ValueAtPercentile(99), x.Max)
		x.Shape = pack(h)
		return x
	})
}

// merge joins two lists that are in the order of their keys; what has the same key becomes one.
func merge[T any](a, b []T, key func(T) int64, join func(x, y T) T) []T {
	if len(b) == 0 {
		return a
	}
	out := make([]T, 0, max(len(a), len(b)))
	for len(a) > 0 && len(b) > 0 {
		switch x, y := key(a[0]), key(b[0]); {
		case x < y:
			out, a = append(out, a[0]), a[1:]
		case x > y:
			out, b = append(out, b[0]), b[1:]
		default:
			out, a, b = append(out, join(a[0], b[0])), a[1:], b[1:]
		}
	}
	return append(append(out, a...), b...)
}
