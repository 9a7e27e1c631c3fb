// Package cursor remembers how far a user has acknowledged a channel. It knows no shard,
// no lock and no clock: the node guards tables and says what time it is.
//
// A cursor is about 24 bytes and the name of channel and user, 16 to 256 bytes, kept once
// in an intern table; the collector scans none of it. It lives for a time to live after
// its last use. A table keeps a bounded number of them; above it the one goes that was not
// used for longest among a few.
package cursor
