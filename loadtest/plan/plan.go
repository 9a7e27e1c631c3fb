package plan

import (
	"strconv"
	"time"
)

// Scenario is what a phase does with the connections.
type Scenario string

// The scenarios.
const (
	Idle     Scenario = "idle"     // hold them, answer pings, count what others publish
	Fanout   Scenario = "fanout"   // publish to all
	Channels Scenario = "channels" // publish to many channels, of which each connection has several
	Users    Scenario = "users"    // publish to the own channel of one connection after the other
	Echo     Scenario = "echo"     // each sends messages that come back
	RPC      Scenario = "rpc"      // each asks and is answered
	Churn    Scenario = "churn"    // some end in good order all the time, and others take their place
	Storm    Scenario = "storm"    // all are cut at once and come back
	Slow     Scenario = "slow"     // some stop reading for a while
	Recover  Scenario = "recover"  // some are away for a while, come back and are given what they missed
)

// Scenarios are all there are, in the order of the documentation.
func Scenarios() []Scenario {
	return []Scenario{Idle, Fanout, Channels, Users, Echo, RPC, Churn, Storm, Slow, Recover}
}

// Flows says whether the scenario is a stream of publications, beside which other phases may go on.
func (s Scenario) Flows() bool { return s == Channels || s == Users }

// Returns says whether connections come back in this scenario and are to recover.
func (s Scenario) Returns() bool { return s == Storm || s == Slow || s == Recover }

// Plan is a load test. The zero value of a field means its default; see WithDefaults.
type Plan struct {
	Name        string
	Connections Connections
	Payload     int           // bytes of a message; 0 = 128
	Keys        int           // values of the tag «key» of publications, in turn; 0 = no tag
	Settle      time.Duration // pause before the first phase and after each, for the target to come to rest; 0 = none
	Grace       time.Duration // how long to wait for missing messages when nothing comes; 0 = 10 s
	Expect      string        // figures to reach over the whole, see Expectations
	Phases      []Phase       // one after the other; at least one
}

// Connections are those of a plan, and how they are opened.
type Connections struct {
	Count  int           // 0 = 1,000
	Rate   float64       // a second; 0 = as fast as the target takes them
	To     float64       // the rate the last ones are opened at; 0 = Rate
	Over   time.Duration // with To: how long the rate rises; 0 = until the last one
	Jitter float64       // how far each is moved at random, in mean gaps: 0 (none) to 1
	Window int           // without a rate: under way at once; 0 = 256

	Encoding string // json or protobuf; "" = json
	Token    string // JWT all connect with; "" = none
	Secret   string // HMAC secret: each connects with a token of its own, made with it; "" = none
	Resume   bool   // ask for resume tokens, and come back with them

	Channel       string // that all subscribe to; "" = loadtest. Of several channels "-" and the number follow
	Channels      int    // 0 = 1, or none when all phases are of users and echo
	Subscriptions int    // channels of each connection; 0 = all
	Own           bool   // each connection has a channel of its own besides; users and echo need it and set it
	EchoPath      string // path of a bare echo endpoint, for echo and idle alone; "" = the protocol's endpoint
}

// Phase is one thing done with the connections. Which fields a scenario has is told by Options.
type Phase struct {
	Name     string // of letters, digits, - and _; "" = the scenario, with a number when there are several
	Scenario Scenario
	Duration time.Duration // how long; storm, slow, recover: before and after. With Count: at most
	Settle   time.Duration // pause after it; 0 = the plan's
	Expect   string        // figures to reach in this phase

	Rate  float64 // a second, over all: publications, messages (echo, rpc) or connections (churn)
	To    float64 // channels, users: the rate at the end, which is reached in steps; 0 = Rate
	Steps int     // with To: how many; 0 = 10

	Count  int    // fanout, channels, users: publications; fanout: 0 = 10, else 0 = as many as Duration allows
	Burst  int    // fanout: made at once; 0 = 1
	Via    string // fanout: api or client (connection 0 publishes); "" = api
	Random bool   // to channels or users drawn at random, not in turn

	Active int    // echo, rpc: connections that send; 0 = all
	Method string // rpc: what is called; "" = loadtest

	Share float64       // storm, recover: of the connections, 0 to 1; 0 = all (recover: a tenth)
	Away  time.Duration // recover: how long they are away at least; 0 = 5 s
	Stuck int           // slow: connections that stop reading; 0 = a third
	Stall time.Duration // slow: for how long; 0 = 10 s

	// Meanwhile is done one after the other while the publications of this phase go on; channels and users only.
	Meanwhile []Phase
}

// The defaults.
const (
	connectionsDefault = 1000
	windowDefault      = 256
	payloadDefault     = 128
	graceDefault       = 10 * time.Second
	idleDefault        = 30 * time.Second
	trafficDefault     = 10 * time.Second // channels, users, echo, rpc, churn
	leadDefault        = 3 * time.Second  // before and after storm, slow, recover
	stallDefault       = 10 * time.Second
	awayDefault        = 5 * time.Second
	fanoutDefault      = 10
	channelsDefault    = 1000 // publications a second
	usersDefault       = 1000
	pressDefault       = 10 // of storm, slow and recover
	churnDefault       = 100
	stepsDefault       = 10
	recoverDefault     = 0.1
)

// WithDefaults fills in everything that was left out.
func (p Plan) WithDefaults() Plan {
	def(&p.Payload, payloadDefault)
	def(&p.Grace, graceDefault)
	c := &p.Connections
	def(&c.Count, connectionsDefault)
	def(&c.Encoding, "json")
	def(&c.Channel, "loadtest")
	if c.Rate == 0 {
		def(&c.Window, windowDefault)
	}
	if c.To > 0 && c.Rate > 0 {
		def(&c.Over, time.Duration(2*float64(c.Count)/(c.Rate+c.To)*float64(time.Second)))
	}
	names := map[Scenario]int{}
	p.Phases = p.complete(p.Phases, names, false)
	for phase := range p.All() {
		c.Own = c.Own || phase.Scenario == Users || phase.Scenario == Echo && c.EchoPath == ""
	}
	if p.shared() {
		def(&c.Channels, 1)
	}
	def(&c.Subscriptions, c.Channels)
	return p
}

// shared says whether a phase needs channels that several are subscribed to: all but those that have the own ones.
func (p *Plan) shared() bool {
	for i := range p.Phases {
		if s := p.Phases[i].Scenario; s != Users && s != Echo || p.Connections.EchoPath != "" {
			return true
		}
	}
	return false
}

// complete fills in phases; beside says that they are others' Meanwhile.
func (p *Plan) complete(phases []Phase, names map[Scenario]int, beside bool) []Phase {
	out := make([]Phase, len(phases)) // the caller's are not changed
	for i, f := range phases {
		if names[f.Scenario]++; f.Name == "" {
			f.Name = string(f.Scenario)
			if n := names[f.Scenario]; n > 1 {
				f.Name += "-" + strconv.Itoa(n)
			}
		}
		if !beside { // else the publications go on, and there is no rest
			def(&f.Settle, p.Settle)
		}
		f.complete(p.Connections.Count, beside)
		if len(f.Meanwhile) > 0 {
			f.Meanwhile = p.complete(f.Meanwhile, names, true)
		}
		out[i] = f
	}
	return out
}

// complete fills in what the scenario has.
func (f *Phase) complete(connections int, beside bool) {
	if f.Scenario.Returns() {
		def(&f.Duration, leadDefault)
		if !beside {
			def(&f.Rate, pressDefault)
		}
	}
	switch f.Scenario {
	case Idle:
		def(&f.Duration, idleDefault)
	case Fanout:
		def(&f.Count, fanoutDefault)
		def(&f.Burst, 1)
		def(&f.Via, "api")
	case Channels, Users:
		def(&f.Rate, float64(channelsDefault))
		if f.Count == 0 && len(f.Meanwhile) == 0 {
			def(&f.Duration, trafficDefault)
		}
		if f.To > 0 {
			def(&f.Duration, trafficDefault)
			def(&f.Steps, stepsDefault)
		}
	case Echo:
		def(&f.Duration, trafficDefault)
	case RPC:
		def(&f.Duration, trafficDefault)
		def(&f.Method, "loadtest")
	case Churn:
		def(&f.Duration, trafficDefault)
		def(&f.Rate, churnDefault)
	case Storm:
		def(&f.Share, 1)
	case Recover:
		def(&f.Share, recoverDefault)
		def(&f.Away, awayDefault)
	case Slow:
		def(&f.Stuck, (connections+2)/3)
		def(&f.Stall, stallDefault)
	}
}

// def gives *p its default when it is zero.
func def[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// All goes over all phases, also those beside others, in the order they begin.
func (p *Plan) All() func(yield func(*Phase) bool) {
	return func(yield func(*Phase) bool) {
		for i := range p.Phases {
			if !yield(&p.Phases[i]) {
				return
			}
			for j := range p.Phases[i].Meanwhile {
				if !yield(&p.Phases[i].Meanwhile[j]) {
					return
				}
			}
		}
	}
}

// Takes is how long the plan takes at least, as far as it says: connecting without a rate and publishing without one take what
// they take. It is for plans with their defaults.
func (p *Plan) Takes() time.Duration {
	c := &p.Connections
	all := p.Settle
	if c.Rate > 0 {
		all += c.Takes()
	}
	for i := range p.Phases {
		all += p.Phases[i].Takes() + p.Phases[i].Settle
	}
	return all
}

// Takes is how long opening them takes at their rate; 0 without one.
func (c *Connections) Takes() time.Duration {
	if c.Rate <= 0 {
		return 0
	}
	n, over := float64(c.Count), c.Over.Seconds()
	if c.To > 0 && over > 0 {
		rise := (c.Rate + c.To) / 2 * over
		if n > rise {
			return seconds(over + (n-rise)/c.To)
		}
		// The area below a straight line from Rate, n connections large: Rate·t + (To−Rate)·t²/(2·over) = n.
		return seconds(rampTime(c.Rate, c.To, over, n))
	}
	return seconds(n / c.Rate)
}

// Takes is how long a phase takes at least.
func (f *Phase) Takes() time.Duration {
	took := f.Duration
	switch {
	case f.Scenario == Fanout && f.Rate > 0, f.Scenario.Flows() && f.Count > 0 && f.Rate > 0 && f.To == 0:
		if t := seconds(float64(f.Count) / f.Rate); took == 0 || t < took {
			took = t
		}
	case f.Scenario == Storm:
		took = 2 * f.Duration
	case f.Scenario == Recover:
		took = 2*f.Duration + f.Away
	case f.Scenario == Slow:
		took = 2*f.Duration + f.Stall
	}
	beside := time.Duration(0)
	for i := range f.Meanwhile {
		beside += f.Meanwhile[i].Takes()
	}
	return max(took, beside)
}
