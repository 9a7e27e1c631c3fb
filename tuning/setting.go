package tuning

import (
	"fmt"
	"strconv"
	"strings"
)

// setting is one sysctl: what a server of many connections needs of it, and what somebody who is to change it should know.
// The table of all (settings) is the only place where this is said: doctor, apply.sh, sysctl.d and the README are made of it.
type setting struct {
	Name    string   // as sysctl(8) writes it
	Numbers []number // its value: one, or several apart by spaces
	Unit    string
	For     Target // whom it concerns: Serve, LoadTest or Both
	Ours    bool   // a container has its own; else only the host has it
	Grade   Severity
	Why     string // what happens when it is too low (or high): a clause, no full stop
	Cost    string
	NotWhen string
	File    filing
}

// filing says how a setting stands in sysctl.d/90-shoal.conf.
type filing int

const (
	plain    filing = iota
	optional        // «-»: no complaint where it does not exist
	remark          // commented: copied blindly it could lower what is set
)

// bound says which way a number is good.
type bound string

const (
	least bound = "least" // raised to the need, never lowered
	most  bound = "most"  // lowered to it, but only when asked to
	start bound = "start" // the start of a range: lowered to it, which makes more room
	same  bound = "same"  // exactly that
	leave bound = "leave" // whatever it is
)

// basis is what a number grows with.
type basis string

const (
	byConns   basis = "conns"
	byEnds    basis = "ends"    // sockets on this host: two per connection when both sides are here
	byProcess basis = "process" // connections of one process, or of one table of descriptors where it has several
)

// number is a formula: plus + per1000·basis/1000, rounded up to a multiple of round, then at least floor, at most ceiling and
// at most memory per cent of the host's memory, in pages. Fields that are zero do not count.
type number struct {
	bound   bound
	basis   basis
	floor   uint64
	per1000 uint64
	plus    uint64
	round   uint64
	ceiling uint64
	memory  uint64
}

// value is the number for w on a host with that many pages of memory; 0 = unknown, then memory sets no limit.
func (n number) value(w Want, pages uint64) uint64 {
	v := n.bare(w)
	if n.round > 0 {
		v = (v + n.round - 1) / n.round * n.round
	}
	v = max(v, n.floor)
	if n.memory > 0 && pages > 0 {
		v = min(v, max(pages*n.memory/100, n.floor))
	}
	if n.ceiling > 0 {
		v = min(v, n.ceiling)
	}
	return v
}

// bare is the number without what is added for roundness: below it things go wrong, between it and value they are tight.
func (n number) bare(w Want) uint64 {
	if n.basis == "" {
		return n.floor
	}
	count := w.conns()
	switch n.basis {
	case byEnds:
		count = w.ends()
	case byProcess:
		count = w.perTable()
	}
	return n.plus + (count*n.per1000+999)/1000
}

// wrong says whether value is not what want asks for.
func (b bound) wrong(value, want uint64) bool {
	switch b {
	case least:
		return value < want
	case most, start:
		return value > want
	case same:
		return value != want
	}
	return false
}

// want is the setting's value as sysctl takes it, for a host where it is now: what is good already stays.
func (s *setting) want(w Want, pages uint64, now []uint64) string {
	parts := make([]string, len(s.Numbers))
	for i, n := range s.Numbers {
		v := n.value(w, pages)
		if i < len(now) && !n.bound.wrong(now[i], v) {
			v = now[i]
		}
		parts[i] = strconv.FormatUint(v, 10)
	}
	return strings.Join(parts, " ")
}

// judge compares the setting with what it is now. low: apply.sh would change it. severe: by more than roundness.
func (s *setting) judge(w Want, pages uint64, now []uint64) (low, severe bool) {
	for i, n := range s.Numbers {
		if i >= len(now) || !n.bound.wrong(now[i], n.value(w, pages)) {
			continue
		}
		low = true
		severe = severe || n.bound != least || now[i] < min(n.bare(w), n.value(w, pages))
	}
	return low, severe
}

// concerns says whether the setting matters to a target.
func (s *setting) concerns(t Target) bool { return s.For&t != 0 }

// parseNumbers reads a sysctl's value. ok is false when it is no list of numbers.
func parseNumbers(text string) (numbers []uint64, ok bool) {
	for _, f := range strings.Fields(text) {
		n, err := strconv.ParseUint(f, 10, 64)
		if err != nil {
			return nil, false
		}
		numbers = append(numbers, n)
	}
	return numbers, len(numbers) > 0
}

// Target is which side of the connections a host is to hold.
type Target int

// The targets.
const (
	Serve    Target = 1
	LoadTest Target = 2
	Both     Target = Serve | LoadTest // over loopback: two ends of each connection
)

// ParseTarget reads what String writes.
func ParseTarget(name string) (Target, error) {
	for _, t := range []Target{Serve, LoadTest, Both} {
		if t.String() == name {
			return t, nil
		}
	}
	return 0, fmt.Errorf("there is no target %q; give serve, loadtest or both", name)
}

func (t Target) String() string {
	switch t {
	case LoadTest:
		return "loadtest"
	case Both:
		return "both"
	default:
		return "serve"
	}
}

// Want is what a host is meant for. The zero value is a server of an unknown number of connections.
type Want struct {
	Conns         int    // it is meant to hold; 0 = unknown: judged as if for assumedConns
	Processes     int    // they are spread over; 0 = 1
	Tables        int    // of descriptors that each process has: its loops when they have their own (loop.own_descriptors); 0 = 1
	Sources       int    // addresses a load test dials from; 0 = 1
	ListenBacklog int    // accept queue it will ask for; 0 = as much as there is
	Target        Target // 0 = Serve
}

const (
	// spareDescriptors is what a process holds beside its connections: listeners, pollers, log, HTTP requests.
	spareDescriptors = 256
	// assumedConns makes 65,536 descriptors of it: a limit below is one with which nobody means to serve many.
	assumedConns = 65_536 - spareDescriptors
)

func (w Want) conns() uint64 {
	if w.Conns <= 0 {
		return assumedConns
	}
	return uint64(w.Conns)
}

func (w Want) processes() uint64 { return uint64(max(w.Processes, 1)) }

// tables is how many tables of descriptors there are in all.
func (w Want) tables() uint64 { return w.processes() * uint64(max(w.Tables, 1)) }

// perTable is how many connections one table of descriptors gets.
func (w Want) perTable() uint64 { return (w.conns() + w.tables() - 1) / w.tables() }

func (w Want) target() Target {
	if w.Target == 0 {
		return Serve
	}
	return w.Target
}

// sides is how many ends of each connection the host has.
func (w Want) sides() uint64 {
	if w.target() == Both {
		return 2
	}
	return 1
}

func (w Want) ends() uint64 { return w.conns() * w.sides() }
