// Package wheel keeps one timer per slot in an intrusive hierarchical timer wheel.
//
// # Shape
//
// The wheel owns no timer objects. The twelve bytes a timer needs ([Links]) lie in the owner's slot and are reached
// through [Store]; the wheel itself is 9.5 KB of bucket heads and occupancy bits, whatever the number of timers. Set,
// Cancel and firing are O(1) and allocate nothing.
//
// # Levels
//
//	level  bucket width   buckets  reach            at 100 ms a tick
//	0      1 tick         512      511 ticks        51 s
//	1      64             512      32,704           54 min
//	2      4,096          512      2.1 million      58 h
//	3      262,144        512      134 million      155 days
//	4      16.8 million   256      all of uint32    6.8 years (the limit is 1<<31 - 1 ticks ahead)
//
// A timer is filed by its distance, so heartbeats of less than 51 s go to level 0 at once and never move. A bucket of
// a higher level is only 64 of the lower level's buckets wide although the lower level has 512: one cascade moves the
// timers of 6.4 s and not of a whole turn of the lower level. With half a million timers of ten minutes that is 5,300
// of them, about 0.2 ms; the textbook layout (256 buckets, width 256) would move 21,000, and all heartbeats with
// them.
//
// # Limits
//
// Slots are below [SlotMax]. Deadlines lie up to 1<<31 - 1 ticks ahead; one that lies further looks like the past,
// and the past fires at the next tick. Ticks may wrap around. Timers of one tick fire in no promised, but a
// deterministic, order. A wheel belongs to one goroutine.
package wheel
