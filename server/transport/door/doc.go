// Package door is the front door: one port takes everything. On the loop it reads
// the head of the first request of a conn. A WebSocket upgrade on a configured
// path goes to its transport and stays on the loop; any other request leaves the
// loop: its descriptor goes, with the bytes already read, to an ordinary net/http
// server, by way of a [Listener].
//
// A conn that has sent nothing yet, or a whole request at once, costs the door no
// memory; only a request that arrives in pieces borrows a buffer. The whole head
// must arrive before a deadline, however slowly it trickles.
package door
