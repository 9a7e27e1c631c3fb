package node

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"shoal/codec/proto"
	"shoal/pool/slab"
	"shoal/server/auth"
	"shoal/server/backend"
	"shoal/server/channel"
	"shoal/server/hub"
	"shoal/server/node/seal"
	"shoal/server/session"
)

// ResumeConfig rules resume tokens, with which clients that asked for one come back in
// one command. The zero value gives none.
type ResumeConfig struct {
	Window    time.Duration    // a token is good for; 0: none are given and none are taken
	Keys      seal.Config      // what they are sealed with
	Clock     func() time.Time // required with a Window
	UserClaim string           // of connection tokens; empty is sub
}

// revokeUser ends what the API ends for all sessions of a user, those included that are
// not here at present, but for those of who.Spare that are. Sessions picked in another way
// end their own, on their loops.
func (n *Node) revokeUser(ctx context.Context, who *Target, channel string, subs bool) {
	if who.User == "" || who.Client != "" {
		return
	}
	var mu sync.Mutex
	var spared []uint64
	if n.tokens.Sealer != nil && len(who.Spare) > 0 {
		_, _ = n.each(ctx, Target{User: who.User}, func(s *Shard, slot uint32, _ *session.Session) { // those that are not found are not spared
			if r := s.resumption(slot); r != nil && slices.Contains(who.Spare, s.clientID(slot)) {
				mu.Lock()
				defer mu.Unlock()
				spared = append(spared, r.lineage)
			}
		})
	}
	mu.Lock()
	defer mu.Unlock()
	n.tokens.Revoke(seal.Subject{User: who.User, Channel: channel, All: subs && channel == ""}, spared...)
}

// resumption is kept for sessions whose client asked for tokens.
type resumption struct {
	lineage  uint64 // 0: it did not ask
	expireAt int64  // of the credentials, Unix seconds; 0 never
	given    bool   // a token
}

// resuming is what a shard has for resume tokens.
type resuming struct {
	sessions *slab.Column[resumption]
	scratch  seal.Scratch
	plain    []byte
	text     []byte
}

// resumption gives the session's; nil when its client wants no tokens.
func (s *Shard) resumption(slot uint32) *resumption {
	if r := s.resuming.sessions.Peek(slot); r != nil && r.lineage != 0 {
		return r
	}
	return nil
}

// granted notes when the credentials of a session end.
func (s *Shard) granted(slot uint32, expireAt int64) {
	if r := s.resumption(slot); r != nil {
		r.expireAt = expireAt
	}
}

// revoke ends the tokens that a session was given.
func (s *Shard) revoke(slot uint32) {
	if r := s.resumption(slot); r != nil && r.given {
		s.node.tokens.Revoke(seal.Subject{Lineage: r.lineage})
	}
}

// closing ends the tokens of a session that was closed by a decision about it: of the API,
// a backend or a newer session, or because its time was over. A mishap ends none, and no
// mistake of its client: many made on purpose would end everybody's, see seal.Marks.
func (s *Shard) closing(slot uint32, in *session.Input, d *channel.Disconnect) {
	switch code := channel.DisconnectCode(d.Code); {
	case in.Kind == session.KindSubscribed, in.Kind == session.KindRefreshed, in.Kind == session.KindSubRefreshed: // its token was refused
	case code == channel.DisconnectExpired && in.Kind == session.KindTimer: // so did its tokens, without a mark for each
	case code == channel.DisconnectExpired, code == channel.DisconnectSubExpired:
		s.revoke(slot)
	case code < channel.DisconnectInvalidToken, code == channel.DisconnectInappropriate:
	case in.Kind == session.KindDisconnect, in.Refusal.Disconnect != nil: // else the session machine found fault
		s.revoke(slot)
	}
}

// removed ends a subscription in the session's tokens, if the server ended it for good.
func (s *Shard) removed(slot uint32, name string, u *channel.Unsubscribe) {
	switch channel.UnsubscribeCode(u.Code) {
	case channel.UnsubscribeInsufficientState, channel.UnsubscribeStateInvalidated:
		return // it may come back at once
	}
	if r := s.resumption(slot); r != nil && r.given {
		s.node.tokens.Revoke(seal.Subject{Lineage: r.lineage, Channel: name})
	}
}

// sealedFlags says what flags of a membership are called in tokens.
var sealedFlags = [...]struct{ flag, sealed uint16 }{
	{flagServerSide, seal.ServerSide}, {flagPositioned, seal.Positioned}, {flagRecoverable, seal.Recoverable},
	{flagSignals, seal.Signals}, {flagPresent, seal.Present}, {flagTells, seal.Tells}, {flagDelta, seal.Delta},
	{flagServerRefresh, seal.ServerRefresh}, {flagFromToken, seal.FromToken},
}

// resumeToken seals what the session is now. Empty when its client wants no tokens, or
// when it would be too large. It lives until the next call.
func (s *Shard) resumeToken(slot uint32, ses *session.Session) string {
	of, r := s.resumption(slot), &s.resuming
	if of == nil {
		return ""
	}
	of.given = true
	s.node.tokens.Give()
	h := seal.Head{
		Lineage: of.lineage, IssuedAt: s.node.tokens.Now(), Window: s.node.tokens.Window,
		ExpireAt: of.expireAt, Renewed: s.asks(backend.Refresh, "", nil), User: s.user(ses), Info: s.info(ses),
	}
	h.Tenanted, h.Tenant = s.tenants != nil, s.tenants.Name(slot)
	if user := s.headerUser(slot); user != "" && user == h.User {
		h.Forwarded = true
	}
	if d := s.details.Peek(slot); d != nil && d.meta != 0 {
		h.Meta = s.infos.Bytes(d.meta)
	}
	r.plain = seal.AppendHead(r.plain[:0], &h)
	connecting := s.openings[slot] != nil
	s.hub.EachOf(hub.List(ses.Subs), func(sub hub.Sub) bool {
		s.sealSub(sub, connecting)
		return len(r.plain) <= seal.PlainBytesMax
	})
	if len(r.plain) > seal.PlainBytesMax {
		return ""
	}
	s.node.stats.ResumeTokens.Add(1)
	r.text = s.node.tokens.Sealer.Seal(r.text[:0], &r.scratch, r.plain)
	return stringOf(r.text)
}

// sealSub adds a membership to the token that is being made, unless it is on its way out
// or, but for those that come with the connect, in.
func (s *Shard) sealSub(sub hub.Sub, connecting bool) {
	m := s.hub.At(sub)
	w := s.waits[sub]
	if w != nil && (w.removed != nil || !connecting && m.Flags&flagServerSide != 0) {
		return
	}
	out := seal.Sub{Channel: s.hub.Name(sub)}
	for _, f := range sealedFlags {
		if m.Flags&f.flag != 0 {
			out.Flags |= f.sealed
		}
	}
	if m.Extra != 0 {
		x := s.extras.At(m.Extra)
		out.ExpireAt = x.expireAt
		if x.info != 0 {
			out.Info = s.infos.Bytes(x.info)
		}
		if x.filter != 0 {
			out.Filter = s.filters.Bytes(x.filter)
		}
	}
	s.resuming.plain = seal.AppendSub(s.resuming.plain, &out)
}

// restored is a subscription that comes back by a token, at a place that the client says.
type restored struct {
	name     string
	flags    uint16
	expireAt int64
	info     []byte
	filter   []byte
	recovers bool
	since    channel.Position
}

// resume lets a session come back as what its token says, if the connect command has a
// token that is good. If not it is as if there were none.
func (s *Shard) resume(slot uint32, ses *session.Session, e *session.Effect) bool {
	r := e.Command.Connect
	if r.Resume == "" || s.node.tokens.Sealer == nil {
		return false
	}
	of := s.resuming.sessions.At(slot)
	*of = resumption{lineage: rand.Uint64() | 1}
	if len(r.Resume) < seal.TextBytesMin {
		return false // it asks for its first one
	}
	o := s.takeOpening()
	h, why := s.unseal(slot, r, o)
	s.node.stats.Resumes[why].Add(1)
	if why != seal.None {
		s.leaveOpening(o)
		return false
	}
	refusal := s.tenants.Enter(slot, h.Tenant, nil, s.node.cfg.Entry.Connect(s.l.Clock(), true))
	if refusal = s.node.cfg.Entry.Enter(h.User, refusal); refusal.Refused() {
		s.tenants.Left(slot)
		s.leaveOpening(o)
		s.queue = append(s.queue, session.Input{Kind: session.KindAuthenticated, ID: e.ID, Refusal: refusal})
		return true
	}
	*of = resumption{lineage: h.Lineage, expireAt: h.ExpireAt, given: true}
	s.identify(ses, bytesOf(h.User), h.Info)
	s.setMeta(slot, h.Meta)
	o.resumed, o.lineage, o.issuedAt, o.tenant = true, h.Lineage, h.IssuedAt, h.Tenant
	s.openings[slot] = o
	s.enters(slot, ses, &session.Input{
		Kind: session.KindAuthenticated, ID: e.ID, Unix: s.l.Clock().Unix(), ExpireAt: h.ExpireAt, ServerRefresh: h.Renewed, Subs: o.asked(),
	})
	return true
}

// asked are the subscriptions of a token, for the session.
func (o *opening) asked() []channel.ServerSub {
	o.subs = o.subs[:0]
	for i := range o.restored {
		o.subs = append(o.subs, channel.ServerSub{Channel: o.restored[i].name})
	}
	return o.subs
}

// resumesLater leaves out what has ended since the token was judged.
func (s *Shard) resumesLater(ses *session.Session, o *opening) {
	h := seal.Head{User: s.user(ses), Lineage: o.lineage, IssuedAt: o.issuedAt, Tenant: o.tenant}
	s.node.tokens.RLock()
	defer s.node.tokens.RUnlock()
	o.restored = slices.DeleteFunc(o.restored, func(r restored) bool {
		sub := seal.Sub{Channel: bytesOf(r.name), ExpireAt: r.expireAt, Filter: r.filter}
		if r.flags&flagServerSide != 0 {
			sub.Flags = seal.ServerSide
		}
		return !s.mayRestore(&h, &sub)
	})
}

// unseal opens the token of a connect command and judges it; o gets its subscriptions. The
// info and meta that it returns live until another token is made.
func (s *Shard) unseal(slot uint32, r *proto.ConnectRequest, o *opening) (seal.Head, seal.Reason) {
	z := &s.node.tokens
	plain, why := z.Sealer.Open(&s.resuming.scratch, r.Resume)
	if why != seal.None {
		return seal.Head{}, why
	}
	h, rest, err := seal.Read(plain)
	if err != nil {
		return h, seal.Malformed
	}
	forwarded := s.headerUser(slot)
	switch {
	case z.Now()-h.IssuedAt >= min(h.Window, z.Window):
		return h, seal.Expired
	case h.ExpireAt > 0 && h.ExpireAt <= s.l.Clock().Unix():
		return h, seal.Credentials
	case h.Renewed != s.asks(backend.Refresh, "", nil), !s.tenants.Knows(h.Tenant, h.Tenanted),
		s.tenants != nil && r.Token != "" && otherName(r.Token, s.node.cfg.Tenants.Claim(), h.Tenant),
		(h.Forwarded || forwarded != "") && forwarded != h.User,
		r.Token != "" && otherName(r.Token, cmp.Or(s.node.cfg.Resume.UserClaim, "sub"), h.User):
		return h, seal.Unfit
	}
	z.RLock()
	defer z.RUnlock()
	if z.Marks.Revoked(seal.Subject{Lineage: h.Lineage}, h.IssuedAt) || h.User != "" && z.Marks.Revoked(seal.Subject{User: h.User, Lineage: h.Lineage}, h.IssuedAt) {
		return h, seal.Revoked
	}
	if err := s.restorable(&h, rest, r.Subs, o); err != nil {
		return h, seal.Malformed
	}
	if own, ok := s.node.cfg.Auth.PersonalChannel(h.User); ok && !slices.ContainsFunc(o.restored, func(r restored) bool { return r.name == own }) {
		return h, seal.Unfit
	}
	return h, seal.None
}

// restorable picks what of a token's subscriptions the client wants back and may have.
// The marks are locked.
func (s *Shard) restorable(h *seal.Head, rest []byte, wanted map[string]*proto.SubscribeRequest, o *opening) error {
	most := s.node.cfg.Session.ChannelsMax
	if most == 0 {
		most = math.MaxUint16
	}
	own, _ := s.node.cfg.Auth.PersonalChannel(h.User) // which all sessions of the user have, asked for or not
	o.names = slices.Grow(o.names[:0], len(rest))     // which all names fit into
	o.restored = slices.Grow(o.restored[:0], min(len(wanted)+1, most))
	for sub := (seal.Sub{}); ; {
		left, more, err := seal.Next(rest, &sub)
		if err != nil || !more {
			return err
		}
		rest = left
		r, wants := wanted[string(sub.Channel)]
		if !wants && string(sub.Channel) != own || len(o.restored) == most || !s.mayRestore(h, &sub) {
			continue
		}
		from := len(o.names)
		o.names = append(o.names, sub.Channel...)
		one := restored{name: stringOf(o.names[from:]), expireAt: sub.ExpireAt, info: bytes.Clone(sub.Info), filter: bytes.Clone(sub.Filter)}
		for _, f := range sealedFlags {
			if sub.Flags&f.sealed != 0 {
				one.flags |= f.flag
			}
		}
		one.recovers, one.since = r.GetRecover(), channel.Position{Offset: r.GetOffset(), Epoch: strings.Clone(r.GetEpoch())}
		o.restored = append(o.restored, one)
	}
}

// mayRestore says whether a subscription of a token is still good.
func (s *Shard) mayRestore(h *seal.Head, sub *seal.Sub) bool {
	name := stringOf(sub.Channel)
	opts, e := s.node.cfg.Session.Rules.Resolve(name)
	own := sub.Flags&seal.ServerSide != 0 || s.tenants.MayAs(h.Tenant, name)
	if e != nil || !own || sub.ExpireAt > 0 && sub.ExpireAt <= s.l.Clock().Unix() || len(sub.Filter) > 0 && !opts.AllowTagsFilter {
		return false
	}
	marks := s.node.tokens.Marks
	switch {
	case marks.Empty():
	case marks.Revoked(seal.Subject{Lineage: h.Lineage, Channel: name}, h.IssuedAt):
		return false
	case h.User == "":
	case marks.Revoked(seal.Subject{User: h.User, Lineage: h.Lineage, All: true}, h.IssuedAt), marks.Revoked(seal.Subject{User: h.User, Lineage: h.Lineage, Channel: name}, h.IssuedAt):
		return false
	}
	return true
}

// restore makes the next subscription that comes back by a token: by the connect as far
// as replies go, and what it was in all else.
func (s *Shard) restore(slot uint32, ses *session.Session, e *session.Effect, o *opening) {
	was := &o.restored[o.made]
	o.made++
	if was.name != e.Channel {
		panic(fmt.Sprintf("node: subscription %q is made, the token says %q", e.Channel, was.name))
	}
	a := &s.admission
	*a = admission{
		origin: byConnect, id: e.ID, name: e.Channel, opts: e.Options, restored: was,
		grant: auth.Grant{Info: was.info, ExpireAt: was.expireAt},
	}
	a.recovers, a.since, a.renewed = was.recovers, was.since, was.flags&flagServerRefresh != 0 && s.renews(e.Options)
	if len(was.filter) > 0 {
		a.filter = was.filter
	}
	if r := s.admit(slot, ses, a); r.Refused() {
		s.failed(slot, ses, a, r)
	}
}

// flagsAgain is flagsFor for what a token says.
func (a *admission) flagsAgain() uint16 {
	flags := a.restored.flags &^ (flagServerRefresh | flagDelta)
	if a.renewed {
		flags |= flagServerRefresh
	}
	if a.restored.flags&flagDelta != 0 && slices.Contains(a.opts.AllowedDeltaTypes, "fossil") {
		flags |= flagDelta
	}
	if a.filter != nil {
		flags |= flagFiltered
	}
	a.recover = (a.recovers || a.opts.AutoCacheRecover && a.opts.Caching()) && flags&flagRecoverable != 0
	return flags
}

// again adds to the result of a subscription that came back by a token what the client of
// one that it made by itself must know.
func (s *Shard) again(a *admission, r *proto.SubscribeResult) {
	if a.restored.flags&flagServerSide == 0 && !a.renewed && a.grant.ExpireAt > 0 {
		r.Expires, r.Ttl = true, uint32(min(a.grant.ExpireAt-s.l.Clock().Unix(), math.MaxInt32))
	}
}

// regranted notes what the backend said of the credentials that it renews. When they are
// over it decided about the user, not about this session.
func (s *Shard) regranted(slot uint32, ses *session.Session, r *backend.RefreshReply) {
	if !r.Refused() && !r.Expired {
		s.granted(slot, r.ExpireAt)
		return
	}
	if ses.User != 0 {
		s.node.tokens.Revoke(seal.Subject{User: s.user(ses)})
	}
}
