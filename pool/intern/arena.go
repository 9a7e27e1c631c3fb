package intern

// classBytes are the capacities of the arena slots, in bytes.
var classBytes = [...]int{16, 24, 32, 48, 64, 96, 128, 192, 256}

const (
	classes    = len(classBytes)
	arenaMax   = 256 // longest string kept in an arena
	longHeader = 48  // what a map entry with a slice costs, about
)

// classFor returns the class of a length of at most arenaMax.
func classFor(n int) int {
	for k, size := range classBytes {
		if n <= size {
			return k
		}
	}
	panic("intern: no class for a long string")
}

// arena keeps strings of one class.
type arena struct {
	slots
	memory [][]byte // by block; nil = dropped
}

// alloc takes a place of size bytes, the class's capacity.
func (a *arena) alloc(size int) uint32 {
	slot, grown := a.slots.alloc()
	if grown {
		block, _ := a.block(slot)
		for block >= len(a.memory) {
			a.memory = append(a.memory, nil)
		}
		a.memory[block] = make([]byte, a.blockSlots()*size)
	}
	return slot
}

// at returns the first n bytes of a place.
func (a *arena) at(slot uint32, size, n int) []byte {
	block, i := a.block(slot)
	i *= size
	return a.memory[block][i : i+n : i+n]
}

func (a *arena) trim() { a.slots.trim(func(block int) { a.memory[block] = nil }) }

func (a *arena) bytes(size int) int {
	return a.blocks*a.blockSlots()*size + cap(a.memory)*24 + a.slots.bytes()
}
