package handshake

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"strconv"
)

const (
	keyBytes    = 24                                     // base64 of 16 bytes
	acceptBytes = 28                                     // base64 of a SHA-1
	acceptGUID  = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" // RFC 6455 §1.3
)

// appendAccept appends the Sec-WebSocket-Accept that belongs to key (RFC 6455 §4.2.2 item 5.4).
func appendAccept(dst, key []byte) []byte {
	var in [keyBytes + len(acceptGUID)]byte
	copy(in[:], key)
	copy(in[keyBytes:], acceptGUID)
	sum := sha1.Sum(in[:])
	return base64.StdEncoding.AppendEncode(dst, sum[:])
}

// AppendResponse appends the 101 response (RFC 6455 §4.2.2 item 5) for a request that CheckUpgrade passed. key is req.Key; extension is the
// negotiated answer for Sec-WebSocket-Extensions, built by the server from constants and numbers, empty for none. A key or extension
// that cannot have come from there is a bug of the caller and panics. No allocation beyond dst's growth; it needs about 256 bytes.
func AppendResponse(dst, key []byte, sub Subprotocol, extension []byte) []byte {
	if len(key) != keyBytes {
		panic(fmt.Sprintf("handshake: AppendResponse was given a key of %d bytes", len(key)))
	}
	dst = append(dst, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "...)
	dst = appendAccept(dst, key)
	if sub != NoSubprotocol {
		dst = append(append(dst, "\r\nSec-WebSocket-Protocol: "...), sub.String()...)
	}
	if len(extension) > 0 {
		if checkValue(extension) != Done || bytes.IndexByte(extension, '\t') >= 0 {
			panic(fmt.Sprintf("handshake: AppendResponse was given the extension %q", extension))
		}
		dst = append(append(dst, "\r\nSec-WebSocket-Extensions: "...), extension...)
	}
	return append(dst, "\r\n\r\n"...)
}

// reason returns the reason phrase of a code of the table (RFC 9110 §15); net/http, which knows them, is not for this floor.
func reason(code int) string {
	switch code {
	case 400:
		return "Bad Request"
	case 403:
		return "Forbidden"
	case 404:
		return "Not Found"
	case 405:
		return "Method Not Allowed"
	case 408:
		return "Request Timeout"
	case 413:
		return "Content Too Large"
	case 414:
		return "URI Too Long"
	case 426:
		return "Upgrade Required"
	case 431:
		return "Request Header Fields Too Large"
	case 500:
		return "Internal Server Error"
	case 503:
		return "Service Unavailable"
	case 505:
		return "HTTP Version Not Supported"
	}
	return "" // RFC 9112 §4: it may be empty
}

// AppendRefusal appends the answer to a failure: the status line, what the code demands (Allow with 405; Upgrade and Sec-WebSocket-Version
// with 426; Retry-After with 503), and the failure's sentence as body. The connection must be closed after it (Connection: close says so),
// so that nothing sent behind a failed upgrade is ever understood as anything. dst comes back as it was when the status has no answer.
func AppendRefusal(dst []byte, s Status) []byte { return AppendRefusalRetry(dst, s, 1) }

// AppendRefusalRetry is AppendRefusal with the seconds of Retry-After, for refusals of which there are many at once: given different ones,
// clients that heed them do not all come back in the same second.
func AppendRefusalRetry(dst []byte, s Status, seconds int) []byte {
	a := s.answer()
	if a.code == 0 {
		return dst
	}
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(a.code), 10)
	dst = append(append(dst, ' '), reason(a.code)...)
	switch a.code {
	case 426: // RFC 9110 §15.5.22 and §7.8; RFC 6455 §4.4
		dst = append(dst, "\r\nConnection: close, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13"...)
	case 405: // RFC 9110 §15.5.6
		dst = append(dst, "\r\nConnection: close\r\nAllow: GET"...)
	case 503:
		dst = append(dst, "\r\nConnection: close\r\nRetry-After: "...)
		dst = strconv.AppendInt(dst, int64(seconds), 10)
	default:
		dst = append(dst, "\r\nConnection: close"...)
	}
	dst = append(dst, "\r\nContent-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\nContent-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(a.text)+1), 10)
	dst = append(append(dst, "\r\n\r\n"...), a.text...)
	return append(dst, '\n')
}
