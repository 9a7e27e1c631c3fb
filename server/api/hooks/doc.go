// Package hooks asks the application's backend over HTTP or gRPC what to do with its
// clients: who they are, whether they may subscribe or publish, what their RPC answers.
// It is the [backend.Backend] of a server that is not embedded, speaks what Centrifugo
// publishes for its proxies, and so a backend written for Centrifugo answers it.
//
// # Over HTTP
//
// A question is a POST of JSON; status 200 with {"result":…}, {"error":{code, message,
// temporary}} or {"disconnect":{code, reason}} is the answer, and of several of them the
// last in this list counts. Data is JSON as it is in data, or with binary_encoding base64
// in b64data; in answers either may be used. Over gRPC it is the service
// centrifugal.centrifugo.proxy.CentrifugoProxy (package proxypb).
//
// # What the client sees
//
//	                      connect    subscribe  publish    rpc        refresh     sub_refresh
//	no usable answer      error 100  error 100  error 100  error 100  60 s more   60 s more
//	status, transformed   as mapped  as mapped  as mapped  as mapped  expired     expired
//	error, disconnect     that       that       that       that       expired     expired
//	neither, no result    no user    allowed    unchanged  no data    expired     expired
//
// No usable answer is every [Kind] but [KindCanceled]. An empty body is none; {} and null
// are an answer without a result.
//
// Centrifugo lets any code pass. Here those that clients cannot read, or that a close
// frame cannot carry, are no usable answer: errors are 100–1999, disconnects 3000–4999.
//
// # Headers
//
// Static ones first, then those of the connect command that emulated_headers lists, then
// those of the conn's request that http_headers lists; the later ones win. The client can
// forge what it emulates, so http_headers never takes from there. A value that cannot be
// sent is left out: it must not be able to make the question fail.
//
// # A backend in trouble
//
// Each endpoint has one timeout for a question with all its repetitions, one limit of
// questions at once, above which they fail immediately rather than wait, and one breaker.
// Only what may be asked twice is repeated, and only after a failure that soon may be over
// (no conn or a broken one, 502, 503, 504, UNAVAILABLE). What a client can provoke –
// statuses below 500, data that is not JSON, too large an answer – does not open the
// breaker.
//
// # Channel state
//
// Occupied and vacated channels are told in batches, in order for each channel, at least
// once as long as the process lives: see [Hooks.Senders]. The queue is memory, so a crash
// loses it.
package hooks
