// Package handshake turns the first bytes of a connection into a decision, and a decision into bytes.
//
// It is the HTTP part of RFC 6455 §4 and nothing more: an incremental parser of HTTP/1.x request heads (RFC 9112), the
// check of the upgrade with every rule a header of it must obey, the 101 response, the refusals, the Origin policy, the choice of
// the subprotocol, the client's side of the same exchange for the load generator, and the PROXY protocol (v1, v2) that a
// load balancer may put in front of it all.
//
// Everything is a pure function over bytes: no socket, no clock, no lock, no goroutine. What a [Request] holds aliases the
// bytes that were parsed. Parsing, checking and answering allocate nothing.
//
// # Two stages
//
// [Parser.Parse] reads any request head well enough to route it: method, path, query, "is this an upgrade". It refuses only
// what no HTTP server should let pass, because two readers could understand it differently (request smuggling, RFC 9112 §11.2):
// bare LF, bare CR, NUL and control characters, obs-fold, space before the colon, a request line with other than two spaces.
// A front door hands what is no upgrade to an ordinary HTTP server together with the bytes already read.
//
// [CheckUpgrade] then applies the rules of the WebSocket opening handshake and names the first one broken.
//
// # One vocabulary of outcomes
//
// A [Status] is [NeedMore], [Done] or one named failure. The name is the metric label; the table in status.go is the only place
// that knows codes, names and the sentences peers get to read. No answer ever contains a byte of the request.
//
// # Any cut gives the same result
//
// Every parser here decides at the earliest byte at which the outcome is fixed, and in byte order. So feeding a head in one
// piece, byte by byte, or cut anywhere gives the same outcome; the tests cut at every boundary.
//
// # What is stricter than RFC 9112, on purpose
//
// An empty line before the request line (§2.2 SHOULD ignore), a lone LF as line end (§2.2 MAY accept) and obs-fold
// (§5.2 either refuse or replace) are refused; targets must be ASCII without a fragment.
package handshake
