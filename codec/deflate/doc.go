// Package deflate is permessage-deflate, RFC 7692: the negotiation of the extension, and the compression of whole messages
// without context takeover.
//
// [Negotiate] reads the offers of a Sec-WebSocket-Extensions header and answers the first acceptable one; every answer
// carries server_no_context_takeover and client_no_context_takeover, so no conn ever owns a window: a message is compressed
// once and the same bytes go to every conn whose [Params] allow it ([Params.Fits]).
//
// [Codec] compresses and inflates one message per call and appends the result. The compressor is klauspost/compress/flate
// (its writers are big, hundreds of kilobytes, so few exist and they are borrowed for the time of a call). The inflater is
// the package's own: since a message is inflated whole, the output is the window; it needs 10 KiB instead of 38, counts
// inflated bytes before they are written, and knows exactly where a message must end. Speed is no reason: it is between a fifth
// slower and three quarters faster than klauspost's (BenchmarkDecompress). What keeps it honest is the standard library, which must
// agree on every prefix, every flipped bit and whatever the fuzzer finds.
package deflate
