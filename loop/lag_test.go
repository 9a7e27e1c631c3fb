package loop

import (
	"testing"
	"time"
)

func TestLagSaysHowLongAPassTookAndStalledHowLongOneIsTaking(t *testing.T) {
	r := start(t, Config{Loops: 2}, script{})
	before := r.g.Stats().Lag
	const held = 60 * time.Millisecond
	entered, leave := make(chan struct{}), make(chan struct{})
	_ = r.g.Loop(1).Post(deliverFunc(func(*Loop) {
		close(entered)
		<-leave
	}))
	<-entered
	for begin := time.Now(); r.g.Stalled(time.Now()) < held; {
		if time.Since(begin) > patience {
			t.Fatalf("a loop is held, but Stalled says %v", r.g.Stalled(time.Now()))
		}
		time.Sleep(time.Millisecond)
	}
	if d := r.g.Stats().Lag.Since(before); d.Max() >= held {
		t.Errorf("a pass of %v is counted that is under way", d.Max())
	}
	close(leave)
	r.until("published", func(*Loop) bool { return r.g.Stats().Lag.Since(before).Max() >= held })
	lag := r.g.Stats().Lag
	if n := lag.Count(); lag.Quantile(1) < held || lag.Quantile(0.01) >= held || n < 3 {
		t.Errorf("of %d passes the longest took %v, the shortest %v", n, lag.Quantile(1), lag.Quantile(0.01))
	}
	r.until("both loops are quiet", func(*Loop) bool { return true })
	if d := r.g.Stalled(time.Now()); d >= held {
		t.Errorf("no loop is held any more, but Stalled says %v", d)
	}
}

func TestStalledIsZeroBeforeAndAfterTheRun(t *testing.T) {
	g, err := New(Config{Loops: 1}, func(*Loop) []Handler { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if d := g.Stalled(time.Now()); d != 0 {
		t.Errorf("%v before", d)
	}
	if err := g.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if d := g.Stalled(time.Now().Add(time.Hour)); d != 0 {
		t.Errorf("%v after", d)
	}
}
