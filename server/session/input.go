package session

import (
	"shoal/codec/proto"
	"shoal/server/channel"
)

// Kind is what happened.
type Kind uint8

// The kinds of input; the package documentation says what each needs.
const (
	KindBytes Kind = iota
	KindOpened
	KindPong
	KindCommand
	KindMalformed
	KindTimer
	KindAuthenticated
	KindSubscribed
	KindPublished
	KindRefreshed
	KindDisconnect
	KindAnswered
	KindSubRefreshed
	KindRenewed
	KindAdded
	KindRemoved
	KindExtended
	KindSent
	kindCount
)

// String returns the kind's name in logs and stories.
func (k Kind) String() string {
	if k < kindCount {
		return [...]string{"bytes", "opened", "pong", "command", "malformed", "timer",
			"authenticated", "subscribed", "published", "refreshed", "disconnect", "answered",
			"sub-refreshed", "renewed", "added", "removed", "extended", "sent"}[k]
	}
	return "unknown"
}

// View is what a session needs to know of the world while it handles a command or its
// outcome.
type View interface {
	// Subscribed says whether the session is a member of the channel, or is being made one.
	Subscribed(channel string) bool
	// ServerRefreshed says whether the server made the membership or renews it by itself, so
	// that the client must not. It is asked only of channels for which Subscribed is true.
	ServerRefreshed(channel string) bool
	// Admits says whether a command of this method may be performed now, and counts it if so.
	Admits(method proto.Method) bool
	// Tolerates counts an error that is the client's, and says whether the session may go on.
	Tolerates() bool
}

// Input is one thing that happened. Step reads it and keeps nothing of it.
type Input struct {
	Kind   Kind
	Native bool // of KindOpened: ping with WebSocket frames; the client does not want protocol pings
	// ServerRefresh, of KindAuthenticated and KindSubscribed: the server renews what was
	// granted; the client is not told that it ends.
	ServerRefresh bool
	Pressed       bool   // of KindTimer: publications for many have been on their way for a while, and heartbeats may give way
	Expired       bool   // of KindRenewed and KindExtended: it ends now
	Now           Tick   // never less than in the step before
	Rand          uint32 // any random number; spreads the first ping
	ID            uint32 // of an outcome: the command it belongs to, as in the effect

	Command    *proto.Command
	View       View
	Channel    string // of an outcome, as in the effect
	Refusal    channel.Refusal
	Unix       int64               // wall clock, seconds
	ExpireAt   int64               // Unix seconds at which what was granted ends; 0 never
	Subs       []channel.ServerSub // of KindAuthenticated: each channel once
	Disconnect *channel.Disconnect
	// Unsubscribe, of KindRemoved: why; nil stands for [channel.UnsubscribeServer].
	Unsubscribe *channel.Unsubscribe
}

// EffectKind is what is to be done.
type EffectKind uint8

// The effects; the package documentation says what the performer does for each.
const (
	EffectArm EffectKind = iota
	EffectDisconnect
	EffectAuthenticate
	EffectSubscribe
	EffectUnsubscribe
	EffectUnsubscribeAll
	EffectPublish
	EffectRefresh
	EffectReplyError
	EffectReplyConnect
	EffectReplySubscribe
	EffectReplyUnsubscribe
	EffectReplyPublish
	EffectReplyRefresh
	EffectPing
	EffectPingFrame
	EffectDormant
	EffectAwake
	EffectAsk
	EffectSend
	EffectSubRefresh
	EffectRenew
	EffectReplyAnswer
	EffectReplySubRefresh
	EffectPushSubscribe
	EffectPushUnsubscribe
	EffectPushRefresh
	effectCount
)

// String returns the effect's name in logs and stories.
func (k EffectKind) String() string {
	if k < effectCount {
		return [...]string{"arm", "disconnect", "authenticate", "subscribe", "unsubscribe",
			"unsubscribe-all", "publish", "refresh", "reply-error", "reply-connect",
			"reply-subscribe", "reply-unsubscribe", "reply-publish", "reply-refresh",
			"ping", "ping-frame", "dormant", "awake", "ask", "send", "sub-refresh", "renew",
			"reply-answer", "reply-sub-refresh", "push-subscribe", "push-unsubscribe",
			"push-refresh"}[k]
	}
	return "unknown"
}

// Effect is one thing to do.
type Effect struct {
	Kind    EffectKind
	Expires bool   // what was granted ends, in TTL seconds
	Pong    bool   // of EffectReplyConnect: pings must be answered
	ID      uint32 // the command it answers or serves
	After   Tick   // of EffectArm; ≥ 1
	TTL     uint32 // seconds
	Ping    uint32 // of EffectReplyConnect: seconds between pings; 0 none

	Channel     string
	Options     *channel.Options // that rule Channel
	Command     *proto.Command
	Sub         *channel.ServerSub
	Err         *channel.Error
	Disconnect  *channel.Disconnect
	Unsubscribe *channel.Unsubscribe // of EffectPushUnsubscribe; never nil there
}
