// Package steer decides how much garbage a process may gather before it is collected.
//
// Go's own rule (GOGC=100) is as much as is live. It suits heaps whose objects have to be
// followed from pointer to pointer: the more there is to follow, the rarer it should be done.
// Nearly all that a server keeps for its connections and histories has no pointers, and costs
// a collection nothing however much it is. So the room for garbage is what has to be scanned
// and an eighth of the rest, [Config.HeadroomMax] at most. At a million connections that is a
// fifth of what Go would take.
//
// Too little room costs time instead: when collections come more often than
// [Config.PerSecondMax], or take more than [Config.ShareMax] of the processors' time, the room is
// doubled, up to what Go would take or HeadroomMax, whichever is more. It is halved again when they
// have been rare for a while.
//
// What the collector knows is as old as the last collection. The ledger, which is what the
// server itself counts, is of this moment: when connections have gone, it says that a
// collection would find something ([Decision.Collect]).
//
// A [Steer] is pure: it knows neither clock nor runtime. It belongs to one goroutine.
package steer
