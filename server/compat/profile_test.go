package compat_test

import (
	"time"

	"shoal/server/channel"
)

// secret signs the tokens of all tests.
const secret = "compat-secret-compat-secret-012345"

// apiKey opens the server API of both servers.
const apiKey = "compat-key"

// profile is what both servers are configured with beside the namespaces.
type profile struct {
	anonymous        bool // clients without a token may connect
	personal         bool // users are subscribed to a channel of their own
	ping, pong       time.Duration
	stale            time.Duration
	expired          time.Duration // grace of credentials
	expiredSub       time.Duration // grace of subscriptions
	upkeep           time.Duration // how often the reference looks after subscriptions
	channelLimit     int
	historyLimit     int
	recoveryLimit    int
	messageSizeLimit int
}

// calm is a server on which nothing ends by itself during a test.
func calm() profile {
	return profile{
		anonymous: true, ping: 25 * time.Second, pong: 8 * time.Second, stale: 10 * time.Second,
		expired: 25 * time.Second, expiredSub: 25 * time.Second, upkeep: 27 * time.Second,
		channelLimit: 6, historyLimit: 300, recoveryLimit: 300, messageSizeLimit: 64 << 10,
	}
}

// profiles are those a script can ask for by name.
func profiles() map[string]profile {
	quick := calm()
	quick.ping, quick.pong = 2*time.Second, time.Second
	quick.stale, quick.expired, quick.expiredSub, quick.upkeep = time.Second, 3*time.Second, 3*time.Second, 200*time.Millisecond
	strict, limited, personal, tiny := calm(), calm(), calm(), calm()
	strict.anonymous = false
	limited.historyLimit, limited.recoveryLimit = 3, 2
	personal.personal = true
	tiny.messageSizeLimit = 1024
	return map[string]profile{"calm": calm(), "quick": quick, "strict": strict, "limited": limited, "personal": personal, "tiny": tiny}
}

// namespaces are the same for both servers. Every name says what is special.
func namespaces() []channel.Options {
	const keep = time.Minute
	open := func(name string, change func(o *channel.Options)) channel.Options {
		o := channel.Options{
			Name: name, AllowSubscribeForClient: true, AllowSubscribeForAnonymous: true,
			AllowPublishForSubscriber: true, AllowPublishForAnonymous: true,
			HistorySize: 10, HistoryTTL: keep, AllowHistoryForSubscriber: true, AllowHistoryForAnonymous: true,
			Presence: true, AllowPresenceForSubscriber: true, AllowPresenceForAnonymous: true,
		}
		if change != nil {
			change(&o)
		}
		return o
	}
	bare := func(o *channel.Options) {
		o.HistorySize, o.HistoryTTL, o.Presence = 0, 0, false
		o.AllowHistoryForSubscriber, o.AllowHistoryForAnonymous = false, false
		o.AllowPresenceForSubscriber, o.AllowPresenceForAnonymous = false, false
	}
	return []channel.Options{
		open("open", nil),
		open("bare", bare),
		open("users", func(o *channel.Options) { o.AllowSubscribeForAnonymous, o.AllowPublishForAnonymous = false, false }),
		open("client", func(o *channel.Options) {
			bare(o)
			o.AllowPublishForSubscriber, o.AllowPublishForClient = false, true
		}),
		open("asked", func(o *channel.Options) { o.AllowPositioning, o.AllowRecovery = true, true }),
		open("unasked", func(o *channel.Options) { o.AllowHistoryForSubscriber = false }),
		open("forced", func(o *channel.Options) { o.ForcePositioning, o.ForceRecovery, o.HistorySize = true, true, 5 }),
		open("placed", func(o *channel.Options) { o.ForcePositioning = true }),
		open("cache", func(o *channel.Options) { o.ForceRecovery, o.ForceRecoveryMode, o.HistorySize = true, "cache", 1 }),
		open("fossil", func(o *channel.Options) { o.AllowedDeltaTypes, o.DeltaPublish = []string{"fossil"}, true }),
		open("fossilrec", func(o *channel.Options) {
			o.AllowedDeltaTypes, o.DeltaPublish, o.ForceRecovery = []string{"fossil"}, true, true
		}),
		open("fossilapi", func(o *channel.Options) { o.AllowedDeltaTypes, o.AllowRecovery = []string{"fossil"}, true }),
		open("fossilcache", func(o *channel.Options) {
			o.AllowedDeltaTypes, o.DeltaPublish, o.ForceRecovery, o.ForceRecoveryMode = []string{"fossil"}, true, true, "cache"
		}),
		open("tagged", func(o *channel.Options) { o.AllowTagsFilter, o.ForceRecovery = true, true }),
		open("joined", func(o *channel.Options) { o.JoinLeave, o.ForcePushJoinLeave = true, true }),
		open("joinask", func(o *channel.Options) { o.JoinLeave = true }),
		open("limited", func(o *channel.Options) {
			o.AllowUserLimitedChannels, o.AllowSubscribeForClient, o.AllowSubscribeForAnonymous = true, false, false
		}),
		open("object", func(o *channel.Options) { o.PublicationDataFormat = "json_object" }),
		open("binary", func(o *channel.Options) { bare(o); o.PublicationDataFormat = "binary" }),
		open("named", func(o *channel.Options) { o.ChannelRegex = "^[a-z]+$" }),
		open("brief", func(o *channel.Options) {
			o.ForcePositioning, o.HistoryTTL, o.HistoryMetaTTL = true, time.Second, time.Second
		}),
		open("fleeting", func(o *channel.Options) { o.ForcePositioning, o.ForceRecovery, o.HistoryTTL = true, true, time.Second }),
		open("closed", func(o *channel.Options) { *o = channel.Options{Name: "closed"} }),
	}
}
