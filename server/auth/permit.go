package auth

import "shoal/server/channel"

// MayPresence decides whether a client may ask who is present in a channel that opts
// rule; nil allows. Error 108 when the channel keeps no presence. It does not allocate.
func (a *Authority) MayPresence(opts *channel.Options, anonymous, subscribed bool) *channel.Error {
	if !opts.Presence {
		return channel.ErrNotAvailable.Err()
	}
	return a.permitted(opts.AllowPresenceForClient, opts.AllowPresenceForSubscriber && subscribed, !anonymous || opts.AllowPresenceForAnonymous)
}

// MayHistory decides whether a client may read the history of a channel that opts rule;
// nil allows. Error 108 when the channel keeps none. It does not allocate.
func (a *Authority) MayHistory(opts *channel.Options, anonymous, subscribed bool) *channel.Error {
	if !opts.History() {
		return channel.ErrNotAvailable.Err()
	}
	return a.permitted(opts.AllowHistoryForClient, opts.AllowHistoryForSubscriber && subscribed, !anonymous || opts.AllowHistoryForAnonymous)
}

func (a *Authority) permitted(client, subscriber, identified bool) *channel.Error {
	if identified && (client || subscriber) || a.Insecure {
		return nil
	}
	return channel.ErrPermissionDenied.Err()
}

// NeedsBackend says whether a subscription without a token is the backend's to decide,
// where it is asked at all: a private channel never is, nor one that lists its users.
func (a *Authority) NeedsBackend(opts *channel.Options, name string) bool {
	return !a.Rules.Private(name) && !(opts.AllowUserLimitedChannels && a.Rules.UserLimited(name))
}

// SlowConnect says whether a connection token takes so long to verify, or waits for a
// key set, that it must not be done on a loop. It does not allocate.
func (a *Authority) SlowConnect(token string) bool { return a.ConnectTokens.Slow(token) }

// SlowSubscribe is SlowConnect for subscription tokens.
func (a *Authority) SlowSubscribe(token string) bool { return a.SubscribeTokens.Slow(token) }

// PersonalChannel is the channel of a user's own that its sessions are subscribed to; ok
// is false when there is none: the feature is off, the user is anonymous, or its id would
// make a name that is no channel or lists other users (an id with the separator in it).
func (a *Authority) PersonalChannel(user string) (name string, ok bool) {
	if !a.Personal || user == "" {
		return "", false
	}
	name = a.Rules.PersonalChannel(a.PersonalNamespace, user)
	if _, err := a.Rules.Resolve(name); err != nil || !a.Rules.UserListed(name, user) {
		return "", false
	}
	return name, true
}
