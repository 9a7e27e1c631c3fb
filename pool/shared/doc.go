// Package shared holds immutable encoded bytes that many receivers are sent.
//
// A publication is encoded once per wire form into a [Bytes]; every receiver and
// every backlog then holds a number. Counting goes in two steps, because
// receivers are many and loops are few: a Bytes counts its holders atomically,
// one per loop; each loop's [Table] counts its own receivers without atomics.
// When the last loop lets go the memory returns to the [Pool], which retains a
// bounded number of bytes.
//
//	b := pool.New(len(payload) + 14)        // any goroutine; one reference
//	b.Buf = append(b.Buf, frame...)         // before anyone else knows b
//	b.Retain(); post to loop 1; …; b.Release()
//	r := table.Hold(b)                      // on the loop, takes the reference over
//	for each receiver { table.Retain(r); queue r }
//	table.Release(r)                        // at zero b.Release() is called
//
// With Config.Poison the bytes are overwritten when the last reference goes, so
// a reader that forgot to hold one sees 0xDB instead of somebody's message, and
// access without a reference panics.
package shared
