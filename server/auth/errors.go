package auth

import "fmt"

// Reason is why a token was refused; its name is the metric label.
type Reason uint8

// The reasons.
const (
	ReasonNone      Reason = iota
	ReasonExpired          // exp has passed
	ReasonNotYet           // nbf has not come
	ReasonNoKey            // no key is configured
	ReasonOversize         // longer than the limit
	ReasonMalformed        // not three base64url parts, or a header that is no JSON object
	ReasonAlgorithm        // alg is missing or not one of the key's
	ReasonCritical         // crit names an extension
	ReasonSignature        // the signature does not match
	ReasonClaims           // claims are no JSON object or have a wrong type or value
	ReasonAudience         // aud does not match
	ReasonIssuer           // iss does not match
	ReasonPurpose          // a subscription token used to connect, or the reverse
	ReasonChannel          // the token is for another channel
	ReasonUser             // the token is for another user
	ReasonClient           // the token is for another client
	ReasonAnonymous        // the token names no user and such are not accepted
	ReasonKey              // its kid is missing, not in the key set, or of a key that is of no use
	ReasonKeySet           // the key set could not be had, so nothing is known about the token
	reasonCount
)

// ReasonCount is the length of an array indexed by Reason.
const ReasonCount = int(reasonCount)

// reasonNames is never written.
var reasonNames = [reasonCount]string{"none", "expired", "not-yet", "no-key", "oversize", "malformed",
	"algorithm", "critical", "signature", "claims", "audience", "issuer", "purpose", "channel", "user",
	"client", "anonymous", "key", "key-set"}

// String returns the metric label.
func (r Reason) String() string {
	if r < reasonCount {
		return reasonNames[r]
	}
	return "unknown"
}

// Error is a refused token. It never quotes the token.
type Error struct {
	Reason Reason
	Detail string // what was found and what to change, for the log
}

// Error implements error.
func (e *Error) Error() string { return "token refused (" + e.Reason.String() + "): " + e.Detail }

// Expired says whether a fresh token of the same kind would do: clients are told to
// fetch one. A token that is not valid yet counts, because clocks differ.
func (e *Error) Expired() bool { return e.Reason == ReasonExpired || e.Reason == ReasonNotYet }

// Temporary says whether the same token may be accepted later: it was not judged,
// because the key set could not be had.
func (e *Error) Temporary() bool { return e.Reason == ReasonKeySet }

func refuse(r Reason, format string, args ...any) *Error {
	return &Error{Reason: r, Detail: fmt.Sprintf(format, args...)}
}
