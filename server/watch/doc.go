// Package watch measures how the node does and acts by it: it is where package overload, which
// decides what is left undone, and package steer, which decides how much garbage may gather,
// meet the loops and the Go runtime.
//
// How late a loop is is measured twice. What arrives waits for the end of the present pass
// ([loop.Lag]), which tells of handlers that take long; and a message to each loop tells of
// those that are fast and too many, for it waits behind all that is ready before it.
package watch
