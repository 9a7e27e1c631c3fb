// Package intern gives strings numbers: channel names, user identities, anything
// that many slots share. A slot keeps the 4-byte number; the [Table] keeps each
// string once, with a count of who uses it.
//
// The collector scans nothing per string. Three parts, all pointer-free but for
// one pointer per block of 8 KiB or more:
//
//   - the index: open addressing with linear probing over []uint32 ids, at most
//     3/4 full, deletion by shifting back (no tombstones);
//   - the entries: hash, count, place and length, 16 B;
//   - the arenas: the bytes, in size classes from 16 to 256. Longer strings are
//     rare (a channel name has at most 255 bytes) and have a []byte each.
//
// A short string costs 16 B of entry, 5 to 11 B of index and its bytes rounded
// up to the class. The hash is seeded per table, so that nobody can choose names
// that collide.
//
// A table belongs to one loop: nothing here is safe for concurrent use.
package intern
