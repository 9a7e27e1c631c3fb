package loadtest

import (
	"time"

	"shoal/loadtest/observe"
	"shoal/loadtest/report"
)

const (
	samplePeriod = 20 * time.Millisecond
	samplesMax   = 4096 // when it is reached every second one goes, and they are taken half as often
)

// sampler looks at the target's process and at the connections from time to time.
type sampler struct {
	all    []report.Sample
	period time.Duration // 0 = samplePeriod
	last   time.Time
	peak   int64 // the most RSS since it was last reset
	kernel int64 // the same of the kernel's
}

// due says whether it is time to look again.
func (s *sampler) due(now time.Time) bool { return now.Sub(s.last) >= max(s.period, samplePeriod) }

func (s *sampler) add(now time.Time, one report.Sample) {
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
	if r.first == nil {
		return
	}
	if now := r.s.Clock(); r.samples.due(now) {
		r.samples.add(now, report.Sample{
			Seconds: now.Sub(r.began).Seconds(), Ready: r.d.Snapshot().Ready, RSS: observe.ResidentBytes(r.proc, r.cfg.ServerPIDs),
			Kernel: observe.TCPBytes(r.proc, r.cfg.serverPID()),
		})
	}
}
