// Package share knows what a process and its host have for connections, and shares the connections of a load test out to those who
// carry it. Sharing out is arithmetic; only [Read] and [OwnTables] look at the host.
package share
