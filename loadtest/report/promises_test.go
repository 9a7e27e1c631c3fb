package report

import (
	"strings"
	"testing"

	"shoal/loadtest/observe"
	"shoal/loadtest/plan"
)

func TestEachBrokenPromiseFails(t *testing.T) {
	nothing := &observe.Observed{Drops: map[string]int{"slow": 2}, Closed: map[string]int{"slow": 3, "peer-closed": 9}, Resubscribe: 4}
	for want, c := range map[string]struct {
		scenario plan.Scenario
		p        Pressure
	}{
		"lost: 1":                                 {plan.Channels, Pressure{Verified: Verified{Lost: 1}}},
		"with connections that die":               {plan.Channels, Pressure{Verified: Verified{LostDead: 1}}},
		"came twice: 1":                           {plan.Storm, Pressure{Verified: Verified{Duplicates: 1}, Storm: &Storming{}}},
		"out of order: 1":                         {plan.Slow, Pressure{Verified: Verified{Reordered: 1}, Slow: &Slow{}}},
		"altered: 1":                              {plan.Channels, Pressure{Verified: Verified{Altered: 1}}},
		"at the wrong":                            {plan.Channels, Pressure{Verified: Verified{Misrouted: 1}}},
		"publications refused: 1":                 {plan.Channels, Pressure{Refused: 1}},
		"though the clients know: 1":              {plan.Channels, Pressure{Told: 1}},
		"silently":                                {plan.Slow, Pressure{Slow: &Slow{Silent: 1}}},
		"did not read, were ended":                {plan.Slow, Pressure{Slow: &Slow{Away: 1}}},
		"not come back: 2":                        {plan.Storm, Pressure{Storm: &Storming{Cut: 3, Back: 1}}},
		"did not recover: 1":                      {plan.Storm, Pressure{Storm: &Storming{Unrecovered: 1}}},
		"ListenOverflows":                         {plan.Storm, Pressure{Accept: &Queue{Overflows: 1}}},
		"ListenDrops":                             {plan.Channels, Pressure{Accept: &Queue{Drops: 1}}},
		"stay away for good: 1":                   {plan.Slow, Pressure{Slow: &Slow{Gone: 1}}},
		"held: 3, and the target counted 2":       {plan.Slow, Pressure{Slow: &Slow{Skipped: 2, Unseen: 1}}},
		"were ended: 4, and the target counted 3": {plan.Slow, Pressure{Slow: &Slow{Ends: 4}}},
		"begin anew: 5, and the target counted 4": {plan.Slow, Pressure{Slow: &Slow{Unsubscribed: 5}}},
	} {
		r := Report{Scenario: c.scenario, Pressure: &c.p, Observed: nothing}
		if r.Judge(); r.OK || len(r.Failures) != 1 || !strings.Contains(r.Failures[0], want) {
			t.Errorf("%q, want …%s…", r.Failures, want)
		}
	}
	told := Report{Scenario: plan.Slow, Observed: nothing, Pressure: &Pressure{Told: 5, Slow: &Slow{Ended: 3, Ends: 3, Missed: 1, Skipped: 1, Unseen: 1, Unsubscribed: 4}}}
	if told.Judge(); !told.OK {
		t.Errorf("losses that were told and counted: %q", told.Failures)
	}
	unknown := Report{Scenario: plan.Slow, Pressure: &Pressure{Slow: &Slow{Unseen: 1, Ends: 1, Skipped: 1}}}
	if unknown.Judge(); len(unknown.Failures) != 1 || !strings.Contains(unknown.Failures[0], "neither the clients nor metrics tell") {
		t.Errorf("a target without metrics: %q", unknown.Failures)
	}
}
