package channel

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Config is the configuration section "channel". An empty string or 0 means the
// default that its comment names.
type Config struct {
	WithoutNamespace Options   `json:"without_namespace"`
	Namespaces       []Options `json:"namespaces"`
	HistoryMetaTTL   Duration  `json:"history_meta_ttl"` // default 720h

	MaxLength         int    `json:"max_length"`         // bytes of a name; default 255
	PrivatePrefix     string `json:"private_prefix"`     // default "$"
	NamespaceBoundary string `json:"namespace_boundary"` // default ":"
	UserBoundary      string `json:"user_boundary"`      // default "#"
	UserSeparator     string `json:"user_separator"`     // default ","
}

const (
	maxLengthDefault      = 255
	historyMetaTTLDefault = Duration(720 * 3600e9)
)

func (c Config) withDefaults() Config {
	or := func(s *string, def string) {
		if *s == "" {
			*s = def
		}
	}
	or(&c.PrivatePrefix, "$")
	or(&c.NamespaceBoundary, ":")
	or(&c.UserBoundary, "#")
	or(&c.UserSeparator, ",")
	if c.MaxLength == 0 {
		c.MaxLength = maxLengthDefault
	}
	if c.HistoryMetaTTL == 0 {
		c.HistoryMetaTTL = historyMetaTTLDefault
	}
	return c
}

// Validate checks the section; the error names the namespace and key and says what to
// change.
func (c Config) Validate() error {
	c = c.withDefaults()
	if c.MaxLength < 0 {
		return fmt.Errorf("channel.max_length is %d; give the bytes a channel name may have, or 0 for %d", c.MaxLength, maxLengthDefault)
	}
	if c.HistoryMetaTTL < 0 {
		return fmt.Errorf("channel.history_meta_ttl must not be negative")
	}
	if c.WithoutNamespace.Name != "" {
		return fmt.Errorf("channel.without_namespace has the name %q; move it to channel.namespaces or remove the name", c.WithoutNamespace.Name)
	}
	if err := c.WithoutNamespace.Validate(); err != nil {
		return fmt.Errorf("channel.without_namespace: %w", err)
	}
	seen := make(map[string]bool, len(c.Namespaces))
	for i := range c.Namespaces {
		ns := &c.Namespaces[i]
		if !validName(ns.Name) {
			return fmt.Errorf("channel.namespaces[%d]: name %q; use two or more of a–z A–Z 0–9 - _ .", i, ns.Name)
		}
		if seen[ns.Name] {
			return fmt.Errorf("channel.namespaces[%d]: %q is defined twice; remove one", i, ns.Name)
		}
		seen[ns.Name] = true
		if err := ns.Validate(); err != nil {
			return fmt.Errorf("channel.namespaces[%d] (%s): %w", i, ns.Name, err)
		}
	}
	return nil
}

func validName(s string) bool {
	if len(s) < 2 {
		return false
	}
	for _, r := range []byte(s) {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_', r == '.':
		default:
			return false
		}
	}
	return true
}

// namespace is one compiled set of options.
type namespace struct {
	options Options
	re      *regexp.Regexp // nil: any ASCII name
}

// Rules are a compiled [Config]: which channels exist and what they allow. They never
// change after [Compile] and are safe for concurrent use.
type Rules struct {
	cfg     Config
	without namespace
	names   []string // sorted; spaces[i] belongs to names[i]
	spaces  []namespace
}

// Compile validates the section and makes its rules.
func Compile(c Config) (*Rules, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	c = c.withDefaults()
	r := &Rules{cfg: c, without: c.compile(c.WithoutNamespace)}
	sorted := slices.Clone(c.Namespaces)
	slices.SortFunc(sorted, func(a, b Options) int { return strings.Compare(a.Name, b.Name) })
	for _, o := range sorted {
		r.names = append(r.names, o.Name)
		r.spaces = append(r.spaces, c.compile(o))
	}
	return r, nil
}

// compile fills in what an option set inherits; c was validated.
func (c Config) compile(o Options) namespace {
	if o.HistoryMetaTTL == 0 {
		o.HistoryMetaTTL = c.HistoryMetaTTL
	}
	ns := namespace{options: o}
	if o.ChannelRegex != "" {
		ns.re = regexp.MustCompile(o.ChannelRegex)
	}
	return ns
}

// Resolve returns the options that rule a channel. The error is 107 for a name that is
// empty, too long or malformed, and 102 for a namespace that is not configured. The
// options are shared and read-only. It does not allocate.
//
// The namespace is what stands before the first boundary, the private prefix left out:
// "chat" for "chat:room:1" and for "$chat:room". A name without a boundary, or with
// nothing before it, is without namespace.
func (r *Rules) Resolve(name string) (*Options, *Error) {
	if name == "" || len(name) > r.cfg.MaxLength {
		return nil, ErrBadRequest.Err()
	}
	ns, rest := &r.without, strings.TrimPrefix(name, r.cfg.PrivatePrefix)
	if before, after, ok := strings.Cut(rest, r.cfg.NamespaceBoundary); ok {
		if before != "" {
			i, found := slices.BinarySearch(r.names, before)
			if !found {
				return nil, ErrUnknownChannel.Err()
			}
			ns = &r.spaces[i]
		}
		rest = after
	}
	if !ns.names(rest, name) {
		return nil, ErrBadRequest.Err()
	}
	return &ns.options, nil
}

// names says whether the namespace may have a channel of that name.
func (ns *namespace) names(rest, whole string) bool {
	if ns.re != nil {
		return ns.re.MatchString(rest)
	}
	for i := 0; i < len(whole); i++ {
		if whole[i] >= 0x80 {
			return false
		}
	}
	return true
}

// Fits says whether the name is within the length limit; Resolve checks it too.
func (r *Rules) Fits(name string) bool { return len(name) <= r.cfg.MaxLength }

// Private says whether the channel has the private prefix: it is subscribed to with a
// subscription token or not at all.
func (r *Rules) Private(name string) bool { return strings.HasPrefix(name, r.cfg.PrivatePrefix) }

// UserLimited says whether the name lists the users that may subscribe; whether the
// list counts is the namespace's AllowUserLimitedChannels.
func (r *Rules) UserLimited(name string) bool { return strings.Contains(name, r.cfg.UserBoundary) }

// UserListed says whether the list at the end of the name has the user. The anonymous
// user is never listed, not by "name#" either.
func (r *Rules) UserListed(name, user string) bool {
	i := strings.LastIndex(name, r.cfg.UserBoundary)
	if i < 0 || user == "" {
		return false
	}
	list := name[i+len(r.cfg.UserBoundary):]
	for {
		one, more, ok := strings.Cut(list, r.cfg.UserSeparator)
		if one == user {
			return true
		}
		if !ok {
			return false
		}
		list = more
	}
}

// Each calls f for the options without namespace (empty name) and then for each
// namespace in order of names.
func (r *Rules) Each(f func(name string, o *Options)) {
	f("", &r.without.options)
	for i := range r.spaces {
		f(r.names[i], &r.spaces[i].options)
	}
}
