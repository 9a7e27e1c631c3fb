// Package poster publishes by the HTTP API of a server: over several kept-alive connections of one loop, with pipelined requests, and
// in batches where several publications are due at once. What has one turn takes one connection, so it stays in order.
package poster
