package report

import (
	"encoding/json"
	"io"
	"time"

	"shoal/loadtest/fleet"
	"shoal/loadtest/observe"
	"shoal/loadtest/plan"
	"shoal/loadtest/timeline"
)

// Mixed is the scenario of a plan of several phases.
const Mixed plan.Scenario = "mixed"

// Report is the outcome of a load test. Its JSON form is stable: fields are added, never renamed. A part that does not apply is
// absent; a run that was interrupted or failed has what there was until then.
type Report struct {
	OK          bool              `json:"ok"`
	Failures    []string          `json:"failures,omitempty"` // what went wrong, in words
	Interrupted bool              `json:"interrupted,omitempty"`
	Version     string            `json:"version,omitempty"`
	Scenario    plan.Scenario     `json:"scenario"`       // mixed for a plan of several phases
	Plan        string            `json:"plan,omitempty"` // its name
	Target      string            `json:"target"`
	Encoding    string            `json:"encoding"`
	Channel     string            `json:"channel,omitempty"`
	Payload     int               `json:"payload_bytes"`
	BusyPoll    bool              `json:"busy_poll,omitempty"`
	Started     time.Time         `json:"started"`
	Seconds     float64           `json:"seconds"`
	Connections Connections       `json:"connections"`
	Heartbeat   Heartbeat         `json:"heartbeat"`
	Phases      []Phase           `json:"phases,omitempty"`   // in the order they began
	Delivery    *Delivery         `json:"delivery,omitempty"` // this and the next two: of a test with one phase
	Echo        *Echo             `json:"echo,omitempty"`
	Pressure    *Pressure         `json:"pressure,omitempty"`
	Latency     *Quantiles        `json:"latency,omitempty"`      // of a test with several phases: of all receipts
	Accept      *Queue            `json:"accept_queue,omitempty"` // the same
	Others      *Others           `json:"others,omitempty"`
	Observed    *observe.Observed `json:"target_metrics,omitempty"`
	Marks       []Mark            `json:"marks"`
	Cost        *Cost             `json:"server_cost,omitempty"`
	Figures     []observe.Figure  `json:"figures,omitempty"`
	Timeline    *Timeline         `json:"timeline,omitempty"`
	Causes      map[string]int    `json:"causes,omitempty"` // why connections ended early or messages were refused, and how many
	// Members carried the connections, when it was not one engine of this process; Ready and RSS are those before the end.
	Members []fleet.MemberStatus `json:"members,omitempty"`

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
	AskedTo   float64    `json:"asked_per_second_at_the_end,omitempty"`
	Steps     []Step     `json:"steps,omitempty"` // with a rate
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

// Echo is the result of scenario echo.
type Echo struct {
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

// WriteJSON writes the report as one JSON object, indented.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(r)
}
