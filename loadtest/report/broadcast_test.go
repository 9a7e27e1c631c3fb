package report

import (
	"testing"

	"shoal/loadtest/observe"
	"shoal/loadtest/plan"
)

// What the heartbeats of a phase took is not put down to its deliveries, and phases that do something else do not count.
func TestADeliveryToAllIsFreedOfHeartbeats(t *testing.T) {
	beat := 10.0
	r := &Report{Figures: []observe.Figure{{Name: observe.FigureHeartbeat, Value: &beat}}, Phases: []Phase{
		{Name: "held", Scenario: plan.Idle, Pings: 1000, Cost: &PhaseCost{CPU: 1}},
		{Name: "first", Scenario: plan.Fanout, Pings: 100, Verified: Verified{Received: 1000}, Cost: &PhaseCost{CPU: 0.007}},
		{Name: "second", Scenario: plan.Fanout, Pings: 300, Verified: Verified{Received: 3000}, Cost: &PhaseCost{CPU: 0.017}},
		{Name: "pushes", Scenario: plan.Users, Pings: 300, Verified: Verified{Received: 100}, Cost: &PhaseCost{CPU: 0.1}},
	}}
	got := r.broadcast()
	if len(got) != 1 || *got[0].Value != 5 || got[0].Over != "4,000 deliveries in first and second, less 400 heartbeats" { // (24 ms − 4 ms) / 4,000
		t.Errorf("%+v", got)
	}
	r.Figures = nil
	if got := r.broadcast(); got != nil {
		t.Errorf("without the cost of a heartbeat: %+v", got)
	}
}
