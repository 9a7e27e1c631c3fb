package loadtest

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"shoal/loadtest/engine"
	"shoal/loadtest/engine/tally"
	"shoal/loadtest/observe"
	"shoal/loadtest/timeline"
)

// Report is the outcome of a load test. Its JSON form is stable: fields are added, never renamed. A part that does not apply is
// absent; a run that was interrupted or failed has what there was until then.
type Report struct {
	OK          bool              `json:"ok"`
	Failures    []string          `json:"failures,omitempty"` // what went wrong, in words
	Interrupted bool              `json:"interrupted,omitempty"`
	Version     string            `json:"version,omitempty"`
	Scenario    Scenario          `json:"scenario"`
	Target      string            `json:"target"`
	Encoding    string            `json:"encoding"`
	Channel     string            `json:"channel,omitempty"`
	Payload     int               `json:"payload_bytes"`
	BusyPoll    bool              `json:"busy_poll,omitempty"`
	Started     time.Time         `json:"started"`
	Seconds     float64           `json:"seconds"`
	Connections Connections       `json:"connections"`
	Heartbeat   Heartbeat         `json:"heartbeat"`
	Delivery    *Delivery         `json:"delivery,omitempty"`
	Echo        *EchoResult       `json:"echo,omitempty"`
	Pressure    *Pressure         `json:"pressure,omitempty"`
	Others      *Others           `json:"others,omitempty"`
	Observed    *observe.Observed `json:"target_metrics,omitempty"`
	Marks       []Mark            `json:"marks"`
	Cost        *Cost             `json:"server_cost,omitempty"`
	Figures     []observe.Figure  `json:"figures,omitempty"`
	Timeline    *Timeline         `json:"timeline,omitempty"`
	Causes      map[string]int    `json:"causes,omitempty"` // why connections ended early or messages were refused, and how many

	Expectations []Expectation `json:"expectations,omitempty"`
}

// Connections says how opening and holding went.
type Connections struct {
	Asked     int        `json:"asked"`
	Ready     int        `json:"ready"` // the most at once
	AtEnd     int        `json:"at_end"`
	Failed    int        `json:"failed"`
	Died      int        `json:"died"`
	Seconds   float64    `json:"connect_seconds"`
	PerSecond float64    `json:"connects_per_second"`
	AskedRate float64    `json:"asked_per_second,omitempty"`
	Setup     *Quantiles `json:"setup,omitempty"`
}

// Heartbeat counts pings and their answers.
type Heartbeat struct {
	Pings      int `json:"pings"`
	Pongs      int `json:"pongs"`
	PingFrames int `json:"ping_frames"`
}

// Verified is what became of messages.
type Verified struct {
	Expected   int `json:"expected"`
	Received   int `json:"received"`
	Lost       int `json:"lost"`                    // owed to connections that lived, and never came
	LostDead   int `json:"lost_with_connections"`   // owed to connections that died
	Duplicates int `json:"duplicates"`              // came again
	Reordered  int `json:"reordered"`               // came after a later one
	Altered    int `json:"altered"`                 // other bytes than were sent
	Misrouted  int `json:"misrouted"`               // came to another connection
	Short      int `json:"connections_with_losses"` //
}

// Delivery is the result of scenario fanout.
type Delivery struct {
	Published int `json:"published"`
	Answered  int `json:"answered"`
	Refused   int `json:"refused"`
	Verified
	PerSecond    float64       `json:"deliveries_per_second"` // from the first publication to the last receipt, pauses included
	Latency      *Quantiles    `json:"latency,omitempty"`     // of every receipt
	Answer       *Quantiles    `json:"answer,omitempty"`      // of the confirmation to the publisher
	First        *Quantiles    `json:"first_receipt,omitempty"`
	Last         *Quantiles    `json:"last_receipt,omitempty"`
	Publications []Publication `json:"publications,omitempty"`
}

// EchoResult is the result of scenario echo.
type EchoResult struct {
	Sent    int `json:"sent"`
	Refused int `json:"refused"`
	Verified
	Seconds   float64    `json:"seconds"`
	PerSecond float64    `json:"per_second"`
	AskedRate float64    `json:"asked_per_second,omitempty"`
	Latency   *Quantiles `json:"latency,omitempty"`
}

// Others counts publications somebody else made.
type Others struct {
	Received     int           `json:"received"` // over all connections
	Min          int           `json:"per_connection_min"`
	Max          int           `json:"per_connection_max"`
	Alike        bool          `json:"alike"`             // all connections got the same, in the same order
	Latency      *Quantiles    `json:"latency,omitempty"` // when they carry a time; see engine/message/payload.go
	Publications []Publication `json:"publications,omitempty"`
}

// Publication is one publication and its receipts. Times are Unix nanoseconds.
type Publication struct {
	Sequence int   `json:"sequence"`
	Due      int64 `json:"due_ns,omitempty"`
	Answered int64 `json:"answered_ns,omitempty"`
	First    int64 `json:"first_ns"`
	Last     int64 `json:"last_ns"`
	Receipts int   `json:"receipts"`
}

// Quantiles describe a distribution, in microseconds.
type Quantiles struct {
	Count int64   `json:"count"`
	Min   float64 `json:"min_us"`
	Mean  float64 `json:"mean_us"`
	P50   float64 `json:"p50_us"`
	P90   float64 `json:"p90_us"`
	P99   float64 `json:"p99_us"`
	P999  float64 `json:"p99_9_us"`
	Max   float64 `json:"max_us"`
}

// Mark is a moment of the test with what the processes had used until then.
type Mark = observe.Moment

// Cost is what the server's process used, from one mark to another.
type Cost struct {
	PID              int     `json:"pid"`
	ConnectUS        float64 `json:"connect_cpu_us"`            // per connection: start → connected
	RSSIdle          float64 `json:"rss_idle_bytes"`            // per connection: start → idle
	RSSAnonIdle      float64 `json:"rss_anon_idle_bytes"`       //
	RSSAfter         float64 `json:"rss_after_bytes"`           // per connection: start → after, or held
	RSSAnonAfter     float64 `json:"rss_anon_after_bytes"`      //
	MessageUS        float64 `json:"message_cpu_us,omitempty"`  // per delivery or echo: idle → traffic, or held
	IdlePercent      float64 `json:"idle_cpu_percent"`          // of one processor: connected → idle
	LoadtestRSSBytes float64 `json:"loadtest_rss_bytes"`        // of this process, per connection
	LoadtestUS       float64 `json:"loadtest_cpu_us,omitempty"` // of this process, per delivery or echo
}

// Timeline is how a test went from its start to its end.
type Timeline struct {
	Samples       []timeline.Sample       `json:"samples"`
	Windows       []Window                `json:"windows,omitempty"`
	Distributions []timeline.Distribution `json:"distributions,omitempty"`
}

// quantiles describes h; nil when it is empty.
func quantiles(h tally.Histogram) *Quantiles {
	if h.TotalCount() == 0 {
		return nil
	}
	us := func(ns int64) float64 { return float64(ns) / 1e3 }
	return &Quantiles{
		Count: h.TotalCount(), Min: us(h.Min()), Mean: h.Mean() / 1e3, P50: us(h.ValueAtPercentile(50)), P90: us(h.ValueAtPercentile(90)),
		P99: us(h.ValueAtPercentile(99)), P999: us(h.ValueAtPercentile(99.9)), Max: us(h.Max()),
	}
}

// over describes a list of durations in nanoseconds.
func over(ns []int64) *Quantiles {
	if len(ns) == 0 {
		return nil
	}
	slices.Sort(ns)
	us := func(q float64) float64 { return float64(ns[min(int(q*float64(len(ns))), len(ns)-1)]) / 1e3 }
	sum := 0.0
	for _, v := range ns {
		sum += float64(v)
	}
	return &Quantiles{
		Count: int64(len(ns)), Min: us(0), Mean: sum / float64(len(ns)) / 1e3, P50: us(0.5), P90: us(0.9), P99: us(0.99), P999: us(0.999), Max: us(1),
	}
}

// listMax bounds the publications listed one by one in a report.
const listMax = 10_000

func list(all []engine.Publication) []Publication {
	out := make([]Publication, 0, min(len(all), listMax))
	for _, p := range all[:min(len(all), listMax)] {
		out = append(out, Publication(p))
	}
	return out
}

// WriteJSON writes the report as one JSON object, indented.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(r)
}

// judge fills in OK and Failures.
func (r *Report) judge() {
	fail := func(n int, format string) {
		if n > 0 {
			r.Failures = append(r.Failures, fmt.Sprintf(format, grouped(n)))
		}
	}
	fail(r.Connections.Failed, "connections that could not be opened: %s")
	fail(r.Connections.Died, "connections that died: %s")
	for _, v := range r.verified() {
		fail(v.Lost, "messages lost: %s")
		fail(v.LostDead, "messages lost with connections that died: %s")
		fail(v.Duplicates, "messages that came twice: %s")
		fail(v.Reordered, "messages out of order: %s")
		fail(v.Altered, "messages altered: %s")
		fail(v.Misrouted, "messages at the wrong connection: %s")
	}
	if d := r.Delivery; d != nil {
		fail(d.Refused, "publications refused: %s")
	}
	if e := r.Echo; e != nil {
		fail(e.Refused, "messages refused: %s")
	}
	if p := r.Pressure; p != nil {
		fail(p.Refused, "publications refused: %s")
		r.Failures = append(r.Failures, p.failures(r.Scenario, r.Observed)...)
	}
	if o := r.Others; o != nil && !o.Alike {
		r.Failures = append(r.Failures, fmt.Sprintf("connections received different publications: %s to %s each, or not in the same order",
			grouped(o.Min), grouped(o.Max)))
	}
	r.OK = len(r.Failures) == 0
}

func (r *Report) verified() (all []Verified) {
	if r.Delivery != nil {
		all = append(all, r.Delivery.Verified)
	}
	if r.Echo != nil {
		all = append(all, r.Echo.Verified)
	}
	if r.Pressure != nil {
		all = append(all, r.Pressure.Verified)
	}
	return all
}

// mark finds the mark of a name, the last one if there are several.
func (r *Report) mark(name string) *Mark {
	for i := len(r.Marks) - 1; i >= 0; i-- {
		if r.Marks[i].Name == name {
			return &r.Marks[i]
		}
	}
	return nil
}

// cost computes what the server used.
func (r *Report) cost(pid int) *Cost {
	start, connected, idle := r.mark(markStart), r.mark(markConnected), r.mark(markIdle)
	traffic, after := r.mark(markTraffic), r.mark(markAfter)
	if held := r.mark(markHeld); r.Scenario == Idle { // the traffic is made by others
		traffic, after = held, held
	}
	if start == nil || connected == nil || start.Server == nil || connected.Server == nil || r.Connections.Ready == 0 {
		return nil
	}
	n := float64(r.Connections.Ready)
	c := &Cost{PID: pid, ConnectUS: us(connected.Server.CPU-start.Server.CPU) / n}
	grown := func(m *Mark, size func(*observe.Process) int64) float64 {
		if m == nil || m.Server == nil {
			return 0
		}
		return float64(size(m.Server)-size(start.Server)) / n
	}
	rss, anon := func(p *observe.Process) int64 { return p.RSS }, func(p *observe.Process) int64 { return p.RSSAnon }
	c.RSSIdle, c.RSSAnonIdle = grown(idle, rss), grown(idle, anon)
	c.RSSAfter, c.RSSAnonAfter = grown(after, rss), grown(after, anon)
	if idle != nil && idle.Server != nil && idle.Seconds > connected.Seconds {
		c.IdlePercent = 100 * (idle.Server.CPU - connected.Server.CPU).Seconds() / (idle.Seconds - connected.Seconds)
	}
	if start.Self != nil && connected.Self != nil {
		c.LoadtestRSSBytes = float64(connected.Self.RSS-start.Self.RSS) / n
	}
	if traffic != nil && idle != nil && traffic.Server != nil && idle.Server != nil && traffic.Received > idle.Received {
		messages := float64(traffic.Received - idle.Received)
		c.MessageUS = us(traffic.Server.CPU-idle.Server.CPU) / messages
		if traffic.Self != nil && idle.Self != nil {
			c.LoadtestUS = us(traffic.Self.CPU-idle.Self.CPU) / messages
		}
	}
	return c
}

func us(d time.Duration) float64 { return float64(d) / 1e3 }

// facts are what the figures are made of.
func (r *Report) facts() observe.Facts {
	f := observe.Facts{Connections: r.Connections.Ready, Start: r.mark(markStart), Full: r.mark(markIdle)}
	between := func(kind observe.Kind, from, to string) {
		if a, b := r.mark(from), r.mark(to); a != nil && b != nil {
			f.Stretches = append(f.Stretches, observe.Stretch{Kind: kind, From: a, To: b})
		}
	}
	between(observe.Connecting, markStart, markConnected)
	between(observe.Holding, markConnected, markIdle)
	between(observe.Sending, markIdle, markTraffic)
	if r.Scenario == Idle { // the traffic is made by others
		between(observe.Sending, markIdle, markHeld)
	}
	for i := len(r.Marks) - 1; i > 0 && f.End == nil; i-- {
		if r.Marks[i].Measures != nil {
			f.End = &r.Marks[i]
		}
	}
	return f
}
