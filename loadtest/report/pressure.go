package report

// Pressure is the result of the scenarios channels, users, slow, storm and recover.
type Pressure struct {
	Channels      int     `json:"channels"`
	Subscriptions int     `json:"subscriptions_per_connection"`
	ReceiversMin  int     `json:"receivers_min"` // of a channel, at the end
	ReceiversMax  int     `json:"receivers_max"`
	AskedRate     float64 `json:"asked_per_second"`
	Published     int     `json:"published"`
	Answered      int     `json:"answered"`
	Refused       int     `json:"refused"`
	Verified
	Told      int        `json:"lost_and_told"`         // the clients know of these losses; not among lost
	PerSecond float64    `json:"deliveries_per_second"` // over the time publications were made
	Latency   *Quantiles `json:"latency,omitempty"`     // of every receipt of those who read, recovered ones excluded
	Answer    *Quantiles `json:"answer,omitempty"`
	Memory    *Memory    `json:"memory,omitempty"`
	Accept    *Queue     `json:"accept_queue,omitempty"`
	Slow      *Slow      `json:"slow,omitempty"`
	Storm     *Storming  `json:"storm,omitempty"`
	Samples   []Sample   `json:"samples,omitempty"`
	Windows   []Window   `json:"windows,omitempty"`
	Steps     []Step     `json:"steps,omitempty"` // of publications
}

// Queue is what the kernel counted meanwhile of connections that found an accept queue full.
type Queue struct {
	Overflows int64 `json:"listen_overflows"`
	Drops     int64 `json:"listen_drops"`
}

// Window is what those who read received in one second.
type Window struct {
	Seconds float64 `json:"seconds"` // since the start
	Count   int64   `json:"count"`
	P50     float64 `json:"p50_us"`
	P99     float64 `json:"p99_us"`
	Max     float64 `json:"max_us"`
}

// Slow is what became of those who stopped reading, and of the others meanwhile.
type Slow struct {
	Stalled  int            `json:"stalled"`
	Seconds  float64        `json:"seconds"`
	Whole    int            `json:"whole"` // received everything on one connection
	Ended    int            `json:"ended"` // by the target
	Missed   int            `json:"missed"`
	Gone     int            `json:"gone"` // of those ended, were told to stay away
	Away     int            `json:"away"` // of those ended, should be back and are not
	Codes    map[string]int `json:"codes,omitempty"`
	Ends     int            `json:"ends"`                 // of their connections, several of one if need be
	Skipped  int            `json:"lost_and_skipped"`     // of the losses told, left out of the offsets of connections that held
	Unseen   int            `json:"lost_without_offsets"` // no client can know; only the target's counters tell
	Silent   int            `json:"lost_silently"`
	LostGone int            `json:"lost_with_gone"` // publications owed to those who are gone

	Unsubscribed          int `json:"unsubscribed"`
	Recovered             int `json:"recovered"`
	Unrecovered           int `json:"not_recovered"`
	Anew                  int `json:"anew"` // came back where nothing can be recovered
	RecoveredPublications int `json:"recovered_publications"`

	Before *Quantiles `json:"latency_before,omitempty"` // of the healthy ones
	During *Quantiles `json:"latency_during,omitempty"`
	After  *Quantiles `json:"latency_after,omitempty"`
}

// Storming is how all came back.
type Storming struct {
	Cut                   int        `json:"cut"`
	Back                  int        `json:"back"`
	Resumed               int        `json:"resumed,omitempty"`
	Again                 int        `json:"ended_again"` // refused or ended again on the way
	Recovered             int        `json:"recovered"`
	Unrecovered           int        `json:"not_recovered"`
	RecoveredPublications int        `json:"recovered_publications"`
	Own                   *Quantiles `json:"own_time,omitempty"` // from the cut to subscribed and recovered, without the backoff slept
	Away                  *Quantiles `json:"away,omitempty"`     // with it
	CPU                   float64    `json:"cpu_us_per_return,omitempty"`
}

// Sample is a moment of the traffic.
type Sample struct {
	Seconds float64 `json:"seconds"` // since the start
	Ready   int     `json:"ready"`
	RSS     int64   `json:"rss_bytes,omitempty"` // of the target's process
	Kernel  int64   `json:"tcp_bytes,omitempty"` // of the kernel for all TCP sockets of the host, see observe.TCPBytes
}

// Memory is the resident memory of the target's process about what a scenario does, in bytes.
type Memory struct {
	Before  int64 `json:"before_bytes"`
	Stalled int64 `json:"peak_stalled_bytes,omitempty"` // slow: the most while some did not read
	Peak    int64 `json:"peak_bytes"`                   // the most from then on
	After   int64 `json:"after_bytes,omitempty"`        // after --settle

	KernelBefore int64 `json:"tcp_before_bytes,omitempty"` // of the kernel, see observe.TCPBytes
	KernelPeak   int64 `json:"tcp_peak_bytes,omitempty"`
}

// Growth is the most it had beyond what it had before.
func (m *Memory) Growth() int64 { return max(m.Peak-m.Before, 0) }
