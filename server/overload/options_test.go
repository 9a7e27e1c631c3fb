package overload

import (
	"testing"
	"time"
)

func TestDefaultsAreGoodAndThoseOfTheStories(t *testing.T) {
	o := DefaultOptions()
	for _, f := range o.Faults() {
		t.Error(f)
	}
	if o.Config() != sane() {
		t.Errorf("%+v, and the stories are told of %+v", o.Config(), sane())
	}
	o = Options{Interval: time.Second}
	for _, f := range o.Faults() {
		t.Errorf("nothing configured: %v", f)
	}
}

func TestWrongOptionsAreNamed(t *testing.T) {
	for key, change := range map[string]func(*Options){
		"overload.interval":        func(o *Options) { o.Interval = time.Millisecond },
		"overload.rise_after":      func(o *Options) { o.RiseAfter = -1 },
		"overload.fall_after":      func(o *Options) { o.FallAfter = 2 * time.Hour },
		"overload.slow_start":      func(o *Options) { o.SlowStart = -1 },
		"overload.close_percent":   func(o *Options) { o.ClosePercent = 101 },
		"overload.idle_after":      func(o *Options) { o.IdleAfter = -1 },
		"overload.unhealthy_level": func(o *Options) { o.UnhealthyLevel = 4 },
		"overload.level_1.lag":     func(o *Options) { o.Level1.Lag, o.Level2.Lag, o.Level3.Lag = 2*time.Minute, 0, 0 },
		"overload.level_2.stall":   func(o *Options) { o.Level2.Stall = 2 * time.Hour },
		"overload.level_3.gc":      func(o *Options) { o.Level3.GC = 101 },
		"overload.level_3.memory":  func(o *Options) { o.Level3.Memory = 50 }, // level 2 begins with 94
		"overload.level_3.lag":     func(o *Options) { o.Level2.Lag, o.Level3.Lag = 0, time.Millisecond },
		"overload.level_2.lag":     func(o *Options) { o.Level2.Lag = time.Millisecond },
	} {
		o := DefaultOptions()
		change(&o)
		if faults := o.Faults(); len(faults) != 1 || faults[0].Key != key || faults[0].Why == "" || faults[0].Change == "" {
			t.Errorf("%s: %v", key, faults)
		}
	}
}
