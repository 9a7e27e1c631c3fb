package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"shoal/server/channel"
)

// fake is a service that notes what it is asked and answers what it is told.
type fake struct {
	published []string
	target    Target
	code      channel.Disconnect
	match     func(string) bool
	err       *channel.Error
	pos       channel.Position
}

func (f *fake) Publish(_ context.Context, name string, pub *channel.Publication) (channel.Position, *channel.Error) {
	f.published = append(f.published, name+"="+string(pub.Data))
	if pub.Offset != 0 {
		panic("the publication carries the position it got in another channel")
	}
	pub.Offset = 99 // a broker writes here
	if f.err != nil && strings.HasPrefix(name, "bad") {
		return channel.Position{}, f.err
	}
	return f.pos, nil
}

func (f *fake) Channels(_ context.Context, match func(string) bool) (map[string]int, *channel.Error) {
	f.match = match
	return map[string]int{"a": 2}, f.err
}

func (f *fake) Info(context.Context) (Info, *channel.Error) {
	return Info{Nodes: []NodeInfo{{UID: "u", Name: "n", NumClients: 3}}}, f.err
}

func (f *fake) Disconnect(_ context.Context, who Target, d channel.Disconnect) *channel.Error {
	f.target, f.code = who, d
	return f.err
}

type rig struct {
	h        *Handler
	s        *fake
	counted  []uint32
	rejected int
}

func newRig(t *testing.T, change func(*Config)) *rig {
	t.Helper()
	r := &rig{s: &fake{}}
	cfg := Config{Key: "k", Count: func(_ string, code uint32) { r.counted = append(r.counted, code) }, Rejected: func() { r.rejected++ }}
	if change != nil {
		change(&cfg)
	}
	h, err := New(cfg, r.s, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	r.h = h
	return r
}

func (r *rig) post(path, body string, headers ...string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
	req.URL.Path = path
	req.Header.Set("X-API-Key", "k")
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	r.h.ServeHTTP(w, req)
	return w
}

func TestNewDemandsAKeyOrInsecure(t *testing.T) {
	if _, err := New(Config{}, &fake{}, nil); err == nil || !strings.Contains(err.Error(), "http_api.key") {
		t.Errorf("got %v", err)
	}
	r := newRig(t, func(c *Config) { c.Key, c.Insecure = "", true })
	if w := r.post("/info", ``, "X-API-Key", ""); w.Code != 200 {
		t.Errorf("insecure answered %d", w.Code)
	}
}

func TestEveryMethodAsksTheService(t *testing.T) {
	r := newRig(t, nil)
	r.s.pos = channel.Position{Offset: 7, Epoch: "xyz"}
	for _, c := range []struct{ path, body, want string }{
		{"/publish", `{"channel":"c","data":{"a":1}}`, `{"result":{"offset":7,"epoch":"xyz"}}`},
		{"/publish", `{"channel":"c","b64data":"aGk="}`, `{"result":{"offset":7,"epoch":"xyz"}}`},
		{"", `{"method":"publish","params":{"channel":"old","data":1}}`, `{"result":{"offset":7,"epoch":"xyz"}}`},
		{"/broadcast", `{"channels":["x","y"],"data":2}`, `{"result":{"responses":[{"result":{"offset":7,"epoch":"xyz"}},{"result":{"offset":7,"epoch":"xyz"}}]}}`},
		{"/channels", `{"pattern":"a*"}`, `{"result":{"channels":{"a":{"num_clients":2}}}}`},
		{"/info", ``, `{"result":{"nodes":[{"uid":"u","name":"n","version":"","num_clients":3,"num_users":0,"num_subs":0,"num_channels":0,"uptime":0}]}}`},
		{"/disconnect", `{"user":"u","client":"c","session":"s","whitelist":["w"],"disconnect":{"code":4001,"reason":"r"}}`, `{"result":{}}`},
	} {
		w := r.post(c.path, c.body)
		if w.Code != 200 || w.Body.String() != c.want {
			t.Errorf("%s %s: answered %d %s, want %s", c.path, c.body, w.Code, w.Body, c.want)
		}
		if w.Header().Get("Content-Type") != "application/json" || w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: headers %v", c.path, w.Header())
		}
	}
	if got, want := strings.Join(r.s.published, " "), `c={"a":1} c=hi old=1 x=2 y=2`; got != want {
		t.Errorf("published %s, want %s", got, want)
	}
	if !r.s.match("abc") || r.s.match("b") {
		t.Error("the pattern a* matches wrongly")
	}
	if r.s.target.User != "u" || r.s.target.Client != "c" || r.s.target.Session != "s" || len(r.s.target.Whitelist) != 1 ||
		r.s.code != (channel.Disconnect{Code: 4001, Reason: "r"}) {
		t.Errorf("disconnect asked for %+v with %+v", r.s.target, r.s.code)
	}
	if len(r.counted) != 7 {
		t.Errorf("%d calls were counted", len(r.counted))
	}
	if r.post("/disconnect", `{"user":"u"}`); r.s.code.Code != uint32(channel.DisconnectForced) {
		t.Errorf("without a code: %+v", r.s.code)
	}
}

func TestPatternsOfChannelsAreGlobs(t *testing.T) {
	for _, c := range []struct{ pattern, matches, misses string }{
		{"chat:*", "chat:a/b", "news:a"}, // unlike a path's, a channel's * passes over slashes
		{"*/b", "chat:a/b", "chat:a/c"},
		{"chat:?x", "chat:/x", "chat:x"},
		{"chat:[a-c]", "chat:b", "chat:d"},
		{"chat:[!a-c]", "chat:d", "chat:b"},
		{`chat:\*`, "chat:*", "chat:a"},
		{`chat:\{a}`, "chat:{a}", "chat:a"},
	} {
		match, err := compilePattern(c.pattern)
		if err != nil || !match(c.matches) || match(c.misses) {
			t.Errorf("%s: error %v, or it does not match %q alone of it and %q", c.pattern, err, c.matches, c.misses)
		}
	}
	r := newRig(t, nil)
	for _, pattern := range []string{"chat:[a", `chat:{a,b}`, `chat:\`} {
		body, _ := json.Marshal(map[string]string{"pattern": pattern})
		if w := r.post("/channels", string(body)); !strings.Contains(w.Body.String(), `"code":107`) {
			t.Errorf("pattern %s: answered %s, want error 107", pattern, w.Body)
		}
	}
}

func TestErrorsOfTheServiceBecomeAnswers(t *testing.T) {
	for code, status := range map[channel.ErrorCode]int{
		channel.ErrInternal: 500, channel.ErrUnknownChannel: 404, channel.ErrMethodNotFound: 404, channel.ErrBadRequest: 400,
		channel.ErrNotAvailable: 404, channel.ErrTooManyRequests: 429, channel.ErrUnrecoverablePosition: 416, channel.ErrConcurrentPagination: 409, channel.ErrPermissionDenied: 500,
	} {
		r := newRig(t, nil)
		r.s.err = code.Err()
		for _, c := range []struct{ path, body string }{
			{"/publish", `{"channel":"bad","data":1}`}, {"/channels", `{}`}, {"/info", `{}`}, {"/disconnect", `{"user":"u"}`},
		} {
			if w := r.post(c.path, c.body); w.Code != 200 || !strings.Contains(w.Body.String(), `"message":"`+code.Err().Message) {
				t.Errorf("%s with error %d: answered %d %s", c.path, code, w.Code, w.Body)
			}
			if w := r.post(c.path, c.body, "X-Centrifugo-Error-Mode", "transport"); w.Code != status {
				t.Errorf("%s with error %d in transport mode: answered %d, want %d", c.path, code, w.Code, status)
			}
		}
		for _, counted := range r.counted {
			if counted != uint32(code) {
				t.Errorf("counted %v, want %d", r.counted, code)
			}
		}
		w := r.post("/broadcast", `{"channels":["ok","bad-1"],"data":1}`, "X-Centrifugo-Error-Mode", "transport")
		if w.Code != 200 || !strings.Contains(w.Body.String(), `[{"result":{}},{"error":{"code":`) {
			t.Errorf("a broadcast that failed in part answered %d %s", w.Code, w.Body)
		}
	}
}

func TestBroadcastGivesEveryChannelItsOwnPublication(t *testing.T) {
	r := newRig(t, nil)
	var seen []*channel.Publication
	service := watching{r.s, func(pub *channel.Publication) {
		for _, other := range seen {
			if other == pub {
				t.Error("two channels share a publication")
			}
		}
		if pub.Offset != 0 {
			t.Error("a channel sees the offset of another")
		}
		seen = append(seen, pub)
	}}
	h, err := New(Config{Insecure: true}, service, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	r.h = h
	if r.post("/broadcast", `{"channels":["a","b","c"],"data":1}`); len(seen) != 3 {
		t.Errorf("%d publications", len(seen))
	}
}

type watching struct {
	*fake
	see func(*channel.Publication)
}

func (w watching) Publish(ctx context.Context, name string, pub *channel.Publication) (channel.Position, *channel.Error) {
	w.see(pub)
	return w.fake.Publish(ctx, name, pub)
}

func TestKeysAndMethodsOfRequests(t *testing.T) {
	r := newRig(t, nil)
	for _, c := range []struct {
		header, value string
		status        int
	}{
		{"X-API-Key", "k", 200}, {"X-API-Key", "K", 401}, {"X-API-Key", "kk", 401}, {"X-API-Key", "", 401},
		{"Authorization", "apikey k", 200}, {"Authorization", "ApiKey k", 200}, {"Authorization", "apikey", 401},
		{"Authorization", "apikey  k", 401}, {"Authorization", "Bearer k", 401}, {"Authorization", "k", 401},
	} {
		req := httptest.NewRequest(http.MethodPost, "/info", nil)
		req.Header.Set(c.header, c.value)
		w := httptest.NewRecorder()
		r.h.ServeHTTP(w, req)
		if w.Code != c.status {
			t.Errorf("%s: %q answered %d, want %d", c.header, c.value, w.Code, c.status)
		}
	}
	if r.rejected != 7 {
		t.Errorf("%d rejections were counted, want 7", r.rejected)
	}
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		w := httptest.NewRecorder()
		r.h.ServeHTTP(w, httptest.NewRequest(method, "/info", nil))
		if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != http.MethodPost {
			t.Errorf("%s answered %d, Allow %q", method, w.Code, w.Header().Get("Allow"))
		}
	}
	if w := r.post("/launch", `{}`); w.Code != 404 {
		t.Errorf("an unknown method answered %d", w.Code)
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("the peer is gone") }

func TestBodiesThatCannotBeRead(t *testing.T) {
	r := newRig(t, func(c *Config) { c.BodyBytesMax = 100 })
	if w := r.post("/publish", `{"channel":"c","data":"`+strings.Repeat("x", 200)+`"}`); w.Code != 413 || !strings.Contains(w.Body.String(), "100") {
		t.Errorf("a body over the limit answered %d %s", w.Code, w.Body)
	}
	req := httptest.NewRequest(http.MethodPost, "/publish", io.MultiReader(bytes.NewReader([]byte(`{"cha`)), broken{}))
	req.Header.Set("X-API-Key", "k")
	w := httptest.NewRecorder()
	if r.h.ServeHTTP(w, req); w.Code != 400 {
		t.Errorf("a body that breaks off answered %d", w.Code)
	}
	if len(r.s.published) != 0 {
		t.Error("something was published")
	}
}

func TestBadParametersNeverReachTheService(t *testing.T) {
	r := newRig(t, nil)
	for _, c := range []struct{ path, body string }{
		{"/publish", `{`}, {"/publish", `null`}, {"/publish", `{"channel":"c"}`}, {"/publish", `{"channel":"c","data":1} trailing`},
		{"/publish", `{"channel":["c"],"data":1}`}, {"/publish", `{"channel":"c","data":1,"tags":{"k":1}}`}, {"/publish", "\xff\xfe"},
		{"/broadcast", `{"channels":"c","data":1}`}, {"/channels", `{"pattern":"[a-"}`}, {"/disconnect", `{"user":1}`},
		{"/disconnect", `{"user":"u","disconnect":{"code":-1}}`}, {"", ``}, {"", `{"method":"publish","params":7}`},
	} {
		if w := r.post(c.path, c.body); w.Code != 200 || !strings.Contains(w.Body.String(), `"code":107`) {
			t.Errorf("%s %s: answered %d %s, want error 107", c.path, c.body, w.Code, w.Body)
		}
	}
	if len(r.s.published) != 0 || r.s.target.User != "" {
		t.Errorf("the service was asked: %+v", r.s)
	}
}

func FuzzBody(f *testing.F) {
	for _, seed := range []string{`{"channel":"c","data":{}}`, `{"channels":["a"],"b64data":"AA=="}`, `{"user":"u","disconnect":{"code":4000}}`, `{"method":"info"}`, `{"pattern":"*"}`} {
		for i := range 6 {
			f.Add(uint8(i), []byte(seed))
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, body []byte) {
		r := newRig(t, nil)
		path := []string{"/publish", "/broadcast", "/channels", "/info", "/disconnect", ""}[which%6]
		w := r.post(path, string(body))
		if w.Code != 200 && w.Code != 404 {
			t.Errorf("answered %d", w.Code)
		}
	})
}
