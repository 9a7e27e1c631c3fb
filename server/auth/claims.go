package auth

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"shoal/server/channel"
)

// registered are the claims of RFC 7519 §4.1 that are read, and the user they name.
type registered struct {
	Subject   *string         `json:"sub"`
	Issuer    string          `json:"iss"`
	Audience  audience        `json:"aud"`
	Expires   *numericDate    `json:"exp"`
	NotBefore *numericDate    `json:"nbf"`
	IssuedAt  *numericDate    `json:"iat"`
	ID        json.RawMessage `json:"jti"` // any value: it is not used
	ExpireAt  *numericDate    `json:"expire_at"`

	user string
}

type connectionClaims struct {
	registered
	Channel  json.RawMessage     `json:"channel"`
	Info     json.RawMessage     `json:"info"`
	B64Info  string              `json:"b64info"`
	Meta     json.RawMessage     `json:"meta"`
	Channels []string            `json:"channels"`
	Subs     map[string]subClaim `json:"subs"`
}

type subscriptionClaims struct {
	registered
	Channel string `json:"channel"`
	Client  string `json:"client"`
	subClaim
}

type subClaim struct {
	Info     json.RawMessage `json:"info"`
	B64Info  string          `json:"b64info"`
	Data     json.RawMessage `json:"data"`
	B64Data  string          `json:"b64data"`
	Override *override       `json:"override"`
}

type flag struct {
	Value bool `json:"value"`
}

type override struct {
	Presence           *flag `json:"presence"`
	JoinLeave          *flag `json:"join_leave"`
	ForcePushJoinLeave *flag `json:"force_push_join_leave"`
	ForcePositioning   *flag `json:"force_positioning"`
	ForceRecovery      *flag `json:"force_recovery"`
}

func (o *override) compile() *channel.Override {
	if o == nil {
		return nil
	}
	value := func(f *flag) *bool {
		if f == nil {
			return nil
		}
		return &f.Value
	}
	return &channel.Override{
		Presence:           value(o.Presence),
		JoinLeave:          value(o.JoinLeave),
		ForcePushJoinLeave: value(o.ForcePushJoinLeave),
		ForcePositioning:   value(o.ForcePositioning),
		ForceRecovery:      value(o.ForceRecovery),
	}
}

// numericDate is a NumericDate (RFC 7519 §2) in whole seconds, the fraction cut off.
type numericDate int64

// numericDateMax is the year 9999; a later date, most often milliseconds by mistake, is
// taken for it, so that no arithmetic overflows.
const numericDateMax = 253_402_300_799

// UnmarshalJSON takes a JSON number only, not one in quotes.
func (d *numericDate) UnmarshalJSON(b []byte) error {
	f, err := strconv.ParseFloat(string(b), 64)
	if err != nil {
		return err
	}
	*d = numericDate(max(-numericDateMax, min(f, numericDateMax)))
	return nil
}

// audience is one string or a list of them (RFC 7519 §4.1.3).
type audience []string

// UnmarshalJSON takes both forms.
func (a *audience) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '[' {
		return json.Unmarshal(b, (*[]string)(a))
	}
	var one *string
	if err := json.Unmarshal(b, &one); err != nil {
		return err
	}
	if one != nil {
		*a = audience{*one}
	}
	return nil
}

// claims decodes the payload into all, whose registered part is reg, and checks the
// registered claims.
func (v *Verifier) claims(payload []byte, all any, reg *registered, now time.Time) *Error {
	if first := strings.TrimLeft(string(payload[:min(len(payload), 16)]), " \t\r\n"); !strings.HasPrefix(first, "{") {
		return refuse(ReasonClaims, "the claims are not a JSON object")
	}
	if err := json.Unmarshal(payload, all); err != nil {
		return refuse(ReasonClaims, "the claims do not decode: a claim has a wrong type or value")
	}
	if err := v.names(payload, reg); err != nil {
		return err
	}
	leeway := int64(v.cfg.LeewaySeconds)
	if reg.Expires != nil && now.Unix() >= int64(*reg.Expires)+leeway {
		return refuse(ReasonExpired, "exp was %d s ago", now.Unix()-int64(*reg.Expires))
	}
	if reg.NotBefore != nil && now.Unix() < int64(*reg.NotBefore)-leeway {
		return refuse(ReasonNotYet, "nbf is in %d s; are the clocks in step?", int64(*reg.NotBefore)-now.Unix())
	}
	return nil
}

// names checks whom the token is from, for, and about.
func (v *Verifier) names(payload []byte, reg *registered) *Error {
	matchesAudience := func(one string) bool {
		if v.audienceRe != nil {
			return v.audienceRe.MatchString(one)
		}
		return one == v.cfg.Audience
	}
	if (v.cfg.Audience != "" || v.audienceRe != nil) && !slices.ContainsFunc(reg.Audience, matchesAudience) {
		return refuse(ReasonAudience, "aud has not what audience or audience_regex asks for")
	}
	if v.cfg.Issuer != "" && reg.Issuer != v.cfg.Issuer || v.issuerRe != nil && !v.issuerRe.MatchString(reg.Issuer) {
		return refuse(ReasonIssuer, "iss is not what issuer or issuer_regex asks for")
	}
	if v.cfg.UserIDClaim == "" {
		if reg.Subject != nil {
			reg.user = *reg.Subject
		}
		return nil
	}
	return v.namedUser(payload, reg)
}

// namedUser takes the user from the configured claim: a string, or a number as written.
func (v *Verifier) namedUser(payload []byte, reg *registered) *Error {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(payload, &all); err != nil {
		return refuse(ReasonClaims, "the claims are not a JSON object")
	}
	value := all[v.cfg.UserIDClaim]
	if absent(value) {
		return nil
	}
	var s string
	var n json.Number
	if json.Unmarshal(value, &s) == nil {
		reg.user = s
	} else if json.Unmarshal(value, &n) == nil {
		reg.user = n.String()
	} else {
		return refuse(ReasonClaims, "%s, which names the user, is neither a string nor a number", v.cfg.UserIDClaim)
	}
	return nil
}

// expireAt is when what the token grants ends: expire_at if there is one, and then 0 or
// less means never, otherwise exp.
func (r *registered) expireAt() int64 {
	switch {
	case r.ExpireAt != nil:
		return max(int64(*r.ExpireAt), 0)
	case r.Expires != nil:
		return max(int64(*r.Expires), 0)
	}
	return 0
}

// serverSubs merges the claims subs and channels; channels counts only without subs.
func (c *connectionClaims) serverSubs() ([]channel.ServerSub, *Error) {
	if len(c.Subs) == 0 {
		names := slices.Clone(c.Channels)
		slices.Sort(names)
		var subs []channel.ServerSub
		for _, name := range slices.Compact(names) {
			subs = append(subs, channel.ServerSub{Channel: name})
		}
		return subs, nil
	}
	subs := make([]channel.ServerSub, 0, len(c.Subs))
	for _, name := range slices.Sorted(maps.Keys(c.Subs)) {
		claim := c.Subs[name]
		sub := channel.ServerSub{Channel: name, Override: claim.Override.compile()}
		var bad *Error
		if sub.Info, bad = payloadOf(claim.Info, claim.B64Info, "info"); bad != nil {
			return nil, bad
		}
		if sub.Data, bad = payloadOf(claim.Data, claim.B64Data, "data"); bad != nil {
			return nil, bad
		}
		subs = append(subs, sub)
	}
	return subs, nil
}
