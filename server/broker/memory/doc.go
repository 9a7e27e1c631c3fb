// Package memory is the broker of a single node. It keeps the publications of a
// channel in order by delivering them under a lock that the channel's name picks.
package memory
