package compat_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/centrifugal/protocol"
	"github.com/gorilla/websocket"
)

// wire is a raw client: what it sends and gets is written down as it is.
type wire struct {
	t      testing.TB
	server string
	name   string
	enc    protocol.Type
	conn   *websocket.Conn
	mu     sync.Mutex // guards writing
	pongs  bool       // pings are answered
	lastID uint32
	in     chan message // closed behind the message with close set
	queue  []message    // taken from in, not asked for yet
	closed string       // how it ended
}

// message is what came: one of the fields is set.
type message struct {
	id    uint32
	reply map[string]any // of a command, or a push when id is 0
	ping  bool
	close string
}

// dial opens a connection.
func dial(t testing.TB, s *target, name string, enc protocol.Type, pongs bool) *wire {
	t.Helper()
	url := s.ws
	if enc == protocol.TypeProtobuf {
		url += "?format=protobuf"
	}
	conn, res, err := websocket.DefaultDialer.Dial(url, nil)
	if err != nil {
		t.Fatalf("%s: %s: %v", s.name, name, err)
	}
	res.Body.Close()
	w := &wire{t: t, server: s.name, name: name, enc: enc, conn: conn, pongs: pongs, in: make(chan message, 1024)}
	t.Cleanup(func() { conn.Close() })
	go w.read()
	return w
}

// read hands on every message until the connection ends.
func (w *wire) read() {
	defer close(w.in)
	for {
		_, frame, err := w.conn.ReadMessage()
		if err != nil {
			text := "without a close frame"
			if e := (*websocket.CloseError)(nil); errors.As(err, &e) && e.Code != websocket.CloseAbnormalClosure {
				text = fmt.Sprintf("%d %s", e.Code, e.Text)
			}
			w.in <- message{close: text}
			return
		}
		messages, err := decode(w.enc, frame)
		for _, m := range messages {
			if m.ping && w.pongs {
				w.raw(map[protocol.Type][]byte{protocol.TypeJSON: []byte("{}"), protocol.TypeProtobuf: {0}}[w.enc])
			}
			w.in <- m
		}
		if err != nil {
			w.in <- message{reply: map[string]any{"undecodable": fmt.Sprintf("%v: %q", err, frame)}}
		}
	}
}

// decode reads the messages of one frame.
func decode(enc protocol.Type, frame []byte) (out []message, err error) {
	if enc == protocol.TypeJSON {
		for _, line := range bytes.Split(frame, []byte("\n")) {
			d := json.NewDecoder(bytes.NewReader(line))
			d.UseNumber()
			var tree map[string]any
			if err := d.Decode(&tree); err != nil {
				return out, err
			}
			if _, err := d.Token(); !errors.Is(err, io.EOF) {
				return out, errors.New("more than one value in a line")
			}
			out = append(out, messageOf(tree))
		}
		return out, nil
	}
	for d := protocol.NewProtobufReplyDecoder(frame); ; {
		reply, err := d.Decode()
		if reply != nil {
			tree, _ := treeOf(reflect.ValueOf(reply)).(map[string]any)
			out = append(out, messageOf(tree))
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return out, err
		}
	}
}

func messageOf(tree map[string]any) message {
	if len(tree) == 0 {
		return message{ping: true}
	}
	m := message{reply: tree}
	if id, ok := tree["id"].(json.Number); ok {
		fmt.Sscan(id.String(), &m.id)
		delete(tree, "id")
	}
	return m
}

// treeOf is a protocol message as its JSON would be: without what is zero, payloads as
// the JSON they are or else as text.
func treeOf(v reflect.Value) any {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		if v.Elem().Kind() != reflect.Struct {
			return treeOf(v.Elem())
		}
		out := map[string]any{}
		for i := range v.Elem().NumField() {
			f, field := v.Elem().Type().Field(i), v.Elem().Field(i)
			if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); f.IsExported() && !field.IsZero() {
				out[name] = treeOf(field)
			}
		}
		return out
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return payload(v.Bytes())
		}
		list := make([]any, v.Len())
		for i := range list {
			list[i] = treeOf(v.Index(i))
		}
		return list
	case reflect.Map:
		out := map[string]any{}
		for _, k := range v.MapKeys() {
			out[k.String()] = treeOf(v.MapIndex(k))
		}
		return out
	case reflect.Bool:
		return v.Bool()
	case reflect.String:
		return v.String()
	}
	return json.Number(fmt.Sprint(v.Interface()))
}

func payload(b []byte) any {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var tree any
	if json.Valid(b) && d.Decode(&tree) == nil {
		return tree
	}
	return string(b)
}

// send sends commands in one frame and returns those that are to be answered.
func (w *wire) send(commands []string) (out []sent) {
	w.t.Helper()
	var frame []byte
	for i, text := range commands {
		text, id := w.numbered(text)
		if id > 0 {
			out = append(out, sent{id, channelOf(text)})
		}
		if w.enc == protocol.TypeJSON {
			if i > 0 {
				frame = append(frame, '\n')
			}
			frame = append(frame, text...)
			continue
		}
		cmd := &protocol.Command{}
		if err := json.Unmarshal([]byte(text), cmd); err != nil {
			w.t.Fatalf("%s: %v", text, err)
		}
		b, err := cmd.MarshalVT()
		if err != nil {
			w.t.Fatal(err)
		}
		frame = append(appendUvarint(frame, len(b)), b...)
	}
	w.raw(frame)
	return out
}

// sent is a command that is to be answered.
type sent struct {
	id      uint32
	channel string
}

// channelOf finds the channel that a command names.
func channelOf(text string) string {
	var requests map[string]json.RawMessage
	if json.Unmarshal([]byte(text), &requests) != nil {
		return ""
	}
	for _, r := range requests {
		var q struct {
			Channel string `json:"channel"`
		}
		if json.Unmarshal(r, &q) == nil && q.Channel != "" {
			return q.Channel
		}
	}
	return ""
}

func appendUvarint(b []byte, n int) []byte {
	for ; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

// numbered gives a command the next id, unless it has one or needs none.
func (w *wire) numbered(text string) (string, uint32) {
	var keys map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &keys); err != nil {
		w.t.Fatalf("%s: %v", text, err)
	}
	if id, ok := keys["id"]; ok {
		var n uint32
		fmt.Sscan(string(id), &n)
		return text, n
	}
	if _, ok := keys["send"]; ok || len(keys) == 0 {
		return text, 0
	}
	w.lastID++
	return fmt.Sprintf(`{"id":%d,%s`, w.lastID, text[1:]), w.lastID
}

// raw sends a frame; a server that has closed already is no failure.
func (w *wire) raw(frame []byte) {
	kind := websocket.TextMessage
	if w.enc == protocol.TypeProtobuf {
		kind = websocket.BinaryMessage
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	_ = w.conn.SetWriteDeadline(time.Now().Add(patience))
	_ = w.conn.WriteMessage(kind, frame)
}

// leave closes as a client does.
func (w *wire) leave() {
	_ = w.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(patience))
}

// take returns the first message that fits, from those that came and those to come;
// false when the connection ended before one did.
func (w *wire) take(what string, fits func(m *message) bool) (message, bool) {
	w.t.Helper()
	for i := range w.queue {
		if fits(&w.queue[i]) {
			m := w.queue[i]
			w.queue = slices.Delete(w.queue, i, i+1)
			return m, true
		}
	}
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for w.closed == "" {
		select {
		case m := <-w.in:
			switch {
			case m.close != "":
				w.closed = m.close
			case fits(&m):
				return m, true
			default:
				w.queue = append(w.queue, m)
			}
		case <-timeout.C:
			w.t.Fatalf("%s: %s waits for %s: nothing came; not asked for yet: %v", w.server, w.name, what, w.queue)
		}
	}
	return message{}, false
}

func isPush(m *message) bool { return m.id == 0 && !m.ping }

func isReply(id uint32) func(*message) bool {
	return func(m *message) bool { return m.id == id && !m.ping }
}

// render writes a tree on one line, keys in order.
func render(tree any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(tree); err != nil {
		return err.Error()
	}
	return strings.TrimSuffix(b.String(), "\n")
}
