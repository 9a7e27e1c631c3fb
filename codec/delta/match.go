package delta

import "encoding/binary"

// gramBytes is the length of the pieces of the source that are indexed: what a copy must have at least to be found. The
// shortest copy that pays has 5 to 8 bytes.
const gramBytes = 8

// The index has an entry for every byte of the source, or, of long ones, for every second, third … byte. Up to 64 KiB
// it is on the stack, where clearing it costs 0.1 to 1 µs.
const (
	smallBits  = 12
	mediumBits = 14
	largeBits  = 16
)

// table maps the hash of a gram to where it stands in the source, plus 1; of several places the last one written
// counts. One place a gram, and not a chain of them, is what keeps hostile payloads linear.
type table[T uint16 | uint32] struct {
	places []T
	shift  uint
}

func (t table[T]) at(gram uint64) *T { return &t.places[gram*0x9E3779B97F4A7C15>>t.shift] }

// middle finds copies for target[done:end].
func (w *writer) middle(end int) {
	switch n := len(w.source); {
	case n <= 1<<smallBits:
		var places [1 << smallBits]uint16
		search(w, end, table[uint16]{places[:], 64 - smallBits})
	case n < 1<<16:
		var places [1 << mediumBits]uint16
		search(w, end, table[uint16]{places[:], 64 - mediumBits})
	default:
		search(w, end, table[uint32]{make([]uint32, 1<<largeBits), 64 - largeBits})
	}
}

func gramAt(p []byte, i int) uint64 { return binary.LittleEndian.Uint64(p[i:]) }

// search indexes the source and looks every gram of the target up.
func search[T uint16 | uint32](w *writer, end int, t table[T]) {
	source, target := w.source, w.target
	last := len(source) - gramBytes
	stride := last/len(t.places) + 1
	for i := last - last%stride; i >= 0; i -= stride { // backwards: the first of equal pieces counts
		*t.at(gramAt(source, i)) = T(i + 1)
	}
	shift := 0 // of the last copy: where in the source target[i] would stand if the copy went on
	for i := w.done; i+gramBytes <= end; {
		gram := gramAt(target, i)
		from := i + shift
		if from < 0 || from > last || gramAt(source, from) != gram {
			if from = int(*t.at(gram)) - 1; from < 0 || gramAt(source, from) != gram {
				i++
				continue
			}
			from = w.nearer(from, i, i+shift, end)
		}
		back := sameSuffix(source[:from], target[w.done:i])
		ahead := samePrefix(source[from:], target[i:end])
		before := w.done
		if w.copy(from-back, i-back, back+ahead); w.done == before {
			i++
			continue
		}
		shift, i = from-i, max(w.done, i+1)
	}
}

// nearness is how far around the place where the last copy would go on a better one is looked for: values that change
// change their width by a few bytes.
const nearness = 8

// nearer returns the place of the source that has the most in common with target[i:end]: from, or one around near. Both
// begin with the same gram. Records of a list have the same keys, of which the table knows only the first.
func (w *writer) nearer(from, i, near, end int) int {
	gram, best := gramAt(w.target, i), samePrefix(w.source[from:], w.target[i:end])
	for at := max(0, near-nearness); at <= min(near+nearness, len(w.source)-gramBytes); at++ {
		if gramAt(w.source, at) != gram {
			continue
		}
		if n := samePrefix(w.source[at:], w.target[i:end]); n > best {
			from, best = at, n
		}
	}
	return from
}
