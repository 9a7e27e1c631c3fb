package memory

import "fmt"

// expireSlice is how many deadlines are handled under a lock at once: about 20 µs.
const expireSlice = 64

// Expire frees the memory of publications, streams and idempotency keys whose time
// is over: at most budget of them, and at most 64 under one lock at once. It
// returns how many it looked at; as many as budget means that there may be more.
// Without it everything works but memory grows. Any goroutine.
func (b *Broker) Expire(budget int) (done int) {
	now := b.now()
	for idle := 0; idle < shards && done < budget; {
		at := b.expireAt.Load()
		s := &b.shards[at%shards]
		n := s.upkeep(now, min(budget-done, expireSlice))
		done += n
		if n == 0 {
			idle++
		} else {
			idle = 0
		}
		if n < expireSlice {
			b.expireAt.CompareAndSwap(at, at+1)
		}
	}
	return done
}

func (s *shard) upkeep(now int64, n int) (done int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	done = s.expire(now, n)
	return done + s.keys.expire(now, n-done)
}

// Trim gives back memory that the lists of channels and keys do not need any more.
// It costs a look at every block of them, shard by shard. Any goroutine.
func (b *Broker) Trim() {
	for i := range b.shards {
		b.shards[i].trim()
	}
}

func (s *shard) trim() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streams.names.Trim()
	s.keys.results.names.Trim()
	s.due.trim()
	s.keys.due.trim()
}

// Stats says what the broker holds.
type Stats struct {
	Streams         int    // channels with a position
	Publications    int    // kept in them
	HistoryBytes    int    // heap bytes of both
	IdempotencyKeys int    // remembered
	KeyBytes        int    // heap bytes of them
	KeysEvicted     uint64 // forgotten before their time, because of Config.IdempotencyBytesMax
}

// Stats locks each shard for a moment. What has expired counts until Expire has
// seen it.
func (b *Broker) Stats() Stats {
	st := Stats{KeysEvicted: b.idem.evicted.Load()}
	for i := range b.shards {
		b.shards[i].addTo(&st)
	}
	return st
}

func (s *shard) addTo(st *Stats) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st.Streams += s.streams.len()
	st.Publications += s.held.publications
	st.HistoryBytes += s.held.bytes + s.streams.heldBytes() + cap(s.due.heap)*16
	st.IdempotencyKeys += s.keys.results.len()
	st.KeyBytes += s.keys.results.heldBytes() + cap(s.keys.due.heap)*16
}

// Validate checks the broker against itself; it is slow and for tests and debug
// pages.
func (b *Broker) Validate() error {
	var keyBytes int64
	for i := range b.shards {
		n, err := b.shards[i].validate()
		if err != nil {
			return fmt.Errorf("memory: shard %d: %w", i, err)
		}
		keyBytes += n
	}
	if got := b.idem.bytes.Load(); got != keyBytes {
		return fmt.Errorf("memory: %d bytes of keys counted, %d found", got, keyBytes)
	}
	return nil
}

func (s *shard) validate() (keyBytes int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.streams.validate(); err != nil {
		return 0, fmt.Errorf("streams: %w", err)
	}
	queued := make(map[deadline]bool, len(s.due.heap))
	for _, d := range s.due.heap {
		queued[d] = true
	}
	var held holding
	s.streams.names.Each(func(id uint32, name []byte, _ int) bool {
		r := s.streams.row(id)
		held.publications += r.Len()
		held.bytes += r.HeldBytes()
		if err = r.Stream.Validate(); err != nil {
			return false
		}
		if at := r.Deadline(); at != 0 && (r.queued == 0 || r.queued > at) || r.queued != 0 && !queued[deadline{r.queued, id}] {
			err = fmt.Errorf("%q is due at %d, but queued at %d", name, at, r.queued)
		}
		return err == nil
	})
	if err == nil && held != s.held {
		err = fmt.Errorf("counted %+v, found %+v", s.held, held)
	}
	if err != nil {
		return 0, err
	}
	return s.keys.validate()
}

func (k *keys) validate() (bytes int64, err error) {
	if err := k.results.validate(); err != nil {
		return 0, fmt.Errorf("keys: %w", err)
	}
	if len(k.due.heap) != k.results.len() {
		return 0, fmt.Errorf("%d keys, but %d deadlines", k.results.len(), len(k.due.heap))
	}
	for _, d := range k.due.heap {
		if k.results.row(d.id).until < d.at {
			return 0, fmt.Errorf("key %d ends before its deadline", d.id)
		}
	}
	k.results.names.Each(func(_ uint32, name []byte, _ int) bool {
		bytes += int64(len(name) + keyBytes)
		return true
	})
	return bytes, nil
}

func (b *book[T]) validate() error {
	used := make([]int, len(b.blocks))
	b.names.Each(func(id uint32, _ []byte, refs int) bool {
		used[(id-1)/blockRows] += refs
		return true
	})
	for i, bl := range b.blocks {
		if bl == nil && used[i] != 0 || bl != nil && (bl.used != used[i] || bl.used == 0) {
			return fmt.Errorf("block %d has %d rows in use", i, used[i])
		}
	}
	return b.names.Validate()
}
