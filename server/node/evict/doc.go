// Package evict closes conns of a loop that has too much to do: those that cost it most, and
// then those that do nothing.
//
// Once begun, an [Evictor] looks at all sessions of the loop. The most expensive are those whose
// peer does not read while bytes wait for it, the largest backlog first. Idle are those from
// which no command came for a while; which publications they get is not known of each, so that
// somebody who only listens is idle too. The search for them goes on where it ended the last
// time, so that everybody has a turn. What is found is closed, as much as was allowed.
//
// Everything happens in slices between the loop's other work; each keeps to some ten
// microseconds of looking or some hundred of closing. An Evictor belongs to its loop.
package evict
