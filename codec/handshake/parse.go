package handshake

import (
	"bytes"
	"fmt"
)

// Bounds of a request head when Limits leaves them zero, and the hard bound that the parser's 16-bit offsets set.
const (
	headBytesDefault   = 8 << 10
	targetBytesDefault = 4 << 10
	headersDefault     = 64
	headBytesHard      = 1<<16 - 1
	methodBytesMax     = 20 // the longest registered method has 17
)

// Limits bound a request head. The zero value means the defaults.
type Limits struct {
	HeadBytesMax   int // request line and headers with the empty line; 0: 8,192; at most 65,535; over it HeadTooLarge
	TargetBytesMax int // request target; 0: 4,096; over it TargetTooLong
	HeadersMax     int // header lines; 0: 64; at most 255; over it TooManyHeaders
}

// Validate says which bound cannot be kept.
func (l Limits) Validate() error {
	d := l.orDefaults()
	switch {
	case l.HeadBytesMax < 0 || l.HeadBytesMax > headBytesHard:
		return fmt.Errorf("handshake: HeadBytesMax is %d; choose 1 to %d, or 0 for %d", l.HeadBytesMax, headBytesHard, headBytesDefault)
	case l.HeadersMax < 0 || l.HeadersMax > 255:
		return fmt.Errorf("handshake: HeadersMax is %d; choose 1 to 255, or 0 for %d", l.HeadersMax, headersDefault)
	case l.TargetBytesMax < 0 || d.TargetBytesMax >= d.HeadBytesMax:
		return fmt.Errorf("handshake: TargetBytesMax is %d; choose less than HeadBytesMax %d, or 0 for %d",
			d.TargetBytesMax, d.HeadBytesMax, targetBytesDefault)
	}
	return nil
}

func (l Limits) orDefaults() Limits {
	if l.HeadBytesMax <= 0 {
		l.HeadBytesMax = headBytesDefault
	}
	if l.TargetBytesMax <= 0 {
		l.TargetBytesMax = targetBytesDefault
	}
	if l.HeadersMax <= 0 {
		l.HeadersMax = headersDefault
	}
	l.HeadBytesMax = min(l.HeadBytesMax, headBytesHard)
	l.HeadersMax = min(l.HeadersMax, 255)
	return l
}

// Parser reads one request head over any number of calls. The zero value is ready; it is ready again after Done. 6 bytes, no pointers:
// it may live in a slot. It remembers how far it has looked, so a head that arrives byte by byte costs two looks at every byte,
// not a look at every byte per byte.
type Parser struct {
	line  uint16 // offset of the first line that is not yet checked
	seen  uint16 // no LF in [line, seen)
	count uint8  // header lines checked
}

// Parse looks at b, which must begin with the first byte of the request and hold at least the bytes of the previous call. It returns
// Done with n, the length of the head (the rest of b is the body, or what follows an upgrade); or NeedMore with n 0: call again
// with more bytes; or a failure: answer it with AppendRefusal and close. req is filled when Done and undefined otherwise.
// The outcome does not depend on how the bytes were cut. No allocation.
func (p *Parser) Parse(b []byte, lim Limits, req *Request) (n int, status Status) {
	if int(p.seen) > len(b) {
		panic(fmt.Sprintf("handshake: Parse was given %d bytes after %d", len(b), p.seen))
	}
	lim = lim.orDefaults()
	resumed := p.line > 0
	if !resumed {
		*req = Request{}
		if status := checkStart(b, lim); status != Done {
			return 0, status
		}
	}
	n, status = p.lines(b, lim, req)
	if status != Done {
		return 0, status
	}
	if resumed { // earlier lines were checked with another req, in other memory
		*p, *req = Parser{}, Request{}
		n, status = p.lines(b[:n], lim, req)
	}
	*p = Parser{}
	req.Head = b[:n:n]
	req.KeepAlive = !req.closing && (req.Minor > 0 || req.keeping)
	return n, status
}

// lines checks line after line until the empty one. Each line is judged when its LF arrives, so outcomes come in byte order.
func (p *Parser) lines(b []byte, lim Limits, req *Request) (n int, status Status) {
	for {
		i := bytes.IndexByte(b[p.seen:], '\n')
		if i < 0 {
			if len(b) > lim.HeadBytesMax {
				return 0, HeadTooLarge
			}
			p.seen = uint16(len(b))
			return 0, NeedMore
		}
		end := int(p.seen) + i
		if end >= lim.HeadBytesMax {
			return 0, HeadTooLarge
		}
		start := int(p.line)
		if end == start || b[end-1] != '\r' {
			return 0, BareLF
		}
		line := b[start : end-1]
		switch {
		case start == 0:
			status = req.requestLine(line)
			req.offsetFirst = end + 1
		case len(line) == 0:
			req.Headers = int(p.count)
			return end + 1, Done
		case int(p.count) >= lim.HeadersMax:
			return 0, TooManyHeaders
		default:
			var name, value []byte
			if name, value, status = splitHeader(line); status == Done {
				req.header(name, value)
				p.count++
			}
		}
		if status != Done {
			return 0, status
		}
		p.line, p.seen = uint16(end+1), uint16(end+1)
	}
}

// checkStart judges what there is of the request line before its LF arrived: is it HTTP at all, is the target too long. Done means
// nothing wrong so far.
func checkStart(b []byte, lim Limits) Status {
	i := 0
	for i < len(b) && i < methodBytesMax && isToken(b[i]) {
		i++
	}
	switch {
	case i == methodBytesMax:
		return BadMethod
	case i == len(b):
		return Done
	case i == 0 && b[0] == 0x16: // TLS record type handshake, RFC 8446 §5.1
		return PlainTLS
	case i == 0 || b[i] != ' ':
		return BadMethod
	}
	if target := b[i+1:]; len(target) > lim.TargetBytesMax {
		target = target[:lim.TargetBytesMax+1]
		if bytes.IndexByte(target, ' ') < 0 && bytes.IndexByte(target, '\n') < 0 {
			return TargetTooLong
		}
	}
	return Done
}

// requestLine reads method SP target SP version (RFC 9112 §3), without its CR LF. checkStart has seen to the method.
func (r *Request) requestLine(line []byte) Status {
	sp := bytes.IndexByte(line, ' ')
	if sp < 0 {
		return BadRequestLine
	}
	rest := line[sp+1:]
	end := bytes.IndexByte(rest, ' ')
	if end <= 0 {
		return BadRequestLine // HTTP/0.9 has no version
	}
	v := rest[end+1:]
	if len(v) != len("HTTP/1.1") || string(v[:5]) != "HTTP/" || !isDigit(v[5]) || v[6] != '.' || !isDigit(v[7]) {
		return BadRequestLine
	}
	if v[5] != '1' {
		return BadHTTPVersion
	}
	r.Method, r.Target, r.Minor = line[:sp], rest[:end], int(v[7]-'0')
	return r.splitTarget()
}

// splitTarget reads the four forms of a target (RFC 9112 §3.2).
func (r *Request) splitTarget() Status {
	t := r.Target
	for _, c := range t {
		switch {
		case c < ' ' || c == 0x7f:
			return badByte(c)
		case c >= 0x80 || c == '#': // RFC 3986 §2; RFC 6455 §3: no fragment
			return BadTarget
		}
	}
	switch {
	case string(r.Method) == "CONNECT":
		r.Authority = t
		if _, port, ok := splitHost(t); !ok || len(port) == 0 {
			return BadTarget
		}
		return Done
	case t[0] == '/':
	case len(t) == 1 && t[0] == '*':
		r.Path = t
		if string(r.Method) != "OPTIONS" {
			return BadTarget
		}
		return Done
	default:
		if t = r.splitAbsolute(t); t == nil {
			return BadTarget
		}
	}
	r.Path = t
	if q := bytes.IndexByte(t, '?'); q >= 0 {
		r.Path, r.Query = t[:q], t[q+1:]
	}
	return checkPercent(r.Path)
}

// splitAbsolute takes scheme and authority off an absolute-form target (RFC 9112 §3.2.2) and returns the rest, nil when malformed.
// An absent path stays absent: the rest is then empty or begins with a question mark.
func (r *Request) splitAbsolute(t []byte) []byte {
	i := bytes.Index(t, []byte("://"))
	if i < 0 || !equalFold(t[:i], "http") && !equalFold(t[:i], "https") {
		return nil
	}
	t = t[i+len("://"):]
	end := bytes.IndexAny(t, "/?")
	if end < 0 {
		end = len(t)
	}
	if _, _, ok := splitHost(t[:end]); !ok {
		return nil
	}
	r.Authority = t[:end]
	return t[end:]
}

// checkPercent refuses a percent sign without two hexadecimal digits (RFC 3986 §2.1).
func checkPercent(path []byte) Status {
	for {
		i := bytes.IndexByte(path, '%')
		if i < 0 {
			return Done
		}
		if len(path) < i+3 || !isHex(path[i+1]) || !isHex(path[i+2]) {
			return BadTarget
		}
		path = path[i+3:]
	}
}

// Validate reports a parser whose offsets cannot be.
func (p *Parser) Validate() error {
	if p.seen < p.line || int(p.count)*len("a:\r\n") > int(p.line) {
		return fmt.Errorf("handshake: parser at line %d has seen %d bytes and %d headers", p.line, p.seen, p.count)
	}
	return nil
}
