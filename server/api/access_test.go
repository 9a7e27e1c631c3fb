package api

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"shoal/server/channel"
)

// steps is a clock that goes on by a second with every look.
type steps struct{ at time.Time }

func (s *steps) now() time.Time {
	s.at = s.at.Add(time.Second)
	return s.at
}

func TestAccessLogHasALineForEveryRequest(t *testing.T) {
	var out bytes.Buffer
	r := newRig(t, func(c *Config) {
		c.AccessLog, c.Clock = slog.New(slog.NewJSONHandler(&out, nil)), (&steps{}).now
	})
	mounted := http.StripPrefix("/api", r.h)
	for _, c := range []struct {
		method, target, body string
		headers              []string
		want                 map[string]any
	}{
		{"POST", "/api/publish", `{"channel":"c","data":"secret payload"}`, []string{"X-API-Key", "k", "X-Request-Id", "r-1"}, map[string]any{"status": 200.0, "path": "/api/publish", "bytes": 13.0, "request_id": "r-1"}},
		{"POST", "/api/publish?api_key=k&trace=secret", `{"data":1}`, nil, map[string]any{"status": 200.0, "path": "/api/publish", "code": 107.0, "query": "api_key,trace"}},
		{"POST", "/api/publish?secret", `{`, []string{"Authorization", "apikey k"}, map[string]any{"status": 400.0, "code": 107.0, "query": "?"}},
		{"POST", "/api/publish?%zzsecret", `{}`, []string{"X-API-Key", "secret"}, map[string]any{"status": 401.0, "query": "malformed"}},
		{"POST", "/api/launch", `{}`, []string{"X-API-Key", "k"}, map[string]any{"status": 404.0, "path": "/api/launch"}},
		{"GET", "/api/info", ``, []string{"X-Request-Id", strings.Repeat("secret", 30)}, map[string]any{"status": 405.0, "method": "GET"}},
		{"POST", "/api/channels", `{}`, []string{"X-API-Key", "k", "X-Centrifugo-Error-Mode", "transport"}, map[string]any{"status": 500.0, "code": 100.0}},
	} {
		out.Reset()
		r.s.err = channel.ErrInternal.Err()
		req := httptest.NewRequest(c.method, "/", strings.NewReader(c.body))
		req.RequestURI = c.target
		req.URL.Path, req.URL.RawQuery, _ = strings.Cut(c.target, "?")
		for i := 0; i < len(c.headers); i += 2 {
			req.Header.Set(c.headers[i], c.headers[i+1])
		}
		mounted.ServeHTTP(httptest.NewRecorder(), req)
		if strings.Contains(out.String(), "secret") {
			t.Errorf("%s: the log has a secret: %s", c.target, &out)
		}
		var line map[string]any
		if err := json.Unmarshal(out.Bytes(), &line); err != nil {
			t.Fatalf("%s: %v in %s", c.target, err, &out)
		}
		c.want["duration"], c.want["level"], c.want["remote"] = float64(time.Second), "INFO", "192.0.2.1:1234"
		for key, want := range c.want {
			if line[key] != want {
				t.Errorf("%s: %s is %v, want %v", c.target, key, line[key], want)
			}
		}
		for _, key := range []string{"code", "query", "request_id"} {
			if _, logged := line[key]; logged && c.want[key] == nil {
				t.Errorf("%s: %s is logged as %v", c.target, key, line[key])
			}
		}
	}
}

func TestAccessLogOfPanicsAndSilence(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	for name, c := range map[string]struct {
		next http.HandlerFunc
		want string
	}{
		"panic":     {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "status=500"},
		"nothing":   {func(http.ResponseWriter, *http.Request) {}, "status=200"},
		"early":     {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(103); w.WriteHeader(201) }, "status=201"},
		"flushing":  {func(w http.ResponseWriter, _ *http.Request) { _ = http.NewResponseController(w).Flush() }, "status=200"},
		"body only": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "12345") }, "bytes=5"},
	} {
		out.Reset()
		func() {
			defer func() { _ = recover() }()
			AccessLog(c.next, log, (&steps{}).now).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/x", nil))
		}()
		if !strings.Contains(out.String(), c.want) || strings.Count(out.String(), "\n") != 1 {
			t.Errorf("%s: logged %s", name, &out)
		}
	}
	out.Reset()
	quiet := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelWarn}))
	AccessLog(http.NotFoundHandler(), quiet, (&steps{}).now).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/x", nil))
	if out.Len() != 0 {
		t.Errorf("a log that takes warnings only has %s", &out)
	}
	if _, err := New(Config{Insecure: true, AccessLog: log}, &fake{}, nil); err == nil {
		t.Error("an access log without a clock was taken")
	}
}
