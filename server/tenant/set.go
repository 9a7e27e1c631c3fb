package tenant

import (
	"errors"
	"log/slog"
	"slices"
	"sort"
	"strings"
	"sync/atomic"
	"time"

	"shoal/pool/worker"
	"shoal/server/channel"
)

// ID is a tenant's number on a node: 0 the default one, the others in the order of the
// configuration.
type ID uint8

// Host is what a set needs to know of its node.
type Host struct {
	Rules  *channel.Rules // required
	Epoch  time.Time      // the beginning of time; all times given later are after it
	Logger *slog.Logger   // required
	// AskedMax bounds the questions that the sessions of all tenants have asked at once; 0 = no
	// limit but the tenants' own.
	AskedMax int
	// Spares says that there is too much to do for basic tenants to be served: their messages and
	// subscriptions are refused with error 111. Any goroutine calls it; nil: never.
	Spares func() bool
}

// Set is all tenants of a node. Use [New]; nil is a node without tenants. Any goroutine may
// use it.
type Set struct {
	host     Host
	claim    string
	tenants  []*tenant // by ID
	ids      map[string]ID
	prefixes []string // sorted; none begins with another
	owners   []ID     // of prefixes
	unknown  atomic.Pointer[string]

	questions questions
	loops     int                  // that have a desk
	sizeable  int64                // backlog of the node from which on the tenants' are looked at
	last      map[complaint]report // for Report
}

// New makes the tenants of a valid configuration; nil when there are none and nothing is
// limited.
func New(cfg Config, host Host) (*Set, error) {
	if !cfg.On() {
		return nil, nil
	}
	if host.Rules == nil || host.Logger == nil {
		return nil, errors.New("tenant: Rules or Logger is missing; give the node's")
	}
	s := &Set{host: host, claim: cfg.Named(), ids: map[string]ID{"": 0}, last: map[complaint]report{}, sizeable: backlogSizeable}
	s.questions.max = host.AskedMax
	s.add(DefaultName, &cfg.Default)
	type owned struct {
		prefix string
		owner  ID
	}
	var all []owned
	for i := range cfg.List {
		t := &cfg.List[i]
		id := s.add(t.Name, &t.Limits)
		s.ids[t.Name] = id
		for _, p := range t.ChannelPrefixes {
			all = append(all, owned{p, id})
		}
	}
	slices.SortFunc(all, func(a, b owned) int { return strings.Compare(a.prefix, b.prefix) })
	for _, one := range all {
		s.prefixes, s.owners = append(s.prefixes, one.prefix), append(s.owners, one.owner)
	}
	return s, nil
}

// add gives a tenant the next ID.
func (s *Set) add(name string, l *Limits) ID {
	t := newTenant(name, l)
	s.tenants = append(s.tenants, t)
	s.questions.add(t)
	return ID(len(s.tenants) - 1)
}

// Claim is the claim of connection tokens that names a tenant; empty for none.
func (s *Set) Claim() string {
	if s == nil {
		return ""
	}
	return s.claim
}

// OfChannel is the tenant of a channel, or of a wildcard. It does not allocate.
func (s *Set) OfChannel(name string) ID {
	if s == nil || len(s.prefixes) == 0 {
		return 0
	}
	name = s.host.Rules.Bare(name)
	// All names between a prefix and one that begins with it begin with it too, and no prefix
	// begins with another: only the last one that is not behind the name can be its own.
	i := sort.Search(len(s.prefixes), func(i int) bool { return s.prefixes[i] > name })
	if i > 0 && strings.HasPrefix(name, s.prefixes[i-1]) {
		return s.owners[i-1]
	}
	return 0
}

// Covers says whether a wildcard that fits the channel by its form may stand for it: one
// reaches only into the channels of its own tenant.
func (s *Set) Covers(pattern, name string) bool {
	return s == nil || s.OfChannel(pattern) == s.OfChannel(name)
}

// Weight is the share of a loop's time that the tenant's fan-outs have against others': 8, 4
// or 1, by class.
func (s *Set) Weight(id ID) int {
	if s == nil {
		return 1
	}
	return s.tenants[id].class.weight
}

// Len is the number of tenants, the default one among them; IDs are below it.
func (s *Set) Len() int {
	if s == nil {
		return 1
	}
	return len(s.tenants)
}

// Admit charges the channel's tenant with a publication of the API, or refuses it with error
// 111.
func (s *Set) Admit(name string, bytes int, now time.Time) *channel.Error {
	if s == nil || s.admit(s.tenants[s.OfChannel(name)], now, bytes) {
		return nil
	}
	return channel.ErrTooManyRequests.Err()
}

// admit takes a message of so many bytes, or refuses it.
func (s *Set) admit(t *tenant, now time.Time, bytes int) bool {
	return s.serves(t) && t.admit(s.since(now), bytes)
}

// serves says whether the tenant is served at present.
func (s *Set) serves(t *tenant) bool {
	return t.class.worker != worker.Basic || s.host.Spares == nil || !s.host.Spares() || t.refuse(Overload)
}

// since is a time as the buckets count it.
func (s *Set) since(now time.Time) int64 { return int64(max(now.Sub(s.host.Epoch), 0)) }
