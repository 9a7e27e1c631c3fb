package loadtest

import (
	"context"
	"testing"
	"time"

	"shoal/loadtest/engine"
	"shoal/loadtest/fleet"
	"shoal/loadtest/fleet/share"
)

func TestTheReportSaysWhoCarriedTheConnections(t *testing.T) {
	addr, _ := serve(t, nil)
	for most, want := range map[int]int{0: 0, 100: 3} { // one engine is this process and nothing else
		s := Surroundings{NewDriver: func(ctx context.Context, c engine.Config) (engine.Driver, error) {
			return fleet.Open(ctx, fleet.Config{
				Engine: c, Make: fleet.Engines(false), Build: "test", Clock: time.Now, Resources: share.Read(false), EngineMax: most,
			})
		}}
		r, err := try(t, t.Context(), small(addr, Fanout), s)
		well(t, r, err)
		engines := 0
		for _, m := range r.Members {
			engines += m.Engines
		}
		if engines != want || want > 0 && (r.Members[0].Ready != 300 || r.Members[0].RSS == 0) {
			t.Errorf("%+v", r.Members)
		}
	}
}
