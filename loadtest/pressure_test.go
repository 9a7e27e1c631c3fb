package loadtest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

// long is a history that has all a test publishes.
var long = map[string]any{"channel.without_namespace.history_size": 5000, "channel.without_namespace.history_ttl": "10m"}

func TestManyChannelsReachEachReceiverOnceAndInOrder(t *testing.T) {
	addr, _ := serve(t, nil)
	for _, c := range []struct {
		name   string
		change func(*Config)
		each   [2]int // receivers of a channel
	}{
		{"one of many each", func(c *Config) { c.Channels, c.Subscriptions = 60, 1 }, [2]int{5, 5}},
		{"all of some, Protobuf", func(c *Config) { c.Channels, c.Encoding, c.PublishRate = 5, "protobuf", 100 }, [2]int{300, 300}},
		{"some of many, at random, busy", func(c *Config) { c.Channels, c.Subscriptions, c.Random, c.BusyPoll = 100, 4, true, true }, [2]int{12, 12}},
		{"one", func(c *Config) { c.PublishRate = 50 }, [2]int{300, 300}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := small(addr, Channels)
			cfg.ServerPIDs = []int{self()}
			c.change(&cfg)
			r, err := try(t, t.Context(), cfg, Surroundings{})
			well(t, r, err)
			p := r.Pressure
			if p.Published < 10 || p.Answered != p.Published || p.Received != p.Expected || p.Latency.Count != int64(p.Received) || p.PerSecond <= 0 ||
				[2]int{p.ReceiversMin, p.ReceiversMax} != c.each || c.each[0] == c.each[1] && !cfg.Random && p.Received != p.Published*c.each[0] {
				t.Errorf("%+v", p)
			}
			if o := r.Observed; o == nil || o.Writes == nil || o.Writes.Deliveries != float64(p.Received) || o.Writes.PerDelivery <= 0 || o.GC == nil {
				t.Errorf("observed %+v", o)
			}
			if len(p.Samples) < 3 || len(p.Windows) == 0 || p.Memory == nil || p.Memory.Peak == 0 || p.Accept == nil {
				t.Errorf("%d samples, %d windows, %+v, %+v", len(p.Samples), len(p.Windows), p.Memory, p.Accept)
			}
			if r.Cost == nil || r.Cost.MessageUS <= 0 {
				t.Errorf("cost %+v", r.Cost)
			}
		})
	}
}

func TestThoseWhoDoNotReadLoseNothingSilently(t *testing.T) {
	for _, encoding := range []string{"json", "protobuf"} {
		t.Run(encoding, func(t *testing.T) {
			flags := map[string]any{"client.queue_max_size": 256 << 10, "client.recovery_max_publication_limit": 0}
			for k, v := range long {
				flags[k] = v
			}
			addr, _ := serve(t, flags)
			cfg := small(addr, Slow)
			cfg.Encoding, cfg.Connections, cfg.Stuck, cfg.Stall, cfg.PayloadBytes, cfg.PublishRate = encoding, 30, 10, 2*time.Second, 20_000, 60
			cfg.ServerPIDs, cfg.Duration = []int{self()}, 500*time.Millisecond
			r, err := calmly(t, cfg)
			if err != nil || !r.OK {
				t.Fatal(err)
			}
			s := r.Pressure.Slow
			if s.Stalled != 10 || s.Ended == 0 || s.Recovered < s.Ended || s.Silent+s.Away+s.Gone+r.Pressure.Told != 0 || r.Pressure.Received != 30*r.Pressure.Published {
				t.Errorf("%+v\n%+v", r.Pressure, s)
			}
			n := 0
			for _, k := range s.Codes {
				n += k
			}
			if m := r.Pressure.Memory; m == nil || m.Stalled == 0 || m.Peak < m.Stalled || m.Before == 0 {
				t.Errorf("%+v", m)
			}
			if n != s.Ended || s.Ends != n || r.Observed.Ended() < n || s.During == nil || s.During.Count < 500 || s.Seconds < 1.9 {
				t.Errorf("%+v", s)
			}
		})
	}
}

func TestLossesThatAreToldAreCounted(t *testing.T) {
	addr, _ := serve(t, map[string]any{"client.queue_max_size": 256 << 10, "channel.without_namespace.history_size": 3})
	cfg := small(addr, Slow)
	cfg.Connections, cfg.Stuck, cfg.Stall, cfg.PayloadBytes, cfg.PublishRate = 20, 5, 2*time.Second, 20_000, 60
	cfg.Duration = 500 * time.Millisecond
	r, err := try(t, t.Context(), cfg, Surroundings{})
	if err != nil || !r.OK || r.Pressure.Slow.Ended == 0 || r.Pressure.Slow.Unrecovered == 0 || r.Pressure.Told == 0 ||
		r.Pressure.Received+r.Pressure.Told != 20*r.Pressure.Published {
		t.Errorf("%v\n%+v\n%+v", err, r.Pressure, r.Pressure.Slow)
	}
}

func TestAllComeBackFromAStorm(t *testing.T) {
	addr, _ := serve(t, long)
	for _, c := range []struct {
		name   string
		change func(*Config)
	}{
		{"one channel", func(*Config) {}},
		{"two of five, Protobuf", func(c *Config) { c.Encoding, c.Channels, c.Subscriptions, c.PublishRate = "protobuf", 5, 2, 50 }},
		{"two of five, by resume token", func(c *Config) { c.Channels, c.Subscriptions, c.Resume = 5, 2, true }},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := small(addr, Storm)
			cfg.ServerPIDs = []int{self()}
			c.change(&cfg)
			r, err := try(t, t.Context(), cfg, Surroundings{})
			well(t, r, err)
			p, s := r.Pressure, r.Pressure.Storm
			if s.Cut != 300 || s.Back != 300 || s.Recovered != 300*max(cfg.Subscriptions, 1) || s.RecoveredPublications == 0 || s.Again != 0 || p.Received != p.Expected {
				t.Errorf("%+v\n%+v", p, s)
			}
			if cfg.Resume && s.Resumed != 300 || s.Own.Count != 300 || s.Away.Min < 500_000 || s.CPU <= 0 || p.Accept == nil {
				t.Errorf("%+v\n%+v", s, s.Own)
			}
		})
	}
}

func TestAStormThatLosesFails(t *testing.T) {
	for _, c := range []struct {
		name  string
		flags map[string]any
		want  string
	}{
		{"history too short", map[string]any{"channel.without_namespace.history_size": 1}, "did not recover"},
		{"no positions", map[string]any{"channel.without_namespace.force_recovery": false, "channel.without_namespace.history_size": 0, "channel.without_namespace.history_ttl": "0s"}, "no position to recover from"},
		{"too many", map[string]any{"client.connection_limit": 60}, "could not be opened"},
	} {
		addr, _ := serve(t, c.flags)
		cfg := small(addr, Storm)
		cfg.Connections, cfg.PublishRate = 100, 50
		r, err := try(t, t.Context(), cfg, Surroundings{})
		if !errors.Is(err, ErrFailed) || r.OK || !strings.Contains(strings.Join(r.Failures, "\n"), c.want) {
			t.Errorf("%s: %v, want …%s…", c.name, err, c.want)
		}
	}
}

func TestPressureThatIsInterruptedGivesAReport(t *testing.T) {
	addr, _ := serve(t, long)
	for _, c := range []struct {
		after    string
		scenario Scenario
	}{{"publishing", Channels}, {"stalling", Slow}, {"cut", Storm}} {
		ctx, cancel := context.WithCancel(t.Context())
		events := newLines()
		cfg := small(addr, c.scenario)
		switch c.scenario {
		case Channels:
			cfg.Duration = time.Hour
		case Slow:
			cfg.Stall = time.Hour
		}
		cfg.Timeout = 3 * time.Hour
		go func() {
			events.until(t, `"event":"`+c.after+`"`)
			time.Sleep(50 * time.Millisecond) // for a few publications to be under way
			cancel()
		}()
		r, err := try(t, ctx, cfg, Surroundings{Events: events})
		if err != nil || !r.OK || !r.Interrupted || r.Pressure == nil || r.Pressure.Received != r.Pressure.Expected {
			t.Errorf("%s: %v %+v", c.scenario, err, r)
		}
		cancel()
	}
}

func TestServerThatDiesUnderPressureIsReported(t *testing.T) {
	for _, scenario := range []Scenario{Channels, Slow, Storm} {
		addr, stop := serve(t, long)
		events := newLines()
		cfg := small(addr, scenario)
		cfg.Duration, cfg.Grace = 500*time.Millisecond, time.Second
		go func() {
			events.until(t, `"event":"publishing"`)
			stop()
		}()
		r, err := try(t, t.Context(), cfg, Surroundings{Events: events})
		if !errors.Is(err, ErrFailed) || r.OK {
			t.Errorf("%s: %v %+v", scenario, err, r)
		}
	}
}

func TestPressureThatCannotBeIsExplained(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"--subscriptions: 3 sub":  func(c *Config) { c.Channels, c.Subscriptions = 2, 3 },
		"--stuck is for --scena":  func(c *Config) { c.Scenario, c.Stuck = Storm, 5 },
		"--stuck: 301 of 300":     func(c *Config) { c.Scenario, c.Stuck = Slow, 301 },
		"--stall is for":          func(c *Config) { c.Stall = 1 },
		"--resume is for":         func(c *Config) { c.Resume = true },
		"--duration is for":       func(c *Config) { c.Scenario = Fanout },
		"--metrics \"nowhere\"":   func(c *Config) { c.Metrics = "nowhere" },
		"--metrics: dial":         func(c *Config) { c.Metrics = "http://127.0.0.1:1/metrics" },
		"has none (status 404)":   func(c *Config) { c.Metrics = "http://" + c.Target + "/nothing" },
		"no address of a plain H": func(c *Config) { c.API = "https://x" },
	} {
		addr, _ := serve(t, nil)
		cfg := small(addr, Channels)
		change(&cfg)
		if r, err := try(t, t.Context(), cfg, Surroundings{}); err == nil || !strings.Contains(err.Error(), want) || r != nil && r.OK {
			t.Errorf("%v, want …%s…", err, want)
		}
	}
}
