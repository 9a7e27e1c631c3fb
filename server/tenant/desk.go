package tenant

import (
	"encoding/json"
	"strings"
	"time"

	"shoal/pool/slab"
	"shoal/server/channel"
	"shoal/server/session"
)

// Desk is one loop's part of a set: it knows whose the sessions are. It belongs to the loop;
// nil lets everything pass.
type Desk struct {
	set *Set
	ids *slab.Column[uint8] // by slot: ID and one, 0 nobody's yet

	backlogs backlogs
}

// Desk returns one for a loop; nil without tenants. Before any loop runs.
func (s *Set) Desk() *Desk {
	if s == nil {
		return nil
	}
	s.relieved()
	return &Desk{set: s, ids: slab.NewColumn[uint8]()}
}

// of is the session's tenant; nil before Enter.
func (d *Desk) of(slot uint32) *tenant {
	if p := d.ids.Peek(slot); p != nil && *p != 0 {
		return d.set.tenants[*p-1]
	}
	return nil
}

// Name is what the session's tenant is called in tokens, empty for the default one.
func (d *Desk) Name(slot uint32) string {
	if d == nil || d.ID(slot) == 0 {
		return ""
	}
	return d.of(slot).name
}

// ID is the session's tenant, the default one before Enter.
func (d *Desk) ID(slot uint32) ID {
	if d != nil {
		if p := d.ids.Peek(slot); p != nil && *p != 0 {
			return ID(*p - 1)
		}
	}
	return 0
}

// Enter makes a session that connects one of the tenant that its credentials name, empty for
// none, and counts its connection. Refused is a name that is not listed (3507), a
// subscription of the credentials to another tenant's channel (3507), and one connection too
// many: with error 111, which answers the command, and then 3013, after which clients come
// back later. What is refused already stays so. Left gives back what it took.
func (d *Desk) Enter(slot uint32, name string, subs []channel.ServerSub, refusal channel.Refusal) channel.Refusal {
	if d == nil || refusal.Refused() {
		return refusal
	}
	d.Left(slot) // what a panic has left
	id, known := d.set.ids[name]
	if !known {
		d.set.unheardOf(name)
		return channel.RefuseDisconnect(channel.DisconnectPermissionDenied)
	}
	t := d.set.tenants[id]
	for i := range subs {
		if !d.set.may(id, subs[i].Channel) {
			t.refuse(Foreign)
			return channel.RefuseDisconnect(channel.DisconnectPermissionDenied)
		}
	}
	if !t.conns.enter() {
		t.refuse(Connections)
		return channel.RefuseForNow()
	}
	*d.ids.At(slot) = uint8(id) + 1
	return refusal
}

// Knows says whether a resume token's tenant is one: named says that the token names one at
// all, which may be the default one.
func (d *Desk) Knows(name string, named bool) bool {
	if d == nil {
		return true
	}
	_, known := d.set.ids[name]
	return known && named
}

// Entered says whether the session has a tenant, with which its connection is counted.
func (d *Desk) Entered(slot uint32) bool { return d.of(slot) != nil }

// Left counts the connection of a session that has ended off. Its memberships have ended
// before.
func (d *Desk) Left(slot uint32) {
	if d == nil {
		return
	}
	if t := d.of(slot); t != nil {
		t.conns.leave()
		*d.ids.Peek(slot) = 0
	}
}

// Moved says whether new credentials of a session name another tenant than it is of.
func (d *Desk) Moved(slot uint32, name string) bool { return d != nil && d.Name(slot) != name }

// May says whether the session may enter a channel: one of its own tenant, or a common one.
func (d *Desk) May(slot uint32, name string) bool { return d == nil || d.set.may(d.ID(slot), name) }

// MayAs is May for a session that will be of the tenant.
func (d *Desk) MayAs(tenant, name string) bool {
	return d == nil || d.set.may(d.set.ids[tenant], name)
}

func (s *Set) may(id ID, name string) bool {
	owner := s.OfChannel(name)
	return owner == 0 || owner == id
}

// Named is the tenant that a connect proxy names: the member of its reply's meta that is
// called like the claim. Any goroutine may ask.
func (d *Desk) Named(meta []byte) string {
	if d == nil || d.set.claim == "" || len(meta) == 0 {
		return ""
	}
	var members map[string]json.RawMessage
	var name string
	if json.Unmarshal(meta, &members) != nil || members[d.set.claim] == nil {
		return ""
	}
	if json.Unmarshal(members[d.set.claim], &name) != nil {
		return string(members[d.set.claim]) // which no tenant is called
	}
	return name
}

// Refuses says whether a session may not have done what a command asks for: enter another
// tenant's channel (error 103), send what its tenant has sent too much of, or anything while
// basic tenants are not served (111; a message without an answer is dropped). Then in is the outcome of the effect. What it lets pass is
// counted.
func (d *Desk) Refuses(slot uint32, e *session.Effect, now time.Time) (in session.Input, refused bool) {
	if d == nil {
		return in, false
	}
	bytes := 0
	switch e.Kind {
	case session.EffectSubscribe:
		if e.Sub != nil {
			return in, false // judged by Enter, or the server's own
		}
		in.Kind = session.KindSubscribed
	case session.EffectPublish:
		in.Kind, bytes = session.KindPublished, len(e.Command.Publish.Data)
	case session.EffectAsk:
		if in.Kind = session.KindAnswered; e.Command.Rpc != nil {
			bytes = len(e.Command.Rpc.Data)
		}
	case session.EffectSend:
		in.Kind, bytes = session.KindSent, len(e.Command.Send.Data)
	default:
		return in, false
	}
	in.ID, in.Channel = e.ID, e.Channel
	t := d.set.tenants[d.ID(slot)]
	switch {
	case e.Channel != "" && !d.May(slot, e.Channel):
		t.refuse(Foreign)
		in.Refusal = channel.RefuseError(channel.ErrPermissionDenied)
	case e.Kind == session.EffectSubscribe && d.set.serves(t), e.Kind != session.EffectSubscribe && d.set.admit(t, now, bytes):
		return in, false
	case e.Kind != session.EffectSend:
		in.Refusal = channel.RefuseError(channel.ErrTooManyRequests)
	}
	return in, true
}

// Join counts a membership of the session, or refuses it with error 106.
func (d *Desk) Join(slot uint32) *channel.Error {
	if d == nil {
		return nil
	}
	if t := d.set.tenants[d.ID(slot)]; !t.subs.enter() {
		t.refuse(Subscriptions)
		return channel.ErrLimitExceeded.Err()
	}
	return nil
}

// Leave counts a membership off.
func (d *Desk) Leave(slot uint32) {
	if d != nil {
		d.set.tenants[d.ID(slot)].subs.leave()
	}
}

// Trim drops the chunks of slots for which keep returns false.
func (d *Desk) Trim(keep func(chunk int) bool) {
	if d != nil {
		d.ids.Trim(keep)
	}
}

// unheardOf notes a name that is no tenant's.
func (s *Set) unheardOf(name string) {
	s.tenants[0].refuse(Unknown)
	if len(name) > nameBytesMax {
		name = name[:nameBytesMax]
	}
	name = strings.ToValidUTF8(name, "?")
	s.unknown.Store(&name)
}
