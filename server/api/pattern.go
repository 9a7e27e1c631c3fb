package api

import (
	"container/heap"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
)

// patternBytesMax bounds a pattern: it is matched against every channel there is.
const patternBytesMax = 1 << 10

// compilePattern reads the pattern of a channels call: * stands for any run of characters, the slash included, ? for one, [a-c] for one
// of a class and [!a-c] for one outside it, and a backslash takes away such a meaning. It is Centrifugo's language but for alternatives in
// braces, which are refused rather than matched as they stand.
//
// path.Match knows all of it but a * that passes over slashes, so slashes become a control character on both sides.
func compilePattern(pattern string) (match func(name string) bool, err error) {
	if len(pattern) > patternBytesMax {
		return nil, fmt.Errorf("it has %d bytes, at most %d", len(pattern), patternBytesMax)
	}
	var b strings.Builder
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; {
		case c == '{':
			return nil, errors.New("alternatives {a,b} are not supported; make a call for each, or write \\{ for the character")
		case c == '\\' && i+1 < len(pattern):
			i++
			b.WriteByte(c)
			b.WriteByte(noSlash(pattern[i]))
		case c == '[' && i+1 < len(pattern) && pattern[i+1] == '!':
			i++
			b.WriteString("[^")
		default:
			b.WriteByte(noSlash(c))
		}
	}
	translated := b.String()
	if _, err := path.Match(translated, ""); err != nil {
		return nil, err
	}
	return func(name string) bool {
		ok, _ := path.Match(translated, strings.ReplaceAll(name, "/", slashStand))
		return ok
	}, nil
}

// slashStand takes the place of a slash.
const slashStand = "\x01"

func noSlash(c byte) byte {
	if c == '/' {
		return slashStand[0]
	}
	return c
}

// page picks the names behind a cursor that come first, whatever order they are seen in,
// so that a node with a million channels does not list them all for every thousand. Of a
// name that several loops have, all counts arrive or it is not on the page: once refused
// it stays refused, because the bound only sinks.
type page struct {
	after string
	limit int
	fits  func(name string) bool

	mu    sync.Mutex // loops ask at the same time
	heap  largestFirst
	names map[string]struct{} // those of heap
}

func newPage(after string, limit int, fits func(string) bool) *page {
	return &page{after: after, limit: limit, fits: fits, names: map[string]struct{}{}}
}

// match says whether the name may be on the page. It keeps no hold of name, which may be
// the hub's memory.
func (p *page) match(name string) bool {
	if name <= p.after || !p.fits(name) {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, known := p.names[name]; known {
		return true
	}
	full := len(p.heap) == p.limit
	if full && name > p.heap[0] {
		return false
	}
	if full {
		delete(p.names, p.heap[0])
		heap.Pop(&p.heap)
	}
	name = strings.Clone(name)
	heap.Push(&p.heap, name)
	p.names[name] = struct{}{}
	return true
}

// cut takes from counts what is not on the page, limit being one more than it has, and
// returns the cursor of the next one.
func (p *page) cut(counts map[string]int) (next string) {
	names := make([]string, 0, len(counts))
	for name := range counts {
		names = append(names, name)
	}
	slices.Sort(names)
	if len(names) < p.limit {
		return ""
	}
	for _, name := range names[p.limit-1:] {
		delete(counts, name)
	}
	return names[p.limit-2]
}

type largestFirst []string

func (h largestFirst) Len() int           { return len(h) }
func (h largestFirst) Less(i, j int) bool { return h[i] > h[j] }
func (h largestFirst) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *largestFirst) Push(x any)        { *h = append(*h, x.(string)) }
func (h *largestFirst) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	*h = (*h)[:last]
	return x
}
