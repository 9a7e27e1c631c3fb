package seal

// Reason is what became of a token that a client sent.
type Reason uint8

// The reasons. Those up to Foreign are [Sealer.Open]'s, the others are found by whoever
// knows the session's world.
const (
	None        Reason = iota // accepted
	Malformed                 // not the text of a token, or of another version
	Oversize                  // longer than TextBytesMax
	Foreign                   // sealed with another secret, or changed on the way
	Expired                   // its window has passed
	Credentials               // what it stands for has ended
	Revoked                   // the server ended the session, or the user's sessions, since
	Unfit                     // for another user than the conn's, or for what is not served any more
	ReasonCount
)

// String returns the metric label.
func (r Reason) String() string {
	if r < ReasonCount {
		return [...]string{"accepted", "malformed", "oversize", "foreign", "expired", "credentials", "revoked", "unfit"}[r]
	}
	return "unknown"
}
