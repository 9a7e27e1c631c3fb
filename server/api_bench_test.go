package server

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"shoal/server/channel"
	"shoal/server/config"
)

// BenchmarkAPI compares, in turns, the HTTP API of a running program with a server of
// net/http that does nothing: requests over loopback on kept connections, through the
// front door, to the broker and back. Goals: publish 60 % of empty, a publication in a
// batch of 1,000 ten times cheaper than alone.
func BenchmarkAPI(b *testing.B) {
	const n, conns, batchSize = 2000, 4, 1000
	cfg, _, err := config.Load(config.LoadOptions{Environ: []string{}, Flags: map[string]any{"dev": true, "http_server.port": 0, "log.level": "error"}})
	if err != nil {
		b.Fatal(err)
	}
	cfg.Channel.WithoutNamespace = plainChannels()
	kept := channel.DefaultOptions()
	kept.Name, kept.HistorySize, kept.HistoryTTL = "kept", 100, time.Hour
	cfg.Channel.Namespaces = []channel.Options{kept}
	p, err := New(cfg, Options{Version: "test", Clock: time.Now, Logger: (&logLines{}).logger(), UID: "test"})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	}()
	empty := emptyServer(b)
	api := "http://" + p.Addr().String() + "/api/"
	one := func(name string) string {
		return `{"channel":"` + name + `","data":{"text":"` + strings.Repeat("x", 100) + `"}}`
	}
	batch := `{"commands":[` + strings.Repeat(`{"publish":`+one("news")+`},`, batchSize-1) + `{"publish":` + one("news") + `}]}`
	callers := []*apiCaller{
		newAPICaller("empty", empty, one("news")),
		newAPICaller("publish", api+"publish", one("news")),
		newAPICaller("kept", api+"publish", one("kept:news")),
		newAPICaller("batch", api+"batch", batch),
	}
	took := make([]time.Duration, len(callers))
	calls := make([]int, len(callers))
	for _, c := range callers {
		c.burst(b, 100, conns)
	}
	published := p.node.Stats().Published.Load()
	for b.Loop() {
		for i, c := range callers {
			m := n
			if c.name == "batch" {
				m = n / 50
			}
			took[i] += c.burst(b, m, conns)
			calls[i] += m
		}
	}
	if got, want := int(p.node.Stats().Published.Load()-published), calls[1]+calls[2]+calls[3]*batchSize; got != want {
		b.Fatalf("%d publications, want %d", got, want)
	}
	per := func(i int) float64 { return took[i].Seconds() / float64(calls[i]) }
	b.ReportMetric(1/per(0), "empty/s")
	b.ReportMetric(1/per(1), "publish/s")
	b.ReportMetric(100*per(0)/per(1), "%-of-empty")
	b.ReportMetric(100*per(0)/per(2), "%-of-empty-with-history")
	b.ReportMetric(batchSize/per(3), "batched/s")
	b.ReportMetric(per(1)/(per(3)/batchSize), "x-batched")
}

// emptyServer answers every request with nothing, and returns its address.
func emptyServer(b *testing.B) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), ReadHeaderTimeout: patience}
	go func() { _ = s.Serve(l) }()
	b.Cleanup(func() { _ = s.Close() })
	return "http://" + l.Addr().String() + "/"
}

// apiCaller repeats a request on kept connections.
type apiCaller struct {
	name, url, body string
	client          *http.Client
}

func newAPICaller(name, url, body string) *apiCaller {
	return &apiCaller{name: name, url: url, body: body, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}}
}

// burst makes n calls from so many goroutines and returns how long that took.
func (c *apiCaller) burst(b *testing.B, n, conns int) time.Duration {
	b.Helper()
	start := time.Now()
	var wg sync.WaitGroup
	for range conns {
		wg.Go(func() {
			for range n / conns {
				if err := c.call(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return time.Since(start)
}

func (c *apiCaller) call() error {
	req, err := http.NewRequest(http.MethodPost, c.url, bytes.NewReader([]byte(c.body)))
	if err != nil {
		return err
	}
	req.Header.Set("X-API-Key", "dev")
	res, err := c.client.Do(req)
	if err != nil {
		return err
	}
	answer, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK || bytes.Contains(answer, []byte(`"error"`)) {
		return fmt.Errorf("%s answered %d %.200s", c.name, res.StatusCode, answer)
	}
	return err
}
