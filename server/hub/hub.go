package hub

import (
	"fmt"
	"unsafe"

	"shoal/pool/intern"
	"shoal/pool/slab"
)

// Form is a wire form: the one way in which a publication is encoded for a group
// of sessions (payload encoding, framing, compression). The hub only tells them
// apart; what each means is the node's table. Always below [FormsMax].
type Form uint8

// FormsMax is the number of wire forms a hub can tell apart.
const FormsMax = 8

// List is the head of one session's subscriptions, kept by the session itself.
// The zero value is an empty list.
type List uint32

// Sub names one membership for as long as it lasts; the numbers are used again. The
// zero value is none.
type Sub uint32

// Membership is what the hub keeps for one session in one channel, for the node: it
// reads nothing of it but the form.
type Membership struct {
	Extra uint32 // an index of the node's; 0 none
	Flags uint16
	Form  Form // must not be changed
	_     uint8
}

// Member is one receiver of a fan-out.
type Member struct {
	Slot  uint32
	Sub   Sub
	Flags uint16
	Form  Form
}

// subscription is one session's membership in one channel.
type subscription struct {
	slot   uint32 // the conn
	ch     uint32 // interned channel name
	next   List   // next subscription of the same session, index+1
	member uint32 // place in the channel's member list
	Membership
}

// subscriptionBytes is the budget's figure (BUDGET.md); the list adds 4 B.
const subscriptionBytes = 24

var _ = [1]struct{}{}[subscriptionBytes-unsafe.Sizeof(subscription{})]

// record is one channel that has members or an open cursor on this loop.
type record struct {
	list    members
	holes   uint32 // members that left under an open cursor
	cursors uint16
	forms   uint8 // forms its members use; a bit stays until the last member leaves
}

// Hub indexes the channels of one loop. Use [New]. Loop-owned: no method may be
// called from another goroutine.
type Hub struct {
	names    *intern.Table
	channels *slab.Column[record] // by interned name
	subs     *slab.Slab[subscription]
	lists    arena
	count    int    // channels with members
	ids      uint32 // the interned names' numbers are below
}

// New returns an empty hub.
func New() *Hub {
	return &Hub{
		names:    intern.New(),
		channels: slab.NewColumn[record](),
		subs:     slab.New[subscription](),
	}
}

// Subscribe makes the session of slot, whose subscriptions hang on list, a member
// of channel. It copies the name when it is new. first tells that the channel had
// no member of this form here before, so that publications of the form must be
// sent to this loop from now on. sub is 0, and nothing changed, when the session is
// a member already.
func (h *Hub) Subscribe(slot uint32, list *List, channel []byte, form Form) (sub Sub, first bool) {
	id, known := h.names.Lookup(channel)
	if known && h.find(*list, id) != 0 {
		return 0, false
	}
	if !known {
		id = h.names.Acquire(channel)
		h.ids = max(h.ids, id+1)
		*h.channels.At(id) = record{}
	}
	rec := h.channels.At(id)
	if h.live(rec) == 0 {
		h.count++
		rec.forms = 0
	}
	bit := uint8(1) << form
	first = rec.forms&bit == 0
	rec.forms |= bit

	i, entry := h.subs.Alloc()
	*entry = subscription{slot: slot, ch: id, next: *list, member: h.lists.push(&rec.list, i), Membership: Membership{Form: form}}
	*list = List(i + 1)
	return Sub(i + 1), first
}

// Alone says whether no other session is a member of the membership's channel.
func (h *Hub) Alone(sub Sub) bool {
	return h.live(h.channels.At(h.subs.At(uint32(sub-1)).ch)) == 1
}

// Leave ends a membership that hangs on list.
func (h *Hub) Leave(list *List, sub Sub) {
	for at := list; *at != 0; {
		entry := h.subs.At(uint32(*at - 1))
		if *at == List(sub) {
			*at = entry.next
			h.leave(uint32(sub-1), entry)
			return
		}
		at = &entry.next
	}
	panic("hub: the membership to be ended does not hang on this list")
}

// Find returns the membership in channel of the session whose subscriptions hang on
// list; 0 for none.
func (h *Hub) Find(list List, channel []byte) Sub {
	id, known := h.names.Lookup(channel)
	if !known {
		return 0
	}
	return Sub(h.find(list, id))
}

// First is the membership that list begins with, the one made last; 0 for none.
func (h *Hub) First(list List) Sub { return Sub(list) }

// At is what is kept for a membership, to be read and changed until it ends.
func (h *Hub) At(sub Sub) *Membership { return &h.subs.At(uint32(sub - 1)).Membership }

// Slot is the conn whose membership it is.
func (h *Hub) Slot(sub Sub) uint32 { return h.subs.At(uint32(sub - 1)).slot }

// Name is the channel of a membership, valid until that ends.
func (h *Hub) Name(sub Sub) []byte { return h.names.Bytes(h.subs.At(uint32(sub - 1)).ch) }

// NameOf is the name of the channel with this number, valid while it has a member.
func (h *Hub) NameOf(ch uint32) []byte { return h.names.Bytes(ch) }

// ChannelOf is the number of a membership's channel; see [Hub.ID].
func (h *Hub) ChannelOf(sub Sub) uint32 { return h.subs.At(uint32(sub - 1)).ch }

// Subscribed reports whether the session whose subscriptions hang on list is a
// member of channel.
func (h *Hub) Subscribed(list List, channel []byte) bool { return h.Find(list, channel) != 0 }

// Subscribers is the number of members of channel on this loop.
func (h *Hub) Subscribers(channel []byte) int {
	id, known := h.names.Lookup(channel)
	if !known {
		return 0
	}
	return h.live(h.channels.At(id))
}

// Channels is the number of channels with members, Subscriptions that of memberships.
func (h *Hub) Channels() int { return h.count }

// Subscriptions is the number of memberships in all channels.
func (h *Hub) Subscriptions() int { return h.subs.Len() }

// Each looks at up to n channels from a place on, 0 at first, and calls f for those
// with members. It returns the place to go on from; more is false when that is the
// end. The name is valid during the call; f must not change the hub, but it may
// change between two calls of Each.
func (h *Hub) Each(from uint32, n int, f func(channel []byte, subscribers int)) (next uint32, more bool) {
	for ; n > 0 && from < h.ids; n-- {
		if rec := h.channels.Peek(from); rec != nil && h.live(rec) > 0 {
			f(h.names.Bytes(from), h.live(rec))
		}
		from++
	}
	return from, from < h.ids
}

// EachOf calls f for every membership of one session until it returns false. f may
// end the membership it is called with.
func (h *Hub) EachOf(list List, f func(sub Sub) bool) {
	for list != 0 {
		next := h.subs.At(uint32(list - 1)).next
		if !f(Sub(list)) {
			return
		}
		list = next
	}
}

// HeldBytes is the memory the hub keeps from the heap.
func (h *Hub) HeldBytes() int {
	return h.names.HeldBytes() + h.channels.Bytes() + h.subs.Bytes() + h.lists.heldBytes()
}

// Trim gives memory back that no member needs any more; bytes released.
func (h *Hub) Trim() int {
	if h.names.Len() == 0 {
		h.ids = 0
	}
	return h.subs.Trim() + h.names.Trim() + h.channels.Trim(h.inUse)
}

// inUse reports whether a channel of the chunk has members or an open cursor.
func (h *Hub) inUse(chunk int) bool {
	for id := uint32(chunk) * slab.ChunkSlots; id < uint32(chunk+1)*slab.ChunkSlots; id++ {
		if rec := h.channels.Peek(id); rec.list.len > 0 || rec.cursors > 0 {
			return true
		}
	}
	return false
}

func (h *Hub) live(rec *record) int { return int(rec.list.len - rec.holes) }

// find returns the index+1 of the list's subscription to the channel, 0 if none.
func (h *Hub) find(list List, ch uint32) List {
	for list != 0 {
		sub := h.subs.At(uint32(list - 1))
		if sub.ch == ch {
			return list
		}
		list = sub.next
	}
	return 0
}

// leave takes the member out of its channel and frees its subscription.
func (h *Hub) leave(i uint32, sub *subscription) {
	rec, ch := h.channels.At(sub.ch), sub.ch
	if rec.cursors > 0 {
		h.lists.set(&rec.list, sub.member, hole)
		rec.holes++
	} else {
		h.moveLast(rec, sub.member)
	}
	h.subs.Free(i)
	if h.live(rec) == 0 {
		h.count--
		h.forget(ch, rec)
	}
}

// moveLast fills the place of a departed member with the last one.
func (h *Hub) moveLast(rec *record, place uint32) {
	end := rec.list.len - 1
	if place != end {
		moved := h.lists.get(&rec.list, end)
		h.lists.set(&rec.list, place, moved)
		h.subs.At(moved).member = place
	}
	h.lists.truncate(&rec.list, end)
}

// forget releases the record of a channel without members and cursors.
func (h *Hub) forget(ch uint32, rec *record) {
	if rec.cursors > 0 || h.live(rec) > 0 {
		return
	}
	h.lists.drop(&rec.list)
	*rec = record{}
	h.names.Release(ch)
}

// Validate checks every list against every subscription. Slow: for tests,
// simulation and a debug page.
func (h *Hub) Validate() error {
	var used [classes + 2]int
	total, count := 0, 0
	var err error
	h.names.Each(func(id uint32, name []byte, _ int) bool {
		rec := h.channels.At(id)
		used[rec.list.class]++
		n, e := h.validateRecord(id, rec)
		if e != nil {
			err = fmt.Errorf("hub: channel %q: %w", name, e)
			return false
		}
		total += n
		if n > 0 {
			count++
		}
		return true
	})
	if err != nil {
		return err
	}
	if total != h.subs.Len() || count != h.count {
		return fmt.Errorf("hub: lists hold %d members in %d channels, counted %d in %d", total, count, h.subs.Len(), h.count)
	}
	if err := h.lists.validate(&used); err != nil {
		return err
	}
	if err := h.subs.Validate(); err != nil {
		return err
	}
	return h.names.Validate()
}

func (h *Hub) validateRecord(id uint32, rec *record) (live int, err error) {
	holes := 0
	for i := range rec.list.len {
		m := h.lists.get(&rec.list, i)
		if m == hole {
			holes++
			continue
		}
		if sub := h.subs.At(m); sub.ch != id || sub.member != i || rec.forms>>sub.Form&1 == 0 {
			return 0, fmt.Errorf("place %d holds subscription %d of channel %d, place %d, form %d", i, m, sub.ch, sub.member, sub.Form)
		}
	}
	if holes != int(rec.holes) || holes > 0 && rec.cursors == 0 {
		return 0, fmt.Errorf("%d holes found, %d counted under %d cursors", holes, rec.holes, rec.cursors)
	}
	if rec.list.len == 0 && rec.cursors == 0 {
		return 0, fmt.Errorf("kept without members or cursors")
	}
	return int(rec.list.len) - holes, nil
}
