package ws

import "strconv"

// CloseCode is the status code of a close frame, RFC 6455 §7.4 and the IANA registry it founds.
type CloseCode uint16

// The registered codes.
const (
	CodeNormal          CloseCode = 1000 // the purpose is fulfilled
	CodeGoingAway       CloseCode = 1001 // a server goes down, a browser leaves the page
	CodeProtocolError   CloseCode = 1002 // the peer broke the framing rules
	CodeUnsupportedData CloseCode = 1003 // a kind of data this endpoint does not take
	CodeNoStatus        CloseCode = 1005 // never on the wire: the close frame had no body
	CodeAbnormal        CloseCode = 1006 // never on the wire: no close frame came
	CodeInvalidPayload  CloseCode = 1007 // text that is no UTF-8, data that does not inflate
	CodePolicyViolation CloseCode = 1008 // refused for a reason no other code names
	CodeTooBig          CloseCode = 1009 // the message is over the limit
	CodeMandatoryExt    CloseCode = 1010 // sent by clients only: an extension was not negotiated
	CodeInternalError   CloseCode = 1011 // the endpoint itself failed
	CodeServiceRestart  CloseCode = 1012 // IANA: come back after a random delay
	CodeTryAgainLater   CloseCode = 1013 // IANA: overloaded
	CodeBadGateway      CloseCode = 1014 // IANA: an upstream gave a bad answer
	CodeTLSHandshake    CloseCode = 1015 // never on the wire: TLS failed
)

// OnWire reports whether an endpoint may put c into a close frame. 0–999 are not used and 5000 up have no owner (§7.4.2);
// 1004 has no meaning yet, 1005, 1006 and 1015 must not be sent (§7.4.1); of the rest of 1000–2999 only what is registered
// has a meaning; 3000–4999 belong to libraries and applications.
func (c CloseCode) OnWire() bool {
	switch {
	case c >= 3000:
		return c <= 4999
	case c >= CodeInvalidPayload:
		return c <= CodeBadGateway
	}
	return c >= CodeNormal && c <= CodeUnsupportedData
}

// String returns the number and, for a registered code, its name: "1002 protocol error".
func (c CloseCode) String() string {
	n := strconv.Itoa(int(c))
	if name := c.name(); name != "" {
		return n + " " + name
	}
	return n
}

func (c CloseCode) name() string {
	switch c {
	case CodeNormal:
		return "normal closure"
	case CodeGoingAway:
		return "going away"
	case CodeProtocolError:
		return "protocol error"
	case CodeUnsupportedData:
		return "unsupported data"
	case CodeNoStatus:
		return "no status received"
	case CodeAbnormal:
		return "abnormal closure"
	case CodeInvalidPayload:
		return "invalid payload"
	case CodePolicyViolation:
		return "policy violation"
	case CodeTooBig:
		return "message too big"
	case CodeMandatoryExt:
		return "mandatory extension"
	case CodeInternalError:
		return "internal error"
	case CodeServiceRestart:
		return "service restart"
	case CodeTryAgainLater:
		return "try again later"
	case CodeBadGateway:
		return "bad gateway"
	case CodeTLSHandshake:
		return "TLS handshake"
	}
	return ""
}
