// Package delta writes and applies Fossil deltas: the difference of a publication from the one before it, which
// subscribers that asked for delta "fossil" receive in place of the whole payload. It is pure: no clock, no lock, no
// state, nothing kept of its arguments; every function may run concurrently.
//
// The format (fossil-scm.org, "The Fossil Delta Format") is text around the inserted bytes:
//
//	T\n        the target has 29 bytes; numbers are base 64 with the digits 0-9 A-Z _ a-z ~
//	B@0,       copy 11 bytes of the source from offset 0
//	1:1        insert 1 byte
//	H@C,       copy 17 bytes of the source from offset 12
//	2OmaSD;    checksum of the target: the sum of its 32-bit big-endian words, the last one padded with zeros
//
// Two things the format allows are not done, for the sake of the clients in use:
//   - A copy or an insert never cuts a UTF-8 character in two. JSON clients receive a delta as a JSON string, where half
//     a character cannot stand; so the delta of a text is a text, and one delta serves both wire forms.
//   - No operation has more than 32 KiB. The JavaScript client passes the bytes of one operation as arguments of a call,
//     of which engines take some 65,000.
//
// Time is linear in both lengths and the working memory at most 256 KiB (none for sources below 64 KiB), whatever the
// payloads hold.
package delta
