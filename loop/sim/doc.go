// Package sim is a kernel made of memory: a [World] with sockets, descriptors, a virtual clock and scripted peers, on
// which the very code of package loop runs, one goroutine at a time, from one seed. The same seed gives the same
// history to the last byte.
//
// # What is simulated
//
// [World.Loop] gives a loop its poll.Poller and poll.Sys. A TCP connection is a [Peer] (the scripted end) and a
// descriptor (the loop's end) with a bounded buffer in each direction, end of stream in each direction, pending
// errors and resets as Linux has them: data before the error, EPIPE after an end of stream and ECONNRESET otherwise,
// a reset when a socket is closed with input unread, writability from a third of the buffer free. Descriptors are
// given out lowest first, so a number is used again at once. Readiness is a snapshot, as from epoll_wait: a
// descriptor closed in the middle of a pass still gets its event, whoever owns the number by then.
//
// # Faults
//
// [Faults] are chances per call: short reads and writes, EAGAIN from a descriptor that is ready, spurious readiness,
// ECONNABORTED, EMFILE and ENFILE from accept (and EMFILE from a table that is really full), connections that break,
// refuse or never answer, late, early and lost ticks, jumps of the clock, other loops and peers that run between two
// events of one pass.
//
// # What is checked
//
// The world itself refuses what no kernel would punish but no loop should do: a call on a descriptor that is closed
// or that another loop owns, a descriptor closed twice, an event nobody reacts to ([World.Err] then says "busy
// loop"). Everything about contents is the business of the scenario: see sim_test.go for the oracle of package loop.
//
// # Playing it
//
//	go test ./loop/sim -sim.seeds=1000                                      1,000 worlds, about a minute of one core
//	go test ./loop/sim -run TestLoopUnderFaults -sim.seed=37 -sim.trace     one of them, event by event
//
// fidelity_linux_test.go plays short stories on the kernel of the machine and on a world, and compares the answers.
//
// # Several loops
//
// With several loops each keeps the goroutine it was started on, and the world hands one baton round: exactly one of
// them runs. Peers and functions given to [World.After] run on the goroutine that holds the baton. Only Wake may be
// called from anywhere.
package sim
