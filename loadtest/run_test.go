package loadtest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"shoal/loadtest/report"
)

func TestIdleHoldsAndAnswersPings(t *testing.T) {
	addr, _ := serve(t, map[string]any{"client.ping_interval": "2s", "client.pong_timeout": "1s"})
	for _, encoding := range []string{"json", "protobuf"} {
		cfg := small(addr, Idle)
		cfg.Encoding, cfg.Duration, cfg.ServerPIDs = encoding, 2200*time.Millisecond, []int{self()}
		r, err := try(t, t.Context(), cfg, Surroundings{})
		well(t, r, err)
		if r.Heartbeat.Pings < 300 || r.Heartbeat.Pongs != r.Heartbeat.Pings {
			t.Errorf("%s: %+v", encoding, r.Heartbeat)
		}
		if r.Cost == nil || r.Cost.ConnectUS <= 0 || r.Delivery != nil || r.Others != nil {
			t.Errorf("%s: %+v", encoding, r)
		}
	}
}

func TestFanoutReachesEverybodyOnceAndInOrder(t *testing.T) {
	addr, _ := serve(t, nil)
	for _, c := range []struct {
		name   string
		change func(*Config)
	}{
		{"one by one by the API", func(*Config) {}},
		{"in bursts by the API", func(c *Config) { c.Burst, c.Publications = 20, 50 }},
		{"in bursts by a client", func(c *Config) { c.Burst, c.Publications, c.Via = 20, 50, "client" }},
		{"at a rate, Protobuf", func(c *Config) { c.PublishRate, c.Encoding = 100, "protobuf" }},
		{"at a rate by a client, Protobuf, busy", func(c *Config) { c.PublishRate, c.Encoding, c.Via, c.BusyPoll = 200, "protobuf", "client", true }},
		{"large, connected at a rate", func(c *Config) { c.PayloadBytes, c.ConnectRate = 50_000, 2000 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := small(addr, Fanout)
			cfg.Publications, cfg.ServerPIDs, cfg.Settle = 10, []int{self()}, 50*time.Millisecond
			c.change(&cfg)
			r, err := try(t, t.Context(), cfg, Surroundings{})
			well(t, r, err)
			d := r.Delivery
			if d.Published != cfg.Publications || d.Answered != cfg.Publications || d.Received != 300*cfg.Publications || d.Expected != d.Received {
				t.Errorf("%+v", d)
			}
			if d.Latency.Count != int64(d.Received) || d.First.P50 > d.Last.P50 || d.Answer == nil || len(d.Publications) != cfg.Publications {
				t.Errorf("%+v %+v %+v", d.Latency, d.First, d.Last)
			}
			for i, p := range d.Publications {
				if p.Sequence != i+1 || p.Receipts != 300 || p.First < p.Due || p.Last < p.First || p.Answered < p.Due {
					t.Errorf("publication %+v", p)
				}
			}
			if r.At(report.MarkTraffic) == nil || r.At(report.MarkAfter) == nil || r.Cost.MessageUS <= 0 {
				t.Errorf("marks %+v, cost %+v", r.Marks, r.Cost)
			}
		})
	}
}

func TestEchoComesBackOnceAndInOrder(t *testing.T) {
	addr, _ := serve(t, nil)
	for _, c := range []struct {
		name   string
		change func(*Config)
	}{
		{"own channels, closed loop", func(*Config) {}},
		{"own channels, at a rate, Protobuf", func(c *Config) { c.MessageRate, c.Encoding = 2000, "protobuf" }},
		{"echo endpoint, closed loop, some", func(c *Config) { c.EchoPath, c.Active = "/echo", 50 }},
		{"echo endpoint, at a rate", func(c *Config) { c.EchoPath, c.MessageRate, c.PayloadBytes = "/echo", 2000, 64 }},
		{"echo endpoint, large", func(c *Config) { c.EchoPath, c.PayloadBytes, c.Active = "/echo", 200_000, 5 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := small(addr, Echo)
			c.change(&cfg)
			r, err := try(t, t.Context(), cfg, Surroundings{})
			well(t, r, err)
			if e := r.Echo; e.Sent < 10 || e.Received != e.Sent || e.Latency.Count != int64(e.Sent) || e.PerSecond <= 0 {
				t.Errorf("%+v", e)
			}
		})
	}
}

func TestHoldCountsWhatOthersPublishAndTakesMarks(t *testing.T) {
	addr, _ := serve(t, nil)
	events, in, control := newLines(), make(chan struct{}), (*io.PipeWriter)(nil)
	reader, control := io.Pipe()
	cfg := small(addr, Idle)
	cfg.Duration, cfg.Hold = 0, true
	type outcome struct {
		r   *Report
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		defer close(in)
		r, err := try(t, t.Context(), cfg, Surroundings{Events: events, Control: reader})
		done <- outcome{r, err}
	}()
	events.until(t, `"event":"ready"`)
	for i := range 3 {
		post(t, addr, "loadtest", `{"x":`+string(rune('0'+i))+`}`)
	}
	events.until(t, `"publications":3`)
	if _, err := io.WriteString(control, "mark three\nnonsense\n"); err != nil {
		t.Fatal(err)
	}
	var mark struct {
		Counts struct{ Others int }
		Mark   Mark
	}
	if err := json.Unmarshal([]byte(events.until(t, `"event":"mark"`)), &mark); err != nil || mark.Counts.Others != 900 || mark.Mark.Name != "three" {
		t.Errorf("mark %+v, %v", mark, err)
	}
	events.until(t, "unknown command")
	control.Close()
	o := <-done
	well(t, o.r, o.err)
	if p := o.r.Others; p == nil || p.Received != 900 || p.Min != 3 || p.Max != 3 || !p.Alike || len(p.Publications) != 3 || p.Publications[2].Receipts != 300 {
		t.Errorf("%+v", p)
	}
	if o.r.At("three") == nil || o.r.At(report.MarkHeld) == nil {
		t.Errorf("marks %+v", o.r.Marks)
	}
	<-in
}

func TestInterruptedTestGivesAReport(t *testing.T) {
	addr, _ := serve(t, nil)
	for _, c := range []struct {
		after string
		cfg   func(*Config)
	}{
		{"connected", func(c *Config) { c.Duration = time.Hour }},
		{"publishing", func(c *Config) { c.Scenario, c.PublishRate, c.Publications, c.Duration = Fanout, 20, 100_000, 0 }},
		{"echoing", func(c *Config) { c.Scenario, c.Duration = Echo, time.Hour }},
		{"start", func(c *Config) { c.ConnectRate = 10 }},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		events := newLines()
		cfg := small(addr, Idle)
		c.cfg(&cfg)
		go func() {
			events.until(t, `"event":"`+c.after+`"`)
			cancel()
		}()
		r, err := try(t, ctx, cfg, Surroundings{Events: events})
		if err != nil || !r.OK || !r.Interrupted {
			t.Errorf("%s: %v %+v", c.after, err, r)
		}
		cancel()
	}
}

func TestTimeoutEndsTheTestAndFails(t *testing.T) {
	addr, _ := serve(t, nil)
	cfg := small(addr, Idle)
	cfg.Duration, cfg.Timeout = time.Hour, 300*time.Millisecond
	r, err := try(t, t.Context(), cfg, Surroundings{})
	if !errors.Is(err, ErrFailed) || r.OK || r.Interrupted || !strings.Contains(r.Failures[0], "--timeout") {
		t.Errorf("%v %+v", err, r)
	}
}

func TestServerThatDiesMidWayIsReported(t *testing.T) {
	// A server that shuts down refuses publications before it closes its connections. A test that publishes may end with
	// the one or the other.
	const session, endpoint = "closed by the target: 3001 shutdown", "closed by the target: 1001 shutdown"
	for _, c := range []struct {
		after, cause string
		publishes    bool
		cfg          func(*Config)
	}{
		{"connected", session, false, func(c *Config) { c.Duration = time.Hour }},
		{"echoing", endpoint, false, func(c *Config) { c.Scenario, c.Duration, c.EchoPath = Echo, time.Hour, "/echo" }},
		{"echoing", session, true, func(c *Config) { c.Scenario, c.Duration = Echo, time.Hour }},
		{"publishing", session, true, func(c *Config) { c.Scenario, c.PublishRate, c.Publications, c.Duration = Fanout, 50, 100_000, 0 }},
	} {
		addr, stop := serve(t, nil)
		events := newLines()
		cfg := small(addr, Idle)
		c.cfg(&cfg)
		go func() {
			events.until(t, `"event":"`+c.after+`"`)
			stop()
		}()
		r, err := try(t, t.Context(), cfg, Surroundings{Events: events})
		if r == nil {
			t.Fatalf("%s: %v", c.after, err)
		}
		told := r.Connections.Died > 0 && r.Causes[c.cause] > 0 ||
			c.publishes && strings.Contains(strings.Join(r.Failures, "\n"), "refused: ")
		if !errors.Is(err, ErrFailed) || r.Connections.Ready != 300 || !told {
			t.Errorf("%s: %v %+v", c.after, err, r)
		}
	}
}

func TestWaitsForATargetThatComesLater(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	remote := l.Addr().(*net.TCPAddr).AddrPort()
	l.Close()
	waited := make(chan struct{})
	go func() {
		defer close(waited)
		cfg := Config{Wait: patience}
		cfg.await(t.Context(), target{remote: remote})
	}()
	if l, err = net.Listen("tcp", remote.String()); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	<-waited
}
