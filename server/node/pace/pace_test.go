package pace

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"shoal/loop"
)

// fake is a loop that writes down what it is to do.
type fake struct {
	works []loop.Work
	looks int // asked for and not done
}

func (f *fake) Work(w loop.Work) { f.works = append(f.works, w) }

func (f *fake) WorkAfter(_ loop.Work, after time.Duration) {
	if after > 0 {
		f.looks++
	}
}

type work struct {
	name  string
	waits bool
}

func (w *work) Waits() bool                  { return w.waits }
func (w *work) Slice(*loop.Loop) (more bool) { return false }
func (f *fake) look(p *Pace)                 { f.looks--; p.Slice(nil) }
func names(works []loop.Work) (out []string) {
	for _, w := range works {
		out = append(out, w.(*work).name)
	}
	return out
}

func TestWorksBeginWhenTheyNeedNotWait(t *testing.T) {
	f := &fake{}
	p := New(f)
	var all []*work
	for i := range 5 {
		all = append(all, &work{fmt.Sprint(i), true})
		p.Add(all[i])
	}
	if f.looks != 1 {
		t.Fatalf("%d looks are to come, want one for all", f.looks)
	}
	f.look(p)
	all[3].waits, all[1].waits = false, false
	f.look(p)
	if got := names(f.works); !slices.Equal(got, []string{"1", "3"}) || f.looks != 1 {
		t.Errorf("%v have begun, %d looks to come", got, f.looks)
	}
	p.Add(&work{"late", false})
	for _, w := range all {
		w.waits = false
	}
	f.look(p)
	if got := names(f.works); !slices.Equal(got, []string{"1", "3", "0", "2", "4", "late"}) || f.looks != 0 {
		t.Errorf("%v have begun, %d looks to come", got, f.looks)
	}
	p.Add(&work{"again", true})
	if f.looks != 1 {
		t.Errorf("%d looks are to come for one that came later", f.looks)
	}
}
