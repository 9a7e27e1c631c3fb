// Package loadtest measures a push server from outside: it opens many connections, has messages sent, verifies on every
// connection that each arrived exactly once and in order, and reports what that took.
//
// [Run] is one load test from start to report: resolve the target, look at the limits of this host, connect everybody, run one
// scenario, say goodbye. It knows the server only by its address and, with Config.ServerPID, by what /proc tells of its process.
// The connections themselves are package engine's. A coordinator runs many such processes: everything one of them needs
// is in [Config] and [Surroundings], everything it has to tell in [Report] and in the lines of events.
//
// Scenarios: idle holds the connections and counts what others publish; fanout publishes to all; echo sends messages that come
// back. channels, slow and storm press on the server. README.md is the walk-through.
package loadtest
