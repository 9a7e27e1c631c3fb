package channel

import (
	"regexp"
	"slices"
	"strings"
	"time"
)

// Options are the rules of one namespace, under the names Centrifugo v6 uses; what it
// does not have is marked as Shoal's own. The zero value allows nothing to clients:
// subscribing and publishing need an allow_* option, a proxy or a token. [Rules.Resolve]
// gives options in which what is inherited has been filled in.
type Options struct {
	Name string `key:"name" doc:"Name of the namespace: two or more letters, digits, '-', '_' and '.'."`

	AllowSubscribeForClient    bool   `key:"allow_subscribe_for_client" doc:"Any client with a user id may subscribe."`
	AllowSubscribeForAnonymous bool   `key:"allow_subscribe_for_anonymous" doc:"Anonymous clients may subscribe, where allow_subscribe_for_client lets others."`
	AllowPublishForClient      bool   `key:"allow_publish_for_client" doc:"Any client with a user id may publish."`
	AllowPublishForSubscriber  bool   `key:"allow_publish_for_subscriber" doc:"A client subscribed to the channel may publish to it."`
	AllowPublishForAnonymous   bool   `key:"allow_publish_for_anonymous" doc:"Anonymous clients may publish, where one of the two options above lets others."`
	AllowUserLimitedChannels   bool   `key:"allow_user_limited_channels" doc:"The users listed after channel.user_boundary in a channel's name may subscribe to it, and only they."`
	AllowWildcard              bool   `key:"allow_wildcard" doc:"A channel name with a segment * (any one segment) or a last segment ** (all that follows) subscribes to every channel of the namespace that it matches; segments end at '.', '/' and ':'; more than 8 of them, or more than 3 that are *, are error 107. Private and user-limited channels are never matched, and nothing can be published to such a name. Shoal's own."`
	ChannelRegex               string `key:"channel_regex" doc:"Regular expression (RE2) the name after the namespace boundary must match where a client uses it; empty = any ASCII."`
	PublicationDataFormat      string `key:"publication_data_format" doc:"What publications may be (error 107 else): json, json_object, binary (also nothing at all); empty = channel.publication_data_format."`

	Presence                   bool `key:"presence" doc:"Who is in a channel can be asked for."`
	JoinLeave                  bool `key:"join_leave" doc:"Members that ask for it are told who comes and goes."`
	ForcePushJoinLeave         bool `key:"force_push_join_leave" doc:"All members are told who comes and goes, where join_leave is on."`
	JoinLeaveBatchSize         int  `key:"join_leave_batch_size" doc:"Members of a channel above which joins and leaves are collected and told together, those that cancel each other out left away; 0 = never. Shoal's own."`
	AllowPresenceForClient     bool `key:"allow_presence_for_client" doc:"Any client with a user id may ask for presence."`
	AllowPresenceForSubscriber bool `key:"allow_presence_for_subscriber" doc:"A client subscribed to the channel may ask for its presence."`
	AllowPresenceForAnonymous  bool `key:"allow_presence_for_anonymous" doc:"Anonymous clients may ask for presence, where one of the two options above lets others."`

	HistorySize               int           `key:"history_size" doc:"Publications a channel keeps; 0 = none. Needs history_ttl."`
	HistoryTTL                time.Duration `key:"history_ttl" doc:"How long a channel keeps its publications after the last one. Needs history_size."`
	HistoryMetaTTL            time.Duration `key:"history_meta_ttl" doc:"How long offset and epoch of a channel outlive its last use, at least history_ttl; 0 = channel.history_meta_ttl."`
	AllowHistoryForClient     bool          `key:"allow_history_for_client" doc:"Any client with a user id may ask for history."`
	AllowHistoryForSubscriber bool          `key:"allow_history_for_subscriber" doc:"A client subscribed to the channel may ask for its history."`
	AllowHistoryForAnonymous  bool          `key:"allow_history_for_anonymous" doc:"Anonymous clients may ask for history, where one of the two options above lets others."`

	ForcePositioning  bool     `key:"force_positioning" doc:"Every subscription is watched for lost publications and told to subscribe anew after a loss."`
	AllowPositioning  bool     `key:"allow_positioning" doc:"Subscriptions that ask for it are watched for lost publications."`
	ForceRecovery     bool     `key:"force_recovery" doc:"Every client that comes back gets what it missed, from history. Needs history_size and history_ttl."`
	AllowRecovery     bool     `key:"allow_recovery" doc:"Clients that ask for it get what they missed when they come back, from history."`
	ForceRecoveryMode string   `key:"force_recovery_mode" doc:"stream = every missed publication in order; cache = only the latest one; empty = stream."`
	AutoCacheRecover  bool     `key:"auto_cache_recover" doc:"Every new subscription gets the latest publication without asking. Needs force_recovery and force_recovery_mode = cache."`
	Acknowledge       bool     `key:"acknowledge" doc:"Users acknowledge what they got (rpc shoal.ack), and one who subscribes without a position gets everything after that, from history. Needs history_size and history_ttl, and recovery in stream mode. Shoal's own."`
	AllowedDeltaTypes []string `key:"allowed_delta_types" doc:"Kinds of differences subscribers may ask for in place of whole publications: fossil; empty = none."`
	DeltaPublish      bool     `key:"delta_publish" doc:"Publications are made into differences for the subscribers that asked for them, without the delta flag of the API."`
	AllowTagsFilter   bool     `key:"allow_tags_filter" doc:"Subscribers may ask for publications with certain tags only, by filters of up to 32 nodes and 128 values."`

	BatchMaxDelay time.Duration `key:"batch_max_delay" doc:"Publications wait for the next whole multiple of this time, at most 1s, to reach each client together with what else there is for it then, by one write; 0 = only those of the same turn of the loop go together. Fewer writes for more latency."`
	BatchMaxSize  int           `key:"batch_max_size" doc:"Publications that do not wait any longer; 0 = 32."`

	SlowPolicy      string `key:"slow_policy" doc:"What becomes of publications for a client that does not read them: disconnect = they wait, until client.queue_max_size closes the connection with 3008; drop_oldest and drop_newest = they wait up to slow_backlog_size; latest = only the last one waits; conflate = only the last one of each value of conflate_tag waits. Where drop_oldest or drop_newest would leave a gap in a subscription with positioning or recovery, it ends with 2500, and the client recovers. Empty = disconnect. Shoal's own."`
	SlowBacklogSize int    `key:"slow_backlog_size" doc:"Bytes that may wait for a client when drop_oldest or drop_newest drops; 0 = 64 KiB. Shoal's own."`
	ConflateTag     string `key:"conflate_tag" doc:"The tag of publications that slow_policy = conflate goes by; those without it, or with an empty one, all wait. Shoal's own."`

	LowPriority bool `key:"low_priority" doc:"From overload level 2 on, clients cannot subscribe to these channels and nobody publishes to them: both are answered with error 111, after which SDKs subscribe anew by themselves. Shoal's own."`

	SubscribeProxyEnabled  bool   `key:"subscribe_proxy_enabled" doc:"The backend is asked who may subscribe."`
	SubscribeProxyName     string `key:"subscribe_proxy_name" doc:"Name of the proxy, in proxies, that is asked about subscribing; empty or default = channel.proxy.subscribe."`
	PublishProxyEnabled    bool   `key:"publish_proxy_enabled" doc:"The backend is asked about every publication of a client."`
	PublishProxyName       string `key:"publish_proxy_name" doc:"Name of the proxy, in proxies, that is asked about publishing; empty or default = channel.proxy.publish."`
	SubRefreshProxyEnabled bool   `key:"sub_refresh_proxy_enabled" doc:"The backend is asked whether a subscription that ends may go on."`
	SubRefreshProxyName    string `key:"sub_refresh_proxy_name" doc:"Name of the proxy, in proxies, that is asked about subscriptions that end; empty or default = channel.proxy.sub_refresh."`
	StateProxyEnabled      bool   `key:"state_proxy_enabled" doc:"The backend is told when a channel gets its first member and loses its last one."`
	StateProxyName         string `key:"state_proxy_name" doc:"Name of the proxy, in proxies, that is told about channels; empty or default = channel.proxy.state."`
}

// ProxyDefault is the name of the proxy that belongs to an event, where no other is
// named.
const ProxyDefault = "default"

// JoinLeaveBatchSizeDefault is join_leave_batch_size where it is not configured: one
// member's coming or going is told to a thousand others at most.
const JoinLeaveBatchSizeDefault = 1000

// DefaultOptions are the options of a namespace of which only the name is configured.
func DefaultOptions() Options { return Options{JoinLeaveBatchSize: JoinLeaveBatchSizeDefault} }

// The tables are never written.
var (
	dataFormats   = []string{"json", "json_object", "binary"}
	recoveryModes = []string{"stream", "cache"}
	deltaTypes    = []string{"fossil"}
	slowPolicies  = []string{"disconnect", "drop_oldest", "drop_newest", "latest", "conflate"} // by SlowPolicy
)

// SlowPolicy is what becomes of publications for a client that does not read them.
type SlowPolicy uint8

// The policies.
const (
	SlowDisconnect SlowPolicy = iota
	SlowDropOldest
	SlowDropNewest
	SlowLatest
	SlowConflate
)

// slowBacklogSizeDefault is slow_backlog_size where it is 0.
const slowBacklogSizeDefault = 64 << 10

// Slow is the policy of channels with these options, and how many bytes may wait under
// it.
func (o *Options) Slow() (p SlowPolicy, backlogMax int) {
	if i := slices.Index(slowPolicies, o.SlowPolicy); i > 0 {
		p = SlowPolicy(i)
	}
	if backlogMax = o.SlowBacklogSize; backlogMax == 0 {
		backlogMax = slowBacklogSizeDefault
	}
	return p, backlogMax
}

// Caching says whether recovery gives the latest publication only.
func (o *Options) Caching() bool { return o.ForceRecoveryMode == "cache" }

// History says whether channels keep publications.
func (o *Options) History() bool { return o.HistorySize > 0 && o.HistoryTTL > 0 }

// batchMaxSizeDefault is batch_max_size where it is 0.
const batchMaxSizeDefault = 32

// Batch is how long publications wait for more, and how many do not.
func (o *Options) Batch() (delay time.Duration, full int) {
	if full = o.BatchMaxSize; full == 0 {
		full = batchMaxSizeDefault
	}
	return o.BatchMaxDelay, full
}

// Supersedes says whether a publication with these tags takes the place, for a client that
// does not read, of older ones that had the same value of conflate_tag; the value is empty
// when it takes that of all.
func (o *Options) Supersedes(tags map[string]string) (value string, some bool) {
	switch p, _ := o.Slow(); p {
	case SlowLatest:
		return "", true
	case SlowConflate:
		value = tags[o.ConflateTag]
		return value, value != ""
	}
	return "", false
}

// options judges one set; metaTTL is what it inherits.
func (j *judge) options(o *Options, metaTTL time.Duration) {
	if _, err := regexp.Compile(o.ChannelRegex); err != nil {
		j.refuse("channel_regex", o.ChannelRegex, "the expression does not compile: "+err.Error(), "write it in RE2 syntax")
	}
	j.oneOf("publication_data_format", o.PublicationDataFormat, dataFormats)
	j.oneOf("force_recovery_mode", o.ForceRecoveryMode, recoveryModes)
	for _, t := range o.AllowedDeltaTypes {
		if t == "" {
			j.refuse("allowed_delta_types", t, "one of them is empty", "write fossil")
		}
		j.oneOf("allowed_delta_types", t, deltaTypes)
	}
	if o.BatchMaxDelay < 0 || o.BatchMaxDelay > time.Second {
		j.refuse("batch_max_delay", o.BatchMaxDelay, "outside its bounds", "choose a time from 0 to 1s")
	}
	j.between("batch_max_size", o.BatchMaxSize, 0, batchSizeMax)
	j.oneOf("slow_policy", o.SlowPolicy, slowPolicies)
	j.between("slow_backlog_size", o.SlowBacklogSize, 0, 1<<30)
	if p, _ := o.Slow(); p == SlowConflate && o.ConflateTag == "" {
		j.refuse("conflate_tag", "", "slow_policy is conflate, which goes by a tag", "name the tag")
	}
	if p, _ := o.Slow(); o.Acknowledge && (p == SlowLatest || p == SlowConflate) {
		j.refuse("slow_policy", o.SlowPolicy, "with acknowledge every publication counts", "choose drop_oldest, which lets the client recover, or switch acknowledge off")
	} else if p == SlowConflate && len(o.AllowedDeltaTypes) > 0 {
		j.refuse("slow_policy", o.SlowPolicy, "differences (allowed_delta_types) build on publications that it drops", "choose latest, or allow no differences")
	}
	j.between("join_leave_batch_size", o.JoinLeaveBatchSize, 0, batchSizeMax)
	j.history(o, metaTTL)
}

func (j *judge) history(o *Options, metaTTL time.Duration) {
	before := len(j.faults)
	j.between("history_size", o.HistorySize, 0, historySizeMax)
	j.positive("history_ttl", o.HistoryTTL)
	j.positive("history_meta_ttl", o.HistoryMetaTTL)
	if len(j.faults) > before {
		return // the couplings would only repeat it
	}
	const both = "set history_size and history_ttl, or neither"
	if o.HistorySize > 0 && o.HistoryTTL == 0 {
		j.refuse("history_ttl", o.HistoryTTL, "history_size is set, and history is kept only when both are", both)
	}
	if o.HistorySize == 0 && o.HistoryTTL > 0 {
		j.refuse("history_size", o.HistorySize, "history_ttl is set, and history is kept only when both are", both)
	}
	if o.HistoryMetaTTL > 0 {
		metaTTL = o.HistoryMetaTTL
	}
	if o.HistoryTTL > metaTTL {
		j.refuse("history_ttl", o.HistoryTTL, "longer than history_meta_ttl ("+metaTTL.String()+
			"), so publications would outlive their offsets", "shorten it, or lengthen history_meta_ttl")
	}
	if o.ForceRecovery && o.HistorySize == 0 {
		j.refuse("force_recovery", true, "there is no history to recover from", both)
	}
	if o.Acknowledge && o.HistorySize == 0 {
		j.refuse("acknowledge", true, "there is no history to deliver again from", both)
	}
	if o.Acknowledge && o.Caching() {
		j.refuse("acknowledge", true, "recovery in cache mode gives the latest publication only", "set force_recovery_mode = stream, or switch it off")
	}
	if o.AutoCacheRecover && (!o.ForceRecovery || !o.Caching()) {
		j.refuse("auto_cache_recover", true, "it works on recovery in cache mode only",
			"set force_recovery = true and force_recovery_mode = cache, or switch it off")
	}
}

// idle calls say for every option that is set and has no effect because of others.
func (o *Options) idle(say func(key, why string)) {
	const (
		noHistory  = "there is no history; set history_size and history_ttl"
		noPresence = "presence is off"
	)
	for _, c := range [...]struct {
		on, works bool
		key, why  string
	}{
		{o.AllowSubscribeForAnonymous, o.AllowSubscribeForClient, "allow_subscribe_for_anonymous", "allow_subscribe_for_client is off"},
		{o.AllowPublishForAnonymous, o.AllowPublishForClient || o.AllowPublishForSubscriber,
			"allow_publish_for_anonymous", "allow_publish_for_client and allow_publish_for_subscriber are off"},
		{o.ForcePushJoinLeave, o.JoinLeave, "force_push_join_leave", "join_leave is off"},
		{o.AllowPresenceForClient, o.Presence, "allow_presence_for_client", noPresence},
		{o.AllowPresenceForSubscriber, o.Presence, "allow_presence_for_subscriber", noPresence},
		{o.AllowPresenceForAnonymous, o.Presence && (o.AllowPresenceForClient || o.AllowPresenceForSubscriber),
			"allow_presence_for_anonymous", "presence, or both allow_presence_for_client and allow_presence_for_subscriber are off"},
		{o.AllowHistoryForClient, o.History(), "allow_history_for_client", noHistory},
		{o.AllowHistoryForSubscriber, o.History(), "allow_history_for_subscriber", noHistory},
		{o.AllowHistoryForAnonymous, o.History() && (o.AllowHistoryForClient || o.AllowHistoryForSubscriber),
			"allow_history_for_anonymous", "there is no history, or allow_history_for_client and allow_history_for_subscriber are off"},
		{o.ForcePositioning, o.History(), "force_positioning", noHistory},
		{o.AllowPositioning, o.History(), "allow_positioning", noHistory},
		{o.AllowRecovery, o.History(), "allow_recovery", noHistory},
		{o.BatchMaxSize > 0, o.BatchMaxDelay > 0, "batch_max_size", "batch_max_delay is 0"},
		{o.SlowBacklogSize > 0, strings.HasPrefix(o.SlowPolicy, "drop_"), "slow_backlog_size", "slow_policy is neither drop_oldest nor drop_newest"},
		{o.ConflateTag != "", o.SlowPolicy == "conflate", "conflate_tag", "slow_policy is not conflate"},
		{o.DeltaPublish, len(o.AllowedDeltaTypes) > 0, "delta_publish", "allowed_delta_types is empty"},
	} {
		if c.on && !c.works {
			say(c.key, c.why)
		}
	}
}
