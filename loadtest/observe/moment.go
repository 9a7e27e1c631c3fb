package observe

import (
	"context"
	"io/fs"
	"time"

	"shoal/loadtest/observe/kernel"
)

// Moment is a moment of a test: how far it was, and what the processes and the kernel had used until then. Parts that are not known
// are nil.
type Moment struct {
	Name       string       `json:"name"`
	Seconds    float64      `json:"seconds"` // since the start
	Ready      int          `json:"ready"`
	Received   int          `json:"received"`   // messages of this run and of others
	Heartbeats int          `json:"heartbeats"` // pings of the target, each answered
	Server     *Process     `json:"server,omitempty"`
	Servers    []Process    `json:"servers,omitempty"` // where the target is several processes, each; Server is their sum
	Self       *Process     `json:"loadtest,omitempty"`
	Host       *kernel.Host `json:"host,omitempty"`
	Heap       *Heap        `json:"server_heap,omitempty"`
	NoMetrics  string       `json:"no_metrics,omitempty"` // why the target's metrics are not there, where they were asked for

	Measures Measures `json:"-"` // nil where they were not asked for, or there are none
	rested   *Process // Server again, after Measures had been asked for, which the target had to answer
}

// Heap is what the target tells of its Go heap. Sizes are bytes.
type Heap struct {
	InUse       int64 `json:"in_use_bytes"`         // spans with objects, dead ones that were not collected yet included
	Live        int64 `json:"live_bytes,omitempty"` // what the last collection found reachable; 0 = not told
	Collections int64 `json:"collections"`          // since the start
}

// Names of what the Go runtime of the target tells.
const (
	metricHeapInUse   = "go_memstats_heap_inuse_bytes"
	metricHeapLive    = "shoal_heap_live_bytes"
	metricCollections = metricGCRecent + "_count"
)

// Observer looks at a target from outside.
type Observer struct {
	Proc    fs.FS // of /proc
	PIDs    []int // processes of the target on this host; empty = not known
	Sources []Source
	Selves  []int // processes of the load test; empty = the present one
}

// Look fills in what the processes and the kernel tell, and with metrics what the target tells, which costs it a millisecond.
// The error is of the metrics.
func (o *Observer) Look(ctx context.Context, m *Moment, metrics bool) (err error) {
	if m.Server, m.Servers = o.server(); len(m.Servers) == 1 {
		m.Servers = nil
	}
	if len(o.Selves) > 0 {
		if p, _, err := ReadProcesses(o.Proc, o.Selves); err == nil {
			m.Self = &p
		}
	} else if p, err := ReadProcess(o.Proc, "self"); err == nil {
		m.Self = &p
	}
	h := kernel.Read(o.Proc, o.pid())
	m.Host = &h
	if !metrics {
		return nil
	}
	if m.Measures, err = o.Measures(ctx); m.Measures[metricHeapInUse] != nil {
		m.Heap = &Heap{
			int64(m.Measures.sum(metricHeapInUse)), int64(m.Measures.sum(metricHeapLive)), int64(m.Measures.sum(metricCollections)),
		}
	}
	if err != nil {
		m.NoMetrics = err.Error()
	}
	m.rested, _ = o.server()
	return err
}

func (o *Observer) server() (*Process, []Process) {
	if sum, each, err := ReadProcesses(o.Proc, o.PIDs); err == nil && len(each) > 0 {
		return &sum, each
	}
	return nil, nil
}

// ServerUsage is the processor time and the resident memory of the target, from few files; 0 when it is not known.
func (o *Observer) ServerUsage() (cpu time.Duration, rss int64) { return usageOf(o.Proc, o.PIDs) }

// Sockets are the TCP sockets of the target's network namespace, and the bytes in their buffers.
func (o *Observer) Sockets() (n, buffers int64) {
	h := kernel.ReadSockets(o.Proc, o.pid())
	return h.Sockets, h.Buffers
}

// SelfUsage is the processor time and the resident memory of the load test, from few files.
func (o *Observer) SelfUsage() (cpu time.Duration, rss int64) {
	if len(o.Selves) > 0 {
		return usageOf(o.Proc, o.Selves)
	}
	return usage(o.Proc, "self")
}

// pid is a process of the target's network namespace, 0 when none is known.
func (o *Observer) pid() int {
	if len(o.PIDs) > 0 {
		return o.PIDs[0]
	}
	return 0
}

// Measures asks all sources for their metrics and adds them up.
func (o *Observer) Measures(ctx context.Context) (sum Measures, err error) {
	for _, s := range o.Sources {
		m, err := s.Read(ctx)
		if err != nil {
			return nil, err
		}
		sum = sum.plus(m)
	}
	return sum, nil
}

// plus adds values with the same name and labels; of quantiles, which cannot be added, the highest is taken.
func (m Measures) plus(more Measures) Measures {
	if m == nil {
		return more
	}
	for name, values := range more {
		if m[name] == nil {
			m[name] = map[string]float64{}
		}
		for labels, v := range values {
			if labelOf(labels, "quantile") != "" {
				m[name][labels] = max(m[name][labels], v)
				continue
			}
			m[name][labels] += v
		}
	}
	return m
}
