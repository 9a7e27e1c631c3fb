package auth

import (
	"time"

	"shoal/server/channel"
)

// Authority joins tokens, connect policy and channel rules into decisions. It is read
// only once built and safe for concurrent use.
type Authority struct {
	Rules *channel.Rules // required
	// They verify connection and subscription tokens; nil refuses every token. They may
	// be the same.
	ConnectTokens, SubscribeTokens *Verifier

	Insecure                    bool // everybody may connect without a token, subscribe and publish
	AllowAnonymousWithoutToken  bool // who has no token is anonymous
	DisallowAnonymousWithTokens bool // a token must name a user

	Personal          bool   // users are subscribed to a channel of their own
	PersonalNamespace string // its namespace
}

// Connect decides who a client is that connects with this token, "" for none.
// An expired token is error 109, one that could not be judged disconnects with 3004, so
// that the client comes back, any other that is refused with 3500. The error, for log and
// metrics, is set only when a token was refused. It blocks only when
// [Authority.SlowConnect] says so.
func (a *Authority) Connect(token string, now time.Time) (Credentials, channel.Refusal, *Error) {
	if token == "" {
		if a.Insecure || a.AllowAnonymousWithoutToken {
			return Credentials{}, channel.Refusal{}, nil
		}
		return Credentials{}, channel.RefuseDisconnect(channel.DisconnectBadRequest), nil
	}
	cred, err := a.ConnectTokens.Connection(token, now)
	switch {
	case err != nil && err.Expired():
		return Credentials{}, channel.RefuseError(channel.ErrTokenExpired), err
	case err != nil && err.Temporary():
		return Credentials{}, channel.RefuseDisconnect(channel.DisconnectServerError), err
	case err != nil:
		return Credentials{}, channel.RefuseDisconnect(channel.DisconnectInvalidToken), err
	case cred.User == "" && a.DisallowAnonymousWithTokens:
		return Credentials{}, channel.RefuseDisconnect(channel.DisconnectPermissionDenied),
			refuse(ReasonAnonymous, "it names no user and disallow_anonymous_connection_tokens is set")
	}
	if a.Insecure {
		cred.ExpireAt = 0
	}
	return cred, channel.Refusal{}, nil
}

// Requested decides whether a channel that a client names in the subs of its connect
// command, without its token naming it, becomes a server-side subscription: what the
// client could subscribe to by a command without a token, and without the backend being
// asked, does; the rest is passed over. An unknown namespace disconnects with 3501.
func (a *Authority) Requested(user, name string) (bool, channel.Refusal) {
	opts, err := a.Rules.ResolveForClient(name)
	if err != nil {
		if err.Code == uint32(channel.ErrUnknownChannel) {
			return false, channel.RefuseDisconnect(channel.DisconnectBadRequest)
		}
		return false, channel.Refusal{}
	}
	return !opts.SubscribeProxyEnabled && a.MaySubscribe(opts, user, name) == nil, channel.Refusal{}
}

// Refresh decides whether the token prolongs the conn of this user. An expired one ends
// it with 3005, any other that is refused with 3500; one that could not be judged is
// error 100, on which clients try again.
func (a *Authority) Refresh(user, token string, now time.Time) (Credentials, channel.Refusal, *Error) {
	cred, err := a.ConnectTokens.Connection(token, now)
	if err == nil && cred.User != user {
		err = refuse(ReasonUser, "it is for another user than the conn's")
	}
	switch {
	case err == nil:
		return cred, channel.Refusal{}, nil
	case err.Expired():
		return Credentials{}, channel.RefuseDisconnect(channel.DisconnectExpired), err
	case err.Temporary():
		return Credentials{}, channel.RefuseError(channel.ErrInternal), err
	}
	return Credentials{}, channel.RefuseDisconnect(channel.DisconnectInvalidToken), err
}

// Subscribe decides whether a client may subscribe to a channel that opts rule. With a
// token only the token counts; a refused one is error 103, an expired one 109, one that
// could not be judged 100, and one for somebody or something else disconnects with 3500.
// Without a token see [Authority.MaySubscribe].
func (a *Authority) Subscribe(opts *channel.Options, user, client, name, token string, now time.Time) (Grant, channel.Refusal, *Error) {
	if token == "" {
		return Grant{User: user, Channel: name}, channel.Refusal{Err: a.MaySubscribe(opts, user, name)}, nil
	}
	g, err := a.SubscribeTokens.Subscription(token, now)
	switch {
	case err == nil:
		if err = g.isFor(user, client, name); err == nil {
			return g, channel.Refusal{}, nil
		}
		return Grant{}, channel.RefuseDisconnect(channel.DisconnectInvalidToken), err
	case err.Expired():
		return Grant{}, channel.RefuseError(channel.ErrTokenExpired), err
	case err.Temporary():
		return Grant{}, channel.RefuseError(channel.ErrInternal), err
	}
	return Grant{}, channel.RefuseError(channel.ErrPermissionDenied), err
}

// SubRefresh decides whether the token prolongs a client's subscription. No token is
// error 107. One that is refused, or for somebody or something else, disconnects with
// 3500; one that could not be judged is error 100, on which clients try again. An
// expired one disconnects with 3006, after which the client comes back and subscribes
// with a new token: an error would end the subscription for good in stock SDKs.
func (a *Authority) SubRefresh(_ *channel.Options, user, client, name, token string, now time.Time) (Grant, channel.Refusal, *Error) {
	if token == "" {
		return Grant{}, channel.RefuseError(channel.ErrBadRequest), nil
	}
	g, err := a.SubscribeTokens.Subscription(token, now)
	if err == nil {
		err = g.isFor(user, client, name)
	}
	switch {
	case err == nil:
		return g, channel.Refusal{}, nil
	case err.Expired():
		return Grant{}, channel.RefuseDisconnect(channel.DisconnectSubExpired), err
	case err.Temporary():
		return Grant{}, channel.RefuseError(channel.ErrInternal), err
	}
	return Grant{}, channel.RefuseDisconnect(channel.DisconnectInvalidToken), err
}

// isFor says for whom or what else a grant is.
func (g *Grant) isFor(user, client, name string) *Error {
	switch {
	case g.Channel != name:
		return refuse(ReasonChannel, "it is for another channel")
	case g.User != user:
		return refuse(ReasonUser, "it is for another user than the conn's")
	case g.Client != "" && g.Client != client:
		return refuse(ReasonClient, "it is for another client")
	}
	return nil
}

// MaySubscribe decides without a token; nil allows. Private channels need a token,
// user-limited ones a user in their list, others the namespace's permission. It does
// not allocate.
func (a *Authority) MaySubscribe(opts *channel.Options, user, name string) *channel.Error {
	if a.allows(opts, user, name) || a.Insecure && !a.Rules.Private(name) {
		return nil
	}
	return channel.ErrPermissionDenied.Err()
}

// allows is what the namespace permits a user without a token.
func (a *Authority) allows(opts *channel.Options, user, name string) bool {
	switch {
	case a.Rules.Private(name):
		return false
	case opts.AllowUserLimitedChannels && a.Rules.UserLimited(name):
		return a.Rules.UserListed(name, user)
	}
	return opts.AllowSubscribeForClient && (user != "" || opts.AllowSubscribeForAnonymous)
}

// MayPublish decides whether a client may publish into a channel that opts rule; nil
// allows. It does not allocate.
func (a *Authority) MayPublish(opts *channel.Options, anonymous, subscribed bool) *channel.Error {
	identified := !anonymous || opts.AllowPublishForAnonymous
	switch {
	case identified && opts.AllowPublishForClient,
		identified && opts.AllowPublishForSubscriber && subscribed,
		a.Insecure:
		return nil
	}
	return channel.ErrPermissionDenied.Err()
}
