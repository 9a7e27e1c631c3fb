package watch

import (
	"math"
	"runtime/metrics"

	"shoal/tuning"
)

// The figures of the Go runtime that are looked at.
const (
	figureLive = iota
	figureScanned
	figureStacks
	figureGlobals
	figureCollections
	figureGCTime
	figureGCIdle
	figureTime
	figurePercent
	figureLimit
	figureMapped
	figureReleased
	figureCount
)

// Runtime reads the figures of the Go runtime. It belongs to one goroutine.
type Runtime struct {
	samples      [figureCount]metrics.Sample
	gcTime, time float64 // as of the last read
}

// Figures are those of one moment.
type Figures struct {
	Live        int64 // bytes that the last collection found alive
	Scanned     int64 // of which it had to look at for pointers
	Roots       int64 // bytes of stacks and globals
	Collections uint64
	Busy        float64 // the collector's part of the processors' time since the last read
	Percent     int     // GOGC in force; -1 = off
	Limit       int64   // GOMEMLIMIT in force; math.MaxInt64 = none
	Held        int64   // bytes of the process, as far as Go knows
}

// NewRuntime returns a reader that has read nothing yet.
func NewRuntime() *Runtime {
	r := &Runtime{}
	for i, name := range [figureCount]string{
		"/gc/heap/live:bytes", "/gc/scan/heap:bytes", "/gc/scan/stack:bytes", "/gc/scan/globals:bytes", "/gc/cycles/total:gc-cycles",
		"/cpu/classes/gc/total:cpu-seconds", "/cpu/classes/gc/mark/idle:cpu-seconds", "/cpu/classes/total:cpu-seconds",
		"/gc/gogc:percent", "/gc/gomemlimit:bytes", "/memory/classes/total:bytes", "/memory/classes/heap/released:bytes",
	} {
		r.samples[i].Name = name
	}
	return r
}

// Read reads them, in some microseconds and without stopping anything.
func (r *Runtime) Read() (f Figures) {
	metrics.Read(r.samples[:])
	whole := func(i int) int64 { return int64(min(r.samples[i].Value.Uint64(), math.MaxInt64)) }
	f.Live, f.Scanned, f.Roots = whole(figureLive), whole(figureScanned), whole(figureStacks)+whole(figureGlobals)
	f.Collections = r.samples[figureCollections].Value.Uint64()
	f.Limit, f.Percent, f.Held = whole(figureLimit), -1, whole(figureMapped)-whole(figureReleased)
	if p := r.samples[figurePercent].Value.Uint64(); p < math.MaxInt32 {
		f.Percent = int(p)
	}
	// What idle processors help with is nobody's loss.
	gc := r.samples[figureGCTime].Value.Float64() - r.samples[figureGCIdle].Value.Float64()
	all := r.samples[figureTime].Value.Float64()
	if all > r.time {
		f.Busy = max(gc-r.gcTime, 0) / (all - r.time)
	}
	r.gcTime, r.time = gc, all
	return f
}

// memoryPart is the part of the memory that is used, the largest of three: of a control group;
// of the host, if at least half of what is used there is this process's, for with others' memory
// nothing that is left undone here would help; and of the limit that Go was given, in which only
// what is alive counts, since garbage may fill it.
func (f *Figures) memoryPart(rooms tuning.Memory, conns int64) (part float64) {
	own := f.Held + conns*tuning.SocketBytes // the kernel's part, which Go knows nothing of
	for _, room := range rooms {
		if !room.Host || own >= int64(room.Used/2) {
			part = max(part, room.Part())
		}
	}
	if f.Limit < math.MaxInt64 {
		part = max(part, float64(f.Live)/float64(f.Limit))
	}
	return part
}
