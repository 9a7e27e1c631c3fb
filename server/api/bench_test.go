package api

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"shoal/server/channel"
)

// free is a service that costs nothing.
type free struct{ fake }

func (*free) Publish(context.Context, string, *channel.Publication, PublishOptions) (channel.Position, *channel.Error) {
	return channel.Position{Offset: 1, Epoch: "xyzw"}, nil
}

func benchHandler(b testing.TB) *Handler {
	b.Helper()
	h, err := New(Config{Key: "a-key-of-some-length"}, &free{}, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	return h
}

// caller posts the same body again and again over conns that it keeps.
type caller struct {
	client *http.Client
	url    string
	body   []byte
}

func newCaller(b *testing.B, h http.Handler, path string, body []byte) *caller {
	b.Helper()
	server := httptest.NewServer(h)
	b.Cleanup(server.Close)
	return &caller{client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}, url: server.URL + path, body: body}
}

// burst posts n times from a few goroutines and returns how long that took.
func (c *caller) burst(b *testing.B, n, conns int) time.Duration {
	b.Helper()
	began := time.Now()
	var callers sync.WaitGroup
	for range conns {
		callers.Go(func() {
			for range n / conns {
				if err := c.post(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	callers.Wait()
	return time.Since(began)
}

func (c *caller) post() error {
	req, err := http.NewRequest(http.MethodPost, c.url, bytes.NewReader(c.body))
	if err != nil {
		return err
	}
	req.Header.Set("X-API-Key", "a-key-of-some-length")
	req.Header.Set("Content-Type", "application/json")
	res, err := c.client.Do(req)
	if err != nil {
		return err
	}
	answer, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK || bytes.Contains(answer, []byte(`"error"`)) {
		return fmt.Errorf("answered %d %s", res.StatusCode, answer)
	}
	return err
}

// BenchmarkHTTP compares, over loopback and in turns, a handler that does nothing, one that reads the body, publish, and batches.
func BenchmarkHTTP(b *testing.B) {
	const n, conns, batchSize = 2000, 4, 1000
	h := benchHandler(b)
	one := []byte(`{"channel":"news","data":{"title":"Hello","n":12345}}`)
	empty := newCaller(b, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), "/publish", one)
	publish := newCaller(b, h, "/publish", one)
	batch := newCaller(b, h, "/batch", batchBody(batchSize, "news"))
	for _, c := range []*caller{empty, publish, batch} {
		c.burst(b, 40, conns)
	}
	var emptyTook, publishTook, batchTook time.Duration
	rounds := 0
	for b.Loop() {
		emptyTook += empty.burst(b, n, conns)
		publishTook += publish.burst(b, n, conns)
		batchTook += batch.burst(b, n/50, conns)
		rounds++
	}
	perEmpty, perPublish := emptyTook.Seconds()/float64(n*rounds), publishTook.Seconds()/float64(n*rounds)
	perBatched := batchTook.Seconds() / float64(n/50*batchSize*rounds)
	b.ReportMetric(1/perEmpty, "empty/s")
	b.ReportMetric(1/perPublish, "publish/s")
	b.ReportMetric(1/perBatched, "batched/s")
	b.ReportMetric(100*perEmpty/perPublish, "%-of-empty")
	b.ReportMetric(perPublish/perBatched, "x-batched")
}

// sink is a ResponseWriter that costs nothing.
type sink struct{ header http.Header }

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) Write(p []byte) (int, error) { return len(p), nil }
func (s *sink) WriteHeader(int)             {}

// BenchmarkHandler is what a call costs without net/http.
func BenchmarkHandler(b *testing.B) {
	h := benchHandler(b)
	channels := `"c` + strings.Repeat(`","c`, 99) + `"`
	for _, c := range []struct {
		name, path string
		body       []byte
		items      int
	}{
		{"publish", "/publish", []byte(`{"channel":"news","data":{"title":"Hello","n":12345}}`), 1},
		{"publish by encoding json", "/publish", []byte(`{"Channel":"news","data":{"title":"Hello","n":12345}}`), 1},
		{"broadcast 100", "/broadcast", []byte(`{"channels":[` + channels + `],"data":{"title":"Hello","n":12345}}`), 100},
		{"batch 1000", "/batch", batchBody(1000, "news"), 1000},
		{"batch 1000 by encoding json", "/batch", bytes.Replace(batchBody(1000, "news"), []byte("commands"), []byte("Commands"), 1), 1000},
		{"history", "/history", []byte(`{"channel":"news","limit":10}`), 1},
	} {
		b.Run(c.name, func(b *testing.B) {
			r := httptest.NewRequest(http.MethodPost, c.path, nil)
			r.Header.Set("X-API-Key", "a-key-of-some-length")
			r.ContentLength = int64(len(c.body))
			body := bytes.NewReader(c.body)
			r.Body = io.NopCloser(body)
			w := &sink{http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				body.Reset(c.body)
				h.ServeHTTP(w, r)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*c.items), "ns/item")
		})
	}
}

func TestPublishingAllocatesLittle(t *testing.T) {
	h := benchHandler(t)
	r := httptest.NewRequest(http.MethodPost, "/publish", nil)
	r.Header.Set("X-API-Key", "a-key-of-some-length")
	text := []byte(`{"channel":"news","data":{"title":"Hello"}}`)
	body := bytes.NewReader(text)
	r.Body = io.NopCloser(body)
	w := &sink{http.Header{}}
	got := testing.AllocsPerRun(100, func() {
		body.Reset(text)
		h.ServeHTTP(w, r)
	})
	if got > 4 { // name, data, publication; one to spare for the pool's lists
		t.Errorf("%v allocations for a publication, want at most 4", got)
	}
}
