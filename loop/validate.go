package loop

import (
	"fmt"

	"shoal/pool/queue"
	"shoal/pool/shared"
)

// Validate checks the loop against itself: every slot, the descriptor index, the dirty list, the backlog's sums, the
// wheel and the tables. Slow and total, for tests, simulation and debug pages; on the loop's goroutine.
func (l *Loop) Validate() error {
	v := validator{l: l}
	l.conns.Each(v.conn)
	if v.err != nil {
		return v.err
	}
	switch {
	case v.open != l.open:
		return fmt.Errorf("loop %d: counts %d open conns, found %d", l.number, l.open, v.open)
	case v.backlog != l.backlog:
		return fmt.Errorf("loop %d: counts %d bytes of backlog, found %d", l.number, l.backlog, v.backlog)
	case v.dead != len(l.dead):
		return fmt.Errorf("loop %d: %d slots wait to be freed, found %d", l.number, len(l.dead), v.dead)
	case l.dirtyAt > len(l.dirty):
		return fmt.Errorf("loop %d: dirty list of %d read up to %d", l.number, len(l.dirty), l.dirtyAt)
	}
	listed := make(map[uint32]bool)
	for _, slot := range l.dirty[l.dirtyAt:] {
		listed[slot] = true
	}
	for _, slot := range v.dirty {
		if !listed[slot] {
			return fmt.Errorf("loop %d: slot %d is marked dirty but not listed", l.number, slot)
		}
	}
	if (len(l.dirty) > 0 || len(l.works) > 0 || l.more || l.late > 0) && !l.again {
		return fmt.Errorf("loop %d: work is left but no pass was asked for", l.number)
	}
	for i, ln := range l.listeners {
		if got := l.index.Get(ln.fd); got != listenerBit|uint32(i) {
			return fmt.Errorf("loop %d: listener %d, descriptor %d: index says %#x", l.number, i, ln.fd, got)
		}
	}
	if err := l.validateParts(v.lists); err != nil {
		return fmt.Errorf("loop %d: %w", l.number, err)
	}
	return nil
}

func (l *Loop) validateParts(lists []*queue.List) error {
	if len(lists) == 0 && l.nodes.Len() != 0 {
		return fmt.Errorf("%d queue nodes belong to no conn", l.nodes.Len())
	}
	if err := l.conns.Validate(); err != nil {
		return err
	}
	if err := l.nodes.Validate(lists...); err != nil {
		return err
	}
	if err := l.table.Validate(); err != nil {
		return err
	}
	if err := l.mailbox.Validate(); err != nil {
		return err
	}
	return l.wheel.Validate()
}

// validator walks the conns of a loop.
type validator struct {
	l       *Loop
	err     error
	open    int
	dead    int
	backlog int64
	dirty   []uint32
	lists   []*queue.List
}

func (v *validator) conn(slot uint32, c *conn) bool {
	switch c.state {
	case stateOpen:
		v.open++
	case stateDead:
		v.dead++
	}
	if c.has(flagDirty) {
		v.dirty = append(v.dirty, slot)
	}
	if !c.backlog.Empty() {
		v.lists = append(v.lists, &c.backlog)
	}
	v.backlog += int64(c.backlogBytes)
	if err := v.check(slot, c); err != nil {
		v.err = fmt.Errorf("loop %d: slot %d (%+v): %w", v.l.number, slot, *c, err)
		return false
	}
	return true
}

// check looks at one conn, between callbacks or inside one.
func (v *validator) check(slot uint32, c *conn) error {
	if c.state == stateDead {
		if c.fd != -1 || c.backlogBytes != 0 || !c.backlog.Empty() || c.links.Armed() || c.has(flagDirty) {
			return fmt.Errorf("dead, but holds something")
		}
		return nil
	}
	if c.state == stateFree || c.state > stateDead {
		return fmt.Errorf("a slot in use in state %d", c.state)
	}
	if c.fd >= 0 {
		if got := v.l.index.Get(int(c.fd)); got != slot+1 {
			return fmt.Errorf("index of descriptor %d says %#x", c.fd, got)
		}
	}
	if int(c.kind) >= len(v.l.handlers) {
		return fmt.Errorf("no such kind")
	}
	return v.checkBacklog(c)
}

func (v *validator) checkBacklog(c *conn) error {
	sum, first := -int(c.head), 0
	v.l.nodes.Each(&c.backlog, func(r *shared.Ref) bool {
		n := v.l.table.Size(*r)
		if first == 0 {
			first = n
		}
		sum += n
		return true
	})
	if sum != int(c.backlogBytes) {
		return fmt.Errorf("backlog holds %d bytes", sum)
	}
	if c.head > 0 && int(c.head) >= first {
		return fmt.Errorf("%d bytes of the first entry (%d) are written", c.head, first)
	}
	if !c.backlog.Empty() && c.flags&(flagDirty|flagBlocked) == 0 {
		return fmt.Errorf("a backlog nobody will write")
	}
	return nil
}
