package compat_test

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

// gate is the network between clients and a server: it can be cut and mended.
type gate struct {
	ws string // what clients dial

	listener net.Listener
	server   string
	mu       sync.Mutex
	shut     bool
	conns    map[net.Conn]struct{}
}

// newGate puts a gate before a server.
func newGate(t testing.TB, s *target) *gate {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr, path, _ := strings.Cut(strings.TrimPrefix(s.ws, "ws://"), "/")
	g := &gate{ws: "ws://" + l.Addr().String() + "/" + path, listener: l, server: addr, conns: map[net.Conn]struct{}{}}
	go g.run()
	t.Cleanup(func() {
		l.Close()
		g.cut()
	})
	return g
}

func (g *gate) run() {
	for {
		c, err := g.listener.Accept()
		if err != nil {
			return
		}
		go g.join(c)
	}
}

// join carries bytes between a client and the server.
func (g *gate) join(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", g.server)
	if err != nil {
		return
	}
	defer server.Close()
	g.mu.Lock()
	if g.shut {
		g.mu.Unlock()
		return
	}
	g.conns[client], g.conns[server] = struct{}{}, struct{}{}
	g.mu.Unlock()
	go func() {
		_, _ = io.Copy(server, client)
		server.Close()
	}()
	_, _ = io.Copy(client, server)
	g.mu.Lock()
	delete(g.conns, client)
	delete(g.conns, server)
	g.mu.Unlock()
}

// cut ends all connections and lets none through.
func (g *gate) cut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = true
	for c := range g.conns {
		c.Close()
	}
}

// mend lets connections through.
func (g *gate) mend() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = false
}
