package tenant

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"shoal/pool/worker"
	"shoal/server/channel"
)

// Config is the configuration section "tenants". The tags key, doc and like are those of
// server/config, which fills it. The zero value is a node without tenants.
type Config struct {
	Claim   string    `key:"claim" doc:"Claim of connection tokens that names the tenant of a session; without it the session is of the default tenant, and a name that is not listed ends the connection with 3507. Where a connect proxy says who a client is, the member of that name in its reply's meta counts. Empty = no session is of a listed tenant."`
	Default Limits    `key:"default"`
	List    []Options `key:"list" like:"tenants.default" doc:"The tenants, 254 at most. Whoever and whatever no tenant claims is of the default tenant, whose limits are tenants.default."`
}

// ClaimDefault is the claim of a configuration that says nothing.
const ClaimDefault = "tenant"

// Options are one tenant.
type Options struct {
	Name            string   `key:"name" doc:"Name, as tokens have it and metrics show it."`
	ChannelPrefixes []string `key:"channel_prefixes" doc:"Channels whose names begin so are the tenant's, the private prefix left out: acme: for the namespace acme. Other tenants' sessions are refused there (error 103). Without one the tenant's sessions use the common channels."`
	Limits          `key:""`
}

// Limits are what a tenant may have, on each node. 0 is no limit, but where it says something
// else.
type Limits struct {
	Class             string        `key:"class" doc:"premium, standard or basic: who comes first where there is not enough for all, and the defaults of hook_limit and hook_timeout; basic ones are not served at overload level 2. Empty = standard."`
	ConnectionLimit   int           `key:"connection_limit" doc:"Connected clients; a connect command above it is answered with error 111 and 3013, after which clients come back later. 0 = no limit."`
	ChannelLimit      int           `key:"channel_limit" doc:"Channels with subscribers; the first subscription to one more is refused: with error 106, or like a connection above the limit of connections when it comes with a connect. 0 = no limit."`
	SubscriptionLimit int           `key:"subscription_limit" doc:"Subscriptions of all its sessions together, refused above it like those to a channel too many. 0 = no limit."`
	MessageRateLimit  int           `key:"message_rate_limit" doc:"Per second: publications, rpc, send, history and presence commands of its sessions, and the API's publications into its channels (error 111 above; a send is dropped). 0 = no limit."`
	MessageRateBurst  int           `key:"message_rate_burst" doc:"Of them at once; 0 = as many as in a second."`
	ByteRateLimit     int           `key:"byte_rate_limit" doc:"Bytes of data in the same messages, per second (error 111 above). 0 = no limit."`
	ByteRateBurst     int           `key:"byte_rate_burst" doc:"Of them at once; one longer message is taken after a silence. 0 = as many as in a second."`
	HookLimit         int           `key:"hook_limit" doc:"Questions for its sessions asked at once, of hooks above all; four times as many wait, one more is answered with error 111. 0 = by class: 500, 80, 20."`
	HookTimeout       time.Duration `key:"hook_timeout" doc:"How long one of them may take; a shorter timeout of the proxy goes first. 0 = by class: 200ms, 800ms, 2s."`
	BacklogLimit      int           `key:"backlog_limit" doc:"Bytes that may wait for its slow clients together; above it those with most are closed with 3008. 0 = no limit."`
}

const (
	tenantsMax     = 254 // an ID and one more is a byte
	nameBytesMax   = 64
	prefixBytesMax = 255
	prefixesMax    = 4096 // of all tenants
	countMax       = 1<<31 - 1
	rateMax        = 1_000_000_000_000
	hookMax        = 4096
	hookTimeoutMax = time.Hour
	burstSeconds   = 3600 // a longer one is no rate
)

// DefaultName is what the default tenant is called in metrics.
const DefaultName = "default"

// Named is the claim that a token's tenant is read from; empty when there is nobody to be named.
func (c *Config) Named() string {
	if len(c.List) == 0 {
		return ""
	}
	return c.Claim
}

// On says whether there are tenants, or limits of the default one.
func (c *Config) On() bool { return len(c.List) > 0 || c.Default != (Limits{}) }

// Faults checks every value and every coupling between values, and gives all that is wrong.
// private is the prefix of private channels.
func (c *Config) Faults(private string) []*channel.Fault {
	j := judge{}
	if !printable(c.Claim) || len(c.Claim) > nameBytesMax {
		j.refuse("claim", c.Claim, "not the name of a claim", "write one of up to 64 printable ASCII characters without spaces")
	}
	j.prefix = "default."
	j.limits(&c.Default)
	j.prefix = ""
	if len(c.List) > tenantsMax {
		j.refuse("list", len(c.List), "too many tenants", fmt.Sprintf("list %d at most", tenantsMax))
	}
	seen, owners := map[string]bool{}, map[string]string{}
	for i := range c.List {
		t := &c.List[i]
		j.prefix = c.label(i)
		switch {
		case !validName(t.Name):
			j.refuse("name", t.Name, "not a name", "name it with one to 64 letters, digits, '-', '_' or '.'")
		case t.Name == DefaultName:
			j.refuse("name", t.Name, "this is the tenant of all others", "write its limits below tenants.default, or choose another name")
		case seen[t.Name]:
			j.refuse("name", t.Name, "another tenant is called so: it is there twice", "keep one of them")
		}
		seen[t.Name] = true
		if c.Claim == "" && len(t.ChannelPrefixes) == 0 {
			j.refuse("channel_prefixes", "", "nobody and nothing can be of this tenant", "give it a prefix, or set tenants.claim")
		}
		j.prefixes(t, private, owners)
		j.limits(&t.Limits)
	}
	return j.faults
}

// label begins the keys of a tenant: "list[acme].", or with its number when the name would not do.
func (c *Config) label(i int) string {
	name := c.List[i].Name
	if !validName(name) {
		name = strconv.Itoa(i)
	}
	return "list[" + name + "]."
}

func validName(s string) bool {
	for _, r := range []byte(s) {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_', r == '.':
		default:
			return false
		}
	}
	return s != "" && len(s) <= nameBytesMax
}

func printable(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
}

// judge collects faults of the keys below prefix.
type judge struct {
	prefix string
	faults []*channel.Fault
}

func (j *judge) refuse(key string, value any, why, change string) {
	j.faults = append(j.faults, &channel.Fault{Key: "tenants." + j.prefix + key, Value: fmt.Sprint(value), Why: why, Change: change})
}

func (j *judge) between(key string, n, low, high int) {
	if n < low || n > high {
		j.refuse(key, n, "outside its bounds", fmt.Sprintf("choose %d to %d", low, high))
	}
}

// prefixes checks those of one tenant against those before it, which owners has.
func (j *judge) prefixes(t *Options, private string, owners map[string]string) {
	if len(owners)+len(t.ChannelPrefixes) > prefixesMax {
		j.refuse("channel_prefixes", len(t.ChannelPrefixes), "too many prefixes", fmt.Sprintf("give %d at most, those of all tenants together", prefixesMax))
		return
	}
	for _, p := range t.ChannelPrefixes {
		switch {
		case p == "":
			j.refuse("channel_prefixes", p, "every channel begins so", "write one, such as acme:, or leave the list empty")
			continue
		case len(p) > prefixBytesMax, !utf8.ValidString(p), strings.Contains(p, "*"):
			j.refuse("channel_prefixes", p, "not what a channel's name can begin with", "write up to 255 bytes of UTF-8 without a star")
		case strings.HasPrefix(p, private):
			j.refuse("channel_prefixes", p, "the private prefix is left out when a channel's tenant is looked for", "write it without "+private)
		}
		for other, owner := range owners {
			if strings.HasPrefix(p, other) || strings.HasPrefix(other, p) {
				j.refuse("channel_prefixes", p, fmt.Sprintf("it contains, or is contained in, %q of %s, so a channel could be of both", other, owner),
					"give prefixes of which none begins with another; end them with the namespace boundary")
			}
		}
		owners[p] = t.Name
	}
}

func (j *judge) limits(l *Limits) {
	if _, ok := classOf(l.Class); !ok {
		j.refuse("class", l.Class, "no such class", "write premium, standard or basic")
	}
	j.between("connection_limit", l.ConnectionLimit, 0, countMax)
	j.between("channel_limit", l.ChannelLimit, 0, countMax)
	j.between("subscription_limit", l.SubscriptionLimit, 0, countMax)
	j.between("backlog_limit", l.BacklogLimit, 0, 1<<50)
	j.between("hook_limit", l.HookLimit, 0, hookMax)
	if l.HookTimeout < 0 || l.HookTimeout > hookTimeoutMax {
		j.refuse("hook_timeout", l.HookTimeout, "outside its bounds", "choose 1ms to 1h, or 0 for the default of the class")
	}
	j.rate("message_rate", l.MessageRateLimit, l.MessageRateBurst)
	j.rate("byte_rate", l.ByteRateLimit, l.ByteRateBurst)
}

func (j *judge) rate(key string, limit, burst int) {
	j.between(key+"_limit", limit, 0, rateMax)
	j.between(key+"_burst", burst, 0, rateMax)
	switch {
	case burst > 0 && limit == 0:
		j.refuse(key+"_burst", burst, "without "+key+"_limit there is nothing to exceed", "set the limit, or write 0")
	case limit > 0 && burst/limit >= burstSeconds:
		j.refuse(key+"_burst", burst, "it takes longer than an hour to come back", "lower it, or raise "+key+"_limit")
	}
}

// class is what a class means.
type class struct {
	name    string
	worker  worker.Class
	weight  int
	hooks   int
	timeout time.Duration
}

// classes are in the order of worker.Class and never written.
var classes = [...]class{
	{"premium", worker.Premium, 8, 500, 200 * time.Millisecond},
	{"standard", worker.Standard, 4, 80, 800 * time.Millisecond},
	{"basic", worker.Basic, 1, 20, 2 * time.Second},
}

// rank is its place, 0 the best.
func (c *class) rank() int { return int(c.worker) }

// classOf finds a class by its name; empty is standard.
func classOf(name string) (*class, bool) {
	if name == "" {
		name = "standard"
	}
	for i := range classes {
		if classes[i].name == name {
			return &classes[i], true
		}
	}
	return &classes[1], false
}
