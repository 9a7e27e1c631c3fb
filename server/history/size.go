package history

// classes are the sizes in which the Go allocator hands out memory without
// pointers; asking for others wastes the rest. A test compares them with what the
// runtime does. (runtime/sizeclasses.go)
var classes = [...]uint16{
	8, 16, 24, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224, 240, 256, 288, 320, 352, 384, 416, 448, 480,
	512, 576, 640, 704, 768, 896, 1024, 1152, 1280, 1408, 1536, 1792, 2048, 2304, 2688, 3072, 3200, 3456, 4096, 4864,
	5376, 6144, 6528, 6784, 6912, 8192, 9472, 9728, 10240, 10880, 12288, 13568, 14336, 16384, 18432, 19072, 20480,
	21760, 24576, 27264, 28672, 32768,
}

const (
	classMax  = 32 << 10
	pageBytes = 8 << 10 // larger ones are rounded up to it
)

// classFor returns the index of the smallest class of at least n bytes, n ≤ classMax.
func classFor(n int) int {
	low, high := 0, len(classes)-1
	for low < high {
		if mid := (low + high) / 2; int(classes[mid]) < n {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low
}

// heapBytes returns what an allocation of n bytes takes of the heap.
func heapBytes(n int) int {
	if n <= classMax {
		return int(classes[classFor(n)])
	}
	return (n + pageBytes - 1) &^ (pageBytes - 1)
}

// generosity is how many bytes per record are spent to have fewer chunks, which
// saves allocations and work of the collector.
const generosity = 4

// chunkBytes chooses the size of a chunk that begins with a record of need bytes,
// entry included, when those after it are expected to be like next and the stream
// to keep so many records in all.
//
// Per record a chunk for k of them costs its share of the room that is left at
// the end, of the chunk's cell, and of the records that lie about although
// they are forgotten or do not exist yet: on average half a chunk of each, k-1
// records of keep. The first two want many records in a chunk, the third few.
func chunkBytes(need int, next expectation, keep int) int {
	if need > classMax {
		return need
	}
	from := classFor(need)
	if keep <= 1 {
		return int(classes[from])
	}
	best, last := float64(1<<30), from
	for i := from; i < len(classes); i++ {
		cost, idle := chunkCost(int(classes[i]), need, next, keep)
		if best = min(best, cost); idle > best+generosity {
			break // the larger ones have yet more
		}
		last = i
	}
	for i := last; i > from; i-- {
		if cost, _ := chunkCost(int(classes[i]), need, next, keep); cost <= best+generosity {
			return int(classes[i])
		}
	}
	return int(classes[from])
}

// chunkCost returns the bytes that a chunk of a size wastes per record, and how
// much of them is for records not there.
func chunkCost(size, need int, next expectation, keep int) (all, idle float64) {
	more := (size - need) / (next.mean + next.spread)
	rest := size - need - more*next.mean
	if unsure := more * next.spread; unsure > next.mean/2 {
		// What is left is anything below the record that does not fit, which is
		// rather a long one: measured, a mean one.
		rest = next.mean
		more = (size - need - rest) / next.mean
	}
	idle = float64(more*next.mean) / float64(keep)
	return float64(rest+chunkCellBytes)/float64(more+1) + idle, idle
}

// average follows the sizes of records: their mean, and how far they are from it
// (Jacobson, Congestion Avoidance and Control, 1988, appendix A).
type average struct {
	mean8   uint32 // eight times the mean
	spread4 uint32 // four times the mean deviation
}

// expectation is what the next records will be like, in bytes with their entries.
type expectation struct{ mean, spread int }

const averageMax = 1 << 20 // sizes above count as this

// add takes a size in and returns what to expect.
func (a *average) add(bytes int) expectation {
	n := int64(min(bytes, averageMax))
	if a.mean8 == 0 {
		a.mean8 = uint32(8 * n)
	} else {
		off := n - int64(a.mean8/8)
		a.mean8 = uint32(int64(a.mean8) + off)
		a.spread4 = uint32(int64(a.spread4) + max(off, -off) - int64(a.spread4/4))
	}
	return expectation{mean: int((a.mean8 + 7) / 8), spread: int(a.spread4 / 4)}
}
