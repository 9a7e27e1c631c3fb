// Package fleet drives many engines as if they were one: engines of this process, worker processes of this host, and workers on
// other hosts that join over TCP. A [Fleet] is an engine.Driver; who drives it need not know how many there are.
//
// What an engine is told are values and what it says can be added up, so a member is either engines of this process or a proxy that
// sends the same values to a worker, which carries them out on engines of its own. Connections are shared out by what each member can
// hold. Rates and windows in orders are of all together: every engine knows its share, and orders go to all as they are. Only what
// needs to know of the others is the fleet's: who publishes to a shared channel is one engine, its owner, and the fleet tells the
// others what to expect.
//
// # Members that fail
//
// Nobody waits for a member for good: a worker that does not answer, is silent or whose stream ends is given up. What it was last known
// to hold counts as died, by a cause that names it, and the others go on. A worker whose stream ends closes its connections and
// ends: it does not outlive its coordinator, however that ended.
//
// # The protocol
//
// Messages are lines of JSON (protocol.go), bounded in length. The coordinator begins with a challenge; a worker answers with what it
// is and what it can hold, and is let in when it is of the same build and, where there is a key, both prove that they have it by an
// HMAC over both sides' random numbers. The key says who may join; what is said afterwards, API keys and tokens included, can be
// read on the way: use a network that is trusted, or a tunnel.
package fleet
