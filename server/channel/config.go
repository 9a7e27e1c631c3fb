package channel

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Config is the configuration section "channel": how names are read, and the options of
// every namespace. The tags key, doc and omit are those of server/config, which fills it.
// The zero value is valid and means [DefaultConfig] with options that allow nothing.
type Config struct {
	WithoutNamespace      Options       `key:"without_namespace" omit:"name"`
	Namespaces            []Options     `key:"namespaces" like:"channel.without_namespace" doc:"Namespaces by name; a channel name:rest belongs to the namespace called name. A channel with an unlisted one is refused (error 102)."`
	HistoryMetaTTL        time.Duration `key:"history_meta_ttl" doc:"How long offset and epoch of a channel outlive its last use, for namespaces that do not say it themselves; 0 = 720h."`
	PublicationDataFormat string        `key:"publication_data_format" doc:"What publications may be in namespaces that do not say it themselves: json, json_object, binary (also nothing at all); empty = anything but nothing."`
	MaxLength             int           `key:"max_length" doc:"Longest name of a channel that clients subscribe to, in bytes, 1..1024 (error 107 above); 0 = 255."`
	PrivatePrefix         string        `key:"private_prefix" doc:"Channels that begin with this need a subscription token; empty = $."`
	NamespaceBoundary     string        `key:"namespace_boundary" doc:"What separates the namespace from the rest of a channel name; empty = :."`
	UserBoundary          string        `key:"user_boundary" doc:"What introduces the list of user ids of a user-limited channel; empty = #."`
	UserSeparator         string        `key:"user_separator" doc:"What separates the user ids of a user-limited channel; empty = a comma."`
}

// Private is the prefix of private channels.
func (c Config) Private() string { return c.withDefaults().PrivatePrefix }

const (
	maxLengthDefault      = 255
	maxLengthMax          = 1024
	historyMetaTTLDefault = 720 * time.Hour
	historySizeMax        = 1 << 24
	batchSizeMax          = 1 << 30
	namespacesMax         = 10_000
	separatorBytesMax     = 8
)

// DefaultConfig is the section of a server nobody configured: no namespaces, and nothing
// allowed to clients.
func DefaultConfig() Config {
	return Config{WithoutNamespace: DefaultOptions()}.withDefaults()
}

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

// Fault is one wrong value: which key, what it is, why that cannot be, and what to change.
type Fault struct {
	Key    string // in full: "channel.namespaces[news].history_ttl"
	Value  string
	Why    string
	Change string
}

// Error implements error: `channel.max_length = "-1": why; what to change`.
func (f *Fault) Error() string {
	return fmt.Sprintf("%s = %q: %s; %s", f.Key, f.Value, f.Why, f.Change)
}

// Validate joins the [Config.Faults]; nil when there are none.
func (c Config) Validate() error {
	var errs []error
	for _, f := range c.Faults() {
		errs = append(errs, f)
	}
	return errors.Join(errs...)
}

// Faults checks every value and every coupling between values, and gives all that is
// wrong. Names of proxies are not looked up: the section does not have them.
func (c Config) Faults() []*Fault {
	j := &judge{prefix: "channel."}
	j.between("max_length", c.MaxLength, 0, maxLengthMax)
	j.positive("history_meta_ttl", c.HistoryMetaTTL)
	j.oneOf("publication_data_format", c.PublicationDataFormat, dataFormats)
	j.separator("private_prefix", c.PrivatePrefix)
	j.separator("namespace_boundary", c.NamespaceBoundary)
	j.separator("user_boundary", c.UserBoundary)
	j.separator("user_separator", c.UserSeparator)
	j.between("namespaces", len(c.Namespaces), 0, namespacesMax)
	c = c.withDefaults()
	j.prefix = "channel.without_namespace."
	if c.WithoutNamespace.Name != "" {
		j.refuse("name", c.WithoutNamespace.Name, "these are the channels without a namespace",
			"move the section to channel.namespaces, or remove the name")
	}
	j.options(&c.WithoutNamespace, c.HistoryMetaTTL)
	seen := make(map[string]bool, len(c.Namespaces))
	for i := range c.Namespaces {
		ns := &c.Namespaces[i]
		j.prefix = c.label(i)
		if !validName(ns.Name) {
			j.refuse("name", ns.Name, "not a name", "name it with two or more letters, digits, '-', '_' or '.'")
		}
		if seen[ns.Name] {
			j.refuse("name", ns.Name, "another namespace is called so: it is there twice", "keep one of them")
		}
		seen[ns.Name] = true
		j.options(ns, c.HistoryMetaTTL)
	}
	return j.faults
}

// Idle lists options that are set and have no effect because of others, a sentence each.
// They are no faults: the reference server takes them too.
func (c Config) Idle() []string {
	var texts []string
	list := func(prefix string, o *Options) {
		o.idle(func(key, why string) { texts = append(texts, prefix+key+" has no effect: "+why) })
	}
	list("channel.without_namespace.", &c.WithoutNamespace)
	for i := range c.Namespaces {
		list(c.label(i), &c.Namespaces[i])
	}
	return texts
}

// label begins the keys of a namespace: "channel.namespaces[news].", or with its number
// when the name would not do.
func (c Config) label(i int) string {
	name := c.Namespaces[i].Name
	if !validName(name) || len(name) > 64 {
		name = fmt.Sprint(i)
	}
	return "channel.namespaces[" + name + "]."
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

// judge collects faults of the keys below prefix.
type judge struct {
	prefix string
	faults []*Fault
}

func (j *judge) refuse(key string, value any, why, change string) {
	j.faults = append(j.faults, &Fault{Key: j.prefix + key, Value: fmt.Sprint(value), Why: why, Change: change})
}

func (j *judge) between(key string, n, low, high int) {
	switch {
	case n < 0:
		j.refuse(key, n, "negative", fmt.Sprintf("choose %d to %d", low, high))
	case n < low || n > high:
		j.refuse(key, n, "outside its bounds", fmt.Sprintf("choose %d to %d", low, high))
	}
}

func (j *judge) positive(key string, d time.Duration) {
	if d < 0 {
		j.refuse(key, d, "negative", "write a time such as 300s, or 0")
	}
}

// oneOf refuses a value that is neither empty nor listed.
func (j *judge) oneOf(key, value string, list []string) {
	if value == "" {
		return
	}
	for _, one := range list {
		if value == one {
			return
		}
	}
	j.refuse(key, value, "unknown", "write "+strings.Join(list, ", ")+", or leave it out")
}

// separator refuses a mark that cannot stand in a channel name; an empty one means the
// default.
func (j *judge) separator(key, s string) {
	odd := strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) >= 0
	if odd || len(s) > separatorBytesMax {
		j.refuse(key, s, "not one to eight printable ASCII characters", "write a single one, such as the default")
	}
}
