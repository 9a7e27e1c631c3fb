package delta_test

import (
	"fmt"

	"shoal/codec/delta"
)

func ExampleAppend() {
	last, next := []byte(`{"price":100,"symbol":"AAPL"}`), []byte(`{"price":101,"symbol":"AAPL"}`)
	difference := delta.Append(nil, last, next)
	if len(difference) >= len(next) {
		fmt.Println("send the whole payload")
		return
	}
	got, err := delta.Apply(nil, last, difference, 1000)
	fmt.Printf("%q\n%s %v\n", difference, got, err)
	// Output:
	// "T\nB@0,1:1H@C,2OmaSD;"
	// {"price":101,"symbol":"AAPL"} <nil>
}
