package entry

import (
	"fmt"
	"net/netip"

	"shoal/codec/handshake"
	"shoal/loop"
	"shoal/pool/slab"
)

// Gate is the control's part on one loop: it knows what each conn has to give back. It
// belongs to the loop. Use [NewGate].
type Gate struct {
	control *Control
	l       *loop.Loop
	keys    *slab.Column[uint64] // of addresses, by slot; empty unless connections are counted by address
}

// NewGate returns the gate of loop l.
func NewGate(c *Control, l *loop.Loop) *Gate {
	return &Gate{control: c, l: l, keys: slab.NewColumn[uint64]()}
}

// Admit decides about an upgrade. The client's address is the request's, should somebody
// have said it, otherwise the peer's, which the kernel is asked for when it is needed.
func (g *Gate) Admit(slot uint32, req *handshake.Request) handshake.Status {
	g.Left(slot) // what a panic between Admit and the conn's opening has left
	key, status := g.control.arrive(g.l.Clock(), func() netip.Addr {
		if req.Remote.IsValid() {
			return req.Remote
		}
		peer, err := g.l.Peer(slot)
		if err != nil {
			return netip.Addr{} // it is gone already
		}
		return peer.Addr()
	})
	if key != 0 {
		*g.keys.At(slot) = key
	}
	return status
}

// Left gives back what a conn had.
func (g *Gate) Left(slot uint32) {
	if key := g.keys.Peek(slot); key != nil && *key != 0 {
		g.control.addresses.leave(*key)
		*key = 0
	}
}

// Trim gives memory back that a burst of conns left.
func (g *Gate) Trim() { g.keys.Trim(g.l.HoldsChunk) }

// Validate compares what is counted with what the gates of all loops have to give back and
// with the number of connections of users. It is slow and for tests, while nothing moves.
func (c *Control) Validate(users int, gates ...*Gate) error {
	held := 0
	for _, g := range gates {
		g.l.Each(func(slot uint32, _ loop.Kind) bool {
			if key := g.keys.Peek(slot); key != nil && *key != 0 {
				held++
			}
			return true
		})
	}
	if n := c.addresses.open(); n != held {
		return fmt.Errorf("entry: %d connections are counted by address, %d will be given back", n, held)
	}
	if n := c.users.open(); n != users {
		return fmt.Errorf("entry: %d connections are counted by user, there are %d", n, users)
	}
	return nil
}
