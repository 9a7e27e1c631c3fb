package shared_test

import (
	"fmt"

	"shoal/pool/shared"
)

// A publication is encoded once; every receiver holds a number.
func Example() {
	pool := shared.NewPool(shared.Config{})
	table := shared.NewTable() // one per loop

	message := pool.New(64)
	message.Buf = append(message.Buf, `{"push":"news"}`...)
	ref := table.Hold(message)

	backlog := []shared.Ref{}
	for range 3 { // receivers
		table.Retain(ref)
		backlog = append(backlog, ref)
	}
	table.Release(ref) // the fan-out has ended

	for _, r := range backlog {
		fmt.Println(string(table.Bytes(r)))
		table.Release(r)
	}
	count, _ := pool.InUse()
	fmt.Println("in use:", count)
	// Output:
	// {"push":"news"}
	// {"push":"news"}
	// {"push":"news"}
	// in use: 0
}
