package answer

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

const (
	headBytesMax = 16 << 10
	bodyBytesMax = 4 << 20
)

// Answer is one HTTP response.
type Answer struct {
	Code int
	Body []byte // aliases what was parsed, or is a copy when it came in chunks
}

// Err is the failure an answer of the server API means, nil for success.
func (r *Answer) Err() error {
	text := r.Body[:min(len(r.Body), 200)]
	switch {
	case r.Code != 200:
		return fmt.Errorf("the API of the target answered HTTP status %d: %s", r.Code, bytes.TrimSpace(text))
	case bytes.HasPrefix(r.Body, []byte(`{"error"`)):
		return fmt.Errorf("the API of the target refused a publication: %s", bytes.TrimSpace(text))
	case !bytes.HasPrefix(r.Body, []byte(`{"result"`)):
		return fmt.Errorf("the API of the target answered what is no result: %q; check --api", text)
	}
	return nil
}

// Parse reads one response from the front of b; n is 0 while it is incomplete. The body's length comes from
// Content-Length or chunks (RFC 9112 §6.3); anything else is refused, since what follows could not be found.
func Parse(b []byte) (r Answer, n int, err error) {
	head := bytes.Index(b, []byte("\r\n\r\n"))
	if head < 0 {
		if len(b) > headBytesMax || len(b) >= 5 && string(b[:5]) != "HTTP/" {
			return r, 0, errNoHTTP
		}
		return r, 0, nil
	}
	code, length, err := parseHead(b[:head])
	if err != nil {
		return r, 0, err
	}
	rest := b[head+4:]
	r.Code = code
	if length == chunked {
		body, used, err := unchunk(rest)
		if used == 0 || err != nil {
			return Answer{}, 0, err
		}
		r.Body = body
		return r, head + 4 + used, nil
	}
	if len(rest) < length {
		return Answer{}, 0, nil
	}
	r.Body = rest[:length]
	return r, head + 4 + length, nil
}

const chunked = -1 // instead of a length

var errNoHTTP = errors.New("the API of the target does not speak HTTP/1.1")

// parseHead reads the status line and the headers that say how long the body is.
func parseHead(head []byte) (code, length int, err error) {
	lines := bytes.Split(head, []byte("\r\n"))
	status := bytes.Fields(lines[0])
	if len(status) < 2 || !bytes.HasPrefix(status[0], []byte("HTTP/1.")) {
		return 0, 0, errNoHTTP
	}
	if code, err = strconv.Atoi(string(status[1])); err != nil {
		return 0, 0, errNoHTTP
	}
	length = bodyBytesMax + 1
	for _, line := range lines[1:] {
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("Transfer-Encoding")) && bytes.EqualFold(value, []byte("chunked")):
			return code, chunked, nil
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(value)); err != nil || length < 0 {
				return 0, 0, errors.New("the API of the target answered with an unusable Content-Length")
			}
		}
	}
	if length > bodyBytesMax {
		return 0, 0, fmt.Errorf("the API of the target answered status %d with a body of unknown or excessive length", code)
	}
	return code, length, nil
}

// unchunk reads a chunked body (RFC 9112 §7.1); used is 0 while it is incomplete.
func unchunk(b []byte) (body []byte, used int, err error) {
	for at := 0; ; {
		end := bytes.Index(b[at:], []byte("\r\n"))
		if end < 0 {
			return nil, 0, nil
		}
		digits, _, _ := bytes.Cut(b[at:at+end], []byte(";"))
		size, err := strconv.ParseUint(string(bytes.TrimSpace(digits)), 16, 32)
		if err != nil || size > bodyBytesMax || len(body) > bodyBytesMax {
			return nil, 0, errors.New("the API of the target answered with an unusable chunk")
		}
		at += end + 2
		if len(b) < at+int(size)+2 {
			return nil, 0, nil
		}
		if size == 0 {
			if trailer := bytes.Index(b[at-2:], []byte("\r\n\r\n")); trailer >= 0 {
				return body, at - 2 + trailer + 4, nil
			}
			return nil, 0, nil
		}
		body = append(body, b[at:at+int(size)]...)
		at += int(size) + 2
	}
}
