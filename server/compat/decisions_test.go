package compat_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/centrifugal/centrifuge"
	"github.com/golang-jwt/jwt/v5"

	"shoal/server/channel"
)

// This file has the reference server's decisions about tokens and channels.

var errExpired = errors.New("the token has expired")

// claims are those of both kinds of tokens.
type claims struct {
	jwt.RegisteredClaims
	ExpireAt *int64          `json:"expire_at"`
	Info     json.RawMessage `json:"info"`
	Channels []string        `json:"channels"`
	Subs     map[string]struct {
		Info     json.RawMessage `json:"info"`
		Data     json.RawMessage `json:"data"`
		Override *override       `json:"override"`
	} `json:"subs"`
	Channel  string          `json:"channel"`
	Client   string          `json:"client"`
	Data     json.RawMessage `json:"data"`
	Override *override       `json:"override"`
}

type boolValue struct {
	Value bool `json:"value"`
}

// override is what a token or the API may change in a subscription's options.
type override struct {
	Presence           *boolValue `json:"presence"`
	JoinLeave          *boolValue `json:"join_leave"`
	ForcePushJoinLeave *boolValue `json:"force_push_join_leave"`
	ForcePositioning   *boolValue `json:"force_positioning"`
	ForceRecovery      *boolValue `json:"force_recovery"`
}

func (o *override) apply(s *centrifuge.SubscribeOptions) {
	if o == nil {
		return
	}
	for _, f := range []struct {
		from *boolValue
		to   *bool
	}{
		{o.Presence, &s.EmitPresence}, {o.JoinLeave, &s.EmitJoinLeave}, {o.ForcePushJoinLeave, &s.PushJoinLeave},
		{o.ForcePositioning, &s.EnablePositioning}, {o.ForceRecovery, &s.EnableRecovery},
	} {
		if f.from != nil {
			*f.to = f.from.Value
		}
	}
}

// parse verifies a token; an error but errExpired means that it is invalid.
func parse(text string) (*claims, error) {
	c := &claims{}
	_, err := jwt.ParseWithClaims(text, c, func(*jwt.Token) (any, error) { return []byte(secret), nil },
		jwt.WithValidMethods([]string{"HS256", "HS384", "HS512"}))
	if errors.Is(err, jwt.ErrTokenExpired) || errors.Is(err, jwt.ErrTokenNotValidYet) {
		return c, errExpired
	}
	return c, err
}

// end is when what a token grants ends: expire_at if it is there, else exp; 0 never.
func (c *claims) end() int64 {
	switch {
	case c.ExpireAt != nil:
		return max(*c.ExpireAt, 0)
	case c.RegisteredClaims.ExpiresAt != nil:
		return c.RegisteredClaims.ExpiresAt.Unix()
	}
	return 0
}

// sourceToken marks subscriptions that a connection token made.
const sourceToken = 1

// connectToken is a verified connection token.
type connectToken struct {
	user     string
	expireAt int64
	info     []byte
	subs     map[string]centrifuge.SubscribeOptions
}

// connectToken verifies a connection token; the error is errExpired or for the client.
func (r *reference) connectToken(text string) (connectToken, error) {
	c, err := parse(text)
	switch {
	case errors.Is(err, errExpired) && c.Channel == "":
		return connectToken{}, errExpired
	case err != nil || c.Channel != "":
		return connectToken{}, centrifuge.DisconnectInvalidToken
	}
	token := connectToken{user: c.Subject, expireAt: c.end(), info: c.Info, subs: map[string]centrifuge.SubscribeOptions{}}
	if len(c.Subs) == 0 {
		for _, name := range c.Channels {
			o, _ := r.options(name)
			if o == nil {
				return connectToken{}, centrifuge.ErrorUnknownChannel
			}
			s := subscribeOptions(o)
			s.Source = sourceToken
			token.subs[name] = s
		}
	}
	for name, sub := range c.Subs {
		o, _ := r.options(name)
		if o == nil {
			return connectToken{}, centrifuge.ErrorUnknownChannel
		}
		s := subscribeOptions(o)
		s.ChannelInfo, s.Data, s.Source = sub.Info, sub.Data, sourceToken
		sub.Override.apply(&s)
		token.subs[name] = s
	}
	return token, nil
}

func (r *reference) onRefresh(c *centrifuge.Client, e centrifuge.RefreshEvent) (centrifuge.RefreshReply, error) {
	token, err := r.connectToken(e.Token)
	switch {
	case errors.Is(err, errExpired):
		return centrifuge.RefreshReply{Expired: true}, nil
	case err != nil:
		return centrifuge.RefreshReply{}, err
	case token.user != c.UserID():
		return centrifuge.RefreshReply{}, centrifuge.DisconnectInvalidToken
	}
	for name := range token.subs {
		if !c.IsSubscribed(name) {
			return centrifuge.RefreshReply{}, centrifuge.DisconnectInsufficientState
		}
	}
	for name, sub := range c.ChannelsWithContext() {
		if _, ok := token.subs[name]; !ok && sub.Source == sourceToken {
			return centrifuge.RefreshReply{}, centrifuge.DisconnectInsufficientState
		}
	}
	return centrifuge.RefreshReply{ExpireAt: token.expireAt, Info: token.info}, nil
}

// subscribeToken verifies a subscription token for a client and channel.
func subscribeToken(c *centrifuge.Client, name, text string, refused error) (*claims, error) {
	token, err := parse(text)
	switch {
	case errors.Is(err, errExpired):
		return nil, errExpired
	case err != nil || token.Channel == "":
		return nil, refused
	case token.Channel != name || token.Subject != c.UserID() || token.Client != "" && token.Client != c.ID():
		return nil, centrifuge.DisconnectInvalidToken
	}
	return token, nil
}

func (r *reference) onSubscribe(c *centrifuge.Client, e centrifuge.SubscribeEvent) (centrifuge.SubscribeReply, error) {
	reply := centrifuge.SubscribeReply{ClientSideRefresh: true}
	o, err := r.named(e.Channel)
	if err != nil {
		return reply, err
	}
	s := subscribeOptions(o)
	switch {
	case e.Token != "":
		token, err := subscribeToken(c, e.Channel, e.Token, centrifuge.ErrorPermissionDenied)
		if errors.Is(err, errExpired) {
			return reply, centrifuge.ErrorTokenExpired
		} else if err != nil {
			return reply, err
		}
		s.ExpireAt, s.ChannelInfo, s.Data = token.end(), token.Info, token.Data
		token.Override.apply(&s)
	case strings.HasPrefix(e.Channel, "$") || !allowedByName(o, e.Channel, c.UserID()):
		return reply, centrifuge.ErrorPermissionDenied
	}
	s.EnablePositioning = s.EnablePositioning || e.Positioned && (o.AllowPositioning || mayHistory(o, c.UserID(), true))
	s.EnableRecovery = s.EnableRecovery || e.Recoverable && (o.AllowRecovery || mayHistory(o, c.UserID(), true))
	s.PushJoinLeave = s.PushJoinLeave || e.JoinLeave && o.JoinLeave && mayPresence(o, c.UserID(), true)
	reply.Options = s
	return reply, nil
}

func (r *reference) onSubRefresh(c *centrifuge.Client, e centrifuge.SubRefreshEvent) (centrifuge.SubRefreshReply, error) {
	token, err := subscribeToken(c, e.Channel, e.Token, centrifuge.DisconnectInvalidToken)
	if errors.Is(err, errExpired) {
		return centrifuge.SubRefreshReply{Expired: true}, nil
	} else if err != nil {
		return centrifuge.SubRefreshReply{}, err
	}
	return centrifuge.SubRefreshReply{ExpireAt: token.end(), Info: token.Info}, nil
}

func (r *reference) onPublish(c *centrifuge.Client, e centrifuge.PublishEvent) (centrifuge.PublishReply, error) {
	o, err := r.named(e.Channel)
	if err != nil {
		return centrifuge.PublishReply{}, err
	}
	if !validData(o, e.Data) {
		return centrifuge.PublishReply{}, centrifuge.ErrorBadRequest
	}
	known := c.UserID() != "" || o.AllowPublishForAnonymous
	if !known || !o.AllowPublishForClient && !(o.AllowPublishForSubscriber && c.IsSubscribed(e.Channel)) {
		return centrifuge.PublishReply{}, centrifuge.ErrorPermissionDenied
	}
	result, err := r.node.Publish(e.Channel, e.Data, centrifuge.WithClientInfo(e.ClientInfo),
		centrifuge.WithHistory(o.HistorySize, o.HistoryTTL, metaTTL(o)), centrifuge.WithDelta(o.DeltaPublish))
	return centrifuge.PublishReply{Result: &result}, err
}

func (r *reference) presence(c *centrifuge.Client, name string) error {
	o, err := r.named(name)
	switch {
	case err != nil:
		return err
	case !o.Presence:
		return centrifuge.ErrorNotAvailable
	case !mayPresence(o, c.UserID(), c.IsSubscribed(name)):
		return centrifuge.ErrorPermissionDenied
	}
	return nil
}

func (r *reference) history(c *centrifuge.Client, name string) error {
	o, err := r.named(name)
	switch {
	case err != nil:
		return err
	case !o.History():
		return centrifuge.ErrorNotAvailable
	case !mayHistory(o, c.UserID(), c.IsSubscribed(name)):
		return centrifuge.ErrorPermissionDenied
	}
	return nil
}

// allowedByName says whether a client may subscribe without a token.
func allowedByName(o *channel.Options, name, user string) bool {
	if i := strings.LastIndex(name, "#"); i >= 0 && o.AllowUserLimitedChannels {
		return user != "" && slices.Contains(strings.Split(name[i+1:], ","), user)
	}
	return o.AllowSubscribeForClient && (user != "" || o.AllowSubscribeForAnonymous)
}

func mayPresence(o *channel.Options, user string, subscribed bool) bool {
	return (user != "" || o.AllowPresenceForAnonymous) && (o.AllowPresenceForClient || o.AllowPresenceForSubscriber && subscribed)
}

func mayHistory(o *channel.Options, user string, subscribed bool) bool {
	return (user != "" || o.AllowHistoryForAnonymous) && (o.AllowHistoryForClient || o.AllowHistoryForSubscriber && subscribed)
}

// validRest says whether a client may name the channel so.
func validRest(o *channel.Options, name, rest string) bool {
	if o.ChannelRegex != "" {
		return regexp.MustCompile(o.ChannelRegex).MatchString(rest)
	}
	return !strings.ContainsFunc(name, func(r rune) bool { return r > 127 })
}

// validData says whether the namespace takes the data.
func validData(o *channel.Options, data []byte) bool {
	switch o.PublicationDataFormat {
	case "binary":
		return true
	case "json":
		return json.Valid(data)
	case "json_object":
		return json.Valid(data) && bytes.HasPrefix(bytes.TrimSpace(data), []byte("{"))
	}
	return len(data) > 0
}

func metaTTL(o *channel.Options) time.Duration {
	if o.HistoryMetaTTL > 0 {
		return o.HistoryMetaTTL
	}
	return 720 * time.Hour
}
