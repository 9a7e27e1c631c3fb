package api

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"

	"shoal/server/channel"
)

func TestNewDemandsAKeyOrInsecure(t *testing.T) {
	if _, err := New(Config{}, &fake{}, nil); err == nil || !strings.Contains(err.Error(), "http_api.key") {
		t.Errorf("got %v", err)
	}
	r := newRig(t, func(c *Config) { c.Key, c.Insecure = "", true })
	if w := r.post("/info", `{}`, "X-API-Key", ""); w.Code != 200 {
		t.Errorf("insecure answered %d", w.Code)
	}
}

func TestKeysAndMethodsOfRequests(t *testing.T) {
	r := newRig(t, nil)
	for _, c := range []struct {
		header, value, query string
		status               int
	}{
		{"X-API-Key", "k", "", 200}, {"X-API-Key", "K", "", 401}, {"X-API-Key", "kk", "", 401}, {"X-API-Key", "", "", 401},
		{"Authorization", "apikey k", "", 200}, {"Authorization", "ApiKey k", "", 200}, {"Authorization", "apikey   k ", "", 200},
		{"Authorization", "apikey", "", 401}, {"Authorization", "apikey k k", "", 401}, {"Authorization", "Bearer k", "", 401},
		{"Authorization", "k", "", 401}, {"Authorization", "", "?api_key=k", 200}, {"Authorization", "", "?api_key=", 401},
		{"Authorization", "", "?api_key=x&api_key=k", 401}, {"X-API-Key", "wrong", "?api_key=k", 200}, {"Authorization", "apikey wrong", "?api_key=k", 200}, {"X-API-Key", "wrong", "?api_key=x", 401},
	} {
		req := httptest.NewRequest(http.MethodPost, "/info"+c.query, strings.NewReader("{}"))
		req.Header.Set(c.header, c.value)
		w := httptest.NewRecorder()
		r.h.ServeHTTP(w, req)
		if w.Code != c.status {
			t.Errorf("%s: %q %s answered %d, want %d", c.header, c.value, c.query, w.Code, c.status)
		}
	}
	if r.rejected != 10 {
		t.Errorf("%d rejections were counted, want 10", r.rejected)
	}
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions} {
		w := httptest.NewRecorder()
		r.h.ServeHTTP(w, httptest.NewRequest(method, "/info", nil))
		if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != http.MethodPost {
			t.Errorf("%s answered %d, Allow %q", method, w.Code, w.Header().Get("Allow"))
		}
	}
	for _, path := range []string{"/launch", "/publish/", "/Publish", "/info/x", "//info"} {
		if w := r.post(path, `{}`); w.Code != 404 {
			t.Errorf("%s answered %d", path, w.Code)
		}
	}
	if got := len(r.counted); got != 7 {
		t.Errorf("%d calls were counted, want the 7 that were let in: %v", got, r.counted)
	}
}

// TestBodiesThatCannotBeDecoded are HTTP status 400 in both modes, as in Centrifugo, and say why.
func TestBodiesThatCannotBeDecoded(t *testing.T) {
	for _, c := range []struct{ path, body, says string }{
		{"/publish", ``, "the body is empty"},
		{"/info", ``, "the body is empty"},
		{"/publish", `  `, "no JSON at byte 2"},
		{"/publish", `{`, "no JSON at byte 1"},
		{"/publish", `{"channel":"c","data":1} trailing`, "no JSON at byte 26"},
		{"/publish", `{"channel":"c","data":1}{}`, "no JSON at byte 25"},
		{"/publish", `[]`, "a JSON array where an object is expected"},
		{"/publish", `"x"`, "a JSON string where an object is expected"},
		{"/publish", `{"channel":["c"],"data":1}`, "channel is a JSON array where a value of type string is expected"},
		{"/publish", `{"channel":"c","data":1,"tags":{"k":1}}`, "tags is a JSON number where a value of type string"},
		{"/publish", `{"channel":"c","data":1,"tags":[]}`, "tags is a JSON array where a value of type object"},
		{"/publish", `{"channel":"c","data":1,"version":-1}`, "version is a JSON number -1 where a value of type uint64"},
		{"/publish", `{"channel":"c","data":1,"version":18446744073709551616}`, "version"},
		{"/publish", `{"channel":"c","data":1,"version":1.0}`, "version"},
		{"/publish", `{"channel":"c","data":1,"delta":"yes"}`, "delta is a JSON string where a value of type boolean"},
		{"/publish", `{"channel":"c","data":` + strings.Repeat("[", 20_000), "no JSON"},
		{"/publish", "\xff\xfe", "no JSON"},
		{"/broadcast", `{"channels":"c","data":1}`, "channels is a JSON string where a value of type array"},
		{"/disconnect", `{"user":1}`, "user is a JSON number"},
		{"/disconnect", `{"user":"u","disconnect":{"code":-1}}`, "disconnect.code is a JSON number -1"},
		{"/history", `{"channel":"c","limit":3000000000}`, "limit is a JSON number 3000000000 where a value of type int32"},
		{"/batch", `{"commands":{}}`, "commands is a JSON object where a value of type array"},
		{"/batch", `{"commands":[1]}`, "bad request"},
		{"/batch", `{"commands":[{"publish":{"channel":"c","data":1}},{"publish":{"channel":1}}]}`, "bad request"},
		{"/batch", `{"commands":[{"publish":{"channel":"c","data":1}},{"history":{"limit":"x"}}]}`, "bad request"},
		{"", ``, "empty"},
		{"", `hello`, "no JSON"},
		{"", `{"method":"launch","params":{}}`, "method is none that there is"},
		{"", `{"method":null}`, "method is none that there is"},
		{"", `{"method":"info"} {`, "unexpected EOF"},
	} {
		r := newRig(t, nil)
		for mode, start := range map[string]string{"": `{"error":{"code":107,`, "transport": `{"code":107,`} {
			w := r.post(c.path, c.body, "X-Centrifugo-Error-Mode", mode)
			if w.Code != 400 || !strings.HasPrefix(w.Body.String(), start) || !strings.Contains(w.Body.String(), c.says) {
				t.Errorf("%s %.60s: answered %d %s, want 400 with %q", c.path, c.body, w.Code, w.Body, c.says)
			}
		}
		if asked := r.s.transcript(); asked != "" {
			t.Errorf("%s %.60s: the service was asked %s", c.path, c.body, asked)
		}
	}
}

func TestBodiesThatCannotBeRead(t *testing.T) {
	r := newRig(t, func(c *Config) { c.BodyBytesMax = 100 })
	long := `{"channel":"c","data":"` + strings.Repeat("x", 200) + `"}`
	fits := `{"channel":"c","data":"` + strings.Repeat("x", 100-25) + `"}`
	if w := r.post("/publish", fits); len(fits) != 100 || w.Code != 200 {
		t.Errorf("a body of %d bytes answered %d %s", len(fits), w.Code, w.Body)
	}
	for name, length := range map[string]int64{"announced": 0, "chunked": -1} {
		req := httptest.NewRequest(http.MethodPost, "/publish", strings.NewReader(long))
		req.Header.Set("X-API-Key", "k")
		if length != 0 {
			req.ContentLength = length
		}
		w := httptest.NewRecorder()
		if r.h.ServeHTTP(w, req); w.Code != 413 || !strings.Contains(w.Body.String(), "100") || w.Header().Get("Connection") != "close" {
			t.Errorf("%s: a body over the limit answered %d %s", name, w.Code, w.Body)
		}
	}
	for name, body := range map[string]io.Reader{
		"breaks off":  io.MultiReader(strings.NewReader(`{"cha`), iotest.ErrReader(errors.New("the peer is gone"))),
		"is too late": iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader(fits))),
	} {
		req := httptest.NewRequest(http.MethodPost, "/publish", body)
		req.Header.Set("X-API-Key", "k")
		w := httptest.NewRecorder()
		if r.h.ServeHTTP(w, req); w.Code != 400 {
			t.Errorf("a body that %s answered %d", name, w.Code)
		}
	}
	req := httptest.NewRequest(http.MethodPost, "/publish", iotest.OneByteReader(strings.NewReader(fits)))
	req.Header.Set("X-API-Key", "k")
	w := httptest.NewRecorder()
	if r.h.ServeHTTP(w, req); w.Code != 200 {
		t.Errorf("a body byte by byte answered %d", w.Code)
	}
	if len(r.s.pubs) != 2 {
		t.Errorf("%d publications, want 2", len(r.s.pubs))
	}
	if n, size := r.h.buffers.InUse(); n != 0 {
		t.Errorf("%d buffers of %d B are still out", n, size)
	}
}

func TestTransportModeByConfiguration(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Transport = true })
	if w := r.post("/publish", `{}`); w.Code != 400 || w.Body.String() != `{"code":107,"message":"bad request: channel is required"}` {
		t.Errorf("answered %d %s", w.Code, w.Body)
	}
}

func TestLegacyCommands(t *testing.T) {
	r := newRig(t, nil)
	r.s.pos = channel.Position{Offset: 7, Epoch: "e"}
	for _, c := range []struct{ body, asked, want string }{
		{`{"method":"publish","params":{"channel":"old","data":1}}`, `publish old 1`, `{"result":{"offset":7,"epoch":"e"}}`},
		{`{"id":3,"method":"PUBLISH","params":{"channel":"old","data":1}}`, `publish old 1`, `{"id":3,"result":{"offset":7,"epoch":"e"}}`},
		{`{"params":{"channel":"old","data":1}}`, `publish old 1`, `{"result":{"offset":7,"epoch":"e"}}`},
		{`{"method":11,"params":{"channel":"c","user":"u"}}`, `subscribe {User:u Client: Session: Whitelist:[]} c info  data  since <nil> expire 0 override `, `{"result":{}}`},
		{`{"method":"info"}`, `info`, `{"result":{"nodes":[{"uid":"u","name":"n","version":"","num_clients":3,"num_users":0,"num_subs":0,"num_channels":0,"uptime":0}]}}`},
		{`{"id":1,"method":"presence_stats"}`, ``, `{"id":1,"error":{"code":107,"message":"bad request: the body is empty: send a JSON object, {} at least"}}`},
		{`{"method":99}`, ``, `{"error":{"code":104,"message":"not found"}}`},
		{`{"method":13}`, ``, `{"error":{"code":104,"message":"not found"}}`},
		{`{"method":-1}`, ``, `{"error":{"code":104,"message":"not found"}}`},
		{`{"method":"map_publish"}`, ``, `{"error":{"code":108,"message":"not available: map_publish: there are no map and shared-poll channels here"}}`},
		{
			`{"id":1,"method":"history_remove","params":{"channel":"a"}}` + "\n" + `{"id":2,"method":"publish","params":{"data":1}} {"id":3,"method":"rpc","params":{"method":"m"}}`, "history_remove a\nrpc m ",
			`{"id":1,"result":{}}` + "\n" + `{"id":2,"error":{"code":107,"message":"bad request: channel is required"}}` + "\n" + `{"id":3,"result":{}}`,
		},
	} {
		w := r.post("", c.body, "X-Centrifugo-Error-Mode", "transport") // which the older form does not know
		if w.Code != 200 || w.Body.String() != c.want {
			t.Errorf("%s: answered %d\n%s, want\n%s", c.body, w.Code, w.Body, c.want)
		}
		if asked := r.s.transcript(); asked != c.asked {
			t.Errorf("%s: asked\n%s, want\n%s", c.body, asked, c.asked)
		}
	}
	many := newRig(t, func(c *Config) { c.BatchMax = 2 })
	if w := many.post("/", strings.Repeat(`{"method":"info"}`, 3)); w.Code != 400 || !strings.Contains(w.Body.String(), "more than 2 commands") || many.s.transcript() != "" {
		t.Errorf("three commands answered %d %s", w.Code, w.Body)
	}
}

func TestContentTypesDoNotMatter(t *testing.T) {
	r := newRig(t, nil)
	for _, kind := range []string{"", "application/json", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"} {
		if w := r.post("/publish", `{"channel":"c","data":1}`, "Content-Type", kind); w.Code != 200 {
			t.Errorf("%s: answered %d", kind, w.Code)
		}
	}
}

// TestLongAnswersHaveALength over a real server, where short ones get theirs from net/http.
func TestLongAnswersHaveALength(t *testing.T) {
	r := newRig(t, nil)
	for i := range 2000 {
		r.s.counts[fmt.Sprintf("channel-%d", i)] = 1
	}
	server := httptest.NewServer(r.h)
	defer server.Close()
	req, err := http.NewRequest(http.MethodPost, server.URL+"/channels", bytes.NewReader([]byte(`{}`)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-API-Key", "k")
	res, err := server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil || res.Body.Close() != nil || res.ContentLength != int64(len(body)) || len(body) < 50_000 {
		t.Errorf("got %d bytes, announced %d, %v", len(body), res.ContentLength, err)
	}
}

func FuzzBody(f *testing.F) {
	paths := []string{"/publish", "/broadcast", "/channels", "/info", "/disconnect", "", "/batch", "/subscribe", "/history", "/connections", "/rpc", "/refresh"}
	for _, seed := range []string{
		`{"channel":"c","data":{}}`, `{"channels":["a"],"b64data":"AA=="}`, `{"user":"u","disconnect":{"code":4000}}`, `{"method":"info"}`, `{"pattern":"*"}`,
		`{"commands":[{"publish":{"channel":"c","data":1}},{"info":{}},null,{"x":1}],"parallel":true}`,
	} {
		for i := range paths {
			f.Add(uint8(i), []byte(seed))
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, body []byte) {
		r := newRig(t, nil)
		w := r.post(paths[int(which)%len(paths)], string(body))
		if w.Code != 200 && w.Code != 400 {
			t.Errorf("answered %d", w.Code)
		}
		if n, _ := r.h.buffers.InUse(); n != 0 {
			t.Errorf("%d buffers are still out", n)
		}
	})
}
