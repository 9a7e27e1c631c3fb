package poll

// Border is what the Sys of a loop has beside when the loop's descriptors are in a table of their own, apart from the process's: their
// numbers mean something else on every other goroutine, and a limit on descriptors holds for each table. Descriptors cross by Parcels.
type Border interface {
	// Enter leaves the process's table, for good, with the goroutine that calls it, which stays locked to its thread. It comes
	// before everything else of the loop's goroutine.
	Enter() error
	// In sends a copy of a descriptor of the process's table; the caller's stays open. Any goroutine but a loop's.
	In(fd int) (Parcel, error)
	// Receive makes it a descriptor of the loop. On the loop.
	Receive(p Parcel) (fd int, err error)
	// Out sends a copy of a descriptor of the loop; the loop's stays open. On the loop.
	Out(fd int) (Parcel, error)
	// Fetch makes it a descriptor of the process. Any goroutine but a loop's.
	Fetch(p Parcel) (fd int, err error)
	// Revoke gives up what In made and nobody will Receive. Any goroutine but a loop's.
	Revoke(p Parcel)
}

// Parcel is a descriptor on its way; it arrives once. Those that never do are closed with the poller.
type Parcel uint64

// BorderOf is the border of a Sys; for one in the process's own table there is none to cross, and apart is false.
func BorderOf(s Sys) (b Border, apart bool) {
	if b, apart = s.(Border); apart {
		return b, true
	}
	return none{}, false
}

// none is the border of a loop in the process's own table: a descriptor has the same number on both sides, and stays the only one.
type none struct{}

func (none) Enter() error                       { return nil }
func (none) In(fd int) (Parcel, error)          { return Parcel(fd), nil }
func (none) Receive(p Parcel) (int, error)      { return int(p), nil }
func (none) Out(fd int) (Parcel, error)         { return Parcel(fd), nil }
func (none) Fetch(p Parcel) (fd int, err error) { return int(p), nil }
func (none) Revoke(Parcel)                      {}
