package ws

// Reason names what the peer broke. It is a metric label and the end of a log line, so its names are stable.
type Reason uint8

// The reasons, in the order in which a frame is checked: a frame that breaks several rules fails with the first.
const (
	ReasonNone               Reason = iota
	ReasonReservedOpcode            // §5.2: opcode 3–7 or 11–15
	ReasonReservedBits              // §5.2: RSV2 or RSV3, or RSV1 where no negotiated extension gives it a meaning
	ReasonControlFragmented         // §5.5: a control frame without FIN
	ReasonContinuationFirst         // §5.4: a continuation frame while no message is open
	ReasonMessageInterleaved        // §5.4: a text or binary frame while a message is open
	ReasonMaskMissing               // §5.1: a client sent an unmasked frame
	ReasonMaskUnexpected            // §5.1: a server sent a masked frame
	ReasonControlTooLong            // §5.5: a control frame of more than 125 bytes
	ReasonLengthNotMinimal          // §5.2: a length in more bytes than it needs
	ReasonLengthTopBit              // §5.2: the top bit of a 64-bit length
	ReasonTooBig                    // §7.4.1 (1009), §10.4: the message is over Limits.MessageBytesMax
	ReasonInvalidUTF8               // §8.1: a text message is no UTF-8
	ReasonCloseLength               // §5.5.1: a close frame with one byte of body
	ReasonCloseCode                 // §7.4: a close code nobody may send
	ReasonCloseReasonUTF8           // §5.5.1, §8.1: a close reason that is no UTF-8
	reasonEnd
)

// String returns the metric label.
func (r Reason) String() string {
	switch r {
	case ReasonNone:
		return "none"
	case ReasonReservedOpcode:
		return "reserved-opcode"
	case ReasonReservedBits:
		return "reserved-bits"
	case ReasonControlFragmented:
		return "control-fragmented"
	case ReasonContinuationFirst:
		return "continuation-first"
	case ReasonMessageInterleaved:
		return "message-interleaved"
	case ReasonMaskMissing:
		return "mask-missing"
	case ReasonMaskUnexpected:
		return "mask-unexpected"
	case ReasonControlTooLong:
		return "control-too-long"
	case ReasonLengthNotMinimal:
		return "length-not-minimal"
	case ReasonLengthTopBit:
		return "length-top-bit"
	case ReasonTooBig:
		return "too-big"
	case ReasonInvalidUTF8:
		return "invalid-utf8"
	case ReasonCloseLength:
		return "close-length"
	case ReasonCloseCode:
		return "close-code"
	case ReasonCloseReasonUTF8:
		return "close-reason-utf8"
	}
	return "unknown"
}

// Code returns the close code that answers r: 1009 for a size, 1007 for text that is no UTF-8, 1002 for the rest, and 0
// for ReasonNone.
func (r Reason) Code() CloseCode {
	switch r {
	case ReasonNone:
		return 0
	case ReasonTooBig:
		return CodeTooBig
	case ReasonInvalidUTF8, ReasonCloseReasonUTF8:
		return CodeInvalidPayload
	}
	return CodeProtocolError
}

// Reasons returns every reason but ReasonNone, in order, for metrics that name them all.
func Reasons() []Reason {
	var all []Reason
	for r := ReasonNone + 1; r <= ReasonCloseReasonUTF8; r++ {
		all = append(all, r)
	}
	return all
}
