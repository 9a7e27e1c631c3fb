package server

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"shoal/codec/proto"
	codecws "shoal/codec/ws"
	"shoal/loop/poll"
	"shoal/server/config"
	"shoal/server/node/seal"
)

// benchSecret seals the tokens of the benchmark.
const benchSecret = "a secret for this benchmark only"

// returning are the commands of a client that comes back to n channels with recovery, the
// ordinary way or by a token; both in one frame.
func returning(b *testing.B, n int, resumed bool) []byte {
	connect := &proto.ConnectRequest{Name: "bench"}
	commands := []*proto.Command{{Id: 1, Connect: connect}}
	plain := seal.AppendHead(nil, &seal.Head{Lineage: 1, IssuedAt: time.Now().UnixMicro(), Window: 3600e6, User: "user-0000042"})
	for i := range n {
		name := fmt.Sprintf("room-%06d", i)
		sub := &proto.SubscribeRequest{Channel: name, Recover: true, Epoch: ""}
		if !resumed {
			commands = append(commands, &proto.Command{Id: uint32(i) + 2, Subscribe: sub})
			continue
		}
		sub.Channel = ""
		if connect.Subs == nil {
			connect.Subs = map[string]*proto.SubscribeRequest{}
		}
		connect.Subs[name] = sub
		plain = seal.AppendSub(plain, &seal.Sub{Channel: []byte(name), Flags: seal.Positioned | seal.Recoverable})
	}
	if resumed {
		sealer, err := seal.New(seal.Config{Secret: benchSecret})
		if err != nil {
			b.Fatal(err)
		}
		connect.Resume = string(sealer.Seal(nil, &seal.Scratch{}, plain))
	} else {
		connect.Token, _ = jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": "user-0000042"}).SignedString([]byte(budgetSecret))
	}
	var frame []byte
	for i, c := range commands {
		if i > 0 {
			frame = proto.AppendSep(frame, proto.JSON)
		}
		var err error
		if frame, err = proto.AppendCommand(frame, proto.JSON, c); err != nil {
			b.Fatal(err)
		}
	}
	return codecws.AppendMasked(nil, codecws.Text, testMask, frame)
}

// BenchmarkReconnect compares a return by resume token with the ordinary one: accept and
// handshake, then connect with an HS256 token and a subscribe command for each channel.
// Round trips and system calls cost nothing here; see BenchmarkReturnOverSockets.
func BenchmarkReconnect(b *testing.B) {
	for _, subs := range []int{1, 8, 32} {
		for _, resumed := range []bool{false, true} {
			b.Run(fmt.Sprintf("subs=%d/resumed=%v", subs, resumed), func(b *testing.B) {
				const n = 10_000
				s := newScript(population{})
				s.commands = returning(b, subs, resumed)
				var elapsed time.Duration
				for b.Loop() {
					b.StopTimer()
					runtime.GC()
					k := newNullNet(s, n)
					stop := reconnecting(b, k, subs, resumed, &elapsed)
					stop()
					b.StartTimer()
				}
				b.ReportMetric(float64(elapsed.Nanoseconds())/float64(b.N*n), "ns/conn")
			})
		}
	}
}

// reconnecting runs a program until all clients of k are back.
func reconnecting(b *testing.B, k *nullNet, subs int, resumed bool, elapsed *time.Duration) (stop func()) {
	opts := Options{Version: "test", Clock: time.Now, Logger: slog.New(slog.DiscardHandler), UID: "test",
		NewPoller: func(int) (poll.Poller, poll.Sys, error) { return k, nullSys{k}, nil }}
	p, err := New(benchConfig(b, 8000), opts)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	start := time.Now()
	go func() { ended <- p.Run(ctx) }()
	close(k.begin)
	<-k.opened
	*elapsed += time.Since(start)
	st := p.node.Stats()
	if got := st.Subscriptions.Load(); got != int64(k.n*subs) || resumed != (st.Resumes[seal.None].Load() == uint64(k.n)) || st.Recovered.Load() != uint64(k.n*subs) {
		b.Fatalf("%d subscriptions, %d resumed, %d recovered", got, st.Resumes[seal.None].Load(), st.Recovered.Load())
	}
	return func() {
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	}
}

// BenchmarkReturnOverSockets is the same as a client sees it, behind the upgrade: connect,
// wait, then a frame for each subscribe command, as the stock Go client sends them; or one
// command. The time has both ends in it, and both ways of the loopback interface.
func BenchmarkReturnOverSockets(b *testing.B) {
	for _, subs := range []int{1, 8, 32} {
		for _, resumed := range []bool{false, true} {
			b.Run(fmt.Sprintf("subs=%d/resumed=%v", subs, resumed), func(b *testing.B) {
				r := startBench(b)
				frames := bytes.Split(unmasked(returning(b, subs, resumed)), []byte("\n"))
				for b.Loop() {
					b.StopTimer()
					conn, err := net.Dial("tcp", r.Addr().String())
					if err != nil {
						b.Fatal(err)
					}
					in := bufio.NewReaderSize(conn, 64<<10)
					_, _ = conn.Write([]byte(upgrade(wsPath)))
					if _, err := http.ReadResponse(in, nil); err != nil {
						b.Fatal(err)
					}
					c := &raw{conn: conn, in: in}
					b.StartTimer()
					for i, f := range frames {
						c.frame(codecws.Text, true, false, f)
						if i > 0 {
							continue
						}
						if _, _, _, err := c.next(); err != nil {
							b.Fatal(err)
						}
					}
					for got := 1; got < len(frames); {
						_, _, p, err := c.next()
						if err != nil {
							b.Fatal(err)
						}
						got += 1 + bytes.Count(p, []byte("\n"))
					}
					b.StopTimer()
					conn.Close()
					b.StartTimer()
				}
			})
		}
	}
}

// unmasked is the payload of the one frame that returning makes.
func unmasked(frame []byte) []byte {
	head := 2
	switch frame[1] & 0x7f {
	case 126:
		head = 4
	case 127:
		head = 10
	}
	key, payload := frame[head:head+4], bytes.Clone(frame[head+4:])
	for i := range payload {
		payload[i] ^= key[i%4]
	}
	return payload
}

// startBench runs a program with recovery on a free port.
func startBench(b *testing.B) *Program {
	p, err := New(benchConfig(b, 0), Options{Version: "test", Clock: time.Now, Logger: slog.New(slog.DiscardHandler), UID: "test"})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	})
	return p
}

func benchConfig(b *testing.B, port int) config.Config {
	cfg, _, err := config.Load(config.LoadOptions{Environ: []string{}, Flags: map[string]any{"dev": true, "loop.loops": 1, "loop.memory_trim_period": "0s",
		"http_server.port": port, "client.token.hmac_secret_key": budgetSecret, "client.resume.secret_key": benchSecret, "client.resume.window": "1h"}})
	if err != nil {
		b.Fatal(err)
	}
	o := plainChannels()
	o.HistorySize, o.HistoryTTL, o.ForceRecovery = 100, time.Hour, true
	cfg.Channel.WithoutNamespace = o
	return cfg
}
