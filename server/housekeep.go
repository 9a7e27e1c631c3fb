package server

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"shoal/loop"
)

// housekeep gives memory back after bursts, every memory_trim_period, until ctx
// ends.
func (p *Program) housekeep(ctx context.Context) error {
	if p.cfg.Loop.MemoryTrimPeriod == 0 {
		return nil
	}
	tick := time.NewTicker(p.cfg.Loop.MemoryTrimPeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			p.trim()
		}
	}
}

// trim has every loop and pool give up what it does not need, and returns to the
// system what the heap then has too much.
func (p *Program) trim() {
	for _, r := range p.rows {
		if err := r.l.Post(trimming{r}); err != nil {
			return // the loop is busy or has ended: another time
		}
	}
	p.node.Trim()
	p.buffers.Trim()
	p.bytes.Trim()
	p.codec.Trim()
	if idleHeap() > idleHeapMax {
		debug.FreeOSMemory()
	}
}

// idleHeapMax is the memory the Go runtime may keep without using it.
const idleHeapMax = 1 << 20

// idleHeap is the memory the Go runtime holds from the system and does not use,
// garbage not counted.
func idleHeap() uint64 {
	samples := []metrics.Sample{{Name: "/memory/classes/heap/free:bytes"}}
	metrics.Read(samples)
	return samples[0].Value.Uint64()
}

// trimming is the message that has a loop tidy up.
type trimming struct{ row *row }

// Deliver implements [loop.Message].
func (t trimming) Deliver(*loop.Loop) {
	t.row.buffers.Trim()
	t.row.ws.Trim()
	if t.row.echo != nil {
		t.row.echo.Trim()
	}
	t.row.door.Trim()
	t.row.shard.Trim()
}
