// Package server is the push server as a library. [Program] is the whole of it, as
// a value: [New] wires the floors together, Run serves, Close ends. main.go and the
// end-to-end tests start the same value.
package server
