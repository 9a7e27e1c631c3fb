package filter

import (
	"bytes"
	"encoding/binary"
	"slices"

	"shoal/codec/proto"
)

// The limits of one filter, and with it of the work Match does for one publication and member. The stock server has none.
const (
	ProgramBytesMax = 8 << 10 // of the compiled form, which holds every key and value
	NodesMax        = 32
	ValuesMax       = 128      // in vals, all nodes together
	DepthMax        = NodesMax // of what Match runs: a filter cannot be deeper
)

// Failure says why a filter is refused. Values are comparable constants. The stock server answers every one with error
// 107, bad request; ErrTooLarge alone is ours.
type Failure uint8

const (
	ErrOp       Failure = iota + 1 // op is none of "", and, or, not
	ErrNodes                       // and, or without nodes; not without exactly one
	ErrCompare                     // a leaf without cmp, or with an unknown one
	ErrKey                         // a comparison without key
	ErrValue                       // val where there must be none, or none where there must be one
	ErrValues                      // the same for vals
	ErrTooLarge                    // over one of the limits
)

// Error says what happened and what to change.
func (f Failure) Error() string {
	switch f {
	case ErrOp:
		return `tags filter: unknown op: use "and", "or", "not", or none for a comparison`
	case ErrNodes:
		return `tags filter: "and" and "or" need at least one node, "not" exactly one`
	case ErrCompare:
		return "tags filter: cmp must be one of eq, neq, in, nin, ex, nex, sw, ew, ct, gt, gte, lt, lte"
	case ErrKey:
		return "tags filter: a comparison needs the key of a tag"
	case ErrValue:
		return "tags filter: eq, neq, sw, ew, ct, gt, gte, lt and lte need val; in, nin, ex and nex must not have it"
	case ErrValues:
		return "tags filter: in and nin need vals; other comparisons must not have them"
	case ErrTooLarge:
		return "tags filter: at most 32 nodes, 128 values, 8 KiB altogether"
	}
	return "no failure"
}

// Label is the short name of f for metrics and log attributes.
func (f Failure) Label() string {
	names := [...]string{"none", "op", "nodes", "compare", "key", "value", "values", "too-large"}
	if int(f) >= len(names) {
		return "unknown"
	}
	return names[f]
}

// The instructions. A node is its instruction and operands:
//
//	and, or             length of the nodes inside, the nodes
//	exists              key
//	eq, sw, ew, ct      key, value
//	in                  key, length of the values, the values
//	gt, gte, lt, lte    key, sign, digits before the point, digits behind it
//	never               nothing
//
// Lengths are varints; keys, values and digits have theirs in front. The bit negated turns the answer round, which is all
// there is of not, neq, nin and nex.
const (
	opAnd byte = iota + 1
	opOr
	opNever // compares with what is no number
	opExists
	opEqual
	opStarts
	opEnds
	opContains
	opIn
	opGreater
	opGreaterEqual
	opLess
	opLessEqual

	negated byte = 0x80
)

// Compile checks a filter and returns its program; nil for a nil filter. node is not kept. Errors are Failures.
func Compile(node *proto.FilterNode) ([]byte, error) {
	if node == nil {
		return nil, nil
	}
	var c compiler
	program := c.node(node)
	if c.fail == 0 && len(program) > ProgramBytesMax {
		c.fail = ErrTooLarge
	}
	if c.fail != 0 {
		return nil, c.fail
	}
	return program, nil
}

type compiler struct {
	nodes, values, bytes int
	fail                 Failure
}

func (c *compiler) refuse(f Failure) []byte {
	if c.fail == 0 {
		c.fail = f
	}
	return nil
}

// room counts what a node holds, before anything is made of it.
func (c *compiler) room(n *proto.FilterNode) bool {
	c.nodes++
	c.values += len(n.Vals)
	c.bytes += len(n.Key) + len(n.Val)
	if c.nodes > NodesMax || c.values > ValuesMax {
		return false
	}
	for _, v := range n.Vals {
		c.bytes += len(v)
	}
	return c.bytes <= ProgramBytesMax
}

func (c *compiler) node(n *proto.FilterNode) []byte {
	switch {
	case c.fail != 0:
		return nil
	case n == nil:
		return c.refuse(ErrOp)
	case !c.room(n):
		return c.refuse(ErrTooLarge)
	}
	switch n.Op {
	case "":
		return c.leaf(n)
	case "and":
		return c.junction(opAnd, n.Nodes)
	case "or":
		return c.junction(opOr, n.Nodes)
	case "not":
		if len(n.Nodes) != 1 {
			return c.refuse(ErrNodes)
		}
		program := c.node(n.Nodes[0])
		if len(program) > 0 {
			program[0] ^= negated
		}
		return program
	}
	return c.refuse(ErrOp)
}

// junction joins nodes: sorted, each once, alone without the junction.
func (c *compiler) junction(op byte, nodes []*proto.FilterNode) []byte {
	if len(nodes) == 0 {
		return c.refuse(ErrNodes)
	}
	parts := make([][]byte, 0, min(len(nodes), NodesMax))
	for _, n := range nodes {
		part := c.node(n)
		if c.fail != 0 {
			return nil
		}
		parts = append(parts, part)
	}
	slices.SortFunc(parts, bytes.Compare)
	parts = slices.CompactFunc(parts, bytes.Equal)
	if len(parts) == 1 {
		return parts[0]
	}
	return appendBlock([]byte{op}, bytes.Join(parts, nil))
}

func (c *compiler) leaf(n *proto.FilterNode) []byte {
	op, not := comparison(n.Cmp)
	valued := op != opExists && op != opIn
	switch {
	case op == 0:
		return c.refuse(ErrCompare)
	case valued != (n.Val != ""):
		return c.refuse(ErrValue)
	case (op == opIn) != (len(n.Vals) > 0):
		return c.refuse(ErrValues)
	case n.Key == "" && op != opExists:
		return c.refuse(ErrKey)
	}
	program := []byte{op | not}
	switch op {
	case opIn:
		return appendValues(appendBlock(program, n.Key), n.Vals)
	case opExists:
		return appendBlock(program, n.Key)
	case opGreater, opGreaterEqual, opLess, opLessEqual:
		val, ok := parseNumber(n.Val)
		if !ok {
			return []byte{opNever}
		}
		return val.append(appendBlock(program, n.Key))
	}
	return appendBlock(appendBlock(program, n.Key), n.Val)
}

// comparison returns the instruction of a cmp, 0 when there is no such.
func comparison(cmp string) (op, not byte) {
	switch cmp {
	case "eq":
		return opEqual, 0
	case "neq":
		return opEqual, negated
	case "in":
		return opIn, 0
	case "nin":
		return opIn, negated
	case "ex":
		return opExists, 0
	case "nex":
		return opExists, negated
	case "sw":
		return opStarts, 0
	case "ew":
		return opEnds, 0
	case "ct":
		return opContains, 0
	case "gt":
		return opGreater, 0
	case "gte":
		return opGreaterEqual, 0
	case "lt":
		return opLess, 0
	case "lte":
		return opLessEqual, 0
	}
	return 0, 0
}

func appendValues(program []byte, vals []string) []byte {
	sorted := slices.Clone(vals)
	slices.Sort(sorted)
	var block []byte
	for _, v := range slices.Compact(sorted) {
		block = appendBlock(block, v)
	}
	return appendBlock(program, block)
}

// appendBlock appends p behind its length.
func appendBlock[P string | []byte](program []byte, p P) []byte {
	program = binary.AppendUvarint(program, uint64(len(p)))
	return append(program, p...)
}
