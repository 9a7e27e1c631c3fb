package handshake

// Status is the outcome of a step of the handshake. The zero value is NeedMore. Every value after Done is a failure with a name
// (the metric label), the HTTP code of its answer, and a sentence for whoever reads that answer.
type Status uint8

// Outcomes that are no failure.
const (
	NeedMore Status = iota // the bytes so far are the beginning of something valid
	Done                   // complete and, for a check, allowed
)

// Failures of any request head (RFC 9112), from [Parser.Parse].
const (
	PlainTLS         Status = iota + 2 // a TLS ClientHello on a port that speaks plain HTTP
	BadMethod                          // RFC 9112 §3.1: the method is a token followed by one space
	BadRequestLine                     // RFC 9112 §3: method SP target SP version
	BadTarget                          // RFC 9112 §3.2
	TargetTooLong                      // RFC 9110 §15.5.15
	BadHTTPVersion                     // RFC 9110 §15.6.6: not HTTP/1.x
	HeadTooLarge                       // RFC 6585 §5
	TooManyHeaders                     // RFC 6585 §5
	BareLF                             // RFC 9112 §2.2
	BareCR                             // RFC 9112 §2.2
	NULByte                            // RFC 9110 §5.5
	ControlByte                        // RFC 9110 §5.5
	ObsFold                            // RFC 9112 §5.2
	SpaceBeforeColon                   // RFC 9112 §5.1
	BadHeaderName                      // RFC 9110 §5.1
	BadHeaderLine                      // RFC 9112 §5: a line without colon
)

// Failures of the upgrade (RFC 6455 §4.2), from [CheckUpgrade].
const (
	HTTP10            Status = iota + BadHeaderLine + 1 // §4.2.1 item 1
	MethodNotGET                                        // §4.2.1 item 1
	NoHost                                              // §4.2.1 item 2
	TwoHosts                                            // RFC 9112 §3.2
	BadHost                                             // RFC 9112 §3.2
	HostMismatch                                        // RFC 9112 §3.2.2: absolute-form target names another host
	NoUpgrade                                           // §4.2.1 item 3
	NoConnection                                        // §4.2.1 item 4
	NoVersion                                           // §4.2.1 item 6
	TwoVersions                                         // §11.3.5
	WrongVersion                                        // §4.2.2, §4.4
	NoKey                                               // §4.2.1 item 5
	TwoKeys                                             // §11.3.1
	BadKey                                              // §4.2.1 item 5
	BodyOnUpgrade                                       // §4.1: a GET without content
	BadContentLength                                    // RFC 9112 §6.3
	TransferOnUpgrade                                   // RFC 9112 §6.1
	TwoOrigins                                          // RFC 6454 §7.3
	OriginDenied                                        // §4.2.2 item 4, §10.2
	BadSubprotocol                                      // §4.1 item 10
	BadExtensions                                       // §9.1
	TwoAuthorizations                                   // RFC 9110 §5.3
)

// Answers of the front door that no parser gives.
const (
	NotFound          Status = iota + TwoAuthorizations + 1 // no such path
	SlowHead                                                // the head did not arrive in time
	Overloaded                                              // a connection limit is reached
	TooManyHandshakes                                       // so many have not said yet who they are
	TooFast                                                 // more connections in a second than the node takes
	AddressFull                                             // the address has as many connections as it may
	AddressTooFast                                          // more connections in a second than the address may open
	Overburdened                                            // the node has too much to do
	ShuttingDown                                            // the node drains
	Internal                                                // our own fault
)

// Failures a client finds in a response (RFC 6455 §4.1), from [ParseResponse].
const (
	BadStatusLine    Status = iota + Internal + 1 // RFC 9112 §4
	Refused                                       // another status code than 101; Response.Code says which
	BadUpgradeReply                               // items 2 and 3: Upgrade or Connection missing
	BadAccept                                     // item 4
	ForeignExtension                              // item 5: an extension that was not offered
	ForeignProtocol                               // item 6: a subprotocol that was not offered
)

// Failures of the PROXY protocol, from [ParseProxy].
const (
	NotProxy      Status = iota + ForeignProtocol + 1 // neither signature
	BadProxyLine                                      // v1 line malformed or over 107 bytes
	BadProxyAddr                                      // an address or port that is none, or of another family
	BadProxyKind                                      // v2 version, command, family or transport unknown
	BadProxyLen                                       // v2 length too short for the family, or over the limit
	BadProxyTLV                                       // v2 TLV that lies about its length
	BadProxySum                                       // v2 CRC32c differs
	statusesCount = iota + ForeignProtocol + 1
)

// answer is one row of the table of outcomes.
type answer struct {
	code int    // HTTP status code; 0: nothing is written to the peer
	name string // metric label
	text string // body of the answer: what happened, what to change
}

// answer returns the row of s. Rows are literals in functions rather than a package variable, so nobody can change them.
func (s Status) answer() answer {
	switch {
	case s < PlainTLS:
		return answer{0, [...]string{"need-more", "done"}[s], ""}
	case s <= BadHeaderLine:
		return headAnswer(s)
	case s <= TwoAuthorizations:
		return upgradeAnswer(s)
	case s <= Internal:
		return doorAnswer(s)
	case s < statusesCount:
		return quietAnswer(s)
	}
	return answer{500, "unknown", "The server met an unknown condition."}
}

func headAnswer(s Status) answer {
	return [...]answer{
		{400, "tls-on-plain-port", "This port speaks plain HTTP but a TLS hello arrived. Use ws:// or http://, or the TLS port."},
		{400, "bad-method", "The request does not begin with an HTTP method. Send an HTTP/1.1 request."},
		{400, "bad-request-line", "The request line is malformed. Send METHOD, one space, target, one space, HTTP/1.1, CR LF."},
		{400, "bad-target", "The request target is malformed. Percent-encode it, and send no fragment."},
		{414, "target-too-long", "The request target is too long. Put the data into a message after connecting."},
		{505, "bad-http-version", "This HTTP version is not supported here. Use HTTP/1.1."},
		{431, "head-too-large", "The request head is too large. Send fewer or shorter headers (cookies, tokens)."},
		{431, "too-many-headers", "The request has too many headers. Send fewer."},
		{400, "bare-lf", "A line ends with LF alone. End every line of the head with CR LF."},
		{400, "bare-cr", "A CR stands without LF. End every line of the head with CR LF."},
		{400, "nul-byte", "The request head contains a NUL byte. Remove it."},
		{400, "control-byte", "The request head contains a control character. Remove it."},
		{400, "obs-fold", "A header is folded over several lines. Send every header on one line."},
		{400, "space-before-colon", "There is white space between a header name and its colon. Remove it."},
		{400, "bad-header-name", "A header name is empty or has a character that is not allowed. Use letters, digits and hyphens."},
		{400, "bad-header-line", "A header line has no colon. Send Name: value."},
	}[s-PlainTLS]
}

func upgradeAnswer(s Status) answer {
	return [...]answer{
		{505, "http-1.0", "A WebSocket upgrade needs HTTP/1.1. A proxy in between may have to be told so."},
		{405, "method-not-get", "A WebSocket upgrade is a GET request. Use GET."},
		{400, "no-host", "The Host header is missing. Send exactly one."},
		{400, "two-hosts", "There is more than one Host header. Send exactly one."},
		{400, "bad-host", "The Host header is malformed. Send host or host:port."},
		{400, "host-mismatch", "The request target and the Host header name different hosts. Send the same in both."},
		{426, "no-upgrade", "This is a WebSocket endpoint. Send Upgrade: websocket."},
		{400, "no-connection", "The Connection header does not list Upgrade. Send Connection: Upgrade; a proxy may have removed it."},
		{426, "no-version", "The Sec-WebSocket-Version header is missing. Send Sec-WebSocket-Version: 13."},
		{400, "two-versions", "There is more than one Sec-WebSocket-Version header. Send exactly one."},
		{426, "wrong-version", "This WebSocket version is not supported. Send Sec-WebSocket-Version: 13."},
		{400, "no-key", "The Sec-WebSocket-Key header is missing. Send exactly one."},
		{400, "two-keys", "There is more than one Sec-WebSocket-Key header. Send exactly one."},
		{400, "bad-key", "The Sec-WebSocket-Key header is not the base64 of 16 bytes. Send 24 characters ending in ==."},
		{413, "body-on-upgrade", "A WebSocket upgrade has no body. Send no Content-Length, or 0."},
		{400, "bad-content-length", "The Content-Length header is malformed or repeated. Send no body with an upgrade."},
		{400, "transfer-on-upgrade", "A WebSocket upgrade has no body. Send no Transfer-Encoding."},
		{403, "two-origins", "There is more than one Origin header. Send at most one."},
		{403, "origin-denied", "This origin may not connect. Add it to client.allowed_origins, or open the page from the same host."},
		{400, "bad-subprotocol", "The Sec-WebSocket-Protocol header is malformed. Send a list of different tokens."},
		{400, "bad-extensions", "The Sec-WebSocket-Extensions header is malformed. Send a list of extensions as in RFC 6455 section 9.1."},
		{400, "two-authorizations", "There is more than one Authorization header. Send at most one."},
	}[s-HTTP10]
}

func doorAnswer(s Status) answer {
	return [...]answer{
		{404, "not-found", "There is nothing at this path."},
		{408, "slow-head", "The request head did not arrive in time. Send it at once."},
		{503, "overloaded", "The server holds as many connections as it may. Try again later."},
		{503, "handshakes", "As many connections as may have not sent their connect command yet. Try again later."},
		{503, "connection-rate", "More connections arrive in a second than the server takes. Try again later."},
		{503, "ip-connections", "This address has as many connections as it may. Close one, or try again later."},
		{503, "ip-connection-rate", "This address opens connections faster than it may. Try again later."},
		{503, "overload", "The server has too much to do and takes few new connections or none. Try again later."},
		{503, "shutting-down", "The server is shutting down. Connect again; another node will answer."},
		{500, "internal", "The server made a mistake and logged it."},
	}[s-NotFound]
}

// quietAnswer holds what is never sent: a client's findings, and PROXY headers (whose specification asks to abort the connection).
func quietAnswer(s Status) answer {
	return [...]answer{
		{0, "bad-status-line", "The server did not answer with an HTTP/1.x status line."},
		{0, "refused", "The server refused the upgrade."},
		{0, "bad-upgrade-reply", "The server's 101 lacks Upgrade: websocket or Connection: Upgrade."},
		{0, "bad-accept", "The server's Sec-WebSocket-Accept does not belong to the key that was sent."},
		{0, "foreign-extension", "The server answered with an extension that was not offered."},
		{0, "foreign-protocol", "The server answered with a subprotocol that was not offered."},
		{0, "not-proxy", "The connection does not begin with a PROXY protocol header. Check that only the load balancer reaches this port."},
		{0, "bad-proxy-line", "The PROXY v1 line is malformed."},
		{0, "bad-proxy-addr", "The PROXY header has a malformed address or port."},
		{0, "bad-proxy-kind", "The PROXY v2 header has an unknown version, command, family or transport."},
		{0, "bad-proxy-len", "The PROXY v2 header has a length that does not fit."},
		{0, "bad-proxy-tlv", "The PROXY v2 header has a TLV longer than the header."},
		{0, "bad-proxy-sum", "The PROXY v2 header has a wrong checksum."},
	}[s-BadStatusLine]
}

// Failed reports whether s is a failure, which ends the connection.
func (s Status) Failed() bool { return s > Done }

// String returns the name of s: lower case, hyphenated, stable; it is the metric label.
func (s Status) String() string { return s.answer().name }

// Code returns the HTTP status code that answers s; 0 when nothing is to be written.
func (s Status) Code() int { return s.answer().code }

// Text returns one or two sentences that say what happened and what to change; it never contains a byte of the request.
func (s Status) Text() string { return s.answer().text }

// Statuses returns every status in order, for metrics that name them all.
func Statuses() []Status {
	all := make([]Status, statusesCount)
	for i := range all {
		all[i] = Status(i)
	}
	return all
}
