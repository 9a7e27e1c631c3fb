package loadtest

import (
	"time"

	"shoal/loadtest/observe"
)

// Sample is a moment of the traffic.
type Sample struct {
	Seconds float64 `json:"seconds"` // since the start
	Ready   int     `json:"ready"`
	RSS     int64   `json:"rss_bytes,omitempty"` // of the target's process
	Kernel  int64   `json:"tcp_bytes,omitempty"` // of the kernel for all TCP sockets of the host, see observe.TCPBytes
}

// Memory is the resident memory of the target's process about what a scenario does, in bytes.
type Memory struct {
	Before  int64 `json:"before_bytes"`
	Stalled int64 `json:"peak_stalled_bytes,omitempty"` // slow: the most while some did not read
	Peak    int64 `json:"peak_bytes"`                   // the most from then on
	After   int64 `json:"after_bytes,omitempty"`        // after --settle

	KernelBefore int64 `json:"tcp_before_bytes,omitempty"` // of the kernel, see observe.TCPBytes
	KernelPeak   int64 `json:"tcp_peak_bytes,omitempty"`
}

// Growth is the most it had beyond what it had before.
func (m *Memory) Growth() int64 { return max(m.Peak-m.Before, 0) }

const (
	samplePeriod = 20 * time.Millisecond
	samplesMax   = 4096 // when it is reached every second one goes, and they are taken half as often
)

// sampler looks at the target's process and at the connections from time to time.
type sampler struct {
	all    []Sample
	period time.Duration // 0 = samplePeriod
	last   time.Time
	peak   int64 // the most RSS since it was last reset
	kernel int64 // the same of the kernel's
}

// due says whether it is time to look again.
func (s *sampler) due(now time.Time) bool { return now.Sub(s.last) >= max(s.period, samplePeriod) }

func (s *sampler) add(now time.Time, one Sample) {
	if len(s.all) == samplesMax {
		for i := range samplesMax / 2 {
			s.all[i] = s.all[2*i]
		}
		s.all, s.period = s.all[:samplesMax/2], 2*max(s.period, samplePeriod)
	}
	s.all, s.last = append(s.all, one), now
	s.peak, s.kernel = max(s.peak, one.RSS), max(s.kernel, one.Kernel)
}

// sample takes one while there is traffic.
func (r *run) sample() {
	p := r.press
	if p == nil || r.report.mark(markIdle) == nil {
		return
	}
	if now := r.s.Clock(); p.samples.due(now) {
		p.samples.add(now, Sample{
			now.Sub(r.began).Seconds(), r.d.Snapshot().Ready, observe.ResidentBytes(r.proc, r.cfg.ServerPIDs), observe.TCPBytes(r.proc, r.cfg.serverPID()),
		})
	}
}
