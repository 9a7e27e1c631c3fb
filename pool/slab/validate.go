package slab

import (
	"fmt"
	"math/bits"
	"reflect"
)

// Validate checks the whole slab against itself: free maps, counters,
// generations. It is slow (it looks at every slot) and for tests, the
// simulation and debug pages.
func (s *Slab[T]) Validate() error {
	n := len(s.values)
	if len(s.gens) != n || len(s.frees) != n || len(s.bases) != n || len(s.avail) != (n+63)/64 {
		return fmt.Errorf("slab: %d chunks but %d generation arrays, %d free maps, %d bases, %d avail words",
			n, len(s.gens), len(s.frees), len(s.bases), len(s.avail))
	}
	live, held := 0, 0
	for c := range s.values {
		avail := s.avail[c>>6]>>(c&63)&1 != 0
		if s.values[c] == nil || s.gens[c] == nil || s.frees[c] == nil {
			if s.values[c] != nil || s.gens[c] != nil || s.frees[c] != nil {
				return fmt.Errorf("slab: chunk %d is half dropped", c)
			}
			if avail {
				return fmt.Errorf("slab: chunk %d is dropped but marked as having free slots", c)
			}
			continue
		}
		held++
		used, err := s.validateChunk(c)
		if err != nil {
			return err
		}
		live += used
		if avail != (used < ChunkSlots) {
			return fmt.Errorf("slab: chunk %d has %d used slots but its avail mark is %v", c, used, avail)
		}
		if avail && c>>6 < s.low {
			return fmt.Errorf("slab: chunk %d has free slots below the low mark %d", c, s.low<<6)
		}
	}
	if live != s.live || held != s.held {
		return fmt.Errorf("slab: counts %d live slots in %d chunks, found %d in %d", s.live, s.held, live, held)
	}
	return nil
}

// validateChunk checks the free map and generations of one chunk and returns
// how many of its slots are used.
func (s *Slab[T]) validateChunk(c int) (used int, err error) {
	m := s.frees[c]
	free := 0
	for w, word := range m.words {
		free += bits.OnesCount64(word)
		if (word != 0) != (m.summary>>w&1 != 0) {
			return 0, fmt.Errorf("slab: chunk %d, word %d of the free map is %#x but its summary bit disagrees", c, w, word)
		}
	}
	if free != int(m.count) {
		return 0, fmt.Errorf("slab: chunk %d counts %d free slots, has %d", c, m.count, free)
	}
	for i, g := range s.gens[c] {
		if g > GenerationMax {
			return 0, fmt.Errorf("slab: slot %d has generation %d, more than 24 bits", c<<chunkShift|i, g)
		}
	}
	return ChunkSlots - free, nil
}

// mustBePointerFree panics when the collector would have to scan a t.
func mustBePointerFree(t reflect.Type) {
	if path, ok := findPointer(t); ok {
		panic(fmt.Sprintf("slab: %v holds a pointer in %s; slots must be pointer-free: "+
			"store an index into a table instead", t, path))
	}
}

// findPointer returns the path of the first pointer in a type.
func findPointer(t reflect.Type) (path string, found bool) {
	switch t.Kind() {
	case reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr,
		reflect.Float32, reflect.Float64, reflect.Complex64, reflect.Complex128:
		return "", false
	case reflect.Array:
		if t.Len() == 0 {
			return "", false
		}
		path, found = findPointer(t.Elem())
		return "[]" + path, found
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			if path, found = findPointer(f.Type); found {
				return "." + f.Name + path, true
			}
		}
		return "", false
	default:
		return " (" + t.Kind().String() + ")", true
	}
}
