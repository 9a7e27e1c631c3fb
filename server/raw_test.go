package server

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	goproto "google.golang.org/protobuf/proto"

	"shoal/codec/deflate"
	"shoal/codec/proto"
	"shoal/codec/ws"
	"shoal/server/channel"
	"shoal/server/config"
	"shoal/server/node"
)

// quick shortens what a test would otherwise wait for, and lets two loops serve.
func quick(c *config.Config) {
	c.Loop.Tick = 20 * time.Millisecond
	c.Loop.Loops = 2
}

// tuned is quick and more.
func tuned(changes ...func(*config.Config)) func(*config.Config) {
	return func(c *config.Config) {
		quick(c)
		for _, change := range changes {
			change(c)
		}
	}
}

// raw is a client that says exactly what a test wants, frame by frame.
type raw struct {
	t    *testing.T
	r    *rig
	conn net.Conn
	in   *bufio.Reader
	enc  proto.Encoding
	ext  string // Sec-WebSocket-Extensions of the answer
	id   uint32
}

// dialRaw opens a TCP connection to the front door.
func (r *rig) dialRaw(t *testing.T) *raw {
	t.Helper()
	conn, err := net.Dial("tcp", r.p.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	return &raw{t: t, r: r, conn: conn, in: bufio.NewReaderSize(conn, 64<<10)}
}

// upgrade is a valid request for path with further header lines.
func upgrade(path string, lines ...string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n" + strings.Join(append(lines, "", ""), "\r\n")
}

const wsPath = "/connection/websocket"

// openRaw opens a WebSocket connection; query such as "?format=protobuf".
func (r *rig) openRaw(t *testing.T, query string, lines ...string) *raw {
	t.Helper()
	c := r.dialRaw(t)
	c.upgradeTo(wsPath+query, lines...)
	return c
}

func (c *raw) upgradeTo(target string, lines ...string) {
	c.t.Helper()
	c.write([]byte(upgrade(target, lines...)))
	res := c.response()
	if res.StatusCode != http.StatusSwitchingProtocols {
		c.t.Fatalf("upgrade answered %s", res.Status)
	}
	if strings.Contains(target, "protobuf") || res.Header.Get("Sec-WebSocket-Protocol") == "centrifuge-protobuf" {
		c.enc = proto.Protobuf
	}
	c.ext = res.Header.Get("Sec-WebSocket-Extensions")
}

// write sends bytes; a server that has already closed is no failure of the test.
func (c *raw) write(b []byte) { _, _ = c.conn.Write(b) }

// response reads an HTTP response with its body.
func (c *raw) response() *http.Response {
	c.t.Helper()
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		c.t.Fatalf("no HTTP response: %v", err)
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		return res
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	return res
}

var testMask = [4]byte{0x37, 0xfa, 0x21, 0x3d}

// frame sends one masked frame.
func (c *raw) frame(op ws.Op, fin, rsv1 bool, payload []byte) {
	c.write(ws.AppendMaskedFrame(nil, op, fin, rsv1, testMask, payload))
}

// message sends one message of the connection's encoding.
func (c *raw) message(payload []byte) {
	op := ws.Text
	if c.enc == proto.Protobuf {
		op = ws.Binary
	}
	c.frame(op, true, false, payload)
}

// say sends a text message.
func (c *raw) say(text string) { c.frame(ws.Text, true, false, []byte(text)) }

// errEnd is the end of the stream between two frames.
var errEnd = errors.New("the connection ended without a close frame")

// next reads a frame.
func (c *raw) next() (op ws.Op, rsv1 bool, payload []byte, err error) {
	var h [8]byte
	if _, err := io.ReadFull(c.in, h[:2]); err != nil {
		return 0, false, nil, fmt.Errorf("%w (%w)", errEnd, err)
	}
	op, rsv1 = ws.Op(h[0]&15), h[0]&0x40 != 0
	n := int(h[1])
	switch n {
	case 126:
		_, err = io.ReadFull(c.in, h[:2])
		n = int(binary.BigEndian.Uint16(h[:2]))
	case 127:
		_, err = io.ReadFull(c.in, h[:8])
		n = int(binary.BigEndian.Uint64(h[:8]))
	}
	if err == nil {
		payload = make([]byte, n)
		_, err = io.ReadFull(c.in, payload)
	}
	return op, rsv1, payload, err
}

// data reads the next data message, answers nothing, passes over control frames.
func (c *raw) data() []byte {
	c.t.Helper()
	for {
		op, _, payload, err := c.next()
		switch {
		case err != nil:
			c.t.Fatalf("no message: %v", err)
		case op == ws.CloseOp:
			c.t.Fatalf("no message but %s", closeText(payload))
		case op == ws.Text || op == ws.Binary:
			return payload
		}
	}
}

// replies reads messages, answering pings, until it has n replies or pushes.
func (c *raw) replies(n int) []*proto.Reply {
	c.t.Helper()
	var out []*proto.Reply
	for len(out) < n {
		for _, r := range c.decode(c.data()) {
			if isPing(r) {
				c.message(proto.AppendPong(nil, c.enc))
			} else {
				out = append(out, r)
			}
		}
	}
	return out
}

func isPing(r *proto.Reply) bool { return r.Id == 0 && r.Push == nil }

// decode reads the replies of a message; each is a copy.
func (c *raw) decode(payload []byte) (out []*proto.Reply) {
	c.t.Helper()
	var d proto.ReplyDecoder
	d.Reset(payload, c.enc, proto.Limits{})
	for {
		var r proto.Reply
		ok, err := d.Next(&r)
		if err != nil {
			c.t.Fatalf("%q: %v", payload, err)
		}
		if !ok {
			return out
		}
		out = append(out, goproto.Clone(&r).(*proto.Reply)) // the decoder lends it
	}
}

// do sends a command and returns its reply; pushes before it are lost.
func (c *raw) do(cmd *proto.Command) *proto.Reply {
	c.t.Helper()
	c.id++
	cmd.Id = c.id
	b, err := proto.AppendCommand(nil, c.enc, cmd)
	if err != nil {
		c.t.Fatal(err)
	}
	c.message(b)
	for {
		if r := c.replies(1)[0]; r.Id == c.id {
			return r
		}
	}
}

// connect connects the session with a token, "" for none.
func (c *raw) connect(token string) *proto.ConnectResult {
	c.t.Helper()
	r := c.do(&proto.Command{Connect: &proto.ConnectRequest{Token: token}})
	if r.Connect == nil {
		c.t.Fatalf("connect answered %v", r)
	}
	return r.Connect
}

func (c *raw) subscribe(name string) {
	c.t.Helper()
	if r := c.do(&proto.Command{Subscribe: &proto.SubscribeRequest{Channel: name}}); r.Subscribe == nil {
		c.t.Fatalf("subscribe to %s answered %v", name, r)
	}
}

// pub reads the next publication.
func (c *raw) pub() *proto.Publication {
	c.t.Helper()
	for {
		if r := c.replies(1)[0]; r.Push != nil && r.Push.Pub != nil {
			return r.Push.Pub
		}
	}
}

// closed reads until the close frame and the end of the stream behind it; 0 when the
// stream ended without one.
func (c *raw) closed() (code int, reason string) {
	c.t.Helper()
	for {
		op, _, payload, err := c.next()
		if errors.Is(err, errEnd) {
			return 0, ""
		}
		if err != nil {
			c.t.Fatalf("a frame is cut short: %v", err)
		}
		if op != ws.CloseOp {
			continue
		}
		if len(payload) < 2 {
			return int(ws.CodeNoStatus), ""
		}
		if b, err := c.in.ReadByte(); err == nil {
			c.t.Fatalf("byte %#x follows the close frame", b)
		}
		return int(binary.BigEndian.Uint16(payload)), string(payload[2:])
	}
}

func closeText(payload []byte) string {
	if len(payload) < 2 {
		return "close frame without code"
	}
	return fmt.Sprintf("close frame %d %q", binary.BigEndian.Uint16(payload), payload[2:])
}

// expectClosed fails unless the server ends the connection with this code.
func (c *raw) expectClosed(want int) {
	c.t.Helper()
	if code, reason := c.closed(); code != want {
		c.t.Errorf("closed with %d %q, want %d", code, reason, want)
	}
}

// deflated compresses a payload as a message.
func deflated(t *testing.T, payload []byte) []byte {
	t.Helper()
	codec, err := deflate.New(deflate.CodecConfig{})
	if err != nil {
		t.Fatal(err)
	}
	out, err := codec.Compress(nil, payload)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func inflated(t *testing.T, payload []byte) []byte {
	t.Helper()
	codec, err := deflate.New(deflate.CodecConfig{})
	if err != nil {
		t.Fatal(err)
	}
	out, err := codec.Decompress(nil, payload, 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// control is a client that must miss nothing whatever happens to others.
type control struct {
	*raw
	channel string
	next    int
}

func (r *rig) control(t *testing.T, query string) *control {
	t.Helper()
	c := &control{raw: r.openRaw(t, query), channel: "control" + strconv.Itoa(len(query))}
	c.raw.connect("")
	c.raw.subscribe(c.channel)
	return c
}

// check publishes 20 messages, which must all come, in order.
func (c *control) check(t *testing.T) {
	t.Helper()
	c.raw.t = t
	c.conn.SetDeadline(time.Now().Add(patience))
	const n = 20
	for i := range n {
		pub := channel.Publication{Data: fmt.Appendf(nil, `{"n":%d}`, c.next+i)}
		if _, e := c.r.p.node.Publish(t.Context(), c.channel, &pub, node.PublishOptions{}); e != nil {
			t.Fatalf("publish to the control client: %v", e)
		}
	}
	for i := range n {
		if got, want := string(c.pub().Data), fmt.Sprintf(`{"n":%d}`, c.next+i); got != want {
			t.Fatalf("the control client got %s, want %s", got, want)
		}
	}
	c.next += n
}

// metrics reads /metrics: value by name and labels as they stand there.
func (r *rig) metrics(t *testing.T) map[string]float64 {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, r.base+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	status, body := do(t, req)
	if status != http.StatusOK {
		t.Fatalf("/metrics answered %d", status)
	}
	out := map[string]float64{}
	for line := range strings.Lines(body) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if v, err := strconv.ParseFloat(value, 64); ok && err == nil && !strings.HasPrefix(line, "#") {
			out[name] = v
		}
	}
	return out
}

// grown waits until a counter is above what it was.
func (r *rig) grown(t *testing.T, name string, before map[string]float64) {
	t.Helper()
	eventually(t, "counter "+name+" grows", func() bool { return r.metrics(t)[name] > before[name] })
}

// logLines collects what the program logs at level Info and above.
type logLines struct {
	mu    sync.Mutex
	lines []string
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, string(bytes.TrimSpace(p)))
	return len(p), nil
}

// since returns the lines from number n on.
func (l *logLines) since(n int) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.lines[n:]...)
}

func (l *logLines) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelInfo}))
}

// maskedText is a text message as a client sends it.
func maskedText(text string) []byte { return ws.AppendMasked(nil, ws.Text, testMask, []byte(text)) }
