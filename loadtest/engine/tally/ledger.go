package tally

// PublicationsMax bounds the publications that are listed one by one; further ones are only counted.
const PublicationsMax = 1_000_000

// Ledger lists publications to the shared channels one by one. The zero value lists nothing; see Rule. A publication is numbered
// among all of them: rounds over the channels since the last line was ruled. So members that only receive have the same numbers as
// the one that publishes.
type Ledger struct {
	base  []uint32 // published to each channel before
	sum   int      // of base
	first int      // lines before
	lines []Publication
}

// Rule draws a line: so many were published to each channel so far.
func (l *Ledger) Rule(published []uint32) {
	l.base, l.sum, l.first = append(l.base[:0], published...), 0, len(l.lines)
	for _, n := range published {
		l.sum += int(n)
	}
}

// line is that of the n-th publication to a channel, nil when it is not listed.
func (l *Ledger) line(channel, seq uint32) *Publication {
	if int(channel) >= len(l.base) || seq <= l.base[channel] {
		return nil
	}
	n := int(seq-l.base[channel]-1)*len(l.base) + int(channel)
	at := l.first + n
	if at >= PublicationsMax {
		return nil
	}
	for at >= len(l.lines) {
		l.lines = append(l.lines, Publication{Sequence: l.sum + len(l.lines) - l.first + 1})
	}
	return &l.lines[at]
}

// Published notes that a publication was to be made then.
func (l *Ledger) Published(channel, seq uint32, due int64) {
	if p := l.line(channel, seq); p != nil {
		p.Due = due
	}
}

// Answered notes the server's confirmation.
func (l *Ledger) Answered(channel, seq uint32, now int64) {
	if p := l.line(channel, seq); p != nil && p.Answered == 0 {
		p.Answered = now
	}
}

// Received notes one receipt of a publication that was due then, and says how many there are.
func (l *Ledger) Received(channel, seq uint32, due, now int64) (receipts int) {
	p := l.line(channel, seq)
	if p == nil {
		return 0
	}
	if p.Due == 0 {
		p.Due = due
	}
	p.receipt(now)
	return p.Receipts
}

// Receipts says how many received it.
func (l *Ledger) Receipts(channel, seq uint32) int {
	if p := l.line(channel, seq); p != nil {
		return p.Receipts
	}
	return 0
}

// Lines are those of publications that were made or received.
func (l *Ledger) Lines() []Publication {
	out := make([]Publication, 0, len(l.lines))
	for _, p := range l.lines {
		if p.Due != 0 {
			out = append(out, p)
		}
	}
	return out
}

// Sequel lists the publications of others: the n-th of each connection is taken to be the same one.
type Sequel struct {
	lines []Publication
	whole int
}

// sequelMax bounds the publications of others that are listed.
const sequelMax = 100_000

// Received notes the receipt of the n-th publication, from 0, by a connection; ready is how many connections there are.
func (s *Sequel) Received(n int, due, now int64, ready int) {
	if n >= sequelMax {
		return
	}
	for n >= len(s.lines) {
		s.lines = append(s.lines, Publication{Sequence: len(s.lines) + 1, Due: due})
	}
	s.lines[n].receipt(now)
	for s.whole < len(s.lines) && s.lines[s.whole].Receipts >= ready {
		s.whole++
	}
}

// Whole is how many of them all connections have received.
func (s *Sequel) Whole() int { return s.whole }

// Lines are all of them.
func (s *Sequel) Lines() []Publication { return s.lines }
