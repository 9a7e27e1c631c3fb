package loadtest

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"shoal/loadtest/observe"
	"shoal/loadtest/report"
)

// pressed is a test in which a few stop reading for long enough that their backlog is over every limit.
func pressed(addr string) Config {
	cfg := small(addr, Slow)
	cfg.Connections, cfg.Stuck, cfg.Stall, cfg.PayloadBytes, cfg.PublishRate = 20, 5, 2500*time.Millisecond, 4000, 100
	cfg.Duration, cfg.Keys = 500*time.Millisecond, 4
	return cfg
}

// calmly tries again when those who read fell behind, too: on a machine that is too busy the test proves nothing.
func calmly(t *testing.T, cfg Config) (r *Report, err error) {
	for range 3 {
		if r, err = try(t, t.Context(), cfg, Surroundings{}); r == nil || r.Connections.Died == 0 && r.Pressure.Lost == 0 {
			break
		}
	}
	return r, err
}

// pressure are the limits of a server that pressed reaches under a policy.
func pressure(policy string, more map[string]any) map[string]any {
	const ns = "channel.without_namespace."
	limit := 16 << 20 // what is recovered at once has to fit
	if policy == "disconnect" {
		limit = 256 << 10
	}
	flags := map[string]any{
		"client.queue_max_size": limit, "client.recovery_max_publication_limit": 0, ns + "slow_policy": policy, ns + "slow_backlog_size": 64 << 10, ns + "conflate_tag": "key",
		ns + "allowed_delta_types": []any{},
	}
	for k, v := range more {
		flags[k] = v
	}
	return flags
}

func plain() map[string]any {
	const ns = "channel.without_namespace."
	return map[string]any{ns + "history_size": 0, ns + "history_ttl": "0s", ns + "force_recovery": false}
}

func TestEveryPolicyTellsOrCountsWhatItDrops(t *testing.T) {
	for _, c := range []struct {
		policy, name string
		flags        map[string]any
		check        func(*report.Pressure, *observe.Observed) bool
	}{
		{"disconnect", "with history", long, func(p *report.Pressure, o *observe.Observed) bool {
			return p.Slow.Ended > 0 && p.Slow.Skipped == 0 && o.Drops["slow"] > 0
		}},
		{"disconnect", "without", plain(), func(p *report.Pressure, o *observe.Observed) bool {
			return p.Slow.Ended > 0 && p.Slow.Anew >= p.Slow.Ended && p.Told > 0 && p.Slow.Unseen == 0
		}},
		{"drop_oldest", "with history", long, func(p *report.Pressure, o *observe.Observed) bool {
			return p.Slow.Unsubscribed > 0 && p.Slow.Recovered > 0 && p.Told == 0 && o.Resubscribe > 0
		}},
		{"drop_oldest", "without", plain(), func(p *report.Pressure, o *observe.Observed) bool {
			return p.Slow.Ended == 0 && p.Slow.Unseen > 0 && o.Drops["slow-oldest"] >= p.Slow.Unseen
		}},
		{"drop_newest", "without", plain(), func(p *report.Pressure, o *observe.Observed) bool {
			return p.Slow.Unseen > 0 && o.Drops["slow-newest"] >= p.Slow.Unseen
		}},
		{"latest", "with history", long, func(p *report.Pressure, o *observe.Observed) bool {
			return p.Slow.Ended == 0 && p.Slow.Skipped > 0 && p.Told == p.Slow.Skipped && o.Drops["slow-superseded"] >= p.Told
		}},
		{"latest", "without", plain(), func(p *report.Pressure, o *observe.Observed) bool {
			return p.Slow.Ended == 0 && p.Slow.Unseen > 0 && o.Drops["slow-superseded"] >= p.Slow.Unseen
		}},
		{"conflate", "with history", long, func(p *report.Pressure, o *observe.Observed) bool {
			return p.Slow.Ended == 0 && p.Slow.Skipped > 0 && o.Drops["slow-superseded"] >= p.Told
		}},
	} {
		t.Run(c.policy+" "+c.name, func(t *testing.T) {
			addr, _ := serve(t, pressure(c.policy, c.flags))
			r, err := calmly(t, pressed(addr))
			if err != nil || !r.OK || !c.check(r.Pressure, r.Observed) {
				t.Fatalf("%v\n%+v\n%+v", err, r.Pressure.Slow, r.Observed)
			}
			if got := r.Pressure.Received + r.Pressure.Told + r.Pressure.Slow.Unseen; got != r.Pressure.Expected || r.Pressure.Expected != 20*r.Pressure.Published {
				t.Errorf("%d of %d are accounted for", got, r.Pressure.Expected)
			}
		})
	}
}

// Those who are cut for their silence know it, also where there is nothing to recover from.
func TestWhoIsCutForSilenceComesBackAndKnows(t *testing.T) {
	for _, c := range []struct {
		policy, name string
		flags        map[string]any
	}{
		{"disconnect", "without history", plain()},
		{"latest", "with offsets, without recovery", map[string]any{"channel.without_namespace.force_recovery": false}},
	} {
		t.Run(c.policy+" "+c.name, func(t *testing.T) {
			flags := pressure(c.policy, c.flags)
			flags["client.ping_interval"], flags["client.pong_timeout"] = "2s", "1s"
			flags["client.queue_max_size"] = 16 << 20
			addr, _ := serve(t, flags)
			cfg := pressed(addr)
			cfg.Stall = 3500 * time.Millisecond
			r, err := calmly(t, cfg)
			if err != nil || !r.OK {
				t.Fatal(err)
			}
			s := r.Pressure.Slow
			if r.Observed.Disconnects["3012"] == 0 || s.Ended == 0 || s.Anew+s.Unrecovered+s.Recovered < s.Ended || s.Gone+s.Silent+s.Away != 0 {
				t.Errorf("%+v\n%+v", s, r.Observed)
			}
		})
	}
}

// A server that does not count what it does is found out.
func TestLossesThatAreNotCountedFail(t *testing.T) {
	for _, c := range []struct {
		policy string
		flags  map[string]any
		hidden string
		want   string
	}{
		{"latest", long, observe.MetricDrops, "messages lost on connections that held"},
		{"disconnect", long, observe.MetricClosed, "connections that did not read and were ended"},
	} {
		t.Run(c.hidden+" "+c.policy, func(t *testing.T) {
			addr, _ := serve(t, pressure(c.policy, c.flags))
			cfg := pressed(addr)
			cfg.Metrics = silenced(t, addr, c.hidden)
			r, err := calmly(t, cfg)
			if !errors.Is(err, ErrFailed) || len(r.Failures) != 1 || !strings.Contains(r.Failures[0], c.want) {
				t.Errorf("%v, want …%s…", err, c.want)
			}
		})
	}
}

// silenced is the address of a server's metrics in which one of them never grows.
func silenced(t *testing.T, addr, name string) string {
	line := regexp.MustCompile(`(?m)^(` + name + `\S*) \S+$`)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		res, err := http.Get("http://" + addr + "/metrics")
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer res.Body.Close()
		text, _ := io.ReadAll(res.Body)
		_, _ = w.Write(line.ReplaceAll(text, []byte("$1 0")))
	}))
	t.Cleanup(s.Close)
	return s.URL + "/metrics"
}
