package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"

	"shoal/server/auth"
	"shoal/server/channel"
	"shoal/server/config"
)

// tokenCheckCommand looks into a token.
type tokenCheckCommand struct {
	tokenSource
	Token   string `arg:"" help:"The token; - reads it from standard input."`
	User    string `short:"u" help:"Subscription tokens: the user of the connection it is used on (default: the token's)."`
	Channel string `placeholder:"NAME" help:"Subscription tokens: the channel subscribed to (default: the token's)."`
}

// Help is the text below the flags.
func (tokenCheckCommand) Help() string {
	return "The exit code is 0 when the server would accept the token now, and 1 when not. Keys are never printed; if the configuration " +
		"names a key set (client.token.jwks_public_endpoint), it is fetched as the server would."
}

const (
	tokenInputMax   = 1 << 20 // of standard input
	tokenClaimsShow = 4096    // bytes of claims that are printed
)

// Run prints what the token says and what the server says to it.
func (c *tokenCheckCommand) Run(to Process) error {
	cfg, err := c.load(to)
	if err != nil {
		return err
	}
	tok := c.Token
	if tok == "-" {
		text, err := io.ReadAll(io.LimitReader(to.In, tokenInputMax))
		if err != nil {
			return fmt.Errorf("standard input: %w", err)
		}
		tok = string(text)
	}
	tok = strings.TrimSpace(tok)
	now := to.Clock()
	claims := describe(to.Out, tok, now)
	a := asked{user: c.User, userKnown: c.User != "", channel: c.Channel}
	if a.channel == "" {
		a.channel = text(claims["channel"])
	}
	v, err := judge(cfg, tok, a, now, func(section, warning string) { fmt.Fprintf(to.Err, "shoal: %s: %s\n", section, warning) })
	if err != nil {
		return usageError{fmt.Errorf("the server would not start with this configuration: %w", err)}
	}
	if !v.refused {
		_, err := fmt.Fprintf(to.Out, "accepted: %s\n", v.text)
		return err
	}
	fmt.Fprintf(to.Out, "refused: %s\n", v.text)
	return errors.New("the token is refused")
}

// asked is what a token is used for; without a channel, to connect.
type asked struct {
	user      string
	userKnown bool // otherwise it is the token's own
	channel   string
}

// verdict is what the server would do.
type verdict struct {
	refused bool
	text    string
}

// judge decides as the server does.
func judge(cfg config.Config, tok string, q asked, now time.Time, warn func(section, warning string)) (verdict, error) {
	a, err := authorityOf(cfg, warn)
	switch {
	case err != nil:
		return verdict{}, err
	case tok == "":
		return verdict{refused: true, text: "it is empty"}, nil
	case q.channel != "":
		return judgeSubscription(a, tok, q, now), nil
	}
	cred, refusal, why := a.Connect(tok, now)
	if !refusal.Refused() && cred.ExpireAt > 0 && cred.ExpireAt <= now.Unix() {
		refusal = channel.RefuseError(channel.ErrExpired)
	}
	because := reasonText(why)
	for i := 0; i < len(cred.Subs) && !refusal.Refused(); i++ {
		_, refusal.Err = a.Rules.Resolve(cred.Subs[i].Channel)
		because = "of the channel " + strconv.QuoteToASCII(cred.Subs[i].Channel) + " in it"
	}
	if refusal.Refused() {
		return refuseWith(refusal, because), nil
	}
	s := "a client connects as " + userText(cred.User)
	if n := len(cred.Subs); n > 0 {
		s += fmt.Sprintf(" and is subscribed to %d channels by the server", n)
	}
	return verdict{text: s + until(cred.ExpireAt, now)}, nil
}

func judgeSubscription(a *auth.Authority, tok string, q asked, now time.Time) verdict {
	opts, bad := a.Rules.ResolveForClient(q.channel)
	if bad != nil {
		return refuseWith(channel.Refusal{Err: bad}, "of the channel's name or namespace")
	}
	client := ""
	if view, err := auth.Inspect(tok); err == nil {
		claims := members(view.Claims)
		client = text(claims["client"]) // any client: which one will use it is not known here
	}
	if !q.userKnown {
		if g, err := a.SubscribeTokens.Subscription(tok, now); err == nil {
			q.user = g.User
		}
	}
	g, refusal, why := a.Subscribe(opts, q.user, client, q.channel, tok, now)
	if !refusal.Refused() && g.ExpireAt > 0 && g.ExpireAt <= now.Unix() {
		refusal = channel.RefuseError(channel.ErrExpired)
	}
	if refusal.Refused() {
		return refuseWith(refusal, reasonText(why))
	}
	s := userText(q.user) + " subscribes to " + strconv.QuoteToASCII(q.channel)
	if client != "" {
		s += ", on the connection " + strconv.QuoteToASCII(client) + " only"
	}
	return verdict{text: s + until(g.ExpireAt, now)}
}

// refuseWith says which code a client gets, and what it then does.
func refuseWith(r channel.Refusal, because string) verdict {
	var s string
	switch d := r.Disconnect; {
	case d != nil && d.Terminal():
		s = fmt.Sprintf("disconnect %d (%s), after which clients give up", d.Code, d.Reason)
	case d != nil:
		s = fmt.Sprintf("disconnect %d (%s), after which clients come back", d.Code, d.Reason)
	case r.Err.Code == uint32(channel.ErrTokenExpired):
		s = fmt.Sprintf("error %d (%s), on which clients fetch a new token", r.Err.Code, r.Err.Message)
	case r.Err.Temporary:
		s = fmt.Sprintf("error %d (%s), on which clients try again", r.Err.Code, r.Err.Message)
	default:
		s = fmt.Sprintf("error %d (%s)", r.Err.Code, r.Err.Message)
	}
	if because != "" {
		s += ", because " + because
	}
	return verdict{refused: true, text: s}
}

// reasonText is why, for a person: the reason's name and its detail.
func reasonText(why *auth.Error) string {
	if why == nil {
		return ""
	}
	return printable(why.Detail) + " [" + why.Reason.String() + "]"
}

func userText(user string) string {
	if user == "" {
		return "an anonymous client"
	}
	return "user " + strconv.QuoteToASCII(user)
}

func until(unix int64, now time.Time) string {
	if unix == 0 {
		return ", for ever"
	}
	return ", until " + moment(unix, now)
}

// describe prints what the token says of itself, believing nothing, and gives its claims.
func describe(w io.Writer, tok string, now time.Time) map[string]json.RawMessage {
	view, bad := auth.Inspect(tok)
	if bad != nil {
		fmt.Fprintf(w, "not readable (%d bytes): %s\n", len(tok), printable(bad.Detail))
		return nil
	}
	claims := members(view.Claims)
	kind := "connection token"
	if text(claims["channel"]) != "" {
		kind = "subscription token"
	}
	fmt.Fprintf(w, "%s, %d bytes; not yet verified:\n", kind, len(tok))
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "  %-12s %s\n", name, value)
		}
	}
	if line("algorithm", view.Algorithm); view.Algorithm == "" {
		line("algorithm", "none that is known")
	}
	if view.KeyID != "" {
		line("key id", strconv.QuoteToASCII(view.KeyID))
	}
	for _, c := range []struct{ label, claim string }{{"user", "sub"}, {"channel", "channel"}, {"client", "client"}, {"issuer", "iss"}, {"audience", "aud"}} {
		if value := claims[c.claim]; value != nil {
			line(c.label, printable(compact(value)))
		}
	}
	for _, c := range []struct{ label, claim string }{{"issued", "iat"}, {"not before", "nbf"}, {"expires", "exp"}, {"grants until", "expire_at"}} {
		if unix, ok := date(claims[c.claim]); ok {
			line(c.label, moment(unix, now))
		}
	}
	line("claims", printable(compact(view.Claims)))
	return claims
}

// members are those of a JSON object; nil for anything else.
func members(object []byte) map[string]json.RawMessage {
	var m map[string]json.RawMessage
	if json.Unmarshal(object, &m) != nil {
		return nil
	}
	return m
}

func text(value json.RawMessage) string {
	var s string
	_ = json.Unmarshal(value, &s) // anything else is no text
	return s
}

// date is a NumericDate within the years that a calendar has.
func date(value json.RawMessage) (int64, bool) {
	var f float64
	if value == nil || json.Unmarshal(value, &f) != nil || f < -62_135_596_800 || f > 253_402_300_799 {
		return 0, false
	}
	return int64(f), true
}

// moment is a time and how far away it is.
func moment(unix int64, now time.Time) string {
	at := time.Unix(unix, 0).UTC().Format("2006-01-02 15:04:05 UTC")
	const century = 100 * 365 * 24 * 3600
	switch distance := unix - now.Unix(); {
	case distance > century || distance < -century:
		return at
	case distance >= 0:
		return at + " (in " + (time.Duration(distance) * time.Second).String() + ")"
	default:
		return at + " (" + (time.Duration(-distance) * time.Second).String() + " ago)"
	}
}

func compact(value []byte) string {
	var b bytes.Buffer
	if json.Compact(&b, value) != nil {
		return ""
	}
	if b.Len() > tokenClaimsShow {
		return b.String()[:tokenClaimsShow] + fmt.Sprintf("… (%d bytes)", b.Len())
	}
	return b.String()
}

// printable escapes what could do something to a terminal: whoever made the token chose it.
func printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		}
	}
	return b.String()
}
