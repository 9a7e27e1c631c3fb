package channel

// Unsubscribe says why a subscription ended. It travels in the unsubscribe push.
type Unsubscribe struct {
	Code   uint32
	Reason string
}

// Resubscribes says whether clients subscribe again by themselves: from code 2500 on.
func (u *Unsubscribe) Resubscribes() bool { return u.Code >= 2500 }

// UnsubscribeCode is a code of the client protocol's unsubscribe table.
type UnsubscribeCode uint32

// The unsubscribe codes of the client protocol. Those below 2000 are for the server's
// own use and never sent.
const (
	UnsubscribeClient            UnsubscribeCode = 0
	UnsubscribeDisconnect        UnsubscribeCode = 1
	UnsubscribeServer            UnsubscribeCode = 2000
	UnsubscribeInsufficientState UnsubscribeCode = 2500
	UnsubscribeExpired           UnsubscribeCode = 2501
	UnsubscribeStateInvalidated  UnsubscribeCode = 2502
)

// unsubscribeTable is never written.
var unsubscribeTable = [...]Unsubscribe{
	{0, "client unsubscribed"},
	{1, "client disconnected"},
	{2000, "server unsubscribe"},
	{2500, "insufficient state"},
	{2501, "subscription expired"},
	{2502, "state invalidated"},
}

// Unsubscribe returns the table's entry, shared and read-only; a code that is not in
// the table gives that of [UnsubscribeServer].
func (c UnsubscribeCode) Unsubscribe() *Unsubscribe {
	for i := range unsubscribeTable {
		if unsubscribeTable[i].Code == uint32(c) {
			return &unsubscribeTable[i]
		}
	}
	return &unsubscribeTable[2]
}
