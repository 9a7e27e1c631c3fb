package poll

import (
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// parcel sends one end of a pipe, and returns what its number stands for.
func parcel(t *testing.T, l *lane) (p Parcel, of string) {
	t.Helper()
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = unix.Close(ends[0]), unix.Close(ends[1]) }()
	p, err := l.send(ends[0])
	if err != nil {
		t.Fatal(err)
	}
	return p, kindOf(ends[0])
}

func newLane(t *testing.T) *lane {
	t.Helper()
	l := new(lane)
	if err := l.open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.close)
	return l
}

func TestParcelsArriveInAnyOrder(t *testing.T) {
	l := newLane(t)
	var sent []Parcel
	var kinds []string
	for range 5 {
		p, of := parcel(t, l)
		sent, kinds = append(sent, p), append(kinds, of)
	}
	for _, i := range []int{3, 0, 4, 1, 2} {
		fd, err := l.receive(sent[i])
		if err != nil {
			t.Fatal(err)
		}
		if got := kindOf(fd); got != kinds[i] {
			t.Errorf("parcel %d is %s, want %s", i, got, kinds[i])
		}
		_ = unix.Close(fd)
	}
	if _, err := l.receive(99); err == nil {
		t.Error("a parcel nobody sent was received")
	}
}

func TestARevokedParcelIsClosed(t *testing.T) {
	l := newLane(t)
	before, err := openDescriptors()
	if err != nil {
		t.Fatal(err)
	}
	gone, _ := parcel(t, l)
	kept, of := parcel(t, l)
	l.revoke(gone)
	fd, err := l.receive(kept)
	if err != nil || kindOf(fd) != of {
		t.Fatalf("%s (%v), want %s", kindOf(fd), err, of)
	}
	_ = unix.Close(fd)
	if after, _ := openDescriptors(); len(after) != len(before) {
		t.Errorf("open are %v, before %v", after, before)
	}
	if len(l.arrived)+len(l.revoked) > 0 {
		t.Errorf("left: %v, %v", l.arrived, l.revoked)
	}
}

// The loop may have taken a parcel in, on its way to another, before the sender gives it up.
func TestAParcelRevokedAfterItArrivedIsClosed(t *testing.T) {
	l := newLane(t)
	before, err := openDescriptors()
	if err != nil {
		t.Fatal(err)
	}
	gone, _ := parcel(t, l)
	first, _ := parcel(t, l)
	second, _ := parcel(t, l)
	fd, err := l.receive(first) // and takes in the one before
	if err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(fd)
	l.revoke(gone)
	l.revoke(0)
	if fd, err = l.receive(second); err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(fd)
	if after, _ := openDescriptors(); len(after) != len(before) || len(l.arrived)+len(l.revoked) > 0 {
		t.Errorf("open are %v, before %v; left: %v, %v", after, before, l.arrived, l.revoked)
	}
}

func TestTooManyParcelsAreRefused(t *testing.T) {
	l := newLane(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { r.Close(); w.Close() }()
	var sent []Parcel
	for range 1 << 16 {
		p, err := l.send(int(r.Fd()))
		if err != nil {
			break
		}
		sent = append(sent, p)
	}
	if len(sent) == 1<<16 {
		t.Fatal("any number is taken")
	}
	for _, p := range sent {
		fd, err := l.receive(p)
		if err != nil {
			t.Fatal(err)
		}
		_ = unix.Close(fd)
	}
	p, of := parcel(t, l)
	if fd, err := l.receive(p); err != nil || kindOf(fd) != of {
		t.Errorf("afterwards: %v", err)
	} else {
		_ = unix.Close(fd)
	}
}

func TestGosPollerIsFound(t *testing.T) {
	p, _, err := Open() // another epoll instance, with eventfds
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	found, err := goPoller()
	if err != nil {
		t.Fatal(err)
	}
	again, err := goPoller()
	if err != nil || !slices.Equal(found, again) {
		t.Errorf("found %v, then %v (%v)", found, again, err)
	}
	if len(found) != 2 || kindOf(found[0]) != "anon_inode:[eventpoll]" || slices.Contains(found, p.(*epoll).waitFD) {
		t.Errorf("found %v", found)
	}
}
