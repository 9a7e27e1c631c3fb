package route

import (
	"strings"
	"sync"

	"shoal/server/channel"
)

// patterns finds the wildcard channels that a name may fit without looking at the
// others: a tree over the segments of their names. Safe for concurrent use.
type patterns struct {
	head  func(name string) string // the part before the segments
	mu    sync.RWMutex
	heads map[string]*branch
	count int
}

// branch is what follows a prefix of patterns.
type branch struct {
	next map[string]*branch // by segment with its separator; "*" with one stands for any
	ends bool               // a pattern ends here; its last segment may be a star
	rest bool               // one ends here with a further segment **
	any  bool               // one ends here with a further segment *
}

// cut cuts the first segment off, its separator included.
func cut(name string) (first, rest string, last bool) {
	i := strings.IndexAny(name, channel.Separators)
	if i < 0 {
		return name, "", true
	}
	return name[:i+1], name[i+1:], false
}

// add enters a pattern, remove takes it out; both are idempotent.
func (p *patterns) add(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	head := p.head(name)
	b := p.heads[head]
	if b == nil {
		b = &branch{}
		if p.heads == nil {
			p.heads = map[string]*branch{}
		}
		p.heads[strings.Clone(head)] = b
	}
	name = name[len(head):]
	for {
		first, rest, last := cut(name)
		if last {
			if flag := b.end(first); !*flag {
				*flag = true
				p.count++
			}
			return
		}
		if b.next == nil {
			b.next = map[string]*branch{}
		}
		child := b.next[first]
		if child == nil {
			child = &branch{}
			b.next[strings.Clone(first)] = child
		}
		b, name = child, rest
	}
}

// end is the flag of a pattern whose last segment follows the branch.
func (b *branch) end(last string) *bool {
	switch last {
	case "*":
		return &b.any
	case "**":
		return &b.rest
	}
	if b.next == nil {
		b.next = map[string]*branch{}
	}
	child := b.next[last]
	if child == nil {
		child = &branch{}
		b.next[strings.Clone(last)] = child
	}
	return &child.ends
}

func (p *patterns) remove(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	head := p.head(name)
	b := p.heads[head]
	if b == nil || !b.remove(name[len(head):]) {
		return
	}
	p.count--
	if b.empty() {
		delete(p.heads, head)
	}
}

func (b *branch) empty() bool { return !b.ends && !b.rest && !b.any && len(b.next) == 0 }

// remove takes a pattern out below the branch, with branches that are empty then.
func (b *branch) remove(name string) (removed bool) {
	first, rest, last := cut(name)
	switch {
	case last && first == "*":
		removed, b.any = b.any, false
		return removed
	case last && first == "**":
		removed, b.rest = b.rest, false
		return removed
	}
	child := b.next[first]
	if child == nil {
		return false
	}
	if last {
		removed, child.ends = child.ends, false
	} else {
		removed = child.remove(rest)
	}
	if child.empty() {
		delete(b.next, first)
	}
	return removed
}

// appendFitting appends to dst the patterns that name may fit; what they really cover
// is for the rules to say.
func (p *patterns) appendFitting(dst []string, name string) []string {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.count == 0 {
		return dst
	}
	head := p.head(name)
	if b := p.heads[head]; b != nil {
		dst = b.fitting(dst, append(make([]byte, 0, 64), head...), name[len(head):])
	}
	return dst
}

// fitting walks the branches that name leads to; path is the pattern so far.
func (b *branch) fitting(dst []string, path []byte, name string) []string {
	first, rest, last := cut(name)
	if b.rest && name != "" {
		dst = append(dst, string(path)+"**")
	}
	if last {
		if b.any && first != "" {
			dst = append(dst, string(path)+"*")
		}
		if child := b.next[first]; child != nil && child.ends {
			dst = append(dst, string(path)+first)
		}
		return dst
	}
	if child := b.next[first]; child != nil {
		dst = child.fitting(dst, append(path, first...), rest)
	}
	separator := first[len(first)-1:]
	if child := b.next["*"+separator]; child != nil && len(first) > 1 && first != "*"+separator {
		dst = child.fitting(dst, append(append(path, '*'), separator...), rest)
	}
	return dst
}

// all lists every pattern, in no order.
func (p *patterns) all() []string {
	p.mu.RLock()
	defer p.mu.RUnlock()
	var out []string
	for head, b := range p.heads {
		out = b.all(out, head)
	}
	return out
}

func (b *branch) all(dst []string, path string) []string {
	if b.any {
		dst = append(dst, path+"*")
	}
	if b.rest {
		dst = append(dst, path+"**")
	}
	for segment, child := range b.next {
		if child.ends {
			dst = append(dst, path+segment)
		}
		dst = child.all(dst, path+segment)
	}
	return dst
}
