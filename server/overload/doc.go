// Package overload decides how much of its work a node does when there is too much of it.
//
// A [Machine] is given a [Sample] about once a second: how late the loops are, what the
// collector takes, how full the memory is. It answers with a [Level], and the levels add up:
//
//	Calm      everything is done
//	Refusing  (1) new connections are refused
//	Sparing   (2) and work of low priority is not done: joins and leaves are not told,
//	              channels of low priority take no subscriptions and publications, and
//	              nothing that basic tenants ask for is done
//	Shedding  (3) and connections are closed, the most expensive and then the idle ones
//
// A level rises when signals have kept to its thresholds for [Config.RiseAfter], at once by
// as many levels as they did. It falls by one when all signals have stayed below its lower
// thresholds (a part of the upper ones) for [Config.FallAfter]. So it cannot flap faster than
// those times, however the signals do.
//
// After the last level has ended, those who were refused are at the door together: a tenth
// of the connections is let in at first, all of them after [Config.SlowStart]. When the level rises
// again before that, or as long again after it, the next slow start takes twice the time, up to
// sixteen times.
//
// The machine is pure: it knows no clock, no lock and no runtime; time is a parameter, and it
// belongs to one goroutine. What it decided is put on a [Board], which the loops read.
package overload
