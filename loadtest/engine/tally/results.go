package tally

import "slices"

// Publication is the fate of one publication.
type Publication struct {
	Sequence int   // from 1
	Due      int64 // when it was to be sent, Unix nanoseconds; 0 when somebody else sent it and did not say
	Answered int64 // when the server confirmed it; 0 = not, or another member asked
	First    int64 // first receipt
	Last     int64 // last receipt
	Receipts int   // connections that received it
}

// receipt adds one connection to those that received it.
func (p *Publication) receipt(now int64) {
	if p.Receipts == 0 {
		p.First = now
	}
	p.Last = now
	p.Receipts++
}

// joined is one publication as two members saw it.
func (p Publication) joined(o Publication) Publication {
	if p.Due == 0 {
		p.Due = o.Due
	}
	p.Answered = max(p.Answered, o.Answered)
	if p.Receipts == 0 || o.Receipts > 0 && o.First < p.First {
		p.First = o.First
	}
	p.Last = max(p.Last, o.Last)
	p.Receipts += o.Receipts
	return p
}

// AddPublications joins two lists by their sequence.
func AddPublications(a, b []Publication) []Publication {
	return merge(a, b, func(p Publication) int64 { return int64(p.Sequence) }, Publication.joined)
}

// Results are distributions, and what became of everybody.
type Results struct {
	Outcome   Outcome
	Stalls    int            // how often some stopped reading
	Codes     map[string]int // how the server ended those
	Receivers []int          // of each shared channel, when Connect had ended and at the last census

	Setup   Histogram // from dialing, or the time of the plan, to ready, the first time
	Latency Histogram // from due to receipt, of connections that are not stuck
	Before  Histogram // of those, of messages due before Stall
	During  Histogram // between Stall and Rouse
	After   Histogram // after Rouse
	Answer  Histogram // from due to the server's confirmation
	Return  Histogram // from the cut to ready, without the backoff slept
	Absent  Histogram // from the cut to ready
	Replace Histogram // from the time a connection was due to be replaced to ready

	Windows []Window      // of Latency
	Own     []Publication // of this run, those of flows excluded
	Others  []Publication // of others
}

// Add adds those of others.
func (r *Results) Add(o Results) {
	r.Outcome.Add(o.Outcome)
	r.Stalls = max(r.Stalls, o.Stalls)
	r.Codes = addCounts(r.Codes, o.Codes)
	if n := len(o.Receivers) - len(r.Receivers); n > 0 {
		r.Receivers = append(slices.Clip(r.Receivers), make([]int, n)...)
	}
	for i, n := range o.Receivers {
		r.Receivers[i] += n
	}
	mine, theirs := r.histograms(), o.histograms()
	for i := range mine {
		mine[i].Add(*theirs[i])
	}
	r.Windows = addWindows(r.Windows, o.Windows)
	r.Own = AddPublications(r.Own, o.Own)
	r.Others = AddPublications(r.Others, o.Others)
}

// histograms are all of them.
func (r *Results) histograms() []*Histogram {
	return []*Histogram{&r.Setup, &r.Latency, &r.Before, &r.During, &r.After, &r.Answer, &r.Return, &r.Absent, &r.Replace}
}

// Clone is a copy that does not change any more.
func (r *Results) Clone() (c Results) {
	c.Add(*r)
	c.Stalls = r.Stalls
	c.Windows, c.Own, c.Others = slices.Clone(r.Windows), slices.Clone(r.Own), slices.Clone(r.Others)
	return c
}

// ReceiversRange are the fewest and the most receivers of a shared channel.
func (r *Results) ReceiversRange() (least, most int) {
	if len(r.Receivers) == 0 {
		return 0, 0
	}
	return slices.Min(r.Receivers), slices.Max(r.Receivers)
}
