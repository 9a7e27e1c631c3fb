// Package retry is what a client of the protocol does when its connection has ended: whether it comes back, after how long, and who
// is next. Times are parameters.
package retry
