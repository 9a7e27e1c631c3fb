package report

import (
	"fmt"

	"shoal/loadtest/plan"
	"shoal/loadtest/units"
)

// Expectation is a figure the test is to reach, beside the promises that always hold, and what it was.
type Expectation struct {
	Name  string   `json:"name"`            // of the figure; see plan.Figures
	Phase string   `json:"phase,omitempty"` // "" = of the whole test
	Limit float64  `json:"limit"`           // in microseconds, bytes, or a number, as the name demands
	Value *float64 `json:"value"`           // nil = not measured
	Met   bool     `json:"met"`
}

// Words are what the expectation is of, its limit and its value, as people read them; value is empty when it was not measured.
func (e Expectation) Words() (what, limit, value string) {
	m, ok := measureOf(e.Name)
	if !ok { // of another version
		m = measure{what: e.Name, write: units.Number}
	}
	f, _ := plan.FigureOf(e.Name)
	if limit = "at most " + m.write(e.Limit); f.Least {
		limit = "at least " + m.write(e.Limit)
	}
	if e.Value != nil {
		value = m.write(*e.Value)
	}
	return e.what(m), limit, value
}

// what the expectation is about, for a person.
func (e *Expectation) what(m measure) string {
	if e.Phase != "" {
		return "phase " + e.Phase + ", " + m.what
	}
	return m.what
}

// Expect compares the report with what was expected of it; what was not measured is not met.
func (r *Report) Expect(all []plan.Expectation) {
	for _, asked := range all {
		e := Expectation{Name: asked.Name, Phase: asked.Phase, Limit: asked.Limit}
		f, _ := plan.FigureOf(e.Name)
		m, _ := measureOf(e.Name)
		v, known, needs := r.value(m, e.Phase)
		sign, over := "at most", v > e.Limit
		if f.Least {
			sign, over = "at least", v < e.Limit
		}
		if e.Met = known && !over; known {
			e.Value = &v
		}
		r.Expectations = append(r.Expectations, e)
		switch {
		case !known:
			r.Failures = append(r.Failures, fmt.Sprintf("expected: %s %s %s, and it was not measured; it takes %s", e.what(m), sign, m.write(e.Limit), needs))
		case over:
			r.Failures = append(r.Failures, fmt.Sprintf("expected: %s %s %s, and it was %s", e.what(m), sign, m.write(e.Limit), m.write(v)))
		}
	}
	r.OK = len(r.Failures) == 0
}

// value takes a figure of the whole test, or of a phase; needs is what it takes where it is not known.
func (r *Report) value(m measure, phase string) (v float64, known bool, needs string) {
	if phase == "" {
		v, known = m.of(r)
		return v, known, m.needs
	}
	p := r.Phase(phase)
	switch {
	case p == nil:
		return 0, false, "a test that gets that far"
	case m.ofPhase == nil:
		return 0, false, "the whole test: write " + m.name + " without the phase"
	}
	v, known = m.ofPhase(p)
	return v, known, m.needs
}
