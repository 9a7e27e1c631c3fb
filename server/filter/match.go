package filter

import (
	"encoding/binary"
	"strings"
)

// Match reports whether tags fulfil program, which Compile made. The empty program matches everything, bytes that are no
// program match nothing. It does not allocate. Its time is linear in the length of program, and for each ct beyond that in
// the length of the tag's value.
func Match(program []byte, tags map[string]string) bool {
	if len(program) == 0 {
		return true
	}
	m := machine{rest: program, tags: tags}
	answer := m.node(1)
	return answer && !m.bad && len(m.rest) == 0
}

// Cost estimates one Match of program, in units of 100 ns: the costliest comparisons take 4 ns for a byte of it.
func Cost(program []byte) int { return 1 + len(program)/25 }

// machine runs a program once.
type machine struct {
	rest []byte
	tags map[string]string
	tag  tag
	bad  bool // rest is no program
}

// tag is the one that was looked up last: in a program, comparisons of the same kind with the same tag are neighbours.
type tag struct {
	key             []byte // nil: none
	value           string
	number          number
	exists          bool
	parsed, numeric bool
}

func (m *machine) lookup(key []byte) *tag {
	if m.tag.key == nil || string(m.tag.key) != string(key) {
		m.tag = tag{key: key}
		m.tag.value, m.tag.exists = m.tags[string(key)]
	}
	return &m.tag
}

// asNumber is the value as a number, false if it is none.
func (t *tag) asNumber() (number, bool) {
	if !t.parsed {
		t.parsed = true
		t.number, t.numeric = parseNumber(t.value)
	}
	return t.number, t.numeric
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
	t := m.lookup(m.block())
	value, exists := t.value, t.exists
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
		n, ok := t.asNumber()
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
