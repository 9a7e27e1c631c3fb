package share

import (
	"cmp"
	"fmt"
	"strings"
)

// Member is who carries connections.
type Member struct {
	Name string
	Resources
}

// Want is what is to be carried.
type Want struct {
	Connections int
	Sources     int // addresses each member dials from; 0 = 1
	EngineMax   int // connections of an engine; 0 = as many as its table of descriptors has room for
}

// Engine is the part of one engine: connections First to First + Connections - 1 of all, and which engine of all it is.
type Engine struct {
	First       int `json:"first"`
	Connections int `json:"connections"`
	Index       int `json:"index"`
}

// Out shares connections out to the members in proportion to what each can hold, and what each gets to engines of its own. Engines share rates
// evenly, so all are about as large. The error says what is missing.
func Out(w Want, members []Member) ([][]Engine, error) {
	sharing := map[string]int{} // members of a kernel
	for _, m := range members {
		sharing[m.Boot]++
	}
	holds := make([]holding, len(members))
	for i, m := range members {
		with := 1
		if m.Boot != "" {
			with = sharing[m.Boot]
		}
		holds[i] = m.holds(with, max(w.Sources, 1))
	}
	parts, err := split(w.Connections, members, holds)
	if err != nil {
		return nil, err
	}
	size := w.Connections
	for i, n := range parts {
		size = min(size, n, members[i].engineMax(w.EngineMax))
	}
	size = max(size, w.Connections/enginesMax) // one who has little room does not make everybody else's small
	all := make([][]Engine, len(members))
	first, index := 0, 0
	for i, part := range parts {
		for _, n := range engines(part, size, members[i].engineMax(w.EngineMax)) {
			all[i] = append(all[i], Engine{First: first, Connections: n, Index: index})
			first += n
			index++
		}
	}
	return all, nil
}

// enginesMax is how many engines a member has at most because of the limit of their tables: each takes a thread, and buffers.
const enginesMax = 256

// engineMax is the most connections an engine may have, if most is what it was configured to be; 0 = anything.
func (r *Resources) engineMax(most int) int {
	if most == 0 {
		most = holdsMax
	}
	if table := r.Table(); r.Tables && table > 0 {
		most = min(most, table)
	}
	return most
}

// engines shares a member's connections out to engines of about that size, and of at most so many.
func engines(conns, size, most int) (parts []int) {
	n := max((conns+most-1)/most, (conns+size/2)/size)
	for i := range n {
		parts = append(parts, conns/n+min(max(conns%n-i, 0), 1))
	}
	return parts
}

// holding is how many connections a member can hold and what ends first.
type holding struct {
	conns int
	ends  string // "" = nothing known does
}

// holds says what a member can hold when so many of them share its host and each dials from so many addresses.
func (r *Resources) holds(sharing, sources int) holding {
	h := holding{conns: holdsMax}
	for _, l := range r.Limits {
		conns := l.Conns
		switch {
		case l.Name == limitDescriptors && r.Tables:
			conns *= enginesMax
		case l.Name == limitDescriptors:
		case l.Name == limitPorts:
			conns = conns * uint64(sources) / uint64(sharing)
		default:
			conns /= uint64(sharing)
		}
		if conns < uint64(h.conns) {
			h = holding{int(conns), l.Name}
		}
	}
	return h
}

// split shares connections out in proportion to what each member can hold, at least one to each. The error says what is missing.
func split(conns int, members []Member, holds []holding) ([]int, error) {
	all := 0
	for i, h := range holds {
		if h.conns < 1 {
			return nil, fmt.Errorf("%s can hold no connection: %s ends first; free some or leave it out", members[i].Name, h.ends)
		}
		all += h.conns
	}
	if conns > all {
		return nil, tooFew(conns, all, members, holds)
	}
	if conns < len(members) {
		return nil, fmt.Errorf("%d connections cannot be shared by %d members: ask for at least one each", conns, len(members))
	}
	shares, rest, room := make([]int, len(members)), conns-len(members), max(all-len(members), 1)
	left := rest
	for i, h := range holds {
		more := int(uint64(rest) * uint64(h.conns-1) / uint64(room))
		shares[i] = 1 + more
		left -= more
	}
	for ; left > 0; left-- { // less than one for each member was lost by rounding
		shares[roomiest(shares, holds)]++
	}
	return shares, nil
}

// roomiest is the member that has most room left.
func roomiest(shares []int, holds []holding) (at int) {
	for i := range shares {
		if holds[i].conns-shares[i] > holds[at].conns-shares[at] {
			at = i
		}
	}
	return at
}

// tooFew says which member holds how many and why no more.
func tooFew(conns, all int, members []Member, holds []holding) error {
	var each []string
	for i, h := range holds[:min(len(holds), namedMax)] {
		each = append(each, fmt.Sprintf("%s %d (%s)", members[i].Name, h.conns, cmp.Or(h.ends, "no limit known")))
	}
	if more := len(holds) - len(each); more > 0 {
		each = append(each, fmt.Sprintf("%d more", more))
	}
	return fmt.Errorf("%d connections are more than the %d that all members together can hold: %s; raise what ends first "+
		"(shoal doctor --target=loadtest says how), use more --workers or let more hosts join", conns, all, strings.Join(each, ", "))
}

// namedMax is how many members an error names.
const namedMax = 6
