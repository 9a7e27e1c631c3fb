package compat_test

import (
	"flag"
	"os"
	"testing"
)

// TestMain lets more tests wait at once than there are processors: most of their time
// is spent waiting for a ping or an end.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}
