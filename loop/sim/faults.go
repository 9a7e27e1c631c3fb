package sim

import (
	"math/rand/v2"
	"syscall"
)

// Faults are chances, 0…1, each per call or per pass; a zero Faults is a kernel that does its best.
type Faults struct {
	ShortRead     float64 // Read gives less than there is
	ShortWrite    float64 // Write and Writev take less than fits
	Again         float64 // Read, Write, Writev and Accept say EAGAIN although they could
	Spurious      float64 // per descriptor and pass: readiness without a cause
	Missed        float64 // per descriptor and pass: readiness is reported one pass later
	AcceptAborted float64 // Accept says ECONNABORTED, the connection is gone
	AcceptENFILE  float64 // Accept says ENFILE, the connection stays
	AddFails      float64 // Poller.Add says ENOSPC (fs.epoll.max_user_watches)
	ConnectFails  float64 // Connect says EADDRNOTAVAIL at once
	Break         float64 // per pass: some connection breaks: ECONNRESET, ETIMEDOUT or EHOSTUNREACH
	LateTick      float64 // a tick comes up to five periods late
	EarlyTick     float64 // a tick comes up to half a period early
	LostTick      float64 // a tick does not come; the next one does
	ClockJump     float64 // per pass: the process did not run for up to 30 s
	Preempt       float64 // per event: other loops and peers run before it is delivered
	InOrder       bool    // readiness is reported in order of descriptors instead of shuffled
	BatchMax      int     // descriptors reported by one pass; 0 = all
}

// RandomFaults draws a profile in which each fault is absent, rare or frequent, so that some seeds test one fault
// alone.
func RandomFaults(rng *rand.Rand) Faults {
	some := func(most float64) float64 {
		switch rng.UintN(3) {
		case 0:
			return 0
		case 1:
			return most / 10 * rng.Float64()
		}
		return most * rng.Float64()
	}
	f := Faults{
		ShortRead: some(0.9), ShortWrite: some(0.9), Again: some(0.3), Spurious: some(0.3), Missed: some(0.5),
		AcceptAborted: some(0.3), AcceptENFILE: some(0.3), AddFails: some(0.1), ConnectFails: some(0.3),
		Break: some(0.01), LateTick: some(0.3), EarlyTick: some(0.3), LostTick: some(0.3), ClockJump: some(0.002),
		Preempt: some(0.5),
		InOrder: rng.UintN(4) == 0,
	}
	if rng.UintN(2) == 0 {
		f.BatchMax = 1 + rng.IntN(8)
	}
	return f
}

// breakSomething is the network at work: now and then a connection ends by itself.
func (w *World) breakSomething() {
	if len(w.links) == 0 || !w.chance(w.cfg.Faults.Break) {
		return
	}
	l := w.links[w.rng.IntN(len(w.links))]
	l.reset([]syscall.Errno{syscall.ECONNRESET, syscall.ETIMEDOUT, syscall.EHOSTUNREACH}[w.rng.IntN(3)])
	w.note("break", l.fd, l.peer.index, l.err)
}
