package ws

import (
	"sync/atomic"

	"shoal/codec/ws"
)

// Stats counts what a transport did. The loop writes, any goroutine may read.
type Stats struct {
	Opened                   atomic.Uint64
	MessagesIn, MessagesOut  atomic.Uint64
	PayloadIn, PayloadOut    atomic.Uint64
	PingsIn, PongsIn         atomic.Uint64
	Floods                   atomic.Uint64 // conns that sent too many control frames
	Compressed, Uncompressed atomic.Uint64 // replies of conns with permessage-deflate
	InflateErrors            atomic.Uint64
	failures                 [64]atomic.Uint64 // by ws.Reason
}

// Stats are the transport's counters.
func (t *Transport) Stats() *Stats { return &t.stats }

// Failures is the number of conns that ended for breaking the framing rule r.
func (s *Stats) Failures(r ws.Reason) uint64 { return s.failures[r].Load() }
