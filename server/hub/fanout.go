package hub

// Cursor walks the members that a channel had when the cursor began, in order of
// joining. It must be ended by [Hub.End]; while it is open departures leave holes.
type Cursor struct {
	ch        uint32
	next, end uint32
}

// Begin opens a cursor on the members that channel has now. ok is false, and
// nothing is to be ended, when it has none.
func (h *Hub) Begin(channel []byte) (c Cursor, ok bool) {
	id, known := h.names.Lookup(channel)
	if !known {
		return Cursor{}, false
	}
	rec := h.channels.At(id)
	if h.live(rec) == 0 || rec.cursors == ^uint16(0) {
		return Cursor{}, false
	}
	rec.cursors++
	return Cursor{ch: id, end: rec.list.len}, true
}

// Next appends up to n members to dst and moves on. It returns dst unchanged when
// the cursor has reached its end.
func (h *Hub) Next(c *Cursor, dst []Member, n int) []Member {
	rec := h.channels.At(c.ch)
	for n > 0 && c.next < c.end {
		m := h.lists.get(&rec.list, c.next)
		c.next++
		if m == hole {
			continue
		}
		sub := h.subs.At(m)
		dst = append(dst, Member{Slot: sub.slot, Sub: Sub(m + 1), Flags: sub.Flags, Form: sub.Form})
		n--
	}
	return dst
}

// Rewind moves the cursor back to the first of the members that the channel has
// now. It closes the holes when no other cursor is open, so that a channel whose
// cursor is rewound again and again does not grow by those who left.
func (h *Hub) Rewind(c *Cursor) {
	rec := h.channels.At(c.ch)
	if rec.cursors == 1 && rec.holes > 0 {
		h.compact(rec)
	}
	c.next, c.end = 0, rec.list.len
}

// Channel identifies the cursor's channel in this hub for as long as the cursor
// is open.
func (c *Cursor) Channel() uint32 { return c.ch }

// ID is the number of a channel that has members or an open cursor; it stays the
// same for as long as that is so.
func (h *Hub) ID(channel []byte) (id uint32, ok bool) { return h.names.Lookup(channel) }

// End closes the cursor. The last one on a channel closes the holes.
func (h *Hub) End(c *Cursor) {
	rec := h.channels.At(c.ch)
	rec.cursors--
	if rec.cursors == 0 {
		if rec.holes > 0 {
			h.compact(rec)
		}
		h.forget(c.ch, rec)
	}
	*c = Cursor{}
}

// compact closes the holes and keeps the order of joining.
func (h *Hub) compact(rec *record) {
	to := uint32(0)
	for i := range rec.list.len {
		m := h.lists.get(&rec.list, i)
		if m == hole {
			continue
		}
		if to != i {
			h.lists.set(&rec.list, to, m)
			h.subs.At(m).member = to
		}
		to++
	}
	rec.holes = 0
	h.lists.truncate(&rec.list, to)
}
