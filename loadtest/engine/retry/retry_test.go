package retry

import (
	"math/rand/v2"
	"testing"
	"time"

	"shoal/codec/ws"
)

func TestBackoffIsThatOfTheSDK(t *testing.T) {
	for _, c := range []struct {
		attempt int
		most    time.Duration
	}{{0, time.Second}, {1, 1500 * time.Millisecond}, {2, 2500 * time.Millisecond}, {5, 16500 * time.Millisecond}, {6, 20 * time.Second}, {31, 20 * time.Second}} {
		least, most := time.Hour, time.Duration(0)
		for r := range uint64(100_000) {
			d := Backoff(c.attempt, r*0x9e3779b97f4a7c15)
			least, most = min(least, d), max(most, d)
		}
		if least < backoffMin || least > backoffMin+10*time.Millisecond || most > c.most || most < c.most-10*time.Millisecond {
			t.Errorf("attempt %d: %s to %s, want 500ms to %s", c.attempt, least, most, c.most)
		}
	}
}

func TestRetryAfterIsRead(t *testing.T) {
	for head, want := range map[string]time.Duration{
		"HTTP/1.1 503 x\r\nRetry-After: 3\r\n\r\n":                              3 * time.Second,
		"HTTP/1.1 503 x\r\nretry-after:  120\r\n\r\n":                           2 * time.Minute,
		"HTTP/1.1 503 x\r\nRetry-After: 99999999\r\n\r\n":                       afterMax,
		"HTTP/1.1 503 x\r\nRetry-After: Wed, 21 Oct 2026 07:28:00 GMT\r\n\r\n":  0,
		"HTTP/1.1 503 x\r\nX-Retry-After: 3\r\nContent-Length: 0\r\nA:\r\n\r\n": 0,
	} {
		if got := After([]byte(head)); got != want {
			t.Errorf("%q: %s, want %s", head, got, want)
		}
	}
}

func TestFinalCodesAreThoseOfTheSDK(t *testing.T) {
	for code, want := range map[ws.CloseCode]bool{0: false, 1000: false, 3008: false, 3499: false, 3500: true, 3999: true, 4000: false, 4499: false, 4500: true, 4999: true} {
		if Terminal(code) != want {
			t.Errorf("%d: %t", code, !want)
		}
	}
}

func TestSleepersWakeInTheirTurn(t *testing.T) {
	var s Sleepers
	r := rand.New(rand.NewPCG(3, 4))
	due, last := map[uint32]int64{}, int64(0)
	for i := range uint32(500) {
		due[i] = r.Int64N(1000)
		last = max(last, due[i])
		s.Push(due[i], i)
	}
	if got := s.Longest(100); got != last-100 {
		t.Errorf("the last sleeps for %d, want %d", got, last-100)
	}
	for before := int64(0); s.Len() > 0; {
		next, n := s.Next(), uint32(0)
		if n = s.Pop(); due[n] != next || next < before {
			t.Fatalf("%d wakes at %d after %d, is due at %d", n, next, before, due[n])
		}
		before = next
		delete(due, n)
	}
	if len(due) != 0 {
		t.Errorf("%d never woke", len(due))
	}
}
