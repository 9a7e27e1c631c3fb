package config

import (
	_ "embed"
	"strings"
	"sync"
)

//go:embed foreign.txt
var foreignText string

// foreign is a key of Centrifugo v6 that Shoal does not act on yet, or a whole section of them.
type foreign struct {
	key     string
	section bool
	note    string // what follows for the reader; empty = nothing in particular
}

func (f foreign) because() string {
	if f.note == "" {
		return ""
	}
	return ": " + f.note
}

// foreignKeys parses foreign.txt: a key a line, "section.*" for everything below, an optional note after "|".
var foreignKeys = sync.OnceValue(func() []foreign {
	var list []foreign
	for line := range strings.Lines(foreignText) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		key, note, _ := strings.Cut(line, "|")
		key, section := strings.CutSuffix(strings.TrimSpace(key), ".*")
		list = append(list, foreign{key: key, section: section, note: strings.TrimSpace(note)})
	}
	return list
})

// unknownText is the warning for a key that is no leaf of s. shown differs from key inside an element of a list, whose keys
// are relative: those of foreign.txt are then the keys of the section it is like.
func unknownText(s *schema, key, shown string) string {
	full := joinKey(s.like, key)
	for _, known := range foreignKeys() {
		if full == known.key || known.section && strings.HasPrefix(full, known.key+".") {
			return shown + " is not supported yet and has no effect" + known.because()
		}
	}
	if near := s.nearest(key); near != "" {
		return "unknown key " + shorten(shown) + ", did you mean " + near + "?"
	}
	return "unknown key " + shorten(shown) + ": it has no effect; shoal help config lists the keys"
}

// nearest finds the key a person may have meant: a slip of the pen, or the right name in the wrong section.
func (s *schema) nearest(key string) string {
	best, bestDistance := "", len(key)/3+1
	for _, f := range s.fields {
		if d := distance(strings.ToLower(key), f.key); d < bestDistance {
			best, bestDistance = f.key, d
		}
	}
	if best != "" {
		return best
	}
	return sameName(s, key)
}

// sameName finds the key whose last part is that of key, or begins so. A name that several sections have, such as enabled, says nothing.
func sameName(s *schema, key string) string {
	_, last := cutLast(strings.ToLower(key))
	same, begins, count := "", "", 0
	for _, f := range s.fields {
		switch _, name := cutLast(f.key); {
		case name == last:
			same = f.key
			count++
		case begins == "" && len(last) > 3 && strings.HasPrefix(name, last):
			begins = f.key
		}
	}
	switch count {
	case 0:
		return begins
	case 1:
		return same
	}
	return ""
}

func cutLast(key string) (head, last string) {
	head = parentKey(key)
	return head, strings.TrimPrefix(key[len(head):], ".")
}

func closeTo(a, b string) bool { return distance(a, b) <= len(b)/6 }

// distance counts the insertions, deletions and replacements between two short texts (Levenshtein); texts too long to be a
// slip of each other are infinitely far apart.
func distance(a, b string) int {
	const maxBytes, far = 96, 1 << 20
	if len(a) > maxBytes || len(b) > maxBytes {
		return far
	}
	var row [maxBytes + 1]int
	for j := range len(b) + 1 {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next := min(row[j+1]+1, row[j]+1, diagonal+cost)
			diagonal, row[j+1] = row[j+1], next
		}
	}
	return row[len(b)]
}
