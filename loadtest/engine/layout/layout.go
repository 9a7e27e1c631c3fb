package layout

import (
	"strconv"
	"strings"
)

// Ref names a channel: a shared one by its number, a connection's own one by the number of the connection and a bit on top.
type Ref uint32

const ownBit Ref = 1 << 31

// Own is the own channel of a connection, by its number among all.
func Own(number uint32) Ref { return ownBit | Ref(number) }

// Own says whether it is a connection's own channel.
func (r Ref) Own() bool { return r&ownBit != 0 }

// Number is that of the shared channel, or of the connection whose own one it is.
func (r Ref) Number() uint32 { return uint32(r &^ ownBit) }

// ConnectionsMax bounds the numbers of connections.
const ConnectionsMax = 1 << 31

// Config says what there is.
type Config struct {
	Channel       string // the beginning of all names
	Channels      int    // shared ones; of one the name is Channel, of several "-" and the number follow
	Subscriptions int    // shared channels of each connection
	Own           bool   // each connection has a channel of its own: Channel, "-u" and its number among all
}

// Layout is who is subscribed to what: connection i to the shared channels i+step[j] modulo their number, and to its own one. The
// steps are drawn once, so that two connections rarely have the same channels and every channel has about as many receivers.
type Layout struct {
	cfg    Config
	own    string            // the beginning of names of own channels
	byName map[string]uint32 // the shared ones
	steps  []uint32
	index  []int32 // of each step, -1 = none
}

// New draws one; the same for the same Config.
func New(cfg Config) *Layout {
	l := &Layout{
		cfg: cfg, own: cfg.Channel + "-u", byName: make(map[string]uint32, cfg.Channels),
		steps: make([]uint32, cfg.Channels), index: make([]int32, cfg.Channels),
	}
	for i := range l.steps {
		l.byName[l.Name(Ref(i))] = uint32(i)
		l.steps[i] = uint32(i)
		l.index[i] = -1
	}
	x := uint64(0x9e3779b97f4a7c15)
	for i := cfg.Channels - 1; i > 0 && cfg.Subscriptions < cfg.Channels; i-- { // Fisher and Yates
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		k := int(x % uint64(i+1))
		l.steps[i], l.steps[k] = l.steps[k], l.steps[i]
	}
	l.steps = l.steps[:cfg.Subscriptions]
	for j, s := range l.steps {
		l.index[s] = int32(j)
	}
	return l
}

// Each is how many channels a connection is subscribed to.
func (l *Layout) Each() int {
	if l.cfg.Own {
		return len(l.steps) + 1
	}
	return len(l.steps)
}

// Channel is the j-th channel of a connection, by its number among all; the last is its own, if there are such.
func (l *Layout) Channel(number uint32, j int) Ref {
	if j == len(l.steps) {
		return Own(number)
	}
	return Ref((number%uint32(l.cfg.Channels) + l.steps[j]) % uint32(l.cfg.Channels))
}

// Find is which of a connection's channels this is, -1 for none.
func (l *Layout) Find(number uint32, r Ref) int {
	if r.Own() {
		if l.cfg.Own && r.Number() == number {
			return len(l.steps)
		}
		return -1
	}
	n := uint32(l.cfg.Channels)
	if n == 1 { // no division for each message
		return int(l.index[0])
	}
	return int(l.index[(r.Number()+n-number%n)%n])
}

// Name is the name of a channel.
func (l *Layout) Name(r Ref) string { return string(l.AppendName(nil, r)) }

// AppendName appends the name of a channel.
func (l *Layout) AppendName(b []byte, r Ref) []byte {
	switch {
	case r.Own():
		b = append(b, l.own...)
	case l.cfg.Channels == 1:
		return append(b, l.cfg.Channel...)
	default:
		b = append(append(b, l.cfg.Channel...), '-')
	}
	return strconv.AppendUint(b, uint64(r.Number()), 10)
}

// Ref is the channel of a name; false when there is none.
func (l *Layout) Ref(name string) (Ref, bool) {
	if at, known := l.byName[name]; known {
		return Ref(at), true
	}
	digits, found := strings.CutPrefix(name, l.own)
	if !found || !l.cfg.Own || len(digits) > 1 && digits[0] == '0' {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 31)
	return Own(uint32(n)), err == nil
}

// Own says whether each connection has a channel of its own.
func (l *Layout) Own() bool { return l.cfg.Own }
