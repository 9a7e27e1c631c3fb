package engine

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gorilla/websocket"

	"shoal/codec/proto"
)

// flaws are what a server does wrong; nil ones it does right.
type flaws struct {
	// deliver decides what a member is sent of a publication; the default is that publication.
	deliver func(m *member, p *proto.Publication) []*proto.Publication
	// recovered decides what a member who comes back is sent.
	recovered func(m *member, missed []*proto.Publication) ([]*proto.Publication, bool)
	// after is called when a member has been answered that it is subscribed.
	after func(m *member)
	// pinged is called for a ping frame.
	pinged func(m *member)
	// greet may refuse the n-th upgrade, from 0.
	greet func(n int) (status int, header http.Header)
	// answer is what the API says instead.
	answer string
	// crosstalk: publications go to the members of all channels, under their names.
	crosstalk bool
	// mute: no offsets, no recovery.
	mute bool
	// stalled is set once some do not read.
	stalled *atomic.Bool
	// tagged is called for each publication with its tag.
	tagged func(key string)
	// call answers a call; the default answers with its data.
	call func(m *member, r *proto.RPCRequest) ([]byte, *proto.Error)
	// connected is called with the token of each connect command.
	connected func(token string)
}

// flawed is a server of the client protocol and of the API that makes mistakes on purpose.
type flawed struct {
	f        flaws
	mu       sync.Mutex
	streams  map[string][]*proto.Publication
	members  map[*member]bool
	upgrades int
}

// unsubscribe has a member begin anew, as a server does that cannot go on with it.
func (m *member) unsubscribe() {
	m.subs["room"] = false
	m.reply(&proto.Reply{Push: &proto.Push{Channel: "room", Unsubscribe: &proto.Unsubscribe{Code: 2500}}})
}

// member is one connection.
type member struct {
	s      *flawed
	ws     *websocket.Conn
	enc    proto.Encoding
	number int // in the order of coming
	subs   map[string]bool
	got    int // publications delivered
	before int // of those, before some did not read
	held   *proto.Publication
	twice  bool // unsubscribed again
}

// sinceStall is how many publications were delivered since some do not read.
func (m *member) sinceStall() int { return m.got - m.before }

func serveFlawed(t *testing.T, f flaws) netip.AddrPort {
	t.Helper()
	s := &flawed{f: f, streams: map[string][]*proto.Publication{}, members: map[*member]bool{}}
	mux := http.NewServeMux()
	mux.HandleFunc("/ws", s.upgrade)
	mux.HandleFunc("/api/publish", s.api)
	mux.HandleFunc("/api/batch", s.api)
	server := httptest.NewServer(mux)
	t.Cleanup(func() {
		s.mu.Lock()
		for m := range s.members {
			m.ws.Close()
		}
		s.mu.Unlock()
		server.Close()
	})
	return netip.MustParseAddrPort(server.Listener.Addr().String())
}

func (s *flawed) api(w http.ResponseWriter, r *http.Request) {
	type publish struct {
		Channel string          `json:"channel"`
		Data    json.RawMessage `json:"data"`
		Tags    struct {
			Key string `json:"key"`
		} `json:"tags"`
	}
	var one publish
	var batch struct {
		Commands []struct {
			Publish publish `json:"publish"`
		} `json:"commands"`
	}
	var body bytes.Buffer
	_, _ = body.ReadFrom(r.Body)
	if s.f.answer != "" {
		_, _ = w.Write([]byte(s.f.answer))
		return
	}
	if strings.HasSuffix(r.URL.Path, "/publish") {
		_ = json.Unmarshal(body.Bytes(), &one)
		if s.f.tagged != nil {
			s.f.tagged(one.Tags.Key)
		}
		s.publish(one.Channel, one.Data)
		_, _ = w.Write([]byte(`{"result":{}}`))
		return
	}
	_ = json.Unmarshal(body.Bytes(), &batch)
	replies := make([]string, len(batch.Commands))
	for i, c := range batch.Commands {
		if s.f.tagged != nil {
			s.f.tagged(c.Publish.Tags.Key)
		}
		s.publish(c.Publish.Channel, c.Publish.Data)
		replies[i] = `{"publish":{}}`
	}
	_, _ = w.Write([]byte(`{"replies":[` + strings.Join(replies, ",") + `]}`))
}

func (s *flawed) publish(name string, data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := &proto.Publication{Data: data, Offset: uint64(len(s.streams[name]) + 1)}
	if s.f.mute {
		p.Offset = 0
	}
	s.streams[name] = append(s.streams[name], p)
	for m := range s.members {
		if !m.subs[name] && !s.f.crosstalk {
			continue
		}
		out := []*proto.Publication{p}
		if m.got++; s.f.stalled == nil || !s.f.stalled.Load() {
			m.before = m.got
		}
		if s.f.deliver != nil {
			out = s.f.deliver(m, p)
		}
		for _, p := range out {
			as := name
			for other := range m.subs {
				if s.f.crosstalk {
					as = other
				}
			}
			m.reply(&proto.Reply{Push: &proto.Push{Channel: as, Pub: p}})
		}
	}
}

func (s *flawed) upgrade(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	n := s.upgrades
	s.upgrades++
	s.mu.Unlock()
	if s.f.greet != nil {
		if status, header := s.f.greet(n); status != 0 {
			for name, v := range header {
				w.Header()[name] = v
			}
			w.WriteHeader(status)
			return
		}
	}
	u := websocket.Upgrader{Subprotocols: []string{"centrifuge-protobuf"}, CheckOrigin: func(*http.Request) bool { return true }}
	c, err := u.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	m := &member{s: s, ws: c, number: n, subs: map[string]bool{}}
	c.SetPingHandler(func(string) error {
		if s.f.pinged != nil {
			s.f.pinged(m)
		}
		return nil
	})
	if c.Subprotocol() != "" {
		m.enc = proto.Protobuf
	}
	defer func() {
		s.mu.Lock()
		delete(s.members, m)
		s.mu.Unlock()
		c.Close()
	}()
	for {
		_, p, err := c.ReadMessage()
		if err != nil {
			return
		}
		m.commands(p)
	}
}

func (m *member) commands(p []byte) {
	var d proto.Decoder
	d.Reset(p, m.enc, proto.Limits{})
	var c proto.Command
	for {
		if ok, err := d.Next(&c); !ok || err != nil {
			return
		}
		m.s.mu.Lock()
		switch {
		case c.Connect != nil:
			m.s.members[m] = true
			if m.s.f.connected != nil {
				m.s.f.connected(strings.Clone(c.Connect.Token))
			}
			m.reply(&proto.Reply{Id: c.Id, Connect: &proto.ConnectResult{Client: "x"}})
		case c.Subscribe != nil:
			m.subscribe(c.Id, c.Subscribe)
		case c.Rpc != nil:
			data, refusal := c.Rpc.Data, (*proto.Error)(nil)
			if m.s.f.call != nil {
				data, refusal = m.s.f.call(m, c.Rpc)
			}
			if refusal != nil {
				m.reply(&proto.Reply{Id: c.Id, Error: refusal})
			} else {
				m.reply(&proto.Reply{Id: c.Id, Rpc: &proto.RPCResult{Data: data}})
			}
		case c.Publish != nil:
			name, data := strings.Clone(c.Publish.Channel), bytes.Clone(c.Publish.Data)
			m.reply(&proto.Reply{Id: c.Id, Publish: &proto.PublishResult{}})
			m.s.mu.Unlock()
			m.s.publish(name, data)
			m.s.mu.Lock()
		}
		m.s.mu.Unlock()
	}
}

func (m *member) subscribe(id uint32, r *proto.SubscribeRequest) {
	name := strings.Clone(r.Channel)
	stream := m.s.streams[name]
	res := &proto.SubscribeResult{}
	if !m.s.f.mute {
		res = &proto.SubscribeResult{Recoverable: true, Positioned: true, Epoch: "e", Offset: uint64(len(stream))}
		if r.Recover {
			res.WasRecovering, res.Recovered = true, true
			res.Publications, res.Offset = stream[r.Offset:], r.Offset // the publications lead on from there
			if m.s.f.recovered != nil {
				res.Publications, res.Recovered = m.s.f.recovered(m, res.Publications)
			}
			if !res.Recovered {
				res.Offset = uint64(len(stream))
			}
		}
	}
	m.subs[name] = true
	m.reply(&proto.Reply{Id: id, Subscribe: res})
	if m.s.f.after != nil {
		m.s.f.after(m)
	}
}

// reply is called with the server's lock held.
func (m *member) reply(r *proto.Reply) {
	b, err := proto.AppendReply(nil, m.enc, r)
	if err != nil {
		panic(err)
	}
	op := websocket.TextMessage
	if m.enc == proto.Protobuf {
		op = websocket.BinaryMessage
	}
	_ = m.ws.WriteMessage(op, b)
}

// end closes a connection with a code. The server's lock is held.
func (m *member) end(code int) {
	_ = m.ws.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(code, "slow"))
	delete(m.s.members, m)
}
