package channel

import "strings"

// A wildcard is a channel name that stands for many: "news:*" for every channel of one
// segment in the namespace news, "news:eu.**" for all whose names begin with "eu.".
// Segments are what stands between the separators '.', '/' and ':'; a separator matches
// only itself. A segment that is * stands for exactly one segment that is not empty; a
// last segment that is ** for all that follows, at least one byte. A star anywhere else,
// as in "a*", is an ordinary character. A wildcard has at most [wildcardSegmentsMax]
// segments and [wildcardStarsMax] of them are *.
//
// [Wildcard] and [Match] know this syntax only. Which names are wildcards, and which
// channels they cover, depends on the namespace too: [Rules.Wildcard], [Rules.Match].

// The limits of a wildcard bound how many of them fit one channel, and so what one
// publication costs: one for each way to put stars in place of its segments, 92 that end
// where its name does and 162 that end in **, 254 at most. Whatever clients subscribe to,
// nobody is refused because of others, as a limit of their number would have it; and
// wildcards that differ in what is no star, such as user.42.*, are not limited at all.
const (
	wildcardSegmentsMax = 8 // without namespace and private prefix
	wildcardStarsMax    = 3 // segments *; a last ** is not counted
)

// Separators are the bytes that segments end at.
const Separators = "./:"

// isSeparator says whether segments end at b.
func isSeparator(b byte) bool { return b == '.' || b == '/' || b == ':' }

// segment gives the first segment of s and where the next one begins, past the end of s
// when there is none.
func segment(s string) (first string, next int) {
	for i := 0; i < len(s); i++ {
		if isSeparator(s[i]) {
			return s[:i], i + 1
		}
	}
	return s, len(s) + 1
}

// pattern is what the stars of a name make of it.
type pattern uint8

const (
	literal   pattern = iota // no segment is a star: it stands for itself
	wildcard                 // it stands for many
	misplaced                // ** before the last segment: it would stand for nothing
	excessive                // a wildcard over the limits
)

// readPattern judges a name, its namespace left out.
func readPattern(name string) pattern {
	p, stars := literal, 0
	for segments := 1; ; segments++ {
		first, next := segment(name)
		last := next > len(name)
		switch {
		case first == "**" && !last:
			return misplaced
		case first == "*":
			p = wildcard
			stars++
		case first == "**":
			p = wildcard
		}
		if last {
			if p == wildcard && (segments > wildcardSegmentsMax || stars > wildcardStarsMax) {
				return excessive
			}
			return p
		}
		name = name[next:]
	}
}

// Wildcard says whether the name has the form of a wildcard within the limits. It does not allocate.
func Wildcard(name string) bool { return readPattern(name) == wildcard }

// Match says whether a name fits a pattern by the syntax alone; a pattern without stars
// fits itself. It does not allocate.
func Match(pattern, name string) bool {
	for {
		p, nextP := segment(pattern)
		lastP := nextP > len(pattern)
		if p == "**" && lastP {
			return name != ""
		}
		n, nextN := segment(name)
		if p != n && (p != "*" || n == "") {
			return false
		}
		if lastP || nextN > len(name) {
			return lastP && nextN > len(name)
		}
		if pattern[nextP-1] != name[nextN-1] {
			return false
		}
		pattern, name = pattern[nextP:], name[nextN:]
	}
}

// Wildcard says whether the name is one: where its namespace's allow_wildcard is off, a
// star is a character like any other. Names that list users are never wildcards. It does
// not allocate.
func (r *Rules) Wildcard(name string) bool {
	ns, rest, found := r.split(name)
	return found && ns.options.AllowWildcard && Wildcard(rest) && !r.UserLimited(name)
}

// Head is the part of a name that says which namespace it is of: private prefix, name
// and boundary. No star in it means anything. It does not allocate.
func (r *Rules) Head(name string) string {
	_, rest, found := r.split(name)
	if !found {
		return name
	}
	return name[:len(name)-len(rest)]
}

// Match says whether the publications of a channel go to the subscribers of a wildcard.
// Both are in the same namespace, and both private or neither, so that a star never opens
// what has rules of its own; a user-limited channel is covered by no wildcard. It does
// not allocate.
func (r *Rules) Match(pattern, name string) bool {
	if r.Private(pattern) != r.Private(name) || r.UserLimited(name) || r.UserLimited(pattern) {
		return false
	}
	nsP, restP, found := r.split(pattern)
	if !found || !nsP.options.AllowWildcard || !Wildcard(restP) {
		return false
	}
	nsN, restN, found := r.split(name)
	return found && nsN == nsP && Match(restP, restN) && bounded(r, pattern) == bounded(r, name)
}

// bounded tells "x" from ":x", which are both without namespace and not the same.
func bounded(r *Rules, name string) bool {
	return strings.Contains(name, r.cfg.NamespaceBoundary)
}

// streamless gives the options of the namespace's wildcards.
func (o Options) streamless() Options {
	o.HistorySize, o.HistoryTTL = 0, 0
	o.ForcePositioning, o.AllowPositioning = false, false
	o.ForceRecovery, o.AllowRecovery = false, false
	o.ForceRecoveryMode, o.AutoCacheRecover, o.Acknowledge = "", false, false
	o.AllowedDeltaTypes, o.DeltaPublish = nil, false
	return o
}
