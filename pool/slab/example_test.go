package slab_test

import (
	"fmt"

	"shoal/pool/slab"
)

// A reference is a slot and its generation; it goes stale when the slot is freed.
func Example() {
	type conn struct{ descriptor, missed int32 }
	conns := slab.New[conn]()

	slot, c := conns.Alloc()
	c.descriptor = 7
	generation := conns.Generation(slot)
	fmt.Println("live:", conns.Live(slot, generation))

	conns.Free(slot)
	again, _ := conns.Alloc() // the same slot, another conn
	fmt.Println("same slot:", again == slot, "live:", conns.Live(slot, generation))
	// Output:
	// live: true
	// same slot: true live: false
}
