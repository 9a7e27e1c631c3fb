package timeline

import (
	"math"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

func TestCountersBecomeRates(t *testing.T) {
	var l Line
	if s := l.Samples(); len(s) != 0 {
		t.Errorf("%+v of nothing", s)
	}
	l.Add(Reading{At: time.Second, Dialed: 10, Received: 100, CPU: time.Second, SelfCPU: time.Second})
	l.Add(Reading{At: time.Second, Dialed: 999}) // the clock stood still
	l.Add(Reading{At: 3 * time.Second, Ready: 20, Dialed: 30, Received: 500, CPU: 2 * time.Second, SelfCPU: 5 * time.Second, RSS: 1, SelfRSS: 2, Sockets: 3, Buffers: 4, Lag: time.Millisecond})
	l.Add(Reading{At: 4 * time.Second, Dialed: 30, Received: 500}) // the processes have ended
	s := l.Samples()
	if len(s) != 3 || s[0] != (Sample{Seconds: 1}) {
		t.Fatalf("%+v", s)
	}
	if want := (Sample{3, 20, 10, 200, 1, 2, 3, 4, 0.5, 2, 1000}); s[1] != want {
		t.Errorf("%+v, want %+v", s[1], want)
	}
	if s[2] != (Sample{Seconds: 4}) {
		t.Errorf("%+v", s[2])
	}
	l.Add(Reading{At: 5 * time.Second, CPU: 9 * time.Second}) // known again
	l.Add(Reading{At: 6 * time.Second, CPU: 10 * time.Second})
	if s := l.Samples(); s[3].CPU != 0 || s[4].CPU != 1 {
		t.Errorf("%+v", s[3:])
	}
}

func TestALineStaysBoundedAndKeepsItsPeaks(t *testing.T) {
	var l Line
	const all = 20 * lineMax
	taken := 0
	for i := range all {
		at := time.Duration(i+1) * Period
		r := Reading{At: at, Received: i + 1}
		if i == 1000 {
			r.RSS, r.Lag, r.Buffers = 77, 88*time.Microsecond, 99
		}
		if l.Due(at) {
			taken++
			l.Add(r)
		}
	}
	s := l.Samples()
	if len(s) > lineMax || len(s) < lineMax/2 || taken > all/3 {
		t.Fatalf("%d samples of %d readings", len(s), taken)
	}
	var rss, buffers int64
	lag := 0.0
	for i, one := range s {
		rss, buffers, lag = max(rss, one.RSS), max(buffers, one.Buffers), max(lag, one.Lag)
		if i > 0 && math.Abs(one.Deliveries-10) > 1e-6 {
			t.Fatalf("%d: %g deliveries a second", i, one.Deliveries)
		}
	}
	if rss != 77 || buffers != 99 || lag != 88 {
		t.Errorf("peaks %d %d %g are lost", rss, buffers, lag)
	}
}

func TestADistributionIsBoundedAndRises(t *testing.T) {
	h := hdrhistogram.New(int64(time.Microsecond), int64(time.Minute), 3)
	if d := Points("x", h); d != nil {
		t.Errorf("%+v of nothing", d)
	}
	_ = h.RecordValue(5000)
	if d := Points("x", h); d.Count != 1 || len(d.Points) != 2 || d.Points[0].Percent != 0 || d.Points[1].Percent != 100 || math.Abs(d.Points[1].Micros-5) > 0.6 {
		t.Errorf("one value: %+v", d)
	}
	h.Reset()
	for i := range int64(1_000_000) {
		_ = h.RecordValue(i * 1000)
	}
	d := Points("x", h)
	if len(d.Points) < 100 || len(d.Points) > pointsMax {
		t.Errorf("%d points", len(d.Points))
	}
	for i, p := range d.Points {
		if i > 0 && (p.Percent <= d.Points[i-1].Percent || p.Micros < d.Points[i-1].Micros) {
			t.Errorf("%+v after %+v", p, d.Points[i-1])
		}
		if math.Abs(p.Micros-10_000*p.Percent) > 0.002*p.Micros+20 {
			t.Errorf("%+v", p)
		}
	}
}
