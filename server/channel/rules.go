package channel

import (
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// namespace is one compiled set of options.
type namespace struct {
	options Options
	wild    Options        // of the wildcards among its names
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
	if o.PublicationDataFormat == "" {
		o.PublicationDataFormat = c.PublicationDataFormat
	}
	for _, name := range []*string{&o.SubscribeProxyName, &o.PublishProxyName, &o.SubRefreshProxyName, &o.StateProxyName} {
		if *name == "" {
			*name = ProxyDefault
		}
	}
	ns := namespace{options: o, wild: o.streamless()}
	if o.ChannelRegex != "" {
		ns.re = regexp.MustCompile(o.ChannelRegex)
	}
	return ns
}

// Resolve returns the options that rule a channel. The error is 107 for a name that is
// empty, longer than 1,024 bytes, not UTF-8 or a malformed wildcard, and 102 for a namespace that is
// not configured. The options are shared and read-only. It does not allocate.
//
// The namespace is what stands before the first boundary, the private prefix left out:
// "chat" for "chat:room:1" and for "$chat:room". A name without a boundary, or with
// nothing before it, is without namespace.
//
// The options of a wildcard ([Rules.Wildcard]) are those of its namespace without what
// needs a stream of its own: history, positioning, recovery and differences.
func (r *Rules) Resolve(name string) (*Options, *Error) {
	o, _, _, err := r.resolve(name)
	return o, err
}

// ResolveForClient is Resolve for what a client does: the name must also match
// channel_regex, or be ASCII where there is none (error 107). The server's own names, of
// its API, tokens and proxies, need not.
func (r *Rules) ResolveForClient(name string) (*Options, *Error) {
	o, ns, rest, err := r.resolve(name)
	switch {
	case err != nil:
		return nil, err
	case r.Private(name) && len(name) == len(r.cfg.PrivatePrefix)+len(rest):
		rest = name // without a boundary the regular expression sees the prefix too
	}
	if o != &ns.wild && !ns.names(rest, name) {
		return nil, ErrBadRequest.Err()
	}
	return o, nil
}

func (r *Rules) resolve(name string) (o *Options, ns *namespace, rest string, err *Error) {
	if name == "" || len(name) > maxLengthMax || !utf8.ValidString(name) {
		return nil, nil, "", ErrBadRequest.Err()
	}
	ns, rest, found := r.split(name)
	if !found {
		return nil, nil, "", ErrUnknownChannel.Err()
	}
	if ns.options.AllowWildcard && !r.UserLimited(name) {
		switch readPattern(rest) {
		case wildcard:
			return &ns.wild, ns, rest, nil
		case misplaced, excessive:
			return nil, nil, "", ErrBadRequest.Err()
		}
	}
	return &ns.options, ns, rest, nil
}

// ResolveStream is Resolve for what is done with a channel's stream, publishing above
// all: a wildcard has none, so it is refused with error 107.
func (r *Rules) ResolveStream(name string) (*Options, *Error) {
	o, err := r.Resolve(name)
	if err == nil && o.AllowWildcard && r.Wildcard(name) {
		return nil, ErrBadRequest.Err()
	}
	return o, err
}

// split gives the namespace of a name and what follows its boundary; false when the
// namespace is not configured.
func (r *Rules) split(name string) (ns *namespace, rest string, found bool) {
	rest = strings.TrimPrefix(name, r.cfg.PrivatePrefix)
	before, after, bounded := strings.Cut(rest, r.cfg.NamespaceBoundary)
	switch {
	case !bounded:
		return &r.without, rest, true
	case before == "":
		return &r.without, after, true
	}
	i, found := slices.BinarySearch(r.names, before)
	if !found {
		return nil, "", false
	}
	return &r.spaces[i], after, true
}

// names says whether a client may use that name in the namespace.
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

// Fits says whether the name is short enough for a client to subscribe to.
func (r *Rules) Fits(name string) bool { return len(name) <= r.cfg.MaxLength }

// Private says whether the channel has the private prefix: it is subscribed to with a
// subscription token or not at all.
func (r *Rules) Private(name string) bool { return strings.HasPrefix(name, r.cfg.PrivatePrefix) }

// Bare is a name without the private prefix.
func (r *Rules) Bare(name string) string { return strings.TrimPrefix(name, r.cfg.PrivatePrefix) }

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

// PersonalChannel is the name of the channel of one user in a namespace, "" for none:
// "personal:#42", or "#42". Only that user may subscribe to it.
func (r *Rules) PersonalChannel(namespace, user string) string {
	if namespace == "" {
		return r.cfg.UserBoundary + user
	}
	return namespace + r.cfg.NamespaceBoundary + r.cfg.UserBoundary + user
}

// Each calls f for the options without namespace (empty name) and then for each
// namespace in order of names.
func (r *Rules) Each(f func(name string, o *Options)) {
	f("", &r.without.options)
	for i := range r.spaces {
		f(r.names[i], &r.spaces[i].options)
	}
}
