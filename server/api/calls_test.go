package api

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"shoal/server/channel"
)

// TestEveryMethodAsksTheService is the table of what each request becomes and how it is answered.
func TestEveryMethodAsksTheService(t *testing.T) {
	r := newRig(t, nil)
	r.s.pos = channel.Position{Offset: 7, Epoch: "xyz"}
	r.s.clients = map[string]channel.ClientInfo{"c1": {User: "u", Client: "c1", ConnInfo: []byte(`{"n":1}`), ChanInfo: []byte{1, 2}}}
	r.s.kept = []channel.Publication{
		{Data: []byte(`{"a":1}`), Position: channel.Position{Offset: 6, Epoch: "xyz"}, Tags: map[string]string{"k": "v"}, Info: &channel.ClientInfo{User: "u", Client: "c1"}},
		{Data: []byte("\xff"), Position: channel.Position{Offset: 7, Epoch: "xyz"}},
	}
	r.s.answer = []byte(`[1]`)
	for _, c := range []struct{ path, body, asked, want string }{
		{"publish", `{"channel":"c","data":{"a":1}}`, `publish c {"a":1}`, `{"result":{"offset":7,"epoch":"xyz"}}`},
		{"publish", `{"channel":"c","b64data":"aGk="}`, `publish c hi`, `{"result":{"offset":7,"epoch":"xyz"}}`},
		{"publish", `{"channel":"c","data":null}`, `publish c null`, `{"result":{"offset":7,"epoch":"xyz"}}`},
		{"publish", `{"channel":"c","data":1,"b64data":"aGk="}`, `publish c hi`, `{"result":{"offset":7,"epoch":"xyz"}}`},
		{"publish", `{"channel":"binary"}`, `publish binary `, `{"result":{"offset":7,"epoch":"xyz"}}`},
		{
			"publish", `{"channel":"c","data":1,"skip_history":true,"tags":{"a":"b"},"idempotency_key":"i","delta":true,"version":3,"version_epoch":"e","exclude_client":"x","unknown":[]}`,
			`publish c 1 tags map[a:b] but x {SkipHistory:true IdempotencyKey:i Delta:true Version:3 VersionEpoch:e}`, `{"result":{"offset":7,"epoch":"xyz"}}`,
		},
		{
			"broadcast", `{"channels":["x","","y"],"data":2,"version":1}`,
			"publish x 2 {SkipHistory:false IdempotencyKey: Delta:false Version:1 VersionEpoch:}\npublish y 2 {SkipHistory:false IdempotencyKey: Delta:false Version:1 VersionEpoch:}",
			`{"result":{"responses":[{"result":{"offset":7,"epoch":"xyz"}},{"error":{"code":107,"message":"bad request: channels[1] is empty"}},{"result":{"offset":7,"epoch":"xyz"}}]}}`,
		},
		{
			"subscribe", `{"user":"u","channel":"c","expire_at":5,"b64info":"aGk=","client":"cl","session":"s","data":{"d":1},"recover_since":{"offset":4,"epoch":"e"},"override":{"presence":{"value":true},"force_recovery":{"value":false},"join_leave":{}}}`,
			`subscribe {User:u Client:cl Session:s Whitelist:[]} c info hi data {"d":1} since &{4 e} expire 5 override tf--f`, `{"result":{}}`,
		},
		{"subscribe", `{"user":"u","channel":"c","override":null}`, `subscribe {User:u Client: Session: Whitelist:[]} c info  data  since <nil> expire 0 override `, `{"result":{}}`},
		{"unsubscribe", `{"user":"u","client":"c","session":"s"}`, `unsubscribe {User:u Client:c Session:s Whitelist:[]} `, `{"result":{}}`},
		{"disconnect", `{"user":"u"}`, `disconnect {User:u Client: Session: Whitelist:[]} {3503 force disconnect}`, `{"result":{}}`},
		{
			"disconnect", `{"user":"u","client":"c","session":"s","whitelist":["w"],"disconnect":{"code":4001,"reason":"r"}}`,
			`disconnect {User:u Client:c Session:s Whitelist:[w]} {4001 r}`, `{"result":{}}`,
		},
		{"refresh", `{"user":"u","client":"c","session":"s","expired":true,"expire_at":9,"info":{"n":2}}`, `refresh {User:u Client:c Session:s Whitelist:[]} expired true at 9 info {"n":2}`, `{"result":{}}`},
		{"presence", `{"channel":"c"}`, `presence c`, `{"result":{"presence":{"c1":{"user":"u","client":"c1","conn_info":{"n":1},"b64chan_info":"AQI="}}}}`},
		{"presence_stats", `{"channel":"c"}`, `presence_stats c`, `{"result":{"num_clients":3,"num_users":2}}`},
		{
			"history", `{"channel":"c","limit":-1,"since":{"offset":5,"epoch":"e"},"reverse":true}`, `history c since &{5 e} limit -1 reverse true`,
			`{"result":{"publications":[{"data":{"a":1},"info":{"user":"u","client":"c1"},"offset":6,"tags":{"k":"v"}},{"b64data":"/w==","offset":7}],"epoch":"xyz","offset":7}}`,
		},
		{"history_remove", `{"channel":"c"}`, `history_remove c`, `{"result":{}}`},
		{"channels", `{"pattern":"a*"}`, `channels 1`, `{"result":{"channels":{"a":{"num_clients":2}}}}`},
		{"info", `{}`, `info`, `{"result":{"nodes":[{"uid":"u","name":"n","version":"","num_clients":3,"num_users":0,"num_subs":0,"num_channels":0,"uptime":0}]}}`},
		{"rpc", `{"method":"m","params":{"p":1}}`, `rpc m {"p":1}`, `{"result":{"data":[1]}}`},
		{"connections", `{"user":"u"}`, `connections {User:u Client: Channel: After: Limit:1001}`, `{"result":{"connections":{}}}`},
	} {
		w := r.post("/"+c.path, c.body)
		if w.Code != 200 || w.Body.String() != c.want {
			t.Errorf("%s %s: answered %d\n%s, want\n%s", c.path, c.body, w.Code, w.Body, c.want)
		}
		if asked := r.s.transcript(); asked != c.asked {
			t.Errorf("%s %s: asked\n%s, want\n%s", c.path, c.body, asked, c.asked)
		}
		if w.Header().Get("Content-Type") != "application/json" || w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: headers %v", c.path, w.Header())
		}
		if want := c.path + ":0"; r.counted[len(r.counted)-1] != want {
			t.Errorf("counted %s, want %s", r.counted[len(r.counted)-1], want)
		}
	}
}

// TestRefusalsSayWhatIsWrong: nothing of this reaches the service.
func TestRefusalsSayWhatIsWrong(t *testing.T) {
	deep := strings.Repeat("[", 2000) + strings.Repeat("]", 2000)
	for _, c := range []struct {
		path, body string
		code       int
		says       string
	}{
		{"publish", `null`, 107, "channel is required"},
		{"publish", `{"data":1}`, 107, "channel is required"},
		{"publish", `{"channel":"c","b64data":"!"}`, 107, "b64data is not base64"},
		{"publish", `{"channel":"c","b64data":"aGk"}`, 107, "with padding"},
		{"publish", `{"channel":"c","data":` + deep + `}`, 107, "nested too deep"},
		{"publish", "{\"channel\":\"c\",\"data\":\"\xff\"}", 107, "no UTF-8"},
		{"broadcast", `{"data":1}`, 107, "channels is required"},
		{"broadcast", `{"channels":[],"data":1}`, 107, "channels is required"},
		{"broadcast", `{"channels":["a","b","c","d"],"data":1}`, 107, "4 channels in one broadcast, at most 3"},
		{"broadcast", "{\"channels\":[\"c\"],\"data\":\"\xff\"}", 107, "no UTF-8"},
		{"broadcast", `{"channels":["c"],"b64data":"?"}`, 107, "base64"},
		{"subscribe", `{"user":"u"}`, 107, "channel is required"},
		{"subscribe", `{"channel":"c"}`, 107, "user is required"},
		{"subscribe", `{"user":"u","channel":"c","expire_at":-1}`, 107, "expire_at -1 is negative"},
		{"subscribe", `{"user":"u","channel":"c","b64info":"*"}`, 107, "b64info is not base64"},
		{"subscribe", `{"user":"u","channel":"c","data":` + deep + `}`, 107, "data is no UTF-8, or is nested too deep"},
		{"unsubscribe", `{"channel":"c"}`, 107, "user is required"},
		{"disconnect", `{}`, 107, "user is required"},
		{"disconnect", `{"whitelist":["x"]}`, 107, "user is required"},
		{"disconnect", `{"user":"u","disconnect":{}}`, 107, "take one from 3000 to 4999"},
		{"disconnect", `{"user":"u","disconnect":{"code":2999,"reason":"r"}}`, 107, "disconnect.code 2999"},
		{"disconnect", `{"user":"u","disconnect":{"code":5000,"reason":"r"}}`, 107, "disconnect.code 5000"},
		{"disconnect", `{"user":"u","disconnect":{"code":4000,"reason":"{\"reconnect\":true}"}}`, 107, "is JSON"},
		{"disconnect", `{"channel":"c","session":"s"}`, 107, "session and channel together"},
		{"refresh", `{"expired":true}`, 107, "user is required"},
		{"refresh", `{"user":"u","expire_at":-5}`, 107, "negative"},
		{"refresh", "{\"user\":\"u\",\"info\":\"\xff\"}", 107, "info is no UTF-8"},
		{"presence", `{}`, 107, "channel is required"},
		{"presence_stats", `{}`, 107, "channel is required"},
		{"history", `{"limit":5}`, 107, "channel is required"},
		{"history", `{"channel":"c","limit":-2}`, 107, "limit -2 is negative"},
		{"history_remove", `{}`, 107, "channel is required"},
		{"channels", `{"pattern":"["}`, 107, "pattern"},
		{"channels", `{"pattern":"chat:{a,b}"}`, 107, "not supported"},
		{"channels", `{"limit":-1}`, 107, "negative"},
		{"channels", `{"limit":10001}`, 107, "at most 10000"},
		{"connections", `{"limit":-1}`, 107, "negative"},
		{"rpc", `{}`, 107, "method is required"},
		{"batch", `{"commands":[{},{},{},{},{},{}]}`, 107, "6 commands in one batch, at most 5"},
		{"map_publish", `{"channel":"c"}`, 108, "map_publish: there are no map and shared-poll channels"},
		{"shared_poll_publish", `{}`, 108, "shared_poll_publish"},
	} {
		r := newRig(t, func(c *Config) { c.BatchMax, c.BroadcastMax = 5, 3 })
		w := r.post("/"+c.path, c.body)
		var answer struct{ Error Error }
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != 200 || int(answer.Error.Code) != c.code || !strings.Contains(answer.Error.Message, c.says) {
			t.Errorf("%s %.80s: answered %d %s, want error %d with %q", c.path, c.body, w.Code, w.Body, c.code, c.says)
		}
		if want := map[int]string{107: "bad request: ", 108: "not available: "}[c.code]; !strings.HasPrefix(answer.Error.Message, want) {
			t.Errorf("%s: the message %q does not begin as it does elsewhere", c.path, answer.Error.Message)
		}
		if asked := r.s.transcript(); asked != "" {
			t.Errorf("%s %.80s: the service was asked %s", c.path, c.body, asked)
		}
		if want := fmt.Sprintf("%s:%d", c.path, c.code); len(r.counted) != 1 || r.counted[0] != want {
			t.Errorf("%s: counted %v, want %s", c.path, r.counted, want)
		}
	}
}

func TestMissingDataIsRefusedByTheChannel(t *testing.T) {
	r := newRig(t, nil)
	for path, want := range map[string]string{
		"/publish":   `{"error":{"code":107,"message":"bad request: data or b64data is required"}}`,
		"/broadcast": `{"result":{"responses":[{"error":{"code":107,"message":"bad request: data or b64data is required"}}]}}`,
	} {
		if w := r.post(path, `{"channel":"c","channels":["c"]}`); w.Body.String() != want {
			t.Errorf("%s answered %s, want %s", path, w.Body, want)
		}
	}
}

func TestOtherFrontsGiveAnyBytes(t *testing.T) {
	s := &fake{kept: []channel.Publication{{Data: []byte{0xff}}}, answer: []byte{0xfe}}
	c := &Calls{Service: s}
	if _, e := c.Publish(context.Background(), PublishRequest{Channel: "c", Data: []byte{1, 2}}); e != nil {
		t.Error(e)
	}
	if got := s.transcript(); got != "publish c \x01\x02" {
		t.Errorf("asked %q", got)
	}
	if h, e := c.History(context.Background(), HistoryRequest{Channel: "c"}); e != nil || string(h.Publications[0].Data) != "\xff" || h.Publications[0].B64Data != "" {
		t.Errorf("history %+v, %v", h, e)
	}
	if a, e := c.RPC(context.Background(), RPCRequest{Method: "m"}); e != nil || string(a.Data) != "\xfe" {
		t.Errorf("rpc %+v, %v", a, e)
	}
}

func TestErrorsOfTheServiceBecomeAnswers(t *testing.T) {
	bodies := map[string]string{
		"publish": `{"channel":"bad","data":1}`, "subscribe": `{"user":"u","channel":"c"}`, "unsubscribe": `{"user":"u"}`, "disconnect": `{"user":"u"}`,
		"refresh": `{"user":"u"}`, "presence": `{"channel":"c"}`, "presence_stats": `{"channel":"c"}`, "history": `{"channel":"c"}`,
		"history_remove": `{"channel":"c"}`, "channels": `{}`, "info": `{}`, "rpc": `{"method":"m"}`, "connections": `{}`,
	}
	for code, c := range map[channel.ErrorCode]struct {
		status  int
		message string
	}{
		channel.ErrInternal: {500, "internal server error"}, channel.ErrUnknownChannel: {404, "unknown channel"}, channel.ErrMethodNotFound: {404, "not found"},
		channel.ErrBadRequest: {400, "bad request"}, channel.ErrNotAvailable: {400, "not available"}, channel.ErrTooManyRequests: {429, "too many requests"},
		channel.ErrUnrecoverablePosition: {416, "unrecoverable position"}, channel.ErrConcurrentPagination: {409, "conflict"}, channel.ErrPermissionDenied: {500, "permission denied"},
	} {
		r := newRig(t, nil)
		r.s.err = code.Err()
		bare := fmt.Sprintf(`{"code":%d,"message":"%s"}`, code, c.message)
		for path, body := range bodies {
			if w := r.post("/"+path, body); w.Code != 200 || w.Body.String() != `{"error":`+bare+`}` {
				t.Errorf("%s with error %d: answered %d %s", path, code, w.Code, w.Body)
			}
			if w := r.post("/"+path, body, "X-Centrifugo-Error-Mode", "transport"); w.Code != c.status || w.Body.String() != bare {
				t.Errorf("%s with error %d in transport mode: answered %d %s, want %d", path, code, w.Code, w.Body, c.status)
			}
		}
		w := r.post("/broadcast", `{"channels":["ok","bad-1"],"data":1}`, "X-Centrifugo-Error-Mode", "transport")
		if w.Code != 200 || w.Body.String() != `{"result":{"responses":[{"result":{}},{"error":`+bare+`}]}}` {
			t.Errorf("a broadcast that failed in part answered %d %s", w.Code, w.Body)
		}
	}
}

func TestBroadcastGivesEveryChannelItsOwnPublication(t *testing.T) {
	r := newRig(t, nil)
	r.post("/broadcast", `{"channels":["a","b","c"],"data":1}`)
	if len(r.s.pubs) != 3 || r.s.pubs[0] == r.s.pubs[1] || r.s.pubs[1] == r.s.pubs[2] {
		t.Errorf("publications %v", r.s.pubs)
	}
}

func TestWhatIsPublishedOutlivesTheRequest(t *testing.T) {
	r := newRig(t, nil)
	for i := range 20 {
		body := fmt.Sprintf(`{"commands":[{"publish":{"channel":"c%02d","data":"%02d"}},{"publish":{"channel":"\u0063%02d","b64data":"%02d=="}}]}`, i, i, i, i+10)
		if w := r.post("/batch", body); w.Code != 200 {
			t.Fatal(w.Body)
		}
	}
	for i := range 20 {
		if got, want := string(r.s.pubs[2*i].Data), fmt.Sprintf(`"%02d"`, i); got != want {
			t.Errorf("publication %d became %s", i, got)
		}
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
}

// TestChannelsPageByPage: all pages together are all channels, each once, in order, with a bounded selection at work.
func TestChannelsPageByPage(t *testing.T) {
	s := &fake{counts: map[string]int{}}
	for i := range 997 {
		s.counts[fmt.Sprintf("c%03d", i)] = i + 1
	}
	s.counts["other"] = 1
	c := &Calls{Service: s, JSON: true}
	for _, limit := range []int32{1, 7, 100, 996, 997, 998} {
		seen, last := 0, ""
		for r := (ChannelsRequest{Pattern: "c*", Limit: limit}); ; {
			result, e := c.Channels(context.Background(), r)
			if e != nil {
				t.Fatal(e)
			}
			for name, info := range result.Channels {
				if name <= r.Cursor || info.NumClients != s.counts[name] {
					t.Fatalf("limit %d: page after %q has %s with %d", limit, r.Cursor, name, info.NumClients)
				}
				last = max(last, name)
			}
			seen += len(result.Channels)
			if r.Cursor = result.NextCursor; r.Cursor == "" {
				break
			}
			if r.Cursor != last || len(result.Channels) != int(limit) {
				t.Fatalf("limit %d: cursor %q after a page of %d up to %q", limit, r.Cursor, len(result.Channels), last)
			}
		}
		if seen != 997 {
			t.Errorf("limit %d: %d channels", limit, seen)
		}
	}
	if result, e := c.Channels(context.Background(), ChannelsRequest{Cursor: "c989"}); e != nil || len(result.Channels) != 8 || result.NextCursor != "" {
		t.Errorf("a cursor alone: %d channels, next %q, %v", len(result.Channels), result.NextCursor, e)
	}
}

// TestPageIsTheSameFromManyLoops: names on several loops, seen in any order, keep their whole count or are not on the page.
func TestPageIsTheSameFromManyLoops(t *testing.T) {
	p := newPage("n010", 21, func(name string) bool { return !strings.HasSuffix(name, "5") })
	answers := make([]map[string]int, 4)
	var loops sync.WaitGroup
	for i := range answers {
		answers[i] = map[string]int{}
		loops.Go(func() {
			memory := make([]byte, 4)
			for k := range 500 {
				n := k * (2*i + 1) * 7 % 500 // another order on every loop
				copy(memory, fmt.Sprintf("n%03d", n))
				if p.match(string(memory)) {
					answers[i][string(memory)]++
				}
				copy(memory, "zzzz") // the hub uses its memory again
			}
		})
	}
	loops.Wait()
	counts := map[string]int{}
	for _, answer := range answers {
		for name, n := range answer {
			counts[name] += n
		}
	}
	want := map[string]int{}
	for n := 11; len(want) < 21; n++ {
		if n%10 != 5 {
			want[fmt.Sprintf("n%03d", n)] = 0
		}
	}
	next := p.cut(counts)
	for name := range want {
		if name > next {
			delete(want, name)
		}
	}
	for name := range want {
		total := 0
		for i := range answers {
			for k := range 500 {
				if fmt.Sprintf("n%03d", k*(2*i+1)*7%500) == name {
					total++
				}
			}
		}
		if counts[name] != total {
			t.Errorf("%s has %d, want %d", name, counts[name], total)
		}
	}
	if len(counts) != 20 || len(want) != 20 {
		t.Errorf("the page has %d channels up to %s, want the 20 of %v", len(counts), next, want)
	}
}

func TestConnectionsPageByPage(t *testing.T) {
	s := &fake{}
	for i := range 25 {
		s.conns = append(s.conns, Connection{
			Client: fmt.Sprintf("id-%02d", i), User: "u", Transport: "websocket", Encoding: "json", Remote: "192.0.2.1:5", State: "open",
			Info: []byte(`{"n":1}`), Channels: []string{"a", "b"}, Backlog: i,
		})
	}
	c := &Calls{Service: s, JSON: true}
	var sizes []int
	seen := map[string]ConnectionInfo{}
	for r := (ConnectionsRequest{User: "u", Channel: "a", Limit: 10}); ; {
		result, e := c.Connections(context.Background(), r)
		if e != nil {
			t.Fatal(e)
		}
		sizes = append(sizes, len(result.Connections))
		for id, info := range result.Connections {
			seen[id] = info
		}
		if r.Cursor = result.NextCursor; r.Cursor == "" {
			break
		}
	}
	if !slices.Equal(sizes, []int{10, 10, 5}) || len(seen) != 25 {
		t.Errorf("pages of %v, %d connections", sizes, len(seen))
	}
	got, err := json.Marshal(seen["id-07"])
	want := `{"user":"u","transport":"websocket","protocol":"json","remote":"192.0.2.1:5","status":"open","info":{"n":1},"backlog_bytes":7,"state":{"channels":{"a":{},"b":{}}}}`
	if err != nil || string(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if result, _ := c.Connections(context.Background(), ConnectionsRequest{Limit: 25}); result.NextCursor != "" {
		t.Error("a full last page has a next one")
	}
}

func TestDisconnectByChannelReachesAllMembers(t *testing.T) {
	r := newRig(t, nil)
	for i := range PageDefault + 5 {
		r.s.conns = append(r.s.conns, Connection{Client: fmt.Sprintf("id-%04d", i), User: fmt.Sprint(i % 3), Channels: []string{"a"}})
	}
	r.s.conns[3].Channels = nil
	if w := r.post("/disconnect", `{"channel":"a","whitelist":["id-0009"]}`); w.Body.String() != `{"result":{}}` {
		t.Fatal(w.Body)
	}
	asked := strings.Split(r.s.transcript(), "\n")
	ended := 0
	for _, line := range asked {
		if strings.HasPrefix(line, "disconnect ") {
			ended++
		}
		if strings.Contains(line, "Client:id-0003") || strings.HasPrefix(line, "disconnect ") && !strings.Contains(line, "Whitelist:[id-0009]") {
			t.Errorf("asked %s", line)
		}
	}
	if ended != PageDefault+4 || asked[1] != "disconnect {User:0 Client:id-0000 Session: Whitelist:[id-0009]} {3503 force disconnect}" {
		t.Errorf("%d were ended, the first by %s", ended, asked[1])
	}
	r.s.err = channel.ErrInternal.Err()
	if w := r.post("/disconnect", `{"channel":"a"}`); !strings.Contains(w.Body.String(), `"code":100`) {
		t.Errorf("answered %s", w.Body)
	}
}
