// Package loadtest measures a push server from outside: it opens many connections, has messages sent, verifies on every
// connection that each arrived exactly once and in order, and reports what that took.
//
// A test is a plan (package plan): connections, and phases, each a scenario with its options. [Config] has one, or makes one of phase
// of its fields. [Run] is one test from start to report: resolve the target, look at the limits of this host, connect everybody, go
// through the phases, say goodbye. It gives orders to an engine.Driver and does not know whether that is one engine, or many. It knows
// the server only by its address and, with Config.ServerPIDs, by what /proc tells of its processes. Everything it has to tell is in
// [Report] and in the lines of events.
//
// run.go is the frame, phases.go what the scenarios do, ramp.go what was asked for and what was reached; phase_report.go is the result
// of a phase, and pressure_report.go and complete.go that of a test with one. README.md is the walk-through.
package loadtest
