package conform

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strings"
	"time"
	"unicode/utf8"
)

// Runner plays the client. The zero value but Dial is usable; safe for concurrent use when Dial is.
type Runner struct {
	Dial func() (net.Conn, error) // a fresh connection to the server
	Path string                   // of the echo endpoint; "" = Path
	Host string                   // value of the Host header; "" = "localhost"
	Wait time.Duration            // for one case, however much it sends; 0 = 30 s
}

// Run plays c against the echo endpoint at Path and returns how it was broken, nil if it was not. The handshake and every
// step are written in pieces of chop bytes, 0 = whole; a piece is made larger where there would be more than 8,192 of them.
func Run(dial func() (net.Conn, error), c Case, chop int) error {
	return Runner{Dial: dial}.Run(c, chop)
}

const piecesMax = 8192

// Run is the package's Run with r's settings.
func (r Runner) Run(c Case, chop int) error {
	conn, err := r.Dial()
	if err != nil {
		return fmt.Errorf("%s: dial: %w", c.ID(), err)
	}
	defer conn.Close()
	wait := r.Wait
	if wait <= 0 {
		wait = 30 * time.Second
	}
	// A deadline that has passed ends every read and write; the timer needs no look at a clock.
	timer := time.AfterFunc(wait, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer timer.Stop()

	s := session{conn: conn, r: bufio.NewReaderSize(conn, 64<<10), chop: chop}
	if err := s.run(&c, r.Path, r.Host); err != nil {
		return fmt.Errorf("%s, chop %d: %w", c.ID(), chop, err)
	}
	return nil
}

// session is one connection playing one case.
type session struct {
	conn     net.Conn
	r        *bufio.Reader
	chop     int
	deflate  bool
	window   int   // farthest distance the server may use
	writeErr error // kept: a server may end the connection while a forbidden frame is still being sent
}

func (s *session) run(c *Case, path, host string) error {
	open, err := s.handshake(c, path, host)
	if err != nil || !open {
		return err
	}
	for i, step := range c.Steps {
		s.write(step.Send)
		for k, want := range step.Want {
			if err := s.expect(want); err != nil {
				return s.explain(fmt.Errorf("step %d, frame %d: %w", i+1, k+1, err))
			}
		}
	}
	code := c.Close
	if code == 0 {
		code = 1000
		s.write(send(fin|opClose, closeBody(code, "")))
	}
	return s.explain(s.expectClose(code))
}

func (s *session) explain(err error) error {
	if err != nil && s.writeErr != nil {
		return fmt.Errorf("%w (and writing failed: %w)", err, s.writeErr)
	}
	return err
}

func (s *session) write(b []byte) {
	n := len(b)
	if s.chop > 0 {
		n = max(s.chop, (len(b)+piecesMax-1)/piecesMax)
	}
	for len(b) > 0 && s.writeErr == nil {
		piece := b[:min(n, len(b))]
		b = b[len(piece):]
		_, s.writeErr = s.conn.Write(piece)
	}
}

// handshake opens the connection, RFC 6455 §4.1; false when it was refused and might be.
func (s *session) handshake(c *Case, path, host string) (open bool, _ error) {
	if path == "" {
		path = Path
	}
	if host == "" {
		host = "localhost"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n", path, host)
	b.WriteString("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n")
	if c.Offer != "" {
		fmt.Fprintf(&b, "Sec-WebSocket-Extensions: %s\r\n", c.Offer)
	}
	b.WriteString("\r\n")
	s.write([]byte(b.String()))

	head := textproto.NewReader(s.r)
	status, err := head.ReadLine()
	if err != nil {
		return false, s.explain(fmt.Errorf("handshake: %w", err))
	}
	code, _, _ := strings.Cut(strings.TrimPrefix(status, "HTTP/1.1 "), " ")
	if c.Refuse && len(code) == 3 && code[0] == '4' {
		return false, nil
	}
	h, err := head.ReadMIMEHeader()
	switch {
	case code != "101":
		return false, fmt.Errorf("handshake: the server answers %q", status)
	case err != nil:
		return false, fmt.Errorf("handshake: %w", err)
	case h.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=": // the example of §1.3
		return false, fmt.Errorf("handshake: Sec-WebSocket-Accept is %q", h.Get("Sec-WebSocket-Accept"))
	case !strings.EqualFold(h.Get("Upgrade"), "websocket"), !strings.EqualFold(h.Get("Connection"), "upgrade"):
		return false, fmt.Errorf("handshake: Upgrade is %q, Connection %q", h.Get("Upgrade"), h.Get("Connection"))
	case h.Get("Sec-WebSocket-Protocol") != "":
		return false, errors.New("handshake: a subprotocol was answered that was not offered")
	}
	return true, s.extensions(strings.Join(h.Values("Sec-WebSocket-Extensions"), ", "), c.Accept)
}

// extensions compares the answer with what it must be, whatever the order of the parameters.
func (s *session) extensions(got, want string) error {
	if params(got) != params(want) {
		return fmt.Errorf("handshake: Sec-WebSocket-Extensions is %q, want %q", got, want)
	}
	s.deflate, s.window = got != "", 1<<15
	if _, bits, ok := strings.Cut(params(got), "server_max_window_bits="); ok {
		var n int
		fmt.Sscanf(bits, "%d", &n)
		s.window = 1 << n
	}
	return nil
}

// params puts the parameters of one extension into alphabetical order.
func params(ext string) string {
	name, rest, _ := strings.Cut(ext, ";")
	var sorted []string
	for p := range strings.SplitSeq(rest, ";") {
		p, at := strings.TrimSpace(p), 0
		for at < len(sorted) && sorted[at] < p {
			at++
		}
		sorted = append(sorted[:at], append([]string{p}, sorted[at:]...)...)
	}
	return strings.TrimSpace(name) + ";" + strings.Join(sorted, ";")
}

// expect reads one frame, which must be want.
func (s *session) expect(want Frame) error {
	got, err := s.read()
	if err != nil {
		return fmt.Errorf("%w; wanted %s", err, want)
	}
	if got.Op != want.Op || !bytes.Equal(got.Payload, want.Payload) {
		return fmt.Errorf("got %s, want %s", got, want)
	}
	return nil
}

// expectClose reads the server's close frame and the end of the connection (§7.1.1: the server ends it first).
func (s *session) expectClose(code int) error {
	want := Frame{opClose, nil}
	if code != CloseEmpty {
		want.Payload = []byte(closeBody(code, ""))
	}
	got, err := s.read()
	switch {
	case err != nil:
		return fmt.Errorf("%w; wanted %s", err, want)
	case got.Op != opClose, code == CloseEmpty && len(got.Payload) > 0, !bytes.HasPrefix(got.Payload, want.Payload):
		return fmt.Errorf("got %s, want %s", got, want)
	case len(got.Payload) > 2 && !utf8.Valid(got.Payload[2:]):
		return fmt.Errorf("the reason of the close frame is no UTF-8: %s", got)
	}
	if _, err := s.r.ReadByte(); err != io.EOF {
		return fmt.Errorf("after the close frame comes no end of the connection but %w", err)
	}
	return nil
}

// read reads one frame and checks what a server must obey, §5.1, §5.2, §5.5; RFC 7692 §6.
func (s *session) read() (f Frame, _ error) {
	var h [10]byte
	if _, err := io.ReadFull(s.r, h[:2]); err != nil {
		return f, fmt.Errorf("no frame: %w", err)
	}
	f.Op = h[0] & 15
	n := uint64(h[1])
	switch {
	case h[1]&0x80 != 0:
		return f, errors.New("the server masks its frames")
	case h[0]&fin == 0 || f.Op == opContinuation:
		return f, errors.New("the server fragments a message")
	case h[0]&0x30 != 0, h[0]&rsv1 != 0 && (!s.deflate || f.Op > opBinary):
		return f, fmt.Errorf("the server sets reserved bits: first byte %02x", h[0])
	case f.Op >= opClose && n > 125:
		return f, errors.New("the server sends a long control frame")
	case n == 126:
		io.ReadFull(s.r, h[2:4])
		if n = number(h[2:4]); n < 126 {
			return f, errors.New("the server uses a length that is not minimal")
		}
	case n == 127:
		io.ReadFull(s.r, h[2:10])
		if n = number(h[2:10]); n < 1<<16 || n > 4*MessageBytesMax {
			return f, fmt.Errorf("the server sends a 64-bit length of %d", n)
		}
	}
	f.Payload = make([]byte, n)
	if _, err := io.ReadFull(s.r, f.Payload); err != nil {
		return f, fmt.Errorf("a frame is cut short: %w", err)
	}
	if h[0]&rsv1 == 0 {
		return f, nil
	}
	out, farthest, err := Inflate(f.Payload)
	switch {
	case err != nil:
		return f, fmt.Errorf("the server's compressed message: %w", err)
	case farthest > s.window:
		return f, fmt.Errorf("the server compresses over a distance of %d, negotiated is a window of %d", farthest, s.window)
	}
	f.Payload = out
	return f, nil
}

// number reads a number in network byte order.
func number(b []byte) (n uint64) {
	for _, c := range b {
		n = n<<8 | uint64(c)
	}
	return n
}

// String names the frame and shows the beginning of its payload.
func (f Frame) String() string {
	if f.Op == opClose && len(f.Payload) >= 2 {
		return fmt.Sprintf("close %d %q", number(f.Payload[:2]), f.Payload[2:])
	}
	return fmt.Sprintf("opcode %x with %d bytes %.40q", f.Op, len(f.Payload), f.Payload)
}
