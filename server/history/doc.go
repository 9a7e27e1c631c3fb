// Package history keeps the newest publications of a channel, bounded in number
// and time. It is pure: it knows no lock, no file, and time is a parameter.
//
// # What a stream is
//
// A [Stream] gives each publication an offset, 1 and up without a hole, and keeps
// the newest of them. Its epoch, given when it is opened, says which numbering the
// offsets belong to. Three things end, each at its own time:
//
//   - a publication, when Limits.Size newer ones were appended;
//   - all publications at once, Limits.TTL after the last one was appended (the
//     reference counts per stream too, in memory and in Redis);
//   - the stream with its offset and epoch, Limits.MetaTTL after it was last used.
//
// # Memory
//
// Publications are written one after the other into chunks, each record followed
// from the chunk's end by 4 bytes that say where it ends. Nothing in a chunk is
// changed or moved again, so what Read returns points into it and may be kept; a
// chunk lives until its last record is forgotten and its last reader is done.
//
//	chunk:  | record 0 | record 1 | record 2 |   free   | end 2 | end 1 | end 0 |
//	record: | time, if any | info, if any | tags, if any | data |
//
// A chunk is as long as wastes least: room that records do not fill, records that
// are forgotten but lie beside others that are not, and 16 bytes for the pointer to
// it are weighed against each other for the sizes that the allocator hands out.
// Measured with 300 publications per channel, all of it counted, also 6 bytes of time,
// one takes its payload and 16 (payload 16) to 63 bytes (1300); about 130
// where sizes from 500 to 2,100 bytes come at random. See BenchmarkStoredPublication.
//
// The collector finds one pointer per chunk and none in them; a stream with one
// chunk, which most small histories are, has no other memory.
package history
