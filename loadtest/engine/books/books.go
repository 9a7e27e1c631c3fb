package books

import (
	"strings"

	"shoal/loadtest/engine/layout"
	"shoal/loadtest/engine/message"
	"shoal/loadtest/engine/tally"
)

// Config says what is to be followed.
type Config struct {
	Peers     int
	First     int  // number of the first peer among those of all members
	Index, Of int  // shared channel c is published to by member c modulo Of; own ones by the member whose they are
	Channels  int  // shared ones
	Stuck     int  // peers, the first ones, that may stop reading
	Positions bool // subscriptions are to have positions
	Run       uint32
	Layout    *layout.Layout
	Filler    *message.Filler
	Counters  *tally.Counters // what is counted of messages goes here
	Status    *tally.Status
}

// Books are those of one member. Use [New].
type Books struct {
	cfg      Config
	each     int       // subscriptions of a peer
	subs     []sub     // of peer i at i*each
	owns     []own     // of peer i, where peers have own channels
	echoes   []echo    // of peer i, once something is sent that comes by no channel
	foreign  []foreign // of peer i, once somebody else published
	channels []channel // the shared ones
	epochs   []string  // of own channels
	owed     int       // messages of this member on their way to those that count
	elsewise int       // the same of other members, as far as Learn told
	pouring  bool      // until Rule, something may be under way to everybody
	flowing  bool      // of that, publications are not listed
	stalled  int64     // when some stopped reading last
	roused   int64     // when they read again

	results tally.Results
	windows tally.Windows
	ledger  tally.Ledger // publications of this run
	sequel  tally.Sequel // of others
}

// channel is what is known of a shared one.
type channel struct {
	epoch     string
	published uint32
	void      uint32 // of those, refused: nobody will receive them
	receivers uint32
}

// own is what is known of a peer's own channel, beside its sub.
type own struct {
	published uint32
	epoch     uint32 // index in Books.epochs, plus one
}

// New returns books in which nothing was sent.
func New(cfg Config) *Books {
	b := &Books{cfg: cfg, each: cfg.Layout.Each(), channels: make([]channel, cfg.Channels)}
	b.subs = make([]sub, cfg.Peers*b.each)
	if cfg.Layout.Own() {
		b.owns = make([]own, cfg.Peers)
	}
	b.Rule()
	return b
}

// Ref is the j-th channel of a peer.
func (b *Books) Ref(peer uint32, j int) layout.Ref { return b.cfg.Layout.Channel(b.number(peer), j) }

// number is that of a peer among those of all members.
func (b *Books) number(peer uint32) uint32 { return uint32(b.cfg.First) + peer }

func (b *Books) of(peer uint32) []sub {
	k := uint32(b.each)
	return b.subs[peer*k : (peer+1)*k]
}

// ownOf is the own channel and its subscription.
func (b *Books) ownOf(r layout.Ref) (*own, *sub) {
	peer := r.Number() - uint32(b.cfg.First)
	return &b.owns[peer], &b.of(peer)[b.each-1]
}

// local says whether this member publishes to a channel.
func (b *Books) local(r layout.Ref) bool {
	return r.Own() || int(r.Number())%b.cfg.Of == b.cfg.Index
}

// last is the sequence of the last publication to a channel, as far as is known.
func (b *Books) last(r layout.Ref) uint32 {
	if r.Own() {
		o, _ := b.ownOf(r)
		return o.published
	}
	return b.channels[r.Number()].published
}

// made is how many publications to a channel can be received, as far as is known.
func (b *Books) made(r layout.Ref) int {
	if r.Own() {
		return int(b.last(r))
	}
	return int(b.last(r)) - int(b.channels[r.Number()].void)
}

// missing is what a subscription should have received and has not.
func (b *Books) missing(s *sub, r layout.Ref) int { return b.made(r) - int(s.track.Got) - int(s.told) }

// owe counts messages that are on their way, or with a negative number no more.
func (b *Books) owe(r layout.Ref, n int) {
	if b.local(r) {
		b.owed += n
	} else {
		b.elsewise += n
	}
}

// Owed is how many messages of this member are on their way.
func (b *Books) Owed() int { return b.owed }

// OwedElsewise is how many of other members are on their way, as far as Learn told.
func (b *Books) OwedElsewise() int { return b.elsewise }

// Pour says that publications begin: a subscription that begins from now on counts from the first that comes. Those of a flow are
// not listed.
func (b *Books) Pour(flow bool) { b.pouring, b.flowing = true, b.flowing || flow }

// Rule ends what Pour began, when everything has come that will come.
func (b *Books) Rule() {
	b.pouring, b.flowing = false, false
	all := make([]uint32, len(b.channels))
	for i := range b.channels {
		all[i] = b.channels[i].published
	}
	b.ledger.Rule(all)
}

// listed says whether publications to a channel are listed now.
func (b *Books) listed(r layout.Ref) bool { return !r.Own() && !b.flowing }

// Publish counts one more publication to a channel, due then, and returns its sequence.
func (b *Books) Publish(r layout.Ref, due int64) (seq uint32) {
	b.cfg.Counters.Published++
	if seq = b.bill(r); b.listed(r) {
		b.ledger.Published(r.Number(), seq, due)
	}
	return seq
}

// bill counts one more message to be received on a channel.
func (b *Books) bill(r layout.Ref) (seq uint32) {
	if r.Own() {
		o, s := b.ownOf(r)
		o.published++
		if s.flags&subCounted != 0 {
			b.owed++
		}
		return o.published
	}
	ch := &b.channels[r.Number()]
	ch.published++
	b.owed += int(ch.receivers)
	return ch.published
}

// void takes a message off that nobody will receive.
func (b *Books) void(r layout.Ref) {
	if r.Own() {
		if _, s := b.ownOf(r); s.flags&subCounted != 0 {
			s.told++
			b.owed--
		}
		return
	}
	ch := &b.channels[r.Number()]
	ch.void++
	b.owed -= int(ch.receivers)
}

// Answered notes the server's answer to a publication that was due then: err, or none.
func (b *Books) Answered(r layout.Ref, seq uint32, due, now int64, err error) {
	switch {
	case err == nil:
		b.cfg.Counters.Answered++
		b.results.Answer.Record(now - due)
	case b.listed(r) && b.ledger.Receipts(r.Number(), seq) > 0: // it was published, whatever the answer
		b.cfg.Counters.Answered++
	default:
		b.cfg.Counters.Refused++
		b.cfg.Counters.Published--
		b.void(r)
	}
	if b.listed(r) {
		b.ledger.Answered(r.Number(), seq, now)
	}
}

// Published is how much this member published to each shared channel.
func (b *Books) Published() []uint32 {
	out := make([]uint32, len(b.channels))
	for i := range b.channels {
		if b.local(layout.Ref(i)) {
			out[i] = b.channels[i].published
		}
	}
	return out
}

// Learn takes over how much all members published to each shared channel.
func (b *Books) Learn(published []uint32) {
	for i := range b.channels {
		if ch := &b.channels[i]; !b.local(layout.Ref(i)) {
			b.elsewise += (int(published[i]) - int(ch.published)) * int(ch.receivers)
			ch.published = published[i]
		}
	}
	b.short(func(_ uint32, s *sub, r layout.Ref, missing int) {
		if s.flags&subFresh != 0 && !b.local(r) { // it began late, and nothing came since
			b.owe(r, -missing)
			s.told += uint32(missing)
		}
	})
}

// short looks at all subscriptions that count and to which something is missing.
func (b *Books) short(f func(peer uint32, s *sub, r layout.Ref, missing int)) {
	for i := range b.cfg.Peers {
		peer := uint32(i)
		for j := range b.each {
			s, r := &b.of(peer)[j], b.Ref(peer, j)
			if s.flags&subCounted == 0 {
				continue
			}
			if n := b.missing(s, r); n > 0 {
				f(peer, s, r, n)
			}
		}
	}
}

// Short are the peers to which something is missing on a channel, one after the other.
func (b *Books) Short(f func(peer uint32)) {
	last := -1
	b.short(func(peer uint32, _ *sub, _ layout.Ref, _ int) {
		if int(peer) != last {
			last = int(peer)
			f(peer)
		}
	})
}

// Forgive takes off what is missing since a subscribe that did not recover: the client knows, but nothing came since to show how many.
func (b *Books) Forgive() {
	b.short(func(_ uint32, s *sub, r layout.Ref, missing int) {
		if s.flags&subLost != 0 {
			b.excuse(s, r, uint32(missing), &b.cfg.Status.Told)
		}
	})
}

// epoch is that of a channel; empty when it has none.
func (b *Books) epoch(r layout.Ref) string {
	if !r.Own() {
		return b.channels[r.Number()].epoch
	}
	if o, _ := b.ownOf(r); o.epoch > 0 {
		return b.epochs[o.epoch-1]
	}
	return ""
}

// epochsBack is how far back an epoch is looked for; Shoal draws one for each of its 64 shards.
const epochsBack = 256

// setEpoch keeps that of a channel; it lies in a message. Own channels share the few there are.
func (b *Books) setEpoch(r layout.Ref, epoch string) {
	if b.epoch(r) == epoch {
		return
	}
	if !r.Own() {
		b.channels[r.Number()].epoch = strings.Clone(epoch)
		return
	}
	o, _ := b.ownOf(r)
	for at := len(b.epochs); at > max(len(b.epochs)-epochsBack, 0); at-- {
		if b.epochs[at-1] == epoch {
			o.epoch = uint32(at)
			return
		}
	}
	b.epochs = append(b.epochs, strings.Clone(epoch))
	o.epoch = uint32(len(b.epochs))
}
