package server

import (
	"fmt"
	"net"
	"os"
	"sync"
	"testing"

	"shoal/codec/ws/conform"
	"shoal/server/config"
)

// The conformance table of codec/ws/conform against the echo endpoint: every case
// whole, cut at every byte boundary, and cut into pieces of other sizes. "go test"
// leaves out what takes seconds; "make conform" sets SHOAL_CONFORM=all and plays
// everything.
func TestConformEchoEndpoint(t *testing.T) {
	everything := os.Getenv("SHOAL_CONFORM") == "all"
	chops, sizeMax := []int{0, 1}, 128<<10
	if everything {
		chops, sizeMax = []int{0, 1, 2, 3, 7, 13, 125, 1000, 65_535}, 1<<30
	}
	r := start(t, tuned(func(c *config.Config) { c.Echo.Path = "/echo" }))
	dial := func() (net.Conn, error) { return net.Dial("tcp", r.p.Addr().String()) }
	before := r.metrics(t)
	type play struct {
		c    conform.Case
		chop int
	}
	plays := make(chan play)
	var players sync.WaitGroup
	for range 4 {
		players.Go(func() {
			for p := range plays {
				if err := conform.Run(dial, p.c, p.chop); err != nil {
					t.Error(err)
				}
			}
		})
	}
	played, left := 0, 0
	for _, c := range conform.Cases() {
		size := 0
		for _, step := range c.Steps {
			size += len(step.Send)
			for _, f := range step.Want {
				size += len(f.Payload)
			}
		}
		if size > sizeMax {
			left++
			continue
		}
		for _, chop := range chops {
			plays <- play{c, chop}
			played++
		}
	}
	close(plays)
	players.Wait()
	t.Logf("%d plays of the conformance cases, chops %s; %d large cases left to make conform", played, fmt.Sprint(chops), left)
	if m := r.metrics(t); m["shoal_loop_panics_total"] != before["shoal_loop_panics_total"] {
		t.Error("a panic was recovered")
	}
}
