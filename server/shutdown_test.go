package server

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"shoal/codec/proto"
	"shoal/codec/ws"
	"shoal/server/channel"
	"shoal/server/config"
	"shoal/server/node"
)

// receiver notes every publication by its data until the connection ends.
type receiver struct {
	*raw
	got  map[string]int
	code int
}

// drain reads to the end; it runs beside the test.
func (c *receiver) drain(wg *sync.WaitGroup) {
	wg.Go(func() {
		defer c.conn.Close()
		for {
			op, _, payload, err := c.next()
			if err != nil {
				return
			}
			if op == ws.CloseOp {
				if len(payload) >= 2 {
					c.code = int(payload[0])<<8 | int(payload[1])
				}
				continue
			}
			var d proto.ReplyDecoder
			d.Reset(payload, c.enc, proto.Limits{})
			for {
				var reply proto.Reply
				if ok, err := d.Next(&reply); err != nil || !ok {
					break
				}
				if reply.Push != nil && reply.Push.Pub != nil {
					c.got[string(reply.Push.Pub.Data)]++
				}
			}
		}
	})
}

func TestShutdownClosesEveryClientAndLosesNothingAcknowledged(t *testing.T) {
	for round := range 3 {
		t.Run(fmt.Sprint(round), func(t *testing.T) { shutdownRound(t, 100+round*100) })
	}
}

func shutdownRound(t *testing.T, clients int) {
	r := start(t, quick)
	var readers, publishers sync.WaitGroup
	var all []*receiver
	for i := range clients {
		c := &receiver{raw: r.openRaw(t, []string{"", "?format=protobuf"}[i%2]), got: map[string]int{}}
		c.connect("")
		c.subscribe("news")
		all = append(all, c)
	}
	for _, c := range all {
		c.drain(&readers)
	}
	var count atomic.Int64
	acked := make([]map[string]bool, 3)
	for p := range acked {
		acked[p] = map[string]bool{}
		publishers.Go(func() {
			for i := 0; ; i++ {
				data := fmt.Sprintf(`{"p":%d,"i":%d}`, p, i)
				_, e := r.p.node.Publish(context.Background(), "news", &channel.Publication{Data: []byte(data)}, node.PublishOptions{})
				if e != nil {
					return // the node says that it stops
				}
				acked[p][data] = true
				count.Add(1)
				time.Sleep(500 * time.Microsecond)
			}
		})
	}
	eventually(t, "publishing is under way", func() bool { return count.Load() > 50 })
	r.stop()
	publishers.Wait()
	readers.Wait()
	lost := 0
	for i, c := range all {
		if c.code != 3001 {
			t.Errorf("client %d was closed with %d, want 3001", i, c.code)
		}
		for _, of := range acked {
			for data := range of {
				if c.got[data] != 1 {
					if lost++; lost < 5 {
						t.Errorf("client %d got acknowledged %s %d times", i, data, c.got[data])
					}
				}
			}
		}
	}
	if lost > 0 {
		t.Errorf("%d of %d × %d acknowledged deliveries are missing", lost, clients, count.Load())
	}
}

func TestShutdownReleasesThePort(t *testing.T) {
	r := start(t, tuned(func(c *config.Config) { c.Loop.CloseTimeout = 500 * time.Millisecond }))
	addr := r.p.Addr().String()
	half := r.dialRaw(t)
	half.write([]byte("GET / HT"))
	silent := r.dialRaw(t)
	idle := r.openRaw(t, "")
	keep := r.dialRaw(t)
	keep.write([]byte("GET /health HTTP/1.1\r\nHost: x\r\n\r\n"))
	if res := keep.response(); res.StatusCode != 200 {
		t.Fatalf("/health answered %s", res.Status)
	}
	r.stop()
	idle.expectClosed(3001)
	for name, c := range map[string]*raw{"half a request": half, "nothing sent": silent} {
		if res := c.response(); res.StatusCode != 503 {
			t.Errorf("%s: answered %s, want 503", name, res.Status)
		}
	}
	if _, err := keep.in.ReadByte(); err == nil {
		t.Error("the idle HTTP connection was not closed")
	}
	if conn, err := net.Dial("tcp", addr); err == nil {
		conn.Close()
		t.Error("the port still accepts")
	}
}

func TestPortInUseIsSaidWithWhatToChange(t *testing.T) {
	r := start(t, quick)
	cfg := r.p.cfg
	cfg.HTTPServer.Port = int(r.p.Addr().Port())
	_, err := New(cfg, r.p.opts)
	if err == nil || !strings.Contains(err.Error(), "in use") || !strings.Contains(err.Error(), "choose another port") {
		t.Errorf("the error is %v", err)
	}
	cfg.HTTPServer.Port, cfg.HTTPServer.InternalPort = 0, int(r.p.Addr().Port())
	_, err = New(cfg, r.p.opts)
	if err == nil || !strings.Contains(err.Error(), "internal_port") || !strings.Contains(err.Error(), "another port") {
		t.Errorf("the error is %v", err)
	}
	r.openRaw(t, "").connect("")
}

func TestShutdownCutsWhoDoesNotReadAfterTheTimeout(t *testing.T) {
	r := start(t, tuned(func(c *config.Config) {
		c.Loop.CloseTimeout = 300 * time.Millisecond
		c.Client.QueueMaxSize = 64 << 20
	}))
	healthy := r.readers(t, 2, "flood")
	r.stalled(t, "", "flood")
	n := 0
	r.lockstep(t, "flood", numbered, healthy, func() bool { n++; return n > 1 && r.metrics(t)["shoal_backlog_bytes"] > 1<<20 })
	r.stop() // fails unless the program ends
	for _, c := range healthy {
		c.expectClosed(3001)
	}
}

// descriptors is the number of open descriptors of this process.
func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("no /proc/self/fd here")
	}
	return len(entries)
}

func TestConnectSubscribeCloseCyclesLeakNothing(t *testing.T) {
	r := start(t, quick)
	watch := r.control(t, "")
	cycle := func(i int) {
		c := r.openRaw(t, []string{"", "?format=protobuf"}[i%2])
		c.connect("")
		c.subscribe(fmt.Sprintf("channel-%d", i%50))
		c.subscribe("shared")
		switch i % 4 {
		case 0:
			c.frame(ws.CloseOp, true, false, []byte{3, 0xe8})
			c.expectClosed(1000)
		case 1: // reset
			c.conn.(*net.TCPConn).SetLinger(0)
		case 2: // in the middle of a message
			c.frame(ws.Text, false, false, []byte(`{"id":5,`))
			c.write([]byte{0x80, 0xfe, 0x01})
		}
		c.conn.Close()
	}
	settled := func() bool {
		s := r.p.node.Stats()
		buffers, _ := r.p.buffers.InUse()
		return s.Sessions.Load() == 1 && s.Subscriptions.Load() == 1 && r.p.node.Channels() == 1 && buffers == 0 && r.p.loops.Stats().Descriptors <= 1
	}
	for i := range 20 {
		cycle(i)
	}
	eventually(t, "everything is given back", settled)
	fds := descriptors(t)
	for i := range 400 {
		cycle(i)
	}
	eventually(t, "everything is given back", settled)
	eventually(t, "descriptors are back", func() bool { return descriptors(t) <= fds+3 })
	watch.check(t)
}
