package channel

import "strconv"

// Disconnect says why the server ends a session. On WebSocket it travels as the
// code and reason of the close frame. Codes 3000–3999 are the protocol's, 4000–4999
// the application's.
type Disconnect struct {
	Code   uint32
	Reason string // at most 123 bytes (RFC 6455 §5.5); must not be a JSON object, old clients would parse it
}

// Terminal says whether clients stay away after it: they do for codes 3500–3999 and
// 4500–4999 and come back after all others.
func (d *Disconnect) Terminal() bool {
	return d.Code >= 3500 && d.Code < 4000 || d.Code >= 4500 && d.Code < 5000
}

// Error implements error: "3501: bad request".
func (d *Disconnect) Error() string {
	return strconv.FormatUint(uint64(d.Code), 10) + ": " + d.Reason
}

// DisconnectCode is a code of the client protocol's disconnect table. 0 is none.
type DisconnectCode uint32

// The disconnect codes of the client protocol. 3002, 3003 and 3007 are not used.
const (
	DisconnectClosed            DisconnectCode = 3000 // the conn is closed without a close frame
	DisconnectShutdown          DisconnectCode = 3001
	DisconnectServerError       DisconnectCode = 3004
	DisconnectExpired           DisconnectCode = 3005
	DisconnectSubExpired        DisconnectCode = 3006
	DisconnectSlow              DisconnectCode = 3008
	DisconnectWriteError        DisconnectCode = 3009
	DisconnectInsufficientState DisconnectCode = 3010
	DisconnectForceReconnect    DisconnectCode = 3011
	DisconnectNoPong            DisconnectCode = 3012
	DisconnectTooManyRequests   DisconnectCode = 3013
	DisconnectStateInvalidated  DisconnectCode = 3014
	DisconnectInvalidToken      DisconnectCode = 3500
	DisconnectBadRequest        DisconnectCode = 3501
	DisconnectStale             DisconnectCode = 3502
	DisconnectForced            DisconnectCode = 3503
	DisconnectConnectionLimit   DisconnectCode = 3504
	DisconnectChannelLimit      DisconnectCode = 3505
	DisconnectInappropriate     DisconnectCode = 3506
	DisconnectPermissionDenied  DisconnectCode = 3507
	DisconnectNotAvailable      DisconnectCode = 3508
	DisconnectTooManyErrors     DisconnectCode = 3509
)

// The tables are indexed by code − 3000 and code − 3500 and never written; an empty
// reason marks a code that is not used.
var (
	reconnectTable = [...]Disconnect{
		{3000, "connection closed"}, {3001, "shutdown"}, {3002, ""}, {3003, ""},
		{3004, "internal server error"}, {3005, "connection expired"},
		{3006, "subscription expired"}, {3007, ""}, {3008, "slow"}, {3009, "write error"},
		{3010, "insufficient state"}, {3011, "force reconnect"}, {3012, "no pong"},
		{3013, "too many requests"}, {3014, "state invalidated"},
	}
	terminalTable = [...]Disconnect{
		{3500, "invalid token"}, {3501, "bad request"}, {3502, "stale"},
		{3503, "force disconnect"}, {3504, "connection limit"}, {3505, "channel limit"},
		{3506, "inappropriate protocol"}, {3507, "permission denied"},
		{3508, "not available"}, {3509, "too many errors"},
	}
)

// Disconnect returns the table's entry, shared and read-only; a code that is not in
// the table gives that of [DisconnectServerError].
func (c DisconnectCode) Disconnect() *Disconnect {
	if d := c.lookup(); d != nil {
		return d
	}
	return &reconnectTable[DisconnectServerError-DisconnectClosed]
}

// Known says whether c is in the table.
func (c DisconnectCode) Known() bool { return c.lookup() != nil }

func (c DisconnectCode) lookup() *Disconnect {
	var d *Disconnect
	switch {
	case c >= DisconnectInvalidToken && int(c-DisconnectInvalidToken) < len(terminalTable):
		d = &terminalTable[c-DisconnectInvalidToken]
	case c >= DisconnectClosed && int(c-DisconnectClosed) < len(reconnectTable):
		d = &reconnectTable[c-DisconnectClosed]
	}
	if d == nil || d.Reason == "" {
		return nil
	}
	return d
}
