package server

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"shoal/codec/proto"
	"shoal/codec/ws"
	"shoal/server/config"
)

// refused is a request head and how it must be answered.
type refused struct {
	head   string
	status int    // 0: closed without an answer
	reason string // label of websocket_handshakes_refused_total
}

// without is a valid upgrade with one header line taken out, and others put in.
func without(line string, instead ...string) string {
	head := upgrade(wsPath)
	i := strings.Index(head, "\r\n"+line)
	if i < 0 {
		panic("no line " + line)
	}
	end := i + 2 + strings.Index(head[i+2:], "\r\n")
	return head[:i] + strings.Join(append([]string{""}, instead...), "\r\n") + head[end:]
}

func badUpgrades() map[string]refused {
	manyHeaders := strings.Repeat("X-A: b\r\n", 80)
	return map[string]refused{
		"HTTP/1.0":             {strings.Replace(upgrade(wsPath), "HTTP/1.1", "HTTP/1.0", 1), 505, "http-1.0"},
		"HTTP/2.0":             {strings.Replace(upgrade(wsPath), "HTTP/1.1", "HTTP/2.0", 1), 505, "bad-http-version"},
		"POST":                 {strings.Replace(upgrade(wsPath), "GET", "POST", 1), 405, "method-not-get"},
		"no Host":              {without("Host"), 400, "no-host"},
		"two Hosts":            {upgrade(wsPath, "Host: localhost"), 400, "two-hosts"},
		"bad Host":             {without("Host", "Host: a b"), 400, "bad-host"},
		"no Upgrade":           {without("Upgrade"), 426, "no-upgrade"},
		"no Connection":        {without("Connection"), 400, "no-connection"},
		"no version":           {without("Sec-WebSocket-Version"), 426, "no-version"},
		"version 8":            {without("Sec-WebSocket-Version", "Sec-WebSocket-Version: 8"), 426, "wrong-version"},
		"two versions":         {upgrade(wsPath, "Sec-WebSocket-Version: 13"), 400, "two-versions"},
		"no key":               {without("Sec-WebSocket-Key"), 400, "no-key"},
		"two keys":             {upgrade(wsPath, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), 400, "two-keys"},
		"short key":            {without("Sec-WebSocket-Key", "Sec-WebSocket-Key: c2hvcnQ="), 400, "bad-key"},
		"two Origins":          {upgrade(wsPath, "Origin: http://localhost", "Origin: http://localhost"), 403, "two-origins"},
		"foreign Origin":       {upgrade(wsPath, "Origin: http://evil.example"), 403, "origin-denied"},
		"null Origin":          {upgrade(wsPath, "Origin: null"), 403, "origin-denied"},
		"body":                 {upgrade(wsPath, "Content-Length: 5") + "hello", 413, "body-on-upgrade"},
		"two lengths":          {upgrade(wsPath, "Content-Length: 0", "Content-Length: 5"), 400, "bad-content-length"},
		"chunked body":         {upgrade(wsPath, "Transfer-Encoding: chunked") + "5\r\nhello\r\n0\r\n\r\n", 400, "transfer-on-upgrade"},
		"broken extensions":    {upgrade(wsPath, "Sec-WebSocket-Extensions: permessage-deflate; ="), 400, "bad-extensions"},
		"twice the protocol":   {upgrade(wsPath, "Sec-WebSocket-Protocol: a, a"), 400, "bad-subprotocol"},
		"header flood":         {"GET " + wsPath + " HTTP/1.1\r\n" + manyHeaders + "\r\n", 431, "too-many-headers"},
		"huge header":          {upgrade(wsPath, "Cookie: "+strings.Repeat("c", 9000)), 431, "head-too-large"},
		"endless header":       {"GET " + wsPath + " HTTP/1.1\r\nCookie: " + strings.Repeat("c", 60000), 431, "head-too-large"},
		"long target":          {upgrade(wsPath + "?" + strings.Repeat("q", 5000)), 414, "target-too-long"},
		"LF alone":             {strings.ReplaceAll(upgrade(wsPath), "\r\n", "\n"), 400, "bare-lf"},
		"CR alone":             {upgrade(wsPath, "X: a\rb"), 400, "bare-cr"},
		"NUL":                  {upgrade(wsPath, "X: a\x00b"), 400, "nul-byte"},
		"folded header":        {upgrade(wsPath, "X: a\r\n b"), 400, "obs-fold"},
		"space before colon":   {upgrade(wsPath, "X : a"), 400, "space-before-colon"},
		"line without colon":   {upgrade(wsPath, "nonsense"), 400, "bad-header-line"},
		"TLS hello":            {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("\x01", 500), 400, "tls-on-plain-port"},
		"not HTTP":             {"\x00\x01\x02\x03\r\n\r\n", 400, "bad-method"},
		"fragment":             {upgrade(wsPath + "#x"), 400, "bad-target"},
		"other host in target": {strings.Replace(upgrade(wsPath), wsPath, "http://other.example"+wsPath, 1), 400, "host-mismatch"},
	}
}

func TestMalformedUpgradesAreRefusedByName(t *testing.T) {
	r := start(t, quick)
	watch := r.control(t, "")
	for name, bad := range badUpgrades() {
		for _, chop := range []int{0, 7} {
			t.Run(fmt.Sprintf("%s, chop %d", name, chop), func(t *testing.T) {
				before, lines := r.metrics(t), len(r.logs.since(0))
				c := r.dialRaw(t)
				c.chopped([]byte(bad.head), chop)
				if res := c.response(); res.StatusCode != bad.status {
					t.Errorf("answered %s, want %d", res.Status, bad.status)
				} else if !res.Close {
					t.Error("the answer does not say Connection: close")
				}
				if _, err := c.in.ReadByte(); err == nil {
					t.Error("bytes follow the refusal")
				}
				r.grown(t, fmt.Sprintf(`websocket_handshakes_refused_total{reason=%q}`, bad.reason), before)
				r.quiet(t, lines)
			})
		}
	}
	watch.check(t)
}

// chopped writes in pieces; 0 = whole.
func (c *raw) chopped(b []byte, n int) {
	if n == 0 {
		n = len(b)
	}
	for len(b) > 0 {
		k := min(n, len(b))
		c.write(b[:k])
		b = b[k:]
	}
}

// quiet fails when more than one line was logged since.
func (r *rig) quiet(t *testing.T, since int) {
	t.Helper()
	if lines := r.logs.since(since); len(lines) > 1 {
		t.Errorf("%d lines were logged, want one at most:\n%s", len(lines), strings.Join(lines, "\n"))
	}
}

// header builds a masked frame's header with any length form.
func header(first byte, lengthForm byte, n uint64) []byte {
	b := []byte{first, 0x80 | lengthForm}
	switch lengthForm {
	case 126:
		b = binary.BigEndian.AppendUint16(b, uint16(n))
	case 127:
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return append(b, testMask[:]...)
}

// badFrame is bytes after the handshake, and how the connection must end.
type badFrame struct {
	bytes []byte
	code  int
	label string // of websocket_errors_total
}

func badFrames(t *testing.T) map[string]badFrame {
	masked := func(op ws.Op, fin, rsv1 bool, p string) []byte {
		return ws.AppendMaskedFrame(nil, op, fin, rsv1, testMask, []byte(p))
	}
	with := func(set byte, frame []byte) []byte { frame[0] |= set; return frame }
	fragments := masked(ws.Text, false, false, strings.Repeat("a", 40000))
	fragments = append(fragments, masked(ws.Continuation, false, false, strings.Repeat("a", 40000))...)
	bomb := deflated(t, make([]byte, 32<<20))
	return map[string]badFrame{
		"unmasked":                 {ws.AppendFrame(nil, ws.Text, true, false, []byte("{}")), 1002, "mask-missing"},
		"RSV2":                     {with(0x20, masked(ws.Text, true, false, "{}")), 1002, "reserved-bits"},
		"RSV3":                     {with(0x10, masked(ws.Text, true, false, "{}")), 1002, "reserved-bits"},
		"RSV1 on a ping":           {with(0x40, masked(ws.PingOp, true, false, "")), 1002, "reserved-bits"},
		"RSV1 on a continuation":   {append(masked(ws.Text, false, false, "a"), with(0x40, masked(ws.Continuation, true, false, "b"))...), 1002, "reserved-bits"},
		"opcode 3":                 {with(0x03, masked(ws.Continuation, true, false, "")), 1002, "reserved-opcode"},
		"opcode 15":                {with(0x0f, masked(ws.Continuation, true, false, "")), 1002, "reserved-opcode"},
		"continuation first":       {masked(ws.Continuation, true, false, "{}"), 1002, "continuation-first"},
		"text in text":             {append(masked(ws.Text, false, false, "{"), masked(ws.Text, true, false, "}")...), 1002, "message-interleaved"},
		"ping of 126 bytes":        {append(header(0x89, 126, 126), make([]byte, 126)...), 1002, "control-too-long"},
		"ping in fragments":        {header(0x09, 0, 0), 1002, "control-fragmented"},
		"16-bit length of 5":       {header(0x81, 126, 5), 1002, "length-not-minimal"},
		"64-bit length of 5":       {header(0x81, 127, 5), 1002, "length-not-minimal"},
		"length 2^63":              {header(0x81, 127, 1<<63), 1002, "length-top-bit"},
		"length 2^64-1":            {header(0x82, 127, 1<<64-1), 1002, "length-top-bit"},
		"length 2^63-1":            {header(0x81, 127, 1<<63-1), 1009, "too-big"},
		"length 2^53":              {header(0x82, 127, 1<<53), 1009, "too-big"},
		"one byte over the limit":  {header(0x81, 127, 65537), 1009, "too-big"},
		"4 MiB command":            {append(header(0x81, 127, 4<<20), make([]byte, 4<<20)...), 1009, "too-big"},
		"fragments over the limit": {fragments, 1009, "too-big"},
		"bad UTF-8":                {masked(ws.Text, true, false, "{\"id\":1,\"connect\":{\"name\":\"\xff\"}}"), 1007, "invalid-utf8"},
		"surrogate":                {masked(ws.Text, true, false, "\xed\xa0\x80"), 1007, "invalid-utf8"},
		"cut UTF-8":                {masked(ws.Text, true, false, "\xe2\x82"), 1007, "invalid-utf8"},
		"close of one byte":        {masked(ws.CloseOp, true, false, "\x03"), 1002, "close-length"},
		"close 999":                {masked(ws.CloseOp, true, false, "\x03\xe7"), 1002, "close-code"},
		"close 1005":               {masked(ws.CloseOp, true, false, "\x03\xed"), 1002, "close-code"},
		"close reason no UTF-8":    {masked(ws.CloseOp, true, false, "\x03\xe8\xff"), 1007, "close-reason-utf8"},
		"compression bomb":         {masked(ws.Text, true, true, string(bomb)), 1009, "too-big"},
		"fragmented bomb": {append(masked(ws.Text, false, true, string(bomb[:len(bomb)/2])),
			masked(ws.Continuation, true, false, string(bomb[len(bomb)/2:]))...), 1009, "too-big"},
		"compressed bad UTF-8": {masked(ws.Text, true, true, string(deflated(t, []byte("\xff\xfe")))), 1007, "invalid-utf8"},
	}
}

func TestBrokenFramesEndWithTheRightCode(t *testing.T) {
	r := start(t, tuned(func(c *config.Config) { c.WebSocket.Compression = true }))
	watch := r.control(t, "")
	for name, bad := range badFrames(t) {
		for _, connected := range []bool{false, true} {
			for _, chop := range []int{0, 1 + len(bad.bytes)/50} {
				t.Run(fmt.Sprintf("%s, connected %t, chop %d", name, connected, chop), func(t *testing.T) {
					before, lines := r.metrics(t), len(r.logs.since(0))
					c := r.openRaw(t, "", "Sec-WebSocket-Extensions: permessage-deflate")
					if connected {
						c.connect("")
						c.subscribe(watch.channel)
					}
					c.chopped(bad.bytes, chop)
					c.expectClosed(bad.code)
					r.grown(t, fmt.Sprintf(`websocket_errors_total{reason=%q}`, bad.label), before)
					r.quiet(t, lines)
				})
			}
		}
		watch.check(t)
	}
}

func TestCorruptCompressedMessageEndsWith1007(t *testing.T) {
	r := start(t, tuned(func(c *config.Config) { c.WebSocket.Compression = true }))
	watch := r.control(t, "")
	for _, payload := range []string{"\x07", "\xff\xff\xff\xff", "\x00\x05\x00\x00\x00hello"} {
		before := r.metrics(t)
		c := r.openRaw(t, "", "Sec-WebSocket-Extensions: permessage-deflate")
		c.frame(ws.Text, true, true, []byte(payload))
		c.expectClosed(1007)
		r.grown(t, `websocket_errors_total{reason="corrupt-deflate"}`, before)
	}
	watch.check(t)
}

func TestInvalidDeflateOffersAreDeclined(t *testing.T) {
	r := start(t, tuned(func(c *config.Config) { c.WebSocket.Compression = true }))
	const answer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
	for offer, want := range map[string]string{
		"permessage-deflate; unknown":                                             "",
		"permessage-deflate; server_max_window_bits=7":                            "",
		"permessage-deflate; server_max_window_bits=16":                           "",
		"permessage-deflate; server_max_window_bits":                              "",
		"permessage-deflate; server_no_context_takeover=1":                        "",
		"permessage-deflate; client_max_window_bits; client_max_window_bits":      "",
		"x-webkit-deflate-frame":                                                  "",
		"permessage-deflate; unknown, permessage-deflate":                         answer,
		"permessage-deflate; server_max_window_bits=99, permessage-deflate":       answer,
		"permessage-deflate; client_max_window_bits":                              answer,
		"permessage-deflate; server_max_window_bits=10; client_max_window_bits=9": answer + "; server_max_window_bits=10",
	} {
		c := r.openRaw(t, "", "Sec-WebSocket-Extensions: "+offer)
		if c.ext != want {
			t.Errorf("%s: answered %q, want %q", offer, c.ext, want)
		}
		c.connect("")
	}
}

func TestDeflateIsNotAnsweredWhenItIsOff(t *testing.T) {
	r := start(t, quick)
	c := r.openRaw(t, "", "Sec-WebSocket-Extensions: permessage-deflate")
	if c.ext != "" {
		t.Errorf("answered %q", c.ext)
	}
	c.frame(ws.Text, true, true, []byte("\xaa\x56\x00"))
	c.expectClosed(1002)
}

// badCommand is a message and what it leads to: a disconnect, or an error reply.
type badCommand struct {
	text string
	code int // disconnect
	err  uint32
}

func badCommands() map[string]badCommand {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	long := strings.Repeat("c", 256)
	return map[string]badCommand{
		"empty message":        {"", 3501, 0},
		"only a line break":    {"\n", 3501, 0},
		"no JSON":              {"hello", 3501, 0},
		"half a command":       {`{"id":9,"publish"`, 3501, 0},
		"array":                {`[]`, 3501, 0},
		"two on a line":        {`{"id":9,"rpc":{}}{"id":10,"rpc":{}}`, 3501, 0},
		"string for a number":  {`{"id":"9","rpc":{}}`, 3501, 0},
		"id over 32 bits":      {`{"id":4294967296,"rpc":{}}`, 3501, 0},
		"negative id":          {`{"id":-1,"rpc":{}}`, 3501, 0},
		"depth 10,000 of data": {`{"id":9,"publish":{"channel":"bad","data":` + deep(10_000) + `}}`, 3501, 0},
		"depth 20,000":         {deep(20_000), 3501, 0},
		"depth of an unknown":  {`{"id":9,"what":` + deep(10_000) + `}`, 3501, 0},
		"unknown command":      {`{"id":9,"launch":{}}`, 3501, 0},
		"ping command":         {`{"id":9,"ping":{}}`, 3501, 0},
		"second connect":       {`{"id":9,"connect":{}}`, 3501, 0},
		"pong nobody asked":    {`{}`, 3501, 0},
		"pong as null":         {`{"id":0}`, 3501, 0},
		"send":                 {`{"send":{"data":{}}}`, 3508, 0},
		"no channel":           {`{"id":9,"subscribe":{}}`, 3501, 0},
		"no publish channel":   {`{"id":9,"publish":{"data":{}}}`, 3501, 0},
		"no data":              {`{"id":9,"publish":{"channel":"bad"}}`, 3501, 0},
		"unknown delta":        {`{"id":9,"subscribe":{"channel":"new","delta":"xdelta"}}`, 3501, 0},
		"empty refresh":        {`{"id":9,"refresh":{"token":""}}`, 3501, 0},
		"subscribed already":   {`{"id":9,"subscribe":{"channel":"bad"}}`, 0, 105},
		"long channel":         {`{"id":9,"subscribe":{"channel":"` + long + `"}}`, 0, 107},
		"unknown namespace":    {`{"id":9,"subscribe":{"channel":"nowhere:x"}}`, 0, 102},
		"private channel":      {`{"id":9,"subscribe":{"channel":"$x"}}`, 0, 103},
		"not a subscriber":     {`{"id":9,"publish":{"channel":"other","data":{}}}`, 0, 103},
		"map subscription":     {`{"id":9,"subscribe":{"channel":"new","type":1}}`, 0, 108},
		"history":              {`{"id":9,"history":{"channel":"bad"}}`, 0, 108},
		"presence":             {`{"id":9,"presence":{"channel":"bad"}}`, 0, 108},
		"rpc":                  {`{"id":9,"rpc":{"method":"x"}}`, 0, 104},
	}
}

func TestHostileCommandsGetTheirCode(t *testing.T) {
	r := start(t, quick)
	watch := r.control(t, "")
	for name, bad := range badCommands() {
		t.Run(name, func(t *testing.T) {
			before, lines := r.metrics(t), len(r.logs.since(0))
			c := r.openRaw(t, "")
			c.connect("")
			c.subscribe("bad")
			c.say(bad.text)
			if bad.code != 0 {
				c.expectClosed(bad.code)
				r.grown(t, fmt.Sprintf(`shoal_disconnects_total{code="%d"}`, bad.code), before)
			} else {
				reply := c.replies(1)[0]
				if reply.Id != 9 || reply.Error == nil || reply.Error.Code != bad.err || reply.Error.Message == "" {
					t.Errorf("answered %v, want error %d", reply, bad.err)
				}
				r.grown(t, fmt.Sprintf(`shoal_command_errors_total{code="%d"}`, bad.err), before)
				if c.do(&proto.Command{Unsubscribe: &proto.UnsubscribeRequest{Channel: "bad"}}).Unsubscribe == nil {
					t.Error("the session did not go on")
				}
			}
			r.quiet(t, lines)
		})
	}
	watch.check(t)
}

func TestNothingIsDoneBeforeConnect(t *testing.T) {
	r := start(t, quick)
	for _, text := range []string{
		`{"id":1,"subscribe":{"channel":"a"}}`, `{"id":1,"publish":{"channel":"a","data":{}}}`, `{}`, `{"send":{"data":1}}`,
		`{"id":1,"unsubscribe":{"channel":"a"}}`, `{"id":1,"rpc":{}}`, ``, `x`, `{"id":1,"ping":{}}`, `{"connect":{}}` + "\n" + `{}`,
	} {
		c := r.openRaw(t, "")
		c.say(text)
		c.expectClosed(3501)
	}
}

func TestLyingProtobufLengthsAreRefused(t *testing.T) {
	r := start(t, quick)
	watch := r.control(t, "?format=protobuf")
	var lies [][]byte
	for _, n := range []uint64{2, 100, 65536, 65537, 1 << 20, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 32, 1 << 53, 1<<63 - 1, 1 << 63, 1<<64 - 1} {
		lies = append(lies, append(binary.AppendUvarint(nil, n), 8), binary.AppendUvarint(nil, n))
	}
	overlong := []byte{0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01}
	lies = append(lies, overlong, overlong[:5], []byte{0xff}, []byte{0x02, 0x08}, nil,
		[]byte{0x04, 0x22, 0xff, 0xff, 0x7f},                   // connect longer than its command
		[]byte{0x03, 0x22, 0x80, 0x80},                         // a varint cut short
		[]byte{0x07, 0x08, 0x01, 0x2a, 0x03, 0x0a, 0x7f, 0x61}) // a string longer than its message
	for _, lie := range lies {
		for _, connected := range []bool{false, true} {
			c := r.openRaw(t, "?format=protobuf")
			if connected {
				c.connect("")
			}
			c.message(lie)
			if code, reason := c.closed(); code != 3501 {
				t.Errorf("% x, connected %t: closed with %d %q, want 3501", lie, connected, code, reason)
			}
		}
	}
	watch.check(t)
}

func TestManyCommandsInOneMessageAreAnsweredInOrder(t *testing.T) {
	r := start(t, quick)
	for _, query := range []string{"", "?format=protobuf"} {
		c := r.openRaw(t, query)
		c.connect("")
		c.subscribe("batch")
		var b []byte
		const n = 1000
		for i := range n {
			cmd := &proto.Command{Id: uint32(i + 10), Unsubscribe: &proto.UnsubscribeRequest{Channel: "nothing"}}
			if i%2 == 1 {
				cmd = &proto.Command{Id: uint32(i + 10), Rpc: &proto.RPCRequest{}}
			}
			if len(b) > 0 {
				b = proto.AppendSep(b, c.enc)
			}
			var err error
			if b, err = proto.AppendCommand(b, c.enc, cmd); err != nil {
				t.Fatal(err)
			}
		}
		c.message(b)
		for i, reply := range c.replies(n) {
			if reply.Id != uint32(i+10) || (reply.Error == nil) != (i%2 == 0) {
				t.Fatalf("reply %d is %v", i, reply)
			}
		}
	}
}

func TestRandomFramesDoNoHarm(t *testing.T) {
	r := start(t, tuned(func(c *config.Config) { c.WebSocket.Compression = true }))
	watch := r.control(t, "")
	rnd := rand.New(rand.NewPCG(1, 2))
	seeds := []string{
		`{"id":2,"subscribe":{"channel":"x"}}`, `{"id":3,"publish":{"channel":"x","data":{"a":[1,2,3]}}}`, "\x05\x08\x02\x2a\x03\x0a\x01x",
		`{}`, "\x00", `{"id":4,"unsubscribe":{"channel":"x"}}` + "\n" + `{"id":5,"rpc":{"data":null}}`,
	}
	for range 200 {
		query := []string{"", "?format=protobuf"}[rnd.IntN(2)]
		c := r.openRaw(t, query, "Sec-WebSocket-Extensions: permessage-deflate")
		if rnd.IntN(4) > 0 {
			c.connect("")
		}
		for range 20 {
			p := []byte(seeds[rnd.IntN(len(seeds))])
			for range rnd.IntN(4) {
				p[rnd.IntN(len(p))] = byte(rnd.Uint32())
			}
			b := ws.AppendMaskedFrame(nil, ws.Text+ws.Op(rnd.IntN(2)), true, rnd.IntN(3) == 0, testMask, p)
			if rnd.IntN(10) == 0 {
				b[rnd.IntN(min(len(b), 4))] ^= 1 << rnd.IntN(8)
			}
			c.write(b)
		}
		c.conn.Close()
	}
	watch.check(t)
}

func TestSlowHandshakeIsEnded(t *testing.T) {
	r := start(t, tuned(func(c *config.Config) { c.Handshake.Timeout = 300 * time.Millisecond }))
	before := r.metrics(t)
	var slow []*raw
	for range 100 {
		c := r.dialRaw(t)
		c.write([]byte(upgrade(wsPath)[:30]))
		slow = append(slow, c)
	}
	trickle := r.dialRaw(t)
	go func() {
		for _, b := range []byte(upgrade(wsPath)) { // ends when the server has closed
			if _, err := trickle.conn.Write([]byte{b}); err != nil {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
	}()
	watch := r.control(t, "")
	watch.check(t)
	for _, c := range append(slow, trickle) {
		if res := c.response(); res.StatusCode != 408 {
			t.Errorf("answered %s, want 408", res.Status)
		}
	}
	silent := r.dialRaw(t) // not a byte
	if res := silent.response(); res.StatusCode != 408 {
		t.Errorf("answered %s, want 408", res.Status)
	}
	r.grown(t, `websocket_handshakes_refused_total{reason="slow-head"}`, before)
	watch.check(t)
}

func TestMessageInMoreFragmentsThanAnyoneSends(t *testing.T) {
	r := start(t, quick)
	c := r.openRaw(t, "")
	text := `{"id":1,"connect":{"name":"` + strings.Repeat("n", 20_000) + `"}}`
	var b []byte
	for i := range len(text) {
		op := ws.Continuation
		if i == 0 {
			op = ws.Text
		}
		b = ws.AppendMaskedFrame(b, op, i == len(text)-1, false, testMask, []byte{text[i]})
		if i%1000 == 500 {
			b = ws.AppendMaskedFrame(b, ws.PingOp, true, false, testMask, []byte("between"))
		}
	}
	c.write(b)
	pongs := 0
	for {
		op, _, payload, err := c.next()
		if err != nil {
			t.Fatal(err)
		}
		if op == ws.PongOp && string(payload) == "between" {
			pongs++
			continue
		}
		if replies := c.decode(payload); op != ws.Text || replies[0].Connect == nil {
			t.Fatalf("answered %s %q", op, payload)
		}
		break
	}
	if pongs != 20 {
		t.Errorf("%d pongs came, want 20", pongs)
	}
}
