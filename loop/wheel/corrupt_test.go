package wheel

import "testing"

func TestValidateSeesEveryCorruption(t *testing.T) {
	for name, corrupt := range map[string]func(w *Wheel, s slots){
		"occupied bit lost":         func(w *Wheel, s slots) { w.occupied[0] = 0 },
		"occupied bit of nobody":    func(w *Wheel, s slots) { w.occupied[20] |= 1 },
		"Len too small":             func(w *Wheel, s slots) { w.len-- },
		"Len too large":             func(w *Wheel, s slots) { w.len++ },
		"ring":                      func(w *Wheel, s slots) { s[0].next = 1 },
		"prev wrong":                func(w *Wheel, s slots) { s[0].prev = 9 },
		"deadline changed outside":  func(w *Wheel, s slots) { s[1].deadline++ },
		"due and not fired":         func(w *Wheel, s slots) { w.now += 512 + 10 },
		"stands on a higher bucket": func(w *Wheel, s slots) { w.now = s[3].deadline &^ 63 },
		"slot zeroed while armed":   func(w *Wheel, s slots) { s[2] = Links{} },
	} {
		w, s := newWheel(4, 0)
		w.Set(0, 10)
		w.Set(1, 10)
		w.Set(2, 600)
		w.Set(3, 40_000)
		mustBeValid(t, w)
		if corrupt(w, s); w.Validate() == nil {
			t.Errorf("%s: Validate saw nothing", name)
		}
	}
}
