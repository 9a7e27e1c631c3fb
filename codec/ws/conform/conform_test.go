package conform

import (
	"bufio"
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"shoal/codec/deflate"
	"shoal/codec/ws"
)

// echo is an echo endpoint on the production parser, appender and deflate code with nothing else of the server: what the
// suite is tried on here. sabotage breaks it in one way.
type echo struct {
	codec    *deflate.Codec
	sabotage string
}

func (e *echo) serve(conn net.Conn) {
	defer conn.Close()
	r := bufio.NewReader(conn)
	req, err := http.ReadRequest(r)
	if err != nil {
		return
	}
	ext := []byte(strings.Join(req.Header.Values("Sec-WebSocket-Extensions"), ", "))
	if len(ext) > 0 && deflate.CheckSyntax(ext) != nil {
		io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
		return
	}
	params, answer, ok := deflate.Negotiate(ext, deflate.Config{})
	if e.sabotage == "answers what was not offered" && ok {
		answer = append(answer, "; client_max_window_bits=15"...)
	}
	var head strings.Builder
	head.WriteString("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n")
	if ok {
		fmt.Fprintf(&head, "Sec-WebSocket-Extensions: %s\r\n", answer)
	}
	io.WriteString(conn, head.String()+"\r\n")

	c := echoConn{echo: e, conn: conn, params: params, lim: ws.Limits{MessageBytesMax: MessageBytesMax, Deflate: ok}}
	c.loop(r)
	conn.(*net.TCPConn).CloseWrite()
	io.Copy(io.Discard, r)
}

type echoConn struct {
	*echo
	conn    net.Conn
	params  deflate.Params
	lim     ws.Limits
	p       ws.Parser
	message []byte
	out     []byte
}

func (c *echoConn) loop(r io.Reader) {
	buf := make([]byte, 64<<10)
	kept := 0
	for {
		n, err := r.Read(buf[kept:])
		if err != nil {
			return
		}
		b := buf[:kept+n]
		for open := true; open; {
			n, ev := c.p.Next(b, &c.lim)
			b = b[n:]
			if n == 0 && ev.Kind == ws.None {
				break
			}
			open = c.event(ev)
			if !open {
				c.flush()
				return
			}
		}
		c.flush()
		kept = copy(buf, b)
	}
}

func (c *echoConn) flush() {
	c.conn.Write(c.out)
	c.out = c.out[:0]
}

func (c *echoConn) event(ev ws.Event) bool {
	switch ev.Kind {
	case ws.Data:
		if c.message = append(c.message, ev.Payload...); !ev.Final {
			return true
		}
		code := c.echo.answer(c, ev)
		c.message = c.message[:0]
		if code != 0 {
			c.out = ws.AppendClose(c.out, code, "it does not inflate")
			return false
		}
	case ws.Ping:
		if c.sabotage == "does not answer pings" {
			return true
		}
		c.out = ws.AppendFrame(c.out, ws.PongOp, true, false, ev.Payload)
	case ws.Close:
		c.out = ws.AppendClose(c.out, ev.Code, "")
		return false
	case ws.Fail:
		c.out = ws.AppendClose(c.out, ev.Code, ev.Reason.String())
		if c.sabotage == "closes with the wrong code" {
			c.out = ws.AppendClose(c.out[:0], ws.CodeInternalError, "")
		}
		return false
	}
	return true
}

func (e *echo) answer(c *echoConn, ev ws.Event) ws.CloseCode {
	p, err := c.message, error(nil)
	if ev.Compressed {
		if p, err = e.codec.Decompress(nil, p, 10*MessageBytesMax); err != nil {
			if errors.Is(err, deflate.ErrTooLarge) {
				return ws.CodeTooBig
			}
			return ws.CodeInvalidPayload
		}
		if u := (ws.UTF8{}); ev.Op == ws.Text && (!u.Push(p) || !u.Complete()) && e.sabotage != "skips UTF-8 of compressed text" {
			return ws.CodeInvalidPayload
		}
	}
	if e.sabotage == "changes a byte" && len(p) > 0 {
		p = bytes.Clone(p)
		p[len(p)-1] ^= 1
	}
	if c.lim.Deflate && len(p) < 4<<20 {
		bits := c.params.ServerBits
		if e.sabotage == "ignores the window" {
			bits = deflate.WindowBitsMax
		}
		z, err := e.codec.CompressWindow(nil, p, bits)
		if err != nil {
			return ws.CodeInternalError
		}
		c.out = ws.AppendFrame(c.out, ev.Op, true, true, z)
		return 0
	}
	if e.sabotage == "fragments" {
		c.out = ws.AppendFrame(c.out, ev.Op, false, false, p)
		c.out = ws.AppendFrame(c.out, ws.Continuation, true, false, nil)
		return 0
	}
	c.out = ws.AppendFrame(c.out, ev.Op, true, false, p)
	return 0
}

// listen serves echo on a loopback port until the test ends.
func listen(t *testing.T, sabotage string) func() (net.Conn, error) {
	t.Helper()
	codec, err := deflate.New(deflate.CodecConfig{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go (&echo{codec, sabotage}).serve(conn)
		}
	}()
	return func() (net.Conn, error) { return net.Dial("tcp", l.Addr().String()) }
}

func bytesOf(c Case) (n int) {
	for _, s := range c.Steps {
		n += len(s.Send)
	}
	return n
}

func TestProductionCodecPassesEveryCase(t *testing.T) {
	dial := listen(t, "")
	cases := Cases()
	for _, chop := range []int{0, 1, 2, 3, 5, 7, 64, 1000} {
		for _, c := range cases {
			if n := bytesOf(c); chop != 0 && n > 2<<20 || chop > 1 && n > 8<<10 || chop == 1 && n > 300<<10 {
				continue // the big ones whole; what they add to a cut is their size
			}
			if err := Run(dial, c, chop); err != nil {
				t.Error(err)
			}
		}
	}
	t.Logf("%d cases", len(cases))
}

func TestRunnerFindsBrokenServers(t *testing.T) {
	cases := Cases()
	for sabotage, clause := range map[string]string{
		"answers what was not offered":   "RFC7692",
		"does not answer pings":          "RFC6455 5.5",
		"closes with the wrong code":     "RFC6455 5.2",
		"skips UTF-8 of compressed text": "RFC7692 7.2.2",
		"changes a byte":                 "RFC6455 5.2",
		"ignores the window":             "RFC7692 7.1.2.1",
		"fragments":                      "RFC6455 5.2",
	} {
		r := Runner{Dial: listen(t, sabotage), Wait: 500 * time.Millisecond}
		found := 0
		for _, c := range cases {
			if strings.HasPrefix(c.Clause, clause) && bytesOf(c) < 1<<20 && found == 0 {
				if err := r.Run(c, 0); err != nil {
					found++
				}
			}
		}
		if found == 0 {
			t.Errorf("a server that %s passes", sabotage)
		}
	}
}

func TestEveryCaseHasItsOwnNameAndClause(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range Cases() {
		if seen[c.ID()] || !strings.HasPrefix(c.Clause, "RFC6455 ") && !strings.HasPrefix(c.Clause, "RFC7692 ") {
			t.Errorf("%s", c.ID())
		}
		if number, _, _ := strings.Cut(c.ID(), " "+c.Name); seen[number] {
			t.Errorf("%s is not the only one", number)
		} else {
			seen[number] = true
		}
		seen[c.ID()] = true
		if len(c.Steps) == 0 {
			t.Errorf("%s sends nothing", c.ID())
		}
	}
}

func TestRunReportsWhatTheWorldDoes(t *testing.T) {
	c := Cases()[0]
	refused := errors.New("refused")
	if err := Run(func() (net.Conn, error) { return nil, refused }, c, 0); !errors.Is(err, refused) {
		t.Error(err)
	}
	server, client := net.Pipe()
	go func() {
		http.ReadRequest(bufio.NewReader(server))
		io.WriteString(server, "HTTP/1.1 404 Not Found\r\n\r\n")
		server.Close()
	}()
	if err := Run(func() (net.Conn, error) { return client, nil }, c, 0); err == nil || !strings.Contains(err.Error(), "404") {
		t.Error(err)
	}
	mute, client := net.Pipe()
	defer mute.Close()
	if err := (Runner{Dial: func() (net.Conn, error) { return client, nil }, Wait: time.Millisecond}).Run(c, 0); err == nil {
		t.Error("a mute server passes")
	}
}

func TestInflateIsAnOracle(t *testing.T) {
	for level := flate.HuffmanOnly; level <= 9; level++ {
		for _, s := range []string{"", "a", strings.Repeat("abcdefgh", 9000), string(send(fin|opText, strings.Repeat("ab", 40000)))} {
			got, farthest, err := Inflate([]byte(deflated(s, level)))
			if err != nil || string(got) != s || farthest > 1<<15 {
				t.Errorf("%d bytes at level %d: %d bytes, %v", len(s), level, len(got), err)
			}
		}
	}
	if _, _, err := Inflate([]byte("\xf2\x48\xcd")); err == nil {
		t.Error("half a stream inflates")
	}
	if n := len(bomb(1 << 20)); n > 8<<10 {
		t.Errorf("a bomb of 1 MiB is %d bytes", n)
	}
	got, _, err := Inflate([]byte(bomb(1 << 20)))
	if err != nil || len(got) < 1<<20-258 || len(bytes.Trim(got, "\x00")) != 0 {
		t.Errorf("the bomb: %d bytes, %v", len(got), err)
	}
}
