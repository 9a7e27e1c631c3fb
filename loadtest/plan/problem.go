package plan

import (
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing that is wrong with a plan: where, what, and what to write instead.
type Problem struct {
	Path string // of the value, as in phases[1].rate; "" = the whole
	Text string
}

// Error implements error.
func (p Problem) Error() string {
	if p.Path == "" {
		return p.Text
	}
	return p.Path + ": " + p.Text
}

// Problems are all that was found, in the order of the plan; an error when there are any.
type Problems []Problem

// Error implements error: a line each.
func (all Problems) Error() string {
	lines := make([]string, len(all))
	for i, p := range all {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

func (all *Problems) add(path, format string, args ...any) {
	*all = append(*all, Problem{path, fmt.Sprintf(format, args...)})
}

// oneOf writes alternatives.
func oneOf(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// nearest finds the word a person may have meant; "" when none is near.
func nearest(word string, words []string) string {
	best, least := "", 3
	for _, w := range words {
		d := distance(strings.ToLower(word), w)
		if len(word) > 2 && (strings.HasPrefix(w, word) || strings.HasPrefix(word, w)) {
			d = min(d, 2)
		}
		if d < least && d < len(w) {
			best, least = w, d
		}
	}
	return best
}

// distance counts the insertions, deletions, replacements and exchanges of neighbours between two words.
func distance(a, b string) int {
	if len(a) > 40 || len(b) > 40 {
		return 40
	}
	rows := [3][]int{make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)}
	for j := range rows[1] {
		rows[1][j] = j
	}
	for i := range len(a) {
		before, above, row := rows[0], rows[1], rows[2]
		row[0] = i + 1
		for j := range len(b) {
			differs := 1
			if a[i] == b[j] {
				differs = 0
			}
			row[j+1] = min(above[j]+differs, above[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		rows = [3][]int{above, row, before}
	}
	return rows[1][len(b)]
}

// didYouMean is the end of a sentence about an unknown word.
func didYouMean(word string, words []string) string {
	if near := nearest(word, words); near != "" {
		return "did you mean " + near + "?"
	}
	words = slices.Clone(words)
	return "there is " + oneOf(words)
}
