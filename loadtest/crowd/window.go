package crowd

import "time"

// Window is what those who read received in one second, by the time of receipt. Durations are nanoseconds.
type Window struct {
	From          int64 // Unix nanoseconds
	Count         int64
	P50, P99, Max int64
}

const (
	windowTime = int64(time.Second)
	windowsMax = 10_000 // later ones are not told apart
)

// windows cut a stream of receipts into seconds; a second without any is left out.
type windows struct {
	all  []Window
	from int64
	now  Histogram // of the present one
}

// record takes one receipt.
func (w *windows) record(now, ns int64) {
	if now-w.from >= windowTime {
		w.cut()
		w.from = now - now%windowTime
	}
	w.now.record(ns)
}

// cut ends the present window.
func (w *windows) cut() {
	if h := w.now; h.TotalCount() > 0 && len(w.all) < windowsMax {
		w.all = append(w.all, Window{w.from, h.TotalCount(), h.ValueAtPercentile(50), h.ValueAtPercentile(99), h.Max()})
	}
	w.now.Reset()
}
