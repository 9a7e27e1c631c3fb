package server

import (
	"fmt"
	"net/http"
	"sort"
	"strings"
	"testing"

	"github.com/centrifugal/centrifuge-go"

	"shoal/server/config"
)

// request makes an API request with any method and headers; key "" sends none.
func (r *rig) request(t *testing.T, method, path, body string, headers ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, r.base+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	return do(t, req)
}

func TestAPIKeyIsDemandedExactly(t *testing.T) {
	const key = "Secret-Key-0123"
	r := start(t, tuned(func(c *config.Config) { c.HTTPAPI.Key = key }))
	before := r.metrics(t)
	const body = `{"channel":"x","data":1}`
	for name, c := range map[string]struct {
		path    string
		headers []string
		status  int
	}{
		"right":               {"/api/publish", []string{"X-API-Key: " + key}, 200},
		"apikey scheme":       {"/api/publish", []string{"Authorization: apikey " + key}, 200},
		"query":               {"/api/publish?api_key=" + key, nil, 200},
		"missing":             {"/api/publish", nil, 401},
		"empty":               {"/api/publish", []string{"X-API-Key: "}, 401},
		"wrong":               {"/api/publish", []string{"X-API-Key: wrong"}, 401},
		"truncated":           {"/api/publish", []string{"X-API-Key: " + key[:len(key)-1]}, 401},
		"extended":            {"/api/publish", []string{"X-API-Key: " + key + "4"}, 401},
		"other case":          {"/api/publish", []string{"X-API-Key: " + strings.ToLower(key)}, 401},
		"Bearer":              {"/api/publish", []string{"Authorization: Bearer " + key}, 401},
		"apikey wrong":        {"/api/publish", []string{"Authorization: apikey x"}, 401},
		"query wrong":         {"/api/publish?api_key=x", nil, 401},
		"wrong header, query": {"/api/publish?api_key=" + key, []string{"X-API-Key: wrong"}, 200},
		"legacy without":      {"/api", nil, 401},
	} {
		if status, answer := r.request(t, http.MethodPost, c.path, body, c.headers...); status != c.status || strings.Contains(answer, key) {
			t.Errorf("%s: answered %d %s, want %d", name, status, answer, c.status)
		}
	}
	r.grown(t, "shoal_api_unauthorized_total", before)
	for _, line := range r.logs.since(0) {
		if strings.Contains(line, key) {
			t.Errorf("the log quotes the key: %s", line)
		}
	}
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete, http.MethodHead, http.MethodOptions} {
		if status, _ := r.request(t, method, "/api/publish", "", "X-API-Key: "+key); status != http.StatusMethodNotAllowed {
			t.Errorf("%s answered %d, want 405", method, status)
		}
	}
}

func TestAPIIsOffWithoutAKeyUnlessInsecure(t *testing.T) {
	r := start(t, tuned(func(c *config.Config) { c.HTTPAPI.Key = "" }))
	if status, _ := r.request(t, http.MethodPost, "/api/publish", `{"channel":"x","data":1}`); status != 404 {
		t.Errorf("without a key: answered %d, want 404", status)
	}
	r = start(t, tuned(func(c *config.Config) { c.HTTPAPI.Key, c.HTTPAPI.Insecure = "", true }))
	if status, body := r.request(t, http.MethodPost, "/api/publish", `{"channel":"x","data":1}`); status != 200 {
		t.Errorf("insecure: answered %d %s", status, body)
	}
}

func TestAPIErrors(t *testing.T) {
	r := start(t, quick)
	watch := r.openRaw(t, "") // bad data must not reach it: it would be ended with 3506
	watch.connect("")
	watch.subscribe("x")
	before := r.metrics(t)
	const (
		undecodable = 0 // 400 with error 107, whatever the mode
		inside      = 1 // the error is in the answer of each channel
	)
	for name, c := range map[string]struct {
		method, body string
		code         uint32
		transport    int
	}{
		"no JSON":               {"publish", `hello`, undecodable, 400},
		"array":                 {"publish", `[]`, undecodable, 400},
		"nothing":               {"publish", ``, undecodable, 400},
		"no channel":            {"publish", `{"data":1}`, 107, 400},
		"no data":               {"publish", `{"channel":"x"}`, 107, 400},
		"channel a number":      {"publish", `{"channel":1,"data":1}`, undecodable, 400},
		"bad base64":            {"publish", `{"channel":"x","b64data":"!"}`, 107, 400},
		"unknown namespace":     {"publish", `{"channel":"nowhere:x","data":1}`, 102, 404},
		"long channel":          {"publish", `{"channel":"` + strings.Repeat("c", 1025) + `","data":1}`, 107, 400},
		"no channels":           {"broadcast", `{"data":1}`, 107, 400},
		"no broadcast data":     {"broadcast", `{"channels":["x"]}`, inside, 200},
		"bad pattern":           {"channels", `{"pattern":"["}`, 107, 400},
		"nobody":                {"disconnect", `{}`, 107, 400},
		"disconnect reason":     {"disconnect", `{"user":"x","disconnect":{"code":4000,"reason":"{\"reconnect\":true}"}}`, 107, 400},
		"disconnect code 1000":  {"disconnect", `{"user":"x","disconnect":{"code":1000}}`, 107, 400},
		"disconnect code 5000":  {"disconnect", `{"user":"x","disconnect":{"code":5000}}`, 107, 400},
		"depth 10,000":          {"publish", `{"channel":"x","data":` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + `}`, undecodable, 400},
		"depth 2,000":           {"publish", `{"channel":"x","data":` + strings.Repeat("[", 2000) + strings.Repeat("]", 2000) + `}`, 107, 400},
		"data no UTF-8":         {"publish", "{\"channel\":\"x\",\"data\":\"\xff\"}", 107, 400},
		"broadcast no UTF-8":    {"broadcast", "{\"channels\":[\"x\"],\"data\":\"\xff\"}", 107, 400},
		"legacy without method": {"", `hello`, undecodable, 400},
	} {
		t.Run(name, func(t *testing.T) {
			path := strings.TrimSuffix("/api/"+c.method, "/")
			status, body := r.request(t, http.MethodPost, path, c.body, "X-API-Key: "+r.key)
			want, code := http.StatusOK, c.code
			e, _ := object(t, body)["error"].(map[string]any)
			switch code {
			case undecodable:
				want, code = http.StatusBadRequest, 107
			case inside:
				code = 107
				e = object(t, body)["result"].(map[string]any)["responses"].([]any)[0].(map[string]any)["error"].(map[string]any)
			}
			if status != want || e["code"] != float64(code) || e["message"] == "" {
				t.Errorf("answered %d %s, want error %d", status, body, code)
			}
			if status, body := r.request(t, http.MethodPost, path, c.body, "X-API-Key: "+r.key, "X-Centrifugo-Error-Mode: transport"); status != c.transport {
				t.Errorf("in transport mode: answered %d %s, want %d", status, body, c.transport)
			}
		})
	}
	r.grown(t, `shoal_api_errors_total{code="107"}`, before)
	if status, _ := r.call("launch", `{}`); status != 404 {
		t.Errorf("an unknown method answered %d, want 404", status)
	}
	if status, _ := r.call("publish", `{"channel":"x","data":"`+strings.Repeat("x", 5<<20)+`"}`); status != 413 {
		t.Errorf("a body over the limit answered %d, want 413", status)
	}
	if r.call("publish", `{"channel":"x","data":"good"}`); string(watch.pub().Data) != `"good"` {
		t.Error("the subscriber got something else")
	}
}

func TestAPIErrorModeByConfiguration(t *testing.T) {
	r := start(t, tuned(func(c *config.Config) { c.HTTPAPI.ErrorMode = "transport" }))
	if status, body := r.call("publish", `{"channel":"nowhere:x","data":1}`); status != 404 || !strings.Contains(body, `"code":102`) {
		t.Errorf("answered %d %s, want 404 with code 102", status, body)
	}
}

func TestAPIPublishesWhatItIsGiven(t *testing.T) {
	r := start(t, quick)
	json, binary := r.openRaw(t, ""), r.openRaw(t, "?format=protobuf")
	for _, c := range []*raw{json, binary} {
		c.connect("")
		c.subscribe("x")
	}
	for body, want := range map[string]string{
		`{"channel":"x","data":{"a":1}}`:                     `{"a":1}`,
		`{"channel":"x","data":"text \u00e9"}`:               `"text \u00e9"`,
		`{"channel":"x","data":null}`:                        `null`,
		`{"channel":"x","data": [1 , 2] }`:                   ``, // white space is the encoder's affair
		`{"channel":"x","b64data":"eyJiIjoyfQ=="}`:           `{"b":2}`,
		`{"channel":"x","data":1,"tags":{"k":"v"}}`:          `1`,
		`{"channel":"x","data":2,"idempotency_key":"later"}`: `2`,
	} {
		if status, answer := r.call("publish", body); status != 200 || answer != `{"result":{}}` {
			t.Fatalf("%s: answered %d %s", body, status, answer)
		}
		for _, c := range []*raw{json, binary} {
			pub := c.pub()
			if want != "" && string(pub.Data) != want {
				t.Errorf("%s: %s client got %s, want %s", body, c.enc, pub.Data, want)
			}
			if strings.Contains(body, "tags") && pub.Tags["k"] != "v" {
				t.Errorf("%s: %s client got tags %v", body, c.enc, pub.Tags)
			}
		}
	}
}

func TestAPILegacyEnvelope(t *testing.T) {
	r := start(t, quick)
	c := r.openRaw(t, "")
	c.connect("")
	c.subscribe("x")
	for _, path := range []string{"/api", "/api/"} {
		status, body := r.request(t, http.MethodPost, path, `{"method":"publish","params":{"channel":"x","data":{"old":true}}}`, "Authorization: apikey "+r.key)
		if status != 200 || body != `{"result":{}}` {
			t.Fatalf("%s answered %d %s", path, status, body)
		}
		if got := string(c.pub().Data); got != `{"old":true}` {
			t.Errorf("got %s", got)
		}
	}
	if status, _ := r.request(t, http.MethodPost, "/api", `{"method":"launch","params":{}}`, "X-API-Key: "+r.key); status != 400 {
		t.Errorf("unknown method answered %d", status)
	}
	if status, body := r.request(t, http.MethodPost, "/api", `{"method":"info"}`, "X-API-Key: "+r.key); status != 200 || !strings.Contains(body, `"nodes"`) {
		t.Errorf("info without params answered %d %s", status, body)
	}
}

func TestAPIBroadcastAnswersForEveryChannel(t *testing.T) {
	r := start(t, quick)
	c := r.openRaw(t, "")
	c.connect("")
	c.subscribe("a")
	c.subscribe("b")
	status, body := r.call("broadcast", `{"channels":["a","nowhere:x","b","","unheard"],"data":{"n":1}}`)
	if status != 200 {
		t.Fatalf("answered %d %s", status, body)
	}
	responses := object(t, body)["result"].(map[string]any)["responses"].([]any)
	var got []string
	for _, one := range responses {
		if e, failed := one.(map[string]any)["error"].(map[string]any); failed {
			got = append(got, fmt.Sprint(e["code"]))
		} else {
			got = append(got, "ok")
		}
	}
	if fmt.Sprint(got) != "[ok 102 ok 107 ok]" {
		t.Errorf("responses are %v", got)
	}
	var channels []string
	for range 2 {
		push := c.replies(1)[0].Push
		channels = append(channels, push.Channel)
	}
	sort.Strings(channels)
	if fmt.Sprint(channels) != "[a b]" {
		t.Errorf("publications came in %v", channels)
	}
}

func TestAPIChannelsAndInfo(t *testing.T) {
	r := start(t, tuned(withTokens))
	for i, channels := range [][]string{{"news", "chat.1"}, {"news", "chat.2"}, {"news"}} {
		c := r.openRaw(t, []string{"", "?format=protobuf"}[i%2])
		c.connect(token(t, claims{"sub": fmt.Sprintf("user-%d", i/2)}))
		for _, name := range channels {
			c.subscribe(name)
		}
	}
	for pattern, want := range map[string]string{
		`{}`:                   `{"result":{"channels":{"chat.1":{"num_clients":1},"chat.2":{"num_clients":1},"news":{"num_clients":3}}}}`,
		`{"pattern":"chat.*"}`: `{"result":{"channels":{"chat.1":{"num_clients":1},"chat.2":{"num_clients":1}}}}`,
		`{"pattern":"n?ws"}`:   `{"result":{"channels":{"news":{"num_clients":3}}}}`,
		`{"pattern":"none"}`:   `{"result":{"channels":{}}}`,
	} {
		if status, body := r.call("channels", pattern); status != 200 || body != want {
			t.Errorf("%s: answered %d %s, want %s", pattern, status, body, want)
		}
	}
	_, body := r.call("info", `{}`)
	node := object(t, body)["result"].(map[string]any)["nodes"].([]any)[0].(map[string]any)
	for field, want := range map[string]any{"uid": "test", "version": "test", "num_clients": 3.0, "num_subs": 5.0, "num_channels": 3.0} {
		if node[field] != want {
			t.Errorf("info says %s is %v, want %v", field, node[field], want)
		}
	}
}

func TestAPIDisconnects(t *testing.T) {
	r := start(t, tuned(withTokens))
	open := func(user string) (*raw, string) {
		c := r.openRaw(t, "")
		return c, c.connect(token(t, claims{"sub": user})).Client
	}
	call := func(body string) {
		t.Helper()
		if status, answer := r.call("disconnect", body); status != 200 || answer != `{"result":{}}` {
			t.Fatalf("%s: answered %d %s", body, status, answer)
		}
	}
	a1, _ := open("a")
	a2, id2 := open("a")
	a3, id3 := open("a")
	b, idb := open("b")

	call(`{"user":"nobody"}`)
	call(`{"user":"b","client":"` + id2 + `"}`) // another user's
	call(`{"user":"a","client":"00000000-0000-0000-0000-000000000000"}`)
	call(`{"user":"a","client":"nonsense"}`)
	call(`{"user":"a","session":"of-no-connection"}`)
	a1.subscribe("all-are-here")
	a2.subscribe("all-are-here")
	b.subscribe("all-are-here")

	call(`{"user":"a","whitelist":["` + id2 + `","` + id3 + `"]}`)
	a1.expectClosed(3503)
	a2.subscribe("spared")
	call(`{"user":"a","client":"` + strings.ToUpper(id2) + `","disconnect":{"code":4321,"reason":"because"}}`)
	if code, reason := a2.closed(); code != 4321 || reason != "because" {
		t.Errorf("closed with %d %q", code, reason)
	}
	call(`{"client":"` + idb + `","disconnect":{"code":4000,"reason":"` + strings.Repeat("é", 200) + `"}}`)
	if code, reason := b.closed(); code != 4000 || len(reason) > 123 || !strings.HasPrefix(strings.Repeat("é", 200), reason) {
		t.Errorf("closed with %d %q", code, reason)
	}
	call(`{"user":"a","disconnect":{"code":3000,"reason":"no frame"}}`)
	a3.expectClosed(0)
	call(`{"user":"a"}`)
	eventually(t, "nobody is left", func() bool { return r.p.node.Stats().Sessions.Load() == 0 })
}

func TestStockClientIsDisconnectedByTheAPI(t *testing.T) {
	encodings(t, func(t *testing.T, dial func(string, centrifuge.Config) *centrifuge.Client) {
		r := start(t, tuned(withTokens))
		c := dial(r.ws(), centrifuge.Config{Token: token(t, claims{"sub": "42"})})
		ended := make(chan centrifuge.DisconnectedEvent, 1)
		c.OnDisconnected(func(e centrifuge.DisconnectedEvent) { ended <- e })
		connected(t, c)
		r.call("disconnect", `{"user":"42"}`)
		if e := wait(t, "disconnected", ended); e.Code != 3503 {
			t.Errorf("disconnected with %d %s, want 3503", e.Code, e.Reason)
		}
	})
}
