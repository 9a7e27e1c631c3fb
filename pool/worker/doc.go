// Package worker runs jobs that may block (tokens, hooks, brokers, TLS
// handshakes) on a bounded number of goroutines, so that no loop ever waits.
//
// The queue is bounded too: when it is full Submit says so at once, and the
// caller decides what to tell its client. That is the backpressure.
//
// There are three classes of jobs, premium, standard and basic, each with a
// queue of its own, so that one class cannot take another's room. A free worker
// takes premium first, then standard, then basic; every 16th job is taken in the
// opposite order, so that nobody starves.
//
// Goroutines start when jobs come and end after an idle time; an idle pool has
// none. A job that panics is counted and reported, its worker lives on.
package worker
