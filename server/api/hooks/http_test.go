package hooks

import (
	"context"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"shoal/server/backend"
	"shoal/server/channel"
)

// askAll asks one question of every event and gives the replies by event.
func askAll(t testing.TB, h *Hooks, c backend.Client) map[backend.Event]any {
	t.Helper()
	ctx := context.Background()
	out := map[backend.Event]any{}
	put := func(e backend.Event, reply any, err error) {
		if err != nil {
			out[e] = err
			return
		}
		out[e] = reply
	}
	connect := c
	connect.User, connect.Meta = "", nil
	r1, err := h.Connect(ctx, &backend.ConnectRequest{Client: connect, Data: []byte(`{"d":1}`), Name: "js", Version: "5.0", Channels: []string{"a", "b"}})
	put(backend.Connect, r1, err)
	r2, err := h.Refresh(ctx, &backend.RefreshRequest{Client: c})
	put(backend.Refresh, r2, err)
	r3, err := h.Subscribe(ctx, &backend.SubscribeRequest{Client: c, Channel: "news", Token: "t", Data: []byte(`{"d":2}`)})
	put(backend.Subscribe, r3, err)
	r4, err := h.SubRefresh(ctx, &backend.SubRefreshRequest{Client: c, Channel: "news"})
	put(backend.SubRefresh, r4, err)
	r5, err := h.Publish(ctx, &backend.PublishRequest{Client: c, Channel: "news", Data: []byte(`{"d":3}`)})
	put(backend.Publish, r5, err)
	r6, err := h.RPC(ctx, &backend.RPCRequest{Client: c, Method: "add", Data: []byte(`{"d":4}`)})
	put(backend.RPC, r6, err)
	return out
}

func TestQuestionsAreThePublishedJSON(t *testing.T) {
	base := `"client":"c1","transport":"websocket","protocol":"json","encoding":"json"`
	plain := []string{
		`{` + base + `,"data":{"d":1},"name":"js","version":"5.0","channels":["a","b"]}`,
		`{` + base + `,"user":"u1"}`,
		`{` + base + `,"user":"u1","channel":"news","token":"t","data":{"d":2}}`,
		`{` + base + `,"user":"u1","channel":"news"}`,
		`{` + base + `,"user":"u1","channel":"news","data":{"d":3}}`,
		`{` + base + `,"user":"u1","method":"add","data":{"d":4}}`,
	}
	for _, c := range []struct {
		name   string
		e      Endpoint
		change func(string) string
	}{
		{"plain", Endpoint{}, func(s string) string { return s }},
		{"meta", Endpoint{IncludeMeta: true}, func(s string) string {
			if !strings.Contains(s, `"user"`) {
				return s // connect is where meta comes from
			}
			return strings.Replace(s, `"user":"u1"`, `"user":"u1","meta":{"m":1}`, 1)
		}},
		{"binary", Endpoint{BinaryEncoding: true}, func(s string) string {
			s = strings.Replace(s, `"encoding":"json"`, `"encoding":"binary"`, 1)
			for i, b64 := range []string{"eyJkIjoxfQ==", "eyJkIjoyfQ==", "eyJkIjozfQ==", "eyJkIjo0fQ=="} {
				s = strings.Replace(s, fmt.Sprintf(`"data":{"d":%d}`, i+1), `"b64data":"`+b64+`"`, 1)
			}
			return s
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWeb(t, says(200, `{}`))
			c.e.URL = w.URL + "/path?key=1"
			askAll(t, newRig(t, everywhere(t, c.e)).Hooks, who())
			for i, a := range w.all() {
				sameJSON(t, a.body, c.change(plain[i]))
				if got := a.header.Get("Content-Type"); got != "application/json" {
					t.Errorf("content type %q", got)
				}
			}
			if n := len(w.all()); n != len(plain) {
				t.Errorf("asked %d times, want %d", n, len(plain))
			}
		})
	}
}

func TestEmptyUserAndEmptyDataInQuestions(t *testing.T) {
	w := newWeb(t, says(200, `{}`))
	h := newRig(t, everywhere(t, Endpoint{URL: w.URL}))
	if _, err := h.RPC(context.Background(), &backend.RPCRequest{Client: backend.Client{Encoding: "protobuf"}, Method: "bad \xff"}); err != nil {
		t.Fatal(err)
	}
	sameJSON(t, w.last(t).body, `{"protocol":"protobuf","encoding":"json","user":"","method":"bad \ufffd"}`)
}

func TestAnswersOfAnHTTPBackend(t *testing.T) {
	yes, no := true, false
	w := newWeb(t, nil)
	h := newRig(t, everywhere(t, Endpoint{URL: w.URL}))
	for _, c := range []struct {
		event backend.Event
		body  string
		want  any
	}{
		{backend.Connect, `{"result":{"user":"56","expire_at":7,"info":{"i":1},"data":{"d":1},"channels":["b","a","c"],"meta":{"m":2},
			"subs":{"c":{"info":{"x":1},"data":"y","override":{"presence":{"value":true},"join_leave":{"value":false}}},"d":null},
			"caps":[{"channels":["x"],"allow":["pub"]}],"labels":{"a":"b"},"unknown":[]}}`, &backend.ConnectReply{
			User: "56", ExpireAt: 7, Info: []byte(`{"i":1}`), Data: []byte(`{"d":1}`), Meta: []byte(`{"m":2}`),
			Subs: []channel.ServerSub{
				{Channel: "a"}, {Channel: "b"},
				{Channel: "c", Info: []byte(`{"x":1}`), Data: []byte(`"y"`), Override: &channel.Override{Presence: &yes, JoinLeave: &no}},
				{Channel: "d"},
			},
		}},
		{backend.Connect, `{"result":{"user":"","b64info":"aGk=","b64data":"eW8=","info":"no","subs":{"x":{"b64info":"aGk=","b64data":"eW8="}}}}`,
			&backend.ConnectReply{Info: []byte("hi"), Data: []byte("yo"), Subs: []channel.ServerSub{{Channel: "x", Info: []byte("hi"), Data: []byte("yo")}}}},
		{backend.Connect, `{}`, &backend.ConnectReply{Unknown: true}},
		{backend.Connect, `null`, &backend.ConnectReply{Unknown: true}},
		{backend.Connect, `{"result":null}`, &backend.ConnectReply{Unknown: true}},
		{backend.Connect, `{"result":{}}`, &backend.ConnectReply{}},
		{backend.Refresh, `{"result":{"expire_at":9,"info":{"i":1},"meta":{"m":1}}}`, &backend.RefreshReply{ExpireAt: 9, Info: []byte(`{"i":1}`), Meta: []byte(`{"m":1}`)}},
		{backend.Refresh, `{"result":{"expired":true,"expire_at":9}}`, &backend.RefreshReply{Expired: true}},
		{backend.Refresh, `{}`, &backend.RefreshReply{Expired: true}},
		{backend.SubRefresh, `{"result":{"expire_at":9,"b64info":"aGk="}}`, &backend.SubRefreshReply{ExpireAt: 9, Info: []byte(`hi`)}},
		{backend.SubRefresh, `{"result":{"expired":true}}`, &backend.SubRefreshReply{Expired: true}},
		{backend.SubRefresh, `{}`, &backend.SubRefreshReply{Expired: true}},
		{backend.Subscribe, `{}`, &backend.SubscribeReply{}},
		{backend.Subscribe, `{"result":{"info":{"i":1},"data":{"d":1},"expire_at":5,"allow":["pub"],
			"override":{"force_recovery":{"value":true},"force_positioning":{},"force_push_join_leave":{"value":true},"presence":null}}}`,
			&backend.SubscribeReply{Info: []byte(`{"i":1}`), Data: []byte(`{"d":1}`), ExpireAt: 5,
				Override: &channel.Override{ForceRecovery: &yes, ForcePositioning: &no, ForcePushJoinLeave: &yes}}},
		{backend.Subscribe, `{"result":{"info":1,"b64info":"aGk=","data":2,"b64data":"eW8="}}`, &backend.SubscribeReply{Info: []byte("hi"), Data: []byte("yo")}},
		{backend.Publish, `{}`, &backend.PublishReply{}},
		{backend.Publish, `{"result":{"data":{"x":1},"b64data":"aGk=","skip_history":true,"tags":{"a":"b"},"idempotency_key":"k","delta":true,"version":3,"version_epoch":"e"}}`,
			&backend.PublishReply{Data: []byte(`{"x":1}`), SkipHistory: true, Tags: map[string]string{"a": "b"}, IdempotencyKey: "k", Delta: true, Version: 3, VersionEpoch: "e"}},
		{backend.Publish, `{"result":{"b64data":"aGk="}}`, &backend.PublishReply{Data: []byte(`hi`)}},
		{backend.RPC, `{}`, &backend.RPCReply{}},
		{backend.RPC, `{"result":{"data":{"x":1}}}`, &backend.RPCReply{Data: []byte(`{"x":1}`)}},
		{backend.RPC, `{"result":{"data":1,"b64data":"aGk=","user":5}}`, &backend.RPCReply{Data: []byte(`hi`)}},
		{backend.RPC, ` {"result":{"data":"x"},"error":{"code":1000,"message":"m","temporary":true}} `,
			&backend.RPCReply{Refusal: channel.Refusal{Err: &channel.Error{Code: 1000, Message: "m", Temporary: true}}}},
		{backend.RPC, `{"result":{"b64data":"!"},"error":{"code":1},"disconnect":{"code":4500,"reason":"bye"}}`,
			&backend.RPCReply{Refusal: channel.Refusal{Disconnect: &channel.Disconnect{Code: 4500, Reason: "bye"}}}},
		{backend.RPC, `{"disconnect":{"code":4000,"reason":"` + strings.Repeat("ä", 70) + `"}}`,
			&backend.RPCReply{Refusal: channel.Refusal{Disconnect: &channel.Disconnect{Code: 4000, Reason: strings.Repeat("ä", 61)}}}},
	} {
		w.script(says(200, c.body))
		if got := askAll(t, h.Hooks, who())[c.event]; !reflect.DeepEqual(got, c.want) {
			t.Errorf("%v %s:\ngot  %#v\nwant %#v", c.event, c.body, got, c.want)
		}
	}
}

// wantRefused is what each event makes of a refusal, and of no usable answer (nil).
func wantRefused(refusal *channel.Refusal, now time.Time) map[backend.Event]any {
	if refusal == nil {
		internal := channel.RefuseError(channel.ErrInternal)
		later := now.Add(time.Minute).Unix()
		return map[backend.Event]any{
			backend.Connect: &backend.ConnectReply{Refusal: internal},
			backend.Refresh: &backend.RefreshReply{ExpireAt: later}, backend.SubRefresh: &backend.SubRefreshReply{ExpireAt: later},
		}
	}
	return map[backend.Event]any{
		backend.Connect: &backend.ConnectReply{Refusal: *refusal}, backend.Subscribe: &backend.SubscribeReply{Refusal: *refusal},
		backend.Publish: &backend.PublishReply{Refusal: *refusal}, backend.RPC: &backend.RPCReply{Refusal: *refusal},
		backend.Refresh: &backend.RefreshReply{Expired: true}, backend.SubRefresh: &backend.SubRefreshReply{Expired: true},
	}
}

func TestEveryEventSeesFailuresAndRefusals(t *testing.T) {
	custom := &channel.Refusal{Err: &channel.Error{Code: 404, Message: "nope", Temporary: true}}
	away := &channel.Refusal{Disconnect: &channel.Disconnect{Code: 4501, Reason: "away"}}
	table := &channel.Refusal{Err: &channel.Error{Code: 103, Message: "permission denied"}}
	e := Endpoint{ResponseBytesMax: 64, Transforms: []Transform{
		{Status: 404, Error: channel.Error{Code: 404, Message: "nope", Temporary: true}},
		{Status: 503, Disconnect: channel.Disconnect{Code: 4501, Reason: "away"}},
	}}
	for _, c := range []struct {
		name    string
		answer  http.HandlerFunc
		kind    Kind // when refusal is nil
		refusal *channel.Refusal
	}{
		{"error", says(200, `{"error":{"code":103,"message":"permission denied"}}`), 0, table},
		{"disconnect", says(200, `{"disconnect":{"code":4501,"reason":"away"}}`), 0, away},
		{"transform to error", says(404, `{"error":{"code":500}}`), 0, custom},
		{"transform to disconnect", says(503, ``), 0, away},
		{"other status", says(500, `{}`), KindStatus, nil},
		{"no content", says(204, ``), KindStatus, nil},
		{"created", says(201, `{}`), KindStatus, nil},
		{"redirect to nowhere", says(302, ``), KindStatus, nil},
		{"empty", says(200, ``), KindGarbage, nil},
		{"not JSON", says(200, `<html>`), KindGarbage, nil},
		{"two values", says(200, `{}{}`), KindGarbage, nil},
		{"an array", says(200, `[]`), KindGarbage, nil},
		{"cut", says(200, `{"result":{`), KindGarbage, nil},
		{"exactly the limit", says(200, `{`+strings.Repeat(" ", 62)+`}`), KindNone, nil},
		{"one more", says(200, `{`+strings.Repeat(" ", 63)+`}`), KindTooLarge, nil},
		{"error code", says(200, `{"error":{"code":2000}}`), KindCode, nil},
		{"error without code", says(200, `{"error":{}}`), KindCode, nil},
		{"disconnect code", says(200, `{"disconnect":{"code":1000}}`), KindCode, nil},
		{"disconnect code over", says(200, `{"disconnect":{"code":5000}}`), KindCode, nil},
		{"negative code", says(200, `{"error":{"code":-1}}`), KindGarbage, nil},
		{"conn cut", func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) }, KindUnreachable, nil},
		{"body cut", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "50")
			_, _ = w.Write([]byte("{"))
		}, KindUnreachable, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWeb(t, c.answer)
			e.URL = w.URL
			r := newRig(t, everywhere(t, e))
			got := askAll(t, r.Hooks, who())
			if c.kind == KindNone && c.refusal == nil { // no failure at all
				if !reflect.DeepEqual(got[backend.RPC], &backend.RPCReply{}) {
					t.Errorf("got %v", got[backend.RPC])
				}
				return
			}
			want := wantRefused(c.refusal, r.clock.Now())
			for event, reply := range got {
				if err, failed := reply.(error); failed && c.refusal == nil {
					if k := kindOf(t, err); k != c.kind {
						t.Errorf("%v: kind %v, want %v: %v", event, k, c.kind, err)
					}
					continue
				}
				if !reflect.DeepEqual(reply, want[event]) {
					t.Errorf("%v: got %#v, want %#v", event, reply, want[event])
				}
				if s := r.stat(t, event, "default"); c.refusal == nil && s.Errors[c.kind] != 1 || s.Calls != 1 {
					t.Errorf("%v: stats %+v", event, s)
				}
			}
		})
	}
}

// A redirect lets nobody in, and tells nobody else what a client sent or what the headers
// of the configuration are.
func TestRedirectsAreNotFollowed(t *testing.T) {
	elsewhere := newWeb(t, says(200, `{}`))
	for _, status := range []int{301, 302, 303, 307, 308} {
		w := newWeb(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL+"/login", status) })
		e := Endpoint{URL: w.URL, StaticHeaders: map[string]string{"X-Backend-Key": "s3cret"}}
		r := newRig(t, everywhere(t, e))
		for event, reply := range askAll(t, r.Hooks, who()) {
			if s := r.stat(t, event, "default"); s.Errors[KindStatus] != 1 {
				t.Errorf("%d: %v: stats %+v", status, event, s)
			}
			if err, failed := reply.(error); failed && !strings.Contains(err.Error(), fmt.Sprintf("HTTP status %d: a redirect is not followed", status)) {
				t.Errorf("%d: %v: %v", status, event, err)
			}
		}
		e.Transforms = []Transform{{Status: status, Error: channel.Error{Code: 404, Message: "moved"}}}
		reply, err := newRig(t, everywhere(t, e)).RPC(context.Background(), &backend.RPCRequest{Client: who(), Method: "add"})
		if err != nil || reply.Err == nil || reply.Err.Code != 404 {
			t.Errorf("%d, transformed: %+v, %v", status, reply, err)
		}
	}
	if asked := elsewhere.all(); len(asked) > 0 {
		t.Errorf("elsewhere was asked %d times, with key %q", len(asked), asked[0].header.Get("X-Backend-Key"))
	}
}

func TestWrongBase64IsGarbage(t *testing.T) {
	w := newWeb(t, says(200, `{"result":{"b64data":"!","b64info":"!"}}`))
	r := newRig(t, everywhere(t, Endpoint{URL: w.URL}))
	got := askAll(t, r.Hooks, who())
	want := wantRefused(nil, r.clock.Now())
	for event, reply := range got {
		if err, failed := reply.(error); failed {
			if k := kindOf(t, err); k != KindGarbage {
				t.Errorf("%v: kind %v", event, k)
			}
		} else if !reflect.DeepEqual(reply, want[event]) {
			t.Errorf("%v: got %#v, want %#v", event, reply, want[event])
		}
	}
}

func TestHeadersThatAreListedArePassedOn(t *testing.T) {
	w := newWeb(t, says(200, `{}`))
	r := newRig(t, everywhere(t, Endpoint{
		URL: w.URL, HTTPHeaders: []string{"Cookie", "X-Real", "x-both", "Content-Type", "Connection"}, EmulatedHeaders: []string{"x-emulated", "X-Both", "x-evil"},
		StaticHeaders: map[string]string{"X-Static": "s", "x-real": "static", "content-type": "text/plain"},
	}))
	c := who()
	c.Headers["connection"], c.Headers["content-type"] = "upgrade", "text/html"
	c.Emulated["X-Evil"] = "a\r\nX-Injected: 1"
	if _, err := r.RPC(context.Background(), &backend.RPCRequest{Client: c}); err != nil {
		t.Fatal(err)
	}
	h := w.last(t).header
	for name, want := range map[string]string{
		"Cookie": "real", "X-Real": "r", "X-Both": "real", "X-Emulated": "e", "X-Static": "s", "Content-Type": "application/json",
		"X-Forged": "", "X-Evil": "", "X-Injected": "", "Connection": "",
	} {
		if got := h.Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	// An emulated header stands in for a real one only where it is listed as emulated.
	c.Headers = nil
	if _, err := r.RPC(context.Background(), &backend.RPCRequest{Client: c}); err != nil {
		t.Fatal(err)
	}
	h = w.last(t).header
	if h.Get("X-Both") != "forged" || h.Get("X-Real") != "static" {
		t.Errorf("got %v", h)
	}
	if got := fmt.Sprint(r.HTTPHeaders(), r.EmulatedHeaders()); got != "[cookie x-both x-real] [x-both x-emulated x-evil]" {
		t.Errorf("wanted headers: %s", got)
	}
}

func TestDataThatIsNotJSONFailsAloneAndOnlyWithoutBinaryEncoding(t *testing.T) {
	w := newWeb(t, says(200, `{}`))
	for _, binary := range []bool{false, true} {
		r := newRig(t, everywhere(t, Endpoint{URL: w.URL, BinaryEncoding: binary, BreakerFailures: 1}))
		for range 3 {
			_, err := r.RPC(context.Background(), &backend.RPCRequest{Client: who(), Data: []byte{0xff, 0}})
			if binary != (err == nil) {
				t.Errorf("binary %v: %v", binary, err)
			} else if err != nil && kindOf(t, err) != KindRequest {
				t.Error(err)
			}
		}
		if s := r.stat(t, backend.RPC, "default"); s.Breaker != Closed {
			t.Error("a client opened the breaker with its data")
		}
	}
	sameJSON(t, w.last(t).body, `{"client":"c1","transport":"websocket","protocol":"json","encoding":"binary","user":"u1","b64data":"/wA="}`)
}

func TestSecretsOfTheURLAreNotInErrors(t *testing.T) {
	addr := refusedAddr(t)
	r := newRig(t, everywhere(t, Endpoint{URL: "http://joe:hunter2@" + addr + "/?key=hunter2"}))
	_, err := r.RPC(context.Background(), &backend.RPCRequest{Client: who()})
	if kindOf(t, err) != KindUnreachable {
		t.Error(err)
	}
	if text := err.Error() + r.log.String(); strings.Contains(text, "hunter2") {
		t.Errorf("secret in %s", text)
	}
	if !strings.Contains(r.log.String(), "backend was asked in vain") {
		t.Errorf("log: %s", r.log.String())
	}
}
