package filter

import (
	"encoding/binary"
	"strings"
)

// Match reports whether tags fulfil program, which Compile made. The empty program matches everything, bytes that are no
// program match nothing. It does not allocate, and needs time linear in the lengths of program and tags' values.
func Match(program []byte, tags map[string]string) bool {
	if len(program) == 0 {
		return true
	}
	m := machine{rest: program, tags: tags}
	answer := m.node(1)
	return answer && !m.bad && len(m.rest) == 0
}

// machine runs a program once.
type machine struct {
	rest []byte
	tags map[string]string
	bad  bool // rest is no program
}

func (m *machine) fail() {
	m.rest, m.bad = nil, true
}

// node answers the node at the beginning of rest and passes over it.
func (m *machine) node(depth int) bool {
	if len(m.rest) == 0 || depth > DepthMax {
		m.fail()
		return false
	}
	op := m.rest[0]
	m.rest = m.rest[1:]
	turn := op&negated != 0
	switch op &^ negated {
	case opAnd:
		return m.junction(false, depth) != turn
	case opOr:
		return m.junction(true, depth) != turn
	case opNever:
		return turn
	}
	return m.leaf(op&^negated) != turn
}

// junction goes on until a node answers decisive, and answers that, or the contrary.
func (m *machine) junction(decisive bool, depth int) bool {
	inside := m.block()
	behind := m.rest
	m.rest = inside
	answer := !decisive
	for len(m.rest) > 0 && answer != decisive {
		answer = m.node(depth + 1)
	}
	if !m.bad {
		m.rest = behind
	}
	return answer
}

func (m *machine) leaf(op byte) bool {
	key := m.block()
	value, exists := m.tags[string(key)]
	switch op {
	case opExists:
		return exists
	case opEqual:
		return string(m.block()) == value && exists
	case opStarts:
		p := m.block()
		return exists && len(p) <= len(value) && value[:len(p)] == string(p)
	case opEnds:
		p := m.block()
		return exists && len(p) <= len(value) && value[len(value)-len(p):] == string(p)
	case opContains:
		return strings.Contains(value, text(m.block())) && exists
	case opIn:
		return m.in(value)
	case opGreater, opGreaterEqual, opLess, opLessEqual:
		val := m.number()
		n, ok := parseNumber(value)
		return ok && !m.bad && ordered(op, n.compare(val))
	}
	m.fail()
	return false
}

// ordered reports whether the order of a value to its operand fulfils op.
func ordered(op byte, order int) bool {
	switch op {
	case opGreater:
		return order > 0
	case opGreaterEqual:
		return order >= 0
	case opLess:
		return order < 0
	}
	return order <= 0
}

// in looks for value among the values, which are sorted.
func (m *machine) in(value string) bool {
	values := m.block()
	behind, found := m.rest, false
	for m.rest = values; len(m.rest) > 0 && !found; {
		found = string(m.block()) == value
	}
	if !m.bad {
		m.rest = behind
	}
	return found
}

// block takes bytes behind their length; the length is compared before anything is cut by it.
func (m *machine) block() []byte {
	n, used := binary.Uvarint(m.rest)
	if used <= 0 || n > uint64(len(m.rest)-used) {
		m.fail()
		return nil
	}
	p := m.rest[used : used+int(n)]
	m.rest = m.rest[used+int(n):]
	return p
}

func (m *machine) number() number {
	if len(m.rest) == 0 {
		m.fail()
		return number{}
	}
	n := number{negative: m.rest[0] != 0}
	m.rest = m.rest[1:]
	n.whole, n.part = text(m.block()), text(m.block())
	return n
}
