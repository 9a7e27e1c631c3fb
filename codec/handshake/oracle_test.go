package handshake

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
)

// TestStockClientAcceptsOurAnswer lets a client of another implementation judge the 101.
func TestStockClientAcceptsOurAnswer(t *testing.T) {
	client, server := net.Pipe()
	done := make(chan Status, 1)
	go func() {
		defer server.Close()
		var (
			p   Parser
			req Request
			buf []byte
			in  [64]byte // small, so that the head arrives in pieces
		)
		for {
			n, err := server.Read(in[:])
			if err != nil {
				done <- NeedMore
				return
			}
			buf = append(buf, in[:n]...)
			_, status := p.Parse(buf, Limits{}, &req)
			if status == NeedMore {
				continue
			}
			if status == Done {
				status = CheckUpgrade(&req, &Config{})
			}
			if status == Done {
				server.Write(AppendResponse(nil, req.Key, ChooseSubprotocol(&req), []byte("permessage-deflate; server_no_context_takeover; client_no_context_takeover")))
			}
			done <- status
			return
		}
	}()
	header := http.Header{"Origin": {"http://push.example.com:8000"}, "Sec-WebSocket-Protocol": {"chat, centrifuge-protobuf"},
		"Sec-WebSocket-Extensions": {"permessage-deflate"}}
	dialer := websocket.Dialer{NetDial: func(string, string) (net.Conn, error) { return client, nil }}
	conn, _, err := dialer.Dial("ws://push.example.com:8000/connection/websocket", header)
	if status := <-done; status != Done || err != nil {
		t.Fatalf("server: %v, client: %v", status, err)
	}
	if conn.Subprotocol() != "centrifuge-protobuf" {
		t.Errorf("subprotocol %q", conn.Subprotocol())
	}
}

// TestStockServerAcceptsOurOffer lets a server of another implementation judge the client's side.
func TestStockServerAcceptsOurOffer(t *testing.T) {
	up := websocket.Upgrader{Subprotocols: []string{"centrifuge-protobuf"}, EnableCompression: true}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if conn, err := up.Upgrade(w, r, nil); err == nil {
			conn.Close()
		}
	}))
	defer srv.Close()
	host := strings.TrimPrefix(srv.URL, "http://")
	for _, c := range []struct {
		origin string
		want   Status
		code   int
	}{{"http://" + host, Done, 101}, {"", Done, 101}, {"http://evil.example", Refused, 403}} {
		conn, err := net.Dial("tcp", host)
		if err != nil {
			t.Fatal(err)
		}
		o := &Offer{Host: host, Target: "/ws", Origin: c.origin, Key: NewKey([16]byte{1, 2, 3}), Subprotocol: Protobuf, Extensions: "permessage-deflate"}
		if _, err := conn.Write(AppendRequest(nil, o)); err != nil {
			t.Fatal(err)
		}
		var (
			buf    []byte
			r      Response
			status = NeedMore
			in     [50]byte
		)
		for status == NeedMore {
			n, err := conn.Read(in[:])
			if err != nil {
				t.Fatal(err)
			}
			buf = append(buf, in[:n]...)
			_, status = ParseResponse(buf, o, &r)
		}
		conn.Close()
		if status != c.want || r.Code != c.code || status == Done && r.Subprotocol != Protobuf {
			t.Errorf("Origin %q: got %v %d %v", c.origin, status, r.Code, r.Subprotocol)
		}
	}
}
