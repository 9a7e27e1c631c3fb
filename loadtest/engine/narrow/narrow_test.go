package narrow

import (
	"errors"
	"net/netip"
	"testing"

	"shoal/loop/poll"
)

// kernel gives out descriptors and remembers what was set.
type kernel struct {
	poll.Sys
	next int
	fail bool
	set  map[int]int
}

func (k *kernel) Connect(_, _ netip.AddrPort) (int, error) {
	if k.fail {
		return -1, errors.New("no")
	}
	k.next++
	return k.next, nil
}
func (k *kernel) ConnectErr(int) error { return nil }
func (k *kernel) Close(int) error      { return nil }
func (k *kernel) Adopt(fd int, o poll.Options) error {
	k.set[fd] = o.ReceiveBytes
	return nil
}

// apart is a kernel with a table of its own.
type apart struct {
	*kernel
	poll.Border
}

func TestOnlyThoseThatAreToBeAreNarrow(t *testing.T) {
	k := &kernel{set: map[int]int{}}
	n := &Sys{Sys: k}
	connect := func(small bool) int {
		n.Small(small)
		fd, err := n.Connect(netip.AddrPort{}, netip.AddrPort{})
		if err != nil || int(n.Last()) != fd || k.set[fd] != 0 {
			t.Fatalf("descriptor %d, %d, %v; set before it is connected: %d", fd, n.Last(), err, k.set[fd])
		}
		return fd
	}
	a, b, c := connect(true), connect(false), connect(true)
	_ = n.Close(c) // its number is given out again
	for _, fd := range []int{a, b, c} {
		if err := n.ConnectErr(fd); err != nil {
			t.Fatal(err)
		}
	}
	if k.set[a] != smallBytes || k.set[b] != 0 || k.set[c] != 0 {
		t.Errorf("buffers %v of descriptors %d (narrow), %d, %d (closed)", k.set, a, b, c)
	}
	n.Widen(a)
	if k.set[a] != wideBytes {
		t.Errorf("widened to %d", k.set[a])
	}
	k.fail = true
	n.Small(true)
	if _, err := n.Connect(netip.AddrPort{}, netip.AddrPort{}); err == nil {
		t.Error("it connects")
	}
	k.fail = false
	if fd := connect(false); n.ConnectErr(fd) != nil || k.set[fd] != 0 {
		t.Errorf("the one after a failure is narrow: %v", k.set)
	}
}

func TestABorderStaysOne(t *testing.T) {
	plain := (&Sys{Sys: &kernel{}}).Whole()
	border, is := poll.BorderOf(plain)
	if is {
		t.Error("a border where there is none")
	}
	if _, is := poll.BorderOf((&Sys{Sys: apart{&kernel{}, border}}).Whole()); !is {
		t.Error("the border is hidden")
	}
}
