package queue

import (
	"errors"
	"fmt"
	"sync"
	"testing"
)

func TestPutWakesOnlyWhenTheMailboxWasEmpty(t *testing.T) {
	m := NewMailbox[int](10)
	for i, want := range []bool{true, false, false} {
		if wake, err := m.Put(i); wake != want || err != nil {
			t.Errorf("put %d: wake %v, %v; want %v", i, wake, err, want)
		}
	}
	batch := m.Drain(nil)
	if got := fmt.Sprint(batch); got != "[0 1 2]" {
		t.Errorf("drained %s, want [0 1 2]", got)
	}
	if wake, _ := m.Put(3); !wake {
		t.Error("the first put after a drain does not wake")
	}
	if batch = m.Drain(batch); len(batch) != 1 || batch[0] != 3 {
		t.Errorf("drained %v, want [3]", batch)
	}
	if batch = m.Drain(batch); len(batch) != 0 {
		t.Errorf("drained %v of an empty mailbox", batch)
	}
	validate(t, m)
}

func TestFullMailboxRefuses(t *testing.T) {
	m := NewMailbox[string](2)
	m.Put("a")
	m.Put("b")
	if wake, err := m.Put("c"); wake || !errors.Is(err, ErrFull) {
		t.Errorf("third put: wake %v, error %v; want ErrFull", wake, err)
	}
	validate(t, m)
	if got := m.Drain(nil); len(got) != 2 || got[1] != "b" {
		t.Errorf("drained %v, want [a b]", got)
	}
	if wake, err := m.Put("d"); !wake || err != nil {
		t.Errorf("put after drain: wake %v, error %v", wake, err)
	}
}

func TestClosedMailboxRefusesButKeepsWhatItHas(t *testing.T) {
	m := NewMailbox[int](2)
	m.Put(1)
	m.Close()
	m.Close()
	if wake, err := m.Put(2); wake || err != ErrClosed {
		t.Errorf("put: wake %v, error %v; want ErrClosed", wake, err)
	}
	if got := m.Drain(nil); len(got) != 1 {
		t.Errorf("drained %v, want the message taken before Close", got)
	}
}

func TestMailboxNeedsALimit(t *testing.T) {
	mustPanic(t, "max 0", func() { NewMailbox[int](0) })
}

func TestDrainForgetsWhatWasConsumed(t *testing.T) {
	m := NewMailbox[*int](8)
	m.Put(new(int))
	batch := m.Drain(nil)
	hold := batch
	m.Put(new(int))
	m.Drain(batch)
	if hold[0] != nil {
		t.Error("the drained buffer still keeps a message alive")
	}
}

func TestBigBuffersShrinkAfterABurst(t *testing.T) {
	const burst = 10_000
	m := NewMailbox[int](burst)
	var batch []int
	for range 2 { // both buffers get big
		for i := range burst {
			m.Put(i)
		}
		batch = m.Drain(batch)
	}
	for range 4 * drainsPerReview {
		m.Put(1)
		batch = m.Drain(batch)
	}
	if cap(batch) > 4*keepMessages || cap(m.in) > 4*keepMessages {
		t.Errorf("buffers of %d and %d messages after the burst, want at most %d", cap(batch), cap(m.in), 4*keepMessages)
	}
	if n := m.Trim(); n == 0 || m.in != nil {
		t.Errorf("Trim of an empty mailbox gave back room for %d messages", n)
	}
	m.Put(1)
	if n := m.Trim(); n != 0 || m.Len() != 1 {
		t.Errorf("Trim touched a mailbox with a message")
	}
}

func TestSteadyWavesKeepTheirBuffers(t *testing.T) {
	m := NewMailbox[int](4096)
	var batch []int
	wave := func() {
		for i := range 1000 {
			m.Put(i)
		}
		batch = m.Drain(batch)
		for range 20 {
			m.Put(1)
			batch = m.Drain(batch)
		}
	}
	for range 20 {
		wave()
	}
	if got := testing.AllocsPerRun(50, wave); got != 0 {
		t.Errorf("%v allocations per wave of 1,000 messages, want 0", got)
	}
}

// Many goroutines put; the owner is woken as Put says. Nothing is lost, each
// sender's order is kept.
func TestNoMessageIsLostAmongSenders(t *testing.T) {
	const senders, each = 8, 5_000
	type message struct{ sender, n int }
	m := NewMailbox[message](64)
	wake := make(chan struct{}, 1)
	var group sync.WaitGroup
	for sender := range senders {
		group.Go(func() {
			for n := 0; n < each; {
				switch woken, err := m.Put(message{sender, n}); {
				case err == ErrFull:
					wake <- struct{}{} // waits for the owner to make room
				case err != nil:
					t.Error(err)
					return
				default:
					n++
					if woken {
						select {
						case wake <- struct{}{}:
						default:
						}
					}
				}
			}
		})
	}
	var next [senders]int
	var batch []message
	for got := 0; got < senders*each; {
		<-wake
		batch = m.Drain(batch)
		for _, msg := range batch {
			if msg.n != next[msg.sender] {
				t.Fatalf("sender %d: message %d, want %d", msg.sender, msg.n, next[msg.sender])
			}
			next[msg.sender]++
		}
		got += len(batch)
	}
	done := make(chan struct{})
	go func() { group.Wait(); close(done) }()
	for {
		select {
		case <-wake: // left-over wake-ups of senders that met a full mailbox
		case <-done:
			validate(t, m)
			return
		}
	}
}

func validate(t *testing.T, v interface{ Validate() error }) {
	t.Helper()
	if err := v.Validate(); err != nil {
		t.Fatal(err)
	}
}

func mustPanic(t *testing.T, name string, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Errorf("%s: no panic", name)
		}
	}()
	f()
}
