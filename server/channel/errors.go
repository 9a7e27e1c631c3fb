package channel

import "strconv"

// Error is what a command is answered with when it cannot be done and the conn
// stays. Codes 100–399 are the protocol's ([ErrorCode]), 400–1999 the application's.
type Error struct {
	Code      uint32
	Message   string
	Temporary bool // the same command may succeed later; clients retry
}

// Error implements error: "102: unknown channel".
func (e *Error) Error() string {
	return strconv.FormatUint(uint64(e.Code), 10) + ": " + e.Message
}

// ErrorCode is a code of the client protocol's error table. 0 is none.
type ErrorCode uint32

// The error codes of the client protocol.
const (
	ErrInternal              ErrorCode = 100
	ErrUnauthorized          ErrorCode = 101
	ErrUnknownChannel        ErrorCode = 102
	ErrPermissionDenied      ErrorCode = 103
	ErrMethodNotFound        ErrorCode = 104
	ErrAlreadySubscribed     ErrorCode = 105
	ErrLimitExceeded         ErrorCode = 106
	ErrBadRequest            ErrorCode = 107
	ErrNotAvailable          ErrorCode = 108
	ErrTokenExpired          ErrorCode = 109
	ErrExpired               ErrorCode = 110
	ErrTooManyRequests       ErrorCode = 111
	ErrUnrecoverablePosition ErrorCode = 112
	ErrConcurrentPagination  ErrorCode = 113
)

// errorTable is indexed by code − 100 and never written.
var errorTable = [...]Error{
	{Code: 100, Message: "internal server error", Temporary: true},
	{Code: 101, Message: "unauthorized"},
	{Code: 102, Message: "unknown channel"},
	{Code: 103, Message: "permission denied"},
	{Code: 104, Message: "method not found"},
	{Code: 105, Message: "already subscribed"},
	{Code: 106, Message: "limit exceeded"},
	{Code: 107, Message: "bad request"},
	{Code: 108, Message: "not available"},
	{Code: 109, Message: "token expired"},
	{Code: 110, Message: "expired"},
	{Code: 111, Message: "too many requests", Temporary: true},
	{Code: 112, Message: "unrecoverable position"},
	{Code: 113, Message: "concurrent pagination", Temporary: true},
}

// Err returns the table's entry, shared and read-only; a code that is not in the
// table gives that of [ErrInternal].
func (c ErrorCode) Err() *Error {
	if i := int(c) - int(ErrInternal); i >= 0 && i < len(errorTable) {
		return &errorTable[i]
	}
	return &errorTable[0]
}

// Known says whether c is in the table.
func (c ErrorCode) Known() bool {
	return c >= ErrInternal && int(c-ErrInternal) < len(errorTable)
}

// Refusal is how something a client asked for is refused: by an error in the reply
// or by a disconnect. At most one field is set, but that a connect may be answered with an
// error and then ended; the zero value refuses nothing.
type Refusal struct {
	Err        *Error
	Disconnect *Disconnect
}

// Refused says whether it refuses anything.
func (r Refusal) Refused() bool { return r.Err != nil || r.Disconnect != nil }

// RefuseError is the refusal by a table error.
func RefuseError(c ErrorCode) Refusal { return Refusal{Err: c.Err()} }

// RefuseDisconnect is the refusal by a table disconnect.
func RefuseDisconnect(c DisconnectCode) Refusal { return Refusal{Disconnect: c.Disconnect()} }

// RefuseForNow is the refusal of a connect that may be tried again: error 111, which is
// temporary, answers the command, and 3013 ends the session, after which clients come back
// later.
func RefuseForNow() Refusal {
	return Refusal{Err: ErrTooManyRequests.Err(), Disconnect: DisconnectTooManyRequests.Disconnect()}
}
