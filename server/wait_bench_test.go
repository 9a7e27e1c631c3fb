//go:build linux

package server

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"shoal/codec/handshake"
	codecws "shoal/codec/ws"
	"shoal/server/config"
)

const probeAddr = "SHOAL_BENCH_PROBE" // the prober connects to this address

// probe is what one fan-out did to everybody else, in microseconds.
type probe struct {
	First    float64   // from sending the publish call to its receipt by the first subscriber
	Publish  []float64 // during the fan-out: an API publish to another channel until its receipt
	Command  []float64 // a client's command until its reply
	API      []float64 // an API call on a kept-alive conn until its answer
	Overlong bool      // the fan-out was over before the probes were
}

// prober is a process of its own, which the benchmark gives a real-time priority, so
// that what is measured is the server and not the wait for the clients' processor.
func prober(addr string, in io.Reader, out io.Writer) error {
	first, err := dialSession(addr, "news")
	if err != nil {
		return err
	}
	client, err := dialSession(addr, "commands")
	if err != nil {
		return err
	}
	other, err := dialSession(addr, "other")
	if err != nil {
		return err
	}
	api, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	p := &probing{client: client, other: other, api: api, answers: bufio.NewReader(api), first: make(chan time.Time, 1)}
	go func() {
		for {
			if _, err := first.read(); err != nil {
				return
			}
			p.first <- time.Now()
		}
	}()
	encode := json.NewEncoder(out)
	if err := encode.Encode(probe{}); err != nil { // ready
		return err
	}
	for lines := bufio.NewScanner(in); lines.Scan(); {
		result, err := p.round(lines.Text())
		if err != nil {
			return err
		}
		if err := encode.Encode(result); err != nil {
			return err
		}
	}
	return nil
}

type probing struct {
	client, other *sessionConn
	api           net.Conn
	answers       *bufio.Reader
	first         chan time.Time // when the first subscriber received
	id            int
}

// round publishes data to news and probes while that goes out.
func (p *probing) round(data string) (r probe, err error) {
	start := time.Now()
	if err := p.call("publish", `{"channel":"news","data":`+data+`}`); err != nil {
		return r, err
	}
	r.First = float64((<-p.first).Sub(start).Nanoseconds()) / 1e3
	for range 5 {
		at := time.Now()
		p.id++
		if err := p.client.send(fmt.Sprintf(`{"id":%d,"presence":{"channel":"news"}}`, p.id+10)); err != nil {
			return r, err
		}
		if _, err := p.client.read(); err != nil {
			return r, err
		}
		r.Command = append(r.Command, since(at))

		at = time.Now()
		if err := p.call("info", `{}`); err != nil {
			return r, err
		}
		r.API = append(r.API, since(at))

		at = time.Now()
		if err := p.call("publish", `{"channel":"other","data":{}}`); err != nil {
			return r, err
		}
		if _, err := p.other.read(); err != nil {
			return r, err
		}
		r.Publish = append(r.Publish, since(at))
	}
	r.Overlong = time.Since(start) > 60*time.Millisecond
	return r, nil
}

func since(t time.Time) float64 { return float64(time.Since(t).Nanoseconds()) / 1e3 }

func (p *probing) call(method, body string) error {
	if _, err := fmt.Fprintf(p.api, "POST /api/%s HTTP/1.1\r\nHost: x\r\nX-API-Key: dev\r\nContent-Length: %d\r\n\r\n%s", method, len(body), body); err != nil {
		return err
	}
	res, err := http.ReadResponse(p.answers, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK || strings.Contains(string(answer), "error") {
		return fmt.Errorf("%s: %d %s %w", method, res.StatusCode, answer, err)
	}
	return nil
}

// sessionConn is a minimal client for text messages that fit one read.
type sessionConn struct {
	net.Conn
	r *bufio.Reader
}

func dialSession(addr, channel string) (*sessionConn, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	s := &sessionConn{Conn: conn, r: bufio.NewReader(conn)}
	offer := handshake.Offer{Host: addr, Target: "/connection/websocket", Key: handshake.NewKey([16]byte{1})}
	if _, err := conn.Write(handshake.AppendRequest(nil, &offer)); err != nil {
		return nil, err
	}
	for {
		line, err := s.r.ReadString('\n')
		if err != nil {
			return nil, err
		}
		if line == "\r\n" {
			break
		}
	}
	if err := s.send(`{"id":1,"connect":{}}` + "\n" + `{"id":2,"subscribe":{"channel":"` + channel + `"}}`); err != nil {
		return nil, err
	}
	text, err := s.read()
	if err == nil && !strings.Contains(text, `"subscribe"`) {
		err = fmt.Errorf("subscribe was answered %s", text)
	}
	return s, err
}

func (s *sessionConn) send(text string) error {
	_, err := s.Write(codecws.AppendMasked(nil, codecws.Text, [4]byte{1, 2, 3, 4}, []byte(text)))
	return err
}

// read returns the next message that is no ping.
func (s *sessionConn) read() (string, error) {
	for {
		var head [4]byte
		if _, err := io.ReadFull(s.r, head[:2]); err != nil {
			return "", err
		}
		n := int(head[1])
		if n == 126 {
			if _, err := io.ReadFull(s.r, head[2:]); err != nil {
				return "", err
			}
			n = int(head[2])<<8 | int(head[3])
		}
		text := make([]byte, n)
		if _, err := io.ReadFull(s.r, text); err != nil {
			return "", err
		}
		if string(text) != "{}" {
			return string(text), nil
		}
		if err := s.send("{}"); err != nil {
			return "", err
		}
	}
}

// BenchmarkWaitDuringFanout measures what a fan-out to 15,000 clients does to
// others: how soon the first receives it, and how long a publish, a command and an
// API call that arrive meanwhile wait.
func BenchmarkWaitDuringFanout(b *testing.B) {
	n := benchConns()
	cfg, _, err := config.Load(config.LoadOptions{Environ: []string{}, Flags: map[string]any{"dev": true, "http_server.port": 0, "loop.loops": 1}})
	if err != nil {
		b.Fatal(err)
	}
	cfg.Channel.WithoutNamespace = plainChannels()
	runtime.GOMAXPROCS(2) // as main does for one loop
	p := runProgram(b, cfg)
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(self)
	if cpu := os.Getenv("SHOAL_BENCH_CPU"); cpu != "" {
		cmd = exec.Command("chrt", "-f", "1", "taskset", "-c", cpu, self)
	}
	cmd.Env = append(os.Environ(), probeAddr+"="+p.Addr().String())
	prober := startChild(b, cmd)
	var ready, r probe
	prober.answer(&ready)
	c := startClients(b, p.Addr().String(), n)
	var first, publish, command, api []float64
	sent := 0
	for b.Loop() {
		prober.ask(`{"text":"` + strings.Repeat("x", 117) + `"}`)
		prober.answer(&r)
		sent++
		c.received(sent)
		if r.Overlong {
			b.Log("the fan-out was over before the probes were: they count all the same")
		}
		first = append(first, r.First)
		publish, command, api = append(publish, r.Publish...), append(command, r.Command...), append(api, r.API...)
	}
	b.ReportMetric(0, "ns/op")
	for _, row := range []struct {
		name string
		v    []float64
	}{{"first", first}, {"publish", publish}, {"command", command}, {"api", api}} {
		slices.Sort(row.v)
		b.ReportMetric(median(row.v), "µs-"+row.name+"-median")
		b.ReportMetric(row.v[len(row.v)*95/100], "µs-"+row.name+"-p95")
	}
	b.Logf("goals: first receipt ≤ 1,000 µs, others ≤ 2,000 µs; %d connections, %d fan-outs", n, sent)
}
