// Package cursor remembers how far a user has acknowledged a channel. It knows no shard of
// the node and no clock: whoever calls says what time it is.
//
// A cursor is 40 bytes, the name of the channel and, once, that of the user, 16 to 256
// bytes each, kept in intern tables; the collector scans none of it. It lives for a time to
// live after its last use. A table keeps a bounded number of them, and of each user's: above
// that of a user their own goes that was not used for longest, so that nobody can take the
// cursors of others; above that of the table the one not used for longest among a few.
package cursor
