package channel

import (
	"regexp"
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
)

// Caching says whether recovery gives the latest publication only.
func (o *Options) Caching() bool { return o.ForceRecoveryMode == "cache" }

// History says whether channels keep publications.
func (o *Options) History() bool { return o.HistorySize > 0 && o.HistoryTTL > 0 }

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
		{o.DeltaPublish, len(o.AllowedDeltaTypes) > 0, "delta_publish", "allowed_delta_types is empty"},
	} {
		if c.on && !c.works {
			say(c.key, c.why)
		}
	}
}
