package rate

import (
	"fmt"
	"sync/atomic"
	"time"

	"shoal/codec/proto"
)

// Kinds is a set of kinds of commands.
type Kinds uint16

const methods = 16 // more than proto.Method has

// KindsOf reads names of commands, as in the protocol; all stands for every one of them.
// connect and the answers to pings are no commands here: they cannot be limited. The error
// says what is wrong and, behind "; ", what to write.
func KindsOf(names []string) (Kinds, error) {
	if len(names) == 0 {
		return 0, fmt.Errorf("it limits no command; name some, or write all")
	}
	set := Kinds(0)
	for _, name := range names {
		k := kind(name)
		if k == 0 {
			return 0, fmt.Errorf("%.40q is no command that can be limited; write publish, subscribe, unsubscribe, presence, "+
				"presence_stats, history, rpc, send, refresh, sub_refresh or all", name)
		}
		set |= k
	}
	return set, nil
}

func kind(name string) (set Kinds) {
	for m := proto.MethodSubscribe; m <= proto.MethodSubRefresh; m++ {
		if m != proto.MethodPing && (name == "all" || name == m.String()) {
			set |= 1 << m
		}
	}
	return set
}

// Rule limits commands of some kinds together.
type Rule struct {
	Kinds Kinds
	Limit Limit
}

// RulesMax bounds the rules of a node, and so the bytes of a session.
const RulesMax = 4

// Commands are the limits of commands and errors that the sessions of a node have. Nil
// limits nothing.
type Commands struct {
	rules   []Rule
	errors  *Limit
	refused [methods]atomic.Uint64
}

// NewCommands returns rules, and a limit of errors when its Count is not 0.
func NewCommands(rules []Rule, errors Limit) (*Commands, error) {
	if len(rules) > RulesMax {
		return nil, fmt.Errorf("rate: %d rules; give %d at most", len(rules), RulesMax)
	}
	for i, r := range rules {
		if err := r.Limit.Validate(); err != nil {
			return nil, fmt.Errorf("rate: rule %d: %w", i, err)
		}
	}
	c := &Commands{rules: rules}
	if errors.Count != 0 {
		if err := errors.Validate(); err != nil {
			return nil, fmt.Errorf("rate: errors: %w", err)
		}
		c.errors = &errors
	}
	return c, nil
}

// EachRefused calls f with every kind of commands that were refused, and how often. Any
// goroutine may.
func (c *Commands) EachRefused(f func(method string, n uint64)) {
	if c == nil {
		return
	}
	for m := range c.refused {
		if n := c.refused[m].Load(); n > 0 {
			f(proto.Method(m).String(), n)
		}
	}
}

// Guard applies the limits of a node to the sessions of one loop, to which it belongs. Nil
// admits everything.
type Guard struct {
	commands *Commands
	meters   []*Meter // one for each rule
	errors   *Meter   // nil: any number

	slot uint32 // whom Admits and Tolerates are about
	now  time.Time
}

// Guard returns one for a loop; nil when nothing is limited.
func (c *Commands) Guard() *Guard {
	if c == nil || len(c.rules) == 0 && c.errors == nil {
		return nil
	}
	g := &Guard{commands: c}
	for _, r := range c.rules {
		g.meters = append(g.meters, NewMeter(r.Limit))
	}
	if c.errors != nil {
		g.errors = NewMeter(*c.errors)
	}
	return g
}

// Watch says whom the questions that follow are about, and when they are asked.
func (g *Guard) Watch(slot uint32, now time.Time) {
	if g != nil {
		g.slot, g.now = slot, now
	}
}

// Admits says whether the session may have a command of this method performed, and counts
// it with every rule that is about it. One that any of them refuses costs nothing.
func (g *Guard) Admits(method proto.Method) bool {
	if g == nil {
		return true
	}
	var next [RulesMax]uint32
	for i := range g.meters {
		if g.commands.rules[i].Kinds&(1<<method) == 0 {
			continue
		}
		var ok bool
		if next[i], ok = g.meters[i].look(g.slot, g.now); !ok {
			g.commands.refused[method%methods].Add(1)
			return false
		}
	}
	for i, level := range next {
		if level != 0 { // no level is 0 behind an event
			g.meters[i].set(g.slot, level)
		}
	}
	return true
}

// Tolerates counts an error of the session, and says whether it may go on.
func (g *Guard) Tolerates() bool {
	return g == nil || g.errors == nil || g.errors.Take(g.slot, g.now)
}

// Forget begins anew for a slot, which another session has now.
func (g *Guard) Forget(slot uint32) { g.each(func(m *Meter) { m.Forget(slot) }) }

// Trim drops the chunks of slots for which keep returns false.
func (g *Guard) Trim(keep func(chunk int) bool) { g.each(func(m *Meter) { m.Trim(keep) }) }

func (g *Guard) each(do func(m *Meter)) {
	if g == nil {
		return
	}
	for _, m := range g.meters {
		do(m)
	}
	if g.errors != nil {
		do(g.errors)
	}
}
