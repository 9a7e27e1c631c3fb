// Package server is the push server as a library. [Program] is the whole of it, as
// a value: [New] wires the floors together, Run serves, Close ends. main.go and the
// end-to-end tests start the same value.
//
// A program of one's own may have one inside it ([Embed]): [Program.Handler] takes WebSocket
// upgrades in any mux over net/http and hands the connections to the loops, [Callbacks] are
// asked in place of proxies, [Program.API] is the server API without HTTP.
package server
