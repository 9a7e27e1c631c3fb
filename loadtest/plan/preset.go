package plan

import (
	"fmt"
	"math"
	"time"
)

// Presets are the names of the plans that need no file.
func Presets() []string { return []string{"baseline", "load", "peak"} }

// Preset is a plan for an expected number of connections; 0 = 1,000.
//
//   - baseline: a tenth of them, at most 1,000, and every scenario for a few seconds. Its figures are for comparison with others: of
//     the version before, of another host, of the same host under load.
//   - load: all of them for minutes, as on a usual day: each receives something every ten seconds, and some come and go.
//   - peak: a fifth more than expected, who arrive faster and faster; publications rise to ten times those of load, while many come
//     and go; then all are cut at once, and some are away for a while.
func Preset(name string, connections int) (Plan, error) {
	n := connections
	if n == 0 {
		n = connectionsDefault
	}
	if n < 0 || n > connectionsMax {
		return Plan{}, fmt.Errorf("%d connections cannot be; write a number from 1 to %d", n, connectionsMax)
	}
	switch name {
	case "baseline":
		return baseline(n), nil
	case "load":
		return load(n), nil
	case "peak":
		return peak(n), nil
	}
	return Plan{}, fmt.Errorf("there is no preset %q; %s", name, didYouMean(name, Presets()))
}

func baseline(expected int) Plan {
	n := min(max(expected/10, min(expected, 100)), 1000)
	topics := max(n/10, 1)
	return Plan{
		Name:        "baseline",
		Connections: Connections{Count: n, Channels: topics, Subscriptions: min(2, topics)},
		Phases: []Phase{
			{Scenario: Idle, Duration: 5 * time.Second},
			{Scenario: Fanout, Count: 20},
			{Scenario: Channels, Rate: 200, Duration: 5 * time.Second},
			{Scenario: Users, Rate: 200, Duration: 5 * time.Second},
			{Scenario: Echo, Rate: 500, Duration: 5 * time.Second},
			{Scenario: Churn, Rate: round(float64(n) / 20), Duration: 5 * time.Second},
			{Scenario: Recover, Away: 2 * time.Second, Duration: 2 * time.Second},
			{Scenario: Slow, Stall: 3 * time.Second, Duration: 2 * time.Second},
			{Scenario: Storm, Duration: 2 * time.Second},
		},
	}
}

func load(n int) Plan {
	topics := max(n/100, 1)
	return Plan{
		Name: "load",
		Connections: Connections{
			Count: n, Rate: round(max(float64(n)/60, 100)), Jitter: 0.5, Channels: topics, Subscriptions: 1,
		},
		Settle: 2 * time.Second,
		Phases: []Phase{
			{Scenario: Idle, Duration: 30 * time.Second},
			{
				Scenario: Channels, Rate: dayRate(topics), Random: true,
				Meanwhile: []Phase{{Scenario: Churn, Rate: round(max(float64(n)/1000, 1)), Duration: 3 * time.Minute}},
			},
			{Scenario: Users, Rate: round(max(float64(n)/100, 1)), Duration: time.Minute},
			{Scenario: Fanout, Count: min(topics, eachMax)},
		},
	}
}

func peak(expected int) Plan {
	n := max(int(math.Ceil(1.2*float64(expected))), 2)
	topics := max(expected/100, 1)
	day := dayRate(topics)
	arrive := max(float64(expected)/60, 100)
	return Plan{
		Name: "peak",
		Connections: Connections{
			Count: n, Rate: round(arrive), To: round(5 * arrive), Jitter: 0.5, Channels: topics, Subscriptions: 1,
		},
		Settle: 2 * time.Second,
		Phases: []Phase{
			{
				Name: "rise", Scenario: Channels, Rate: day, To: 10 * day, Steps: 6, Duration: time.Minute, Random: true,
				Meanwhile: []Phase{{Scenario: Churn, Rate: round(max(float64(n)/200, 1)), Duration: time.Minute}},
			},
			{
				Name: "top", Scenario: Channels, Rate: 10 * day, Random: true,
				Meanwhile: []Phase{{Scenario: Idle, Name: "steady", Duration: 20 * time.Second}, {Scenario: Storm, Duration: 10 * time.Second}},
			},
			{Scenario: Recover, Share: 0.2, Away: 5 * time.Second, Rate: day, Random: true},
			{Scenario: Fanout, Count: min(topics, eachMax)},
		},
	}
}

// eachMax bounds the channels that are published to one after the other.
const eachMax = 1000

// dayRate is how many publications a second over all channels give each connection one in ten seconds.
func dayRate(topics int) float64 { return max(float64(topics)/10, 1) }

// round keeps two digits, for a person to read.
func round(v float64) float64 {
	if v < 10 {
		return math.Round(v*10) / 10
	}
	unit := math.Pow(10, math.Floor(math.Log10(v))-1)
	return math.Round(v/unit) * unit
}
