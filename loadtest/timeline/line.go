package timeline

import "time"

// Reading is what was seen at one moment. Counters only grow; what is not known is 0 all the time.
type Reading struct {
	At       time.Duration // since the start
	Ready    int           // connections
	Dialed   int           // counter
	Received int           // counter: deliveries, echoes and publications of others

	CPU, SelfCPU time.Duration // counters, of the target and of the load test
	RSS, SelfRSS int64         // bytes
	Sockets      int64         // of the kernel, see observe/kernel
	Buffers      int64         // bytes
	Lag          time.Duration // the longest pass of the target's loops since the reading before that knew one, at most
}

// Sample is a reading as a report has it: counters became rates since the sample before.
type Sample struct {
	Seconds    float64 `json:"seconds"` // since the start
	Ready      int     `json:"ready"`
	Connects   float64 `json:"connects_per_second,omitempty"`
	Deliveries float64 `json:"deliveries_per_second,omitempty"`
	RSS        int64   `json:"rss_bytes,omitempty"` // of the target
	SelfRSS    int64   `json:"loadtest_rss_bytes,omitempty"`
	Sockets    int64   `json:"tcp_sockets,omitempty"`
	Buffers    int64   `json:"tcp_buffers_bytes,omitempty"`
	CPU        float64 `json:"cpu,omitempty"` // processors the target kept busy
	SelfCPU    float64 `json:"loadtest_cpu,omitempty"`
	Lag        float64 `json:"loop_lag_us,omitempty"`
}

const (
	// Period is how often a Line wants to be told at first.
	Period  = 100 * time.Millisecond
	lineMax = 800 // when it is reached two become one, and they are wanted half as often
)

// Line is a bounded number of readings. The zero value is empty.
type Line struct {
	all    []Reading
	period time.Duration // 0 = Period
}

// Due says whether a reading is wanted at a moment.
func (l *Line) Due(at time.Duration) bool {
	return len(l.all) == 0 || at-l.all[len(l.all)-1].At >= max(l.period, Period)
}

// Add takes a reading; those before its predecessor are dropped.
func (l *Line) Add(r Reading) {
	if n := len(l.all); n > 0 && r.At <= l.all[n-1].At {
		return
	}
	if len(l.all) == lineMax {
		for i := range lineMax / 2 {
			l.all[i] = merge(l.all[2*i], l.all[2*i+1])
		}
		l.all, l.period = l.all[:lineMax/2], 2*max(l.period, Period)
	}
	l.all = append(l.all, r)
}

// merge makes one of two: counters and what is at a moment are of the later, of sizes and waits the larger is kept.
func merge(a, b Reading) Reading {
	b.RSS, b.SelfRSS = max(a.RSS, b.RSS), max(a.SelfRSS, b.SelfRSS)
	b.Sockets, b.Buffers, b.Lag = max(a.Sockets, b.Sockets), max(a.Buffers, b.Buffers), max(a.Lag, b.Lag)
	return b
}

// Samples are all there are; the first has no rates.
func (l *Line) Samples() []Sample {
	out := make([]Sample, len(l.all))
	for i, r := range l.all {
		s := &out[i]
		*s = Sample{
			Seconds: r.At.Seconds(), Ready: r.Ready, RSS: r.RSS, SelfRSS: r.SelfRSS, Sockets: r.Sockets, Buffers: r.Buffers, Lag: float64(r.Lag) / 1e3,
		}
		if i == 0 {
			continue
		}
		before := l.all[i-1]
		seconds := (r.At - before.At).Seconds()
		rate := func(n float64) float64 { return max(n, 0) / seconds } // a process that has ended took its counter along
		s.Connects, s.Deliveries = rate(float64(r.Dialed-before.Dialed)), rate(float64(r.Received-before.Received))
		s.SelfCPU = rate((r.SelfCPU - before.SelfCPU).Seconds())
		if before.CPU > 0 {
			s.CPU = rate((r.CPU - before.CPU).Seconds())
		}
	}
	return out
}
