package node

import (
	"encoding/hex"
	"fmt"
	"log/slog"
	"regexp"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"shoal/codec/msgpack"
	"shoal/codec/proto"
	"shoal/pool/worker"
	"shoal/server/backend"
	"shoal/server/broker"
	"shoal/server/channel"
)

const anonymousInfo = `{"info":{"user":"","client":"UUID"}}`

// A leave never overtakes the join, however slow the broker is.
func TestJoinsComeBeforeLeaves(t *testing.T) {
	for _, blocking := range []bool{false, true} {
		h := newHouse(t, plan{channels: kinds(), blocking: blocking, loops: 2})
		watcher := h.guest("told:a")
		watcher.sees(`{"push":{"channel":"told:a","join":` + anonymousInfo + `}}`)
		g := h.guest()
		come, release := make(chan struct{}), make(chan struct{})
		if blocking {
			come, release = h.broker.hold("signal")
		}
		for range 5 {
			g.do("subscribe", `"channel":"told:a"`)
			g.do("unsubscribe", `"channel":"told:a"`)
		}
		if blocking {
			await(t, come)
			g.do("presence_stats", `"channel":"told:a"`) // all of it was done
			for !strings.Contains(g.next(), "presence_stats") {
				runtime.Gosched()
			}
			close(release)
		}
		for range 5 {
			watcher.sees(`{"push":{"channel":"told:a","join":`+anonymousInfo+`}}`, `{"push":{"channel":"told:a","leave":`+anonymousInfo+`}}`)
		}
	}
}

// The joins and leaves of a big channel are told together, and those that cancel out not
// at all.
func TestSignalsOfABigChannelAreTold(t *testing.T) {
	h := newHouse(t, plan{loops: 2, channels: kinds(func(c *channel.Config) {
		c.Namespaces = append(c.Namespaces, channel.Options{Name: "big", AllowSubscribeForClient: true, AllowSubscribeForAnonymous: true,
			Presence: true, JoinLeave: true, ForcePushJoinLeave: true, JoinLeaveBatchSize: 2})
	})})
	watcher := h.guest("big:a")
	watcher.sees(`{"push":{"channel":"big:a","join":` + anonymousInfo + `}}`)
	var crowd []*guest
	for range 6 {
		crowd = append(crowd, h.guest("big:a"))
	}
	for _, g := range crowd[3:] { // came and went
		g.do("unsubscribe", `"channel":"big:a"`)
		for !strings.Contains(g.next(), `"unsubscribe":{}`) {
			runtime.Gosched()
		}
	}
	h.node.TellSignals()
	h.pub("big:a", `"mark"`)
	joins, leaves := 0, 0
	for line := watcher.next(); !strings.Contains(line, "mark"); line = watcher.next() {
		joins += strings.Count(line, `"join"`)
		leaves += strings.Count(line, `"leave"`)
	}
	if joins-leaves != 3 || joins > 4 {
		t.Errorf("%d joins and %d leaves were told of three that stayed and three that went", joins, leaves)
	}
}

func TestPresenceIsThatOfAllLoops(t *testing.T) {
	h := newHouse(t, plan{channels: kinds(), loops: 3, workers: worker.Config{Workers: 2}})
	const n = 60
	ids := map[string]bool{}
	for range n {
		ids[h.guest("rec:a").id] = true
	}
	for i := range 3 { // more than one slice of them
		h.on(i, func(s *Shard) {
			if s.hub.Subscribers([]byte("rec:a")) == n {
				t.Skip("all on one loop")
			}
		})
	}
	g := h.guest()
	g.do("presence_stats", `"channel":"rec:a"`)
	g.sees(fmt.Sprintf(`{"id":2,"presence_stats":{"num_clients":%d,"num_users":1}}`, n))
	g.do("presence", `"channel":"rec:a"`)
	line := g.line()
	for id := range ids {
		if !strings.Contains(line, fmt.Sprintf(`"%s":{"user":"","client":"%s"}`, id, id)) {
			t.Fatalf("%s is not there: %s", id, line)
		}
	}
	g.do("presence", `"channel":"tags:a"`)
	g.sees(`{"id":4,"error":{"code":108,"message":"not available"}}`)
	if _, e := h.node.Presence(t.Context(), "tags:a"); e == nil || e.Code != 108 {
		t.Error(e)
	}
	if all, e := h.node.Presence(t.Context(), "rec:nobody"); e != nil || len(all) != 0 {
		t.Error(all, e)
	}
	if _, _, e := h.node.PresenceStats("nowhere:a"); e == nil || e.Code != 102 {
		t.Error(e)
	}
}

func TestHistoryIsRead(t *testing.T) {
	for _, blocking := range []bool{false, true} {
		h := newHouse(t, plan{channels: kinds(), blocking: blocking, cfg: Config{HistoryMax: 3}})
		for i := range 5 {
			h.pub("rec:a", fmt.Sprint(i+1))
		}
		g := h.guest()
		ask := func(params, want string) {
			t.Helper()
			g.do("history", `"channel":"rec:a"`+params)
			g.sees(fmt.Sprintf(`{"id":%d,%s}`, g.last, want))
		}
		const tail = `"epoch":"E","offset":5}`
		ask(``, `"history":{"publications":[],`+tail)
		ask(`,"limit":2`, `"history":{"publications":[{"data":1,"offset":1},{"data":2,"offset":2}],`+tail)
		ask(`,"limit":-1`, `"history":{"publications":[{"data":1,"offset":1},{"data":2,"offset":2},{"data":3,"offset":3}],`+tail)
		ask(`,"limit":2,"reverse":true`, `"history":{"publications":[{"data":5,"offset":5},{"data":4,"offset":4}],`+tail)
		since := func(n int, epoch string) string { return fmt.Sprintf(`,"since":{"offset":%d,"epoch":%q}`, n, epoch) }
		epoch := g.epoch
		ask(`,"limit":2`+since(3, epoch), `"history":{"publications":[{"data":4,"offset":4},{"data":5,"offset":5}],`+tail)
		ask(`,"limit":1,"reverse":true`+since(3, epoch), `"history":{"publications":[{"data":2,"offset":2}],`+tail)
		ask(`,"limit":2`+since(3, "otherone"), `"error":{"code":112,"message":"unrecoverable position"}`)
		g.do("history", `"channel":"plain","limit":1`)
		g.sees(fmt.Sprintf(`{"id":%d,"error":{"code":108,"message":"not available"}}`, g.last))
		if e := h.node.RemoveHistory(t.Context(), "plain"); e == nil || e.Code != 108 {
			t.Error(e)
		}
	}
}

// A small question is not answered with a hundred megabytes, and who asks on gets all.
func TestAnAnswerOfHistoryEndsAtItsBound(t *testing.T) {
	for _, blocking := range []bool{false, true} {
		h := newHouse(t, plan{channels: kinds(), blocking: blocking, backlog: 64 << 20})
		const mib = 1 << 20
		for _, size := range []int{3 * mib, 3 * mib, 3 * mib, 9 * mib, 10} {
			h.pub("rec:a", `"`+strings.Repeat("x", size)+`"`)
		}
		g, offset := h.guest(), regexp.MustCompile(`"offset":(\d+)}[],]`)
		for _, c := range []struct{ params, want string }{
			{``, "1 2"}, {`,"since":{"offset":2}`, "3"}, {`,"since":{"offset":3}`, "4"}, {`,"since":{"offset":4}`, "5"},
			{`,"reverse":true`, "5"}, {`,"reverse":true,"since":{"offset":5}`, "4"}, {`,"reverse":true,"since":{"offset":4}`, "3 2"},
		} {
			g.do("history", `"channel":"rec:a","limit":-1`+c.params)
			var got []string
			for _, m := range offset.FindAllStringSubmatch(g.line(), -1) {
				got = append(got, m[1])
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("%s gives %v, want %s", c.params, got, c.want)
			}
		}
		if pubs, _, e := h.node.History(t.Context(), "rec:a", broker.HistoryQuery{Limit: -1}); e != nil || len(pubs) != 5 {
			t.Errorf("the API gets %d, %v", len(pubs), e)
		}
	}
}

// An error of the broker refuses the subscription and leaves nothing behind.
func TestAHistoryThatCannotBeRead(t *testing.T) {
	for _, blocking := range []bool{false, true} {
		h := newHouse(t, plan{channels: kinds(), blocking: blocking})
		stays := h.guest("told:a")
		stays.sees(`{"push":{"channel":"told:a","join":` + anonymousInfo + `}}`)
		err := errFlaky
		h.broker.fail.Store(&err)
		g := h.guest()
		for range 3 {
			g.do("subscribe", `"channel":"told:a"`)
			g.sees(fmt.Sprintf(`{"id":%d,"error":{"code":100,"message":"internal server error","temporary":true}}`, g.last))
		}
		h.broker.fail.Store(nil)
		h.lost(t, "told:a", 7)
		stays.sees(`{"push":{"channel":"told:a","unsubscribe":{"code":2500,"reason":"insufficient state"}}}`)
		g.do("subscribe", `"channel":"told:a"`)
		g.sees(`{"id":5,"subscribe":{"recoverable":true,"epoch":"E","positioned":true}}`)
	}
}

// However often something fails for clients, the log says it once in a while.
func TestFailuresThatClientsMeetAreLoggedSeldom(t *testing.T) {
	var lines lineCounter
	h := newHouse(t, plan{channels: kinds(), cfg: Config{Logger: slog.New(slog.NewTextHandler(&lines, nil))}})
	err := errFlaky
	h.broker.fail.Store(&err)
	g := h.guest()
	ask := func(n int, want int64) {
		t.Helper()
		for range n {
			g.do("history", `"channel":"rec:a","limit":1`)
			if got := g.next(); !strings.Contains(got, `"code":100`) {
				t.Fatal(got)
			}
		}
		if got := lines.Load(); got != want {
			t.Errorf("%d lines, want %d", got, want)
		}
	}
	ask(100, 1)
	h.clock.Add(int64(backend.SeldomInterval / time.Second))
	ask(100, 2)
}

// lineCounter counts the lines of a log.
type lineCounter struct{ atomic.Int64 }

func (c *lineCounter) Write(p []byte) (int, error) {
	c.Add(int64(strings.Count(string(p), "\n")))
	return len(p), nil
}

// talk is a Protobuf or MessagePack session in hex.
type talk struct {
	*guest
	pack bool
}

func (p *talk) tell(commands ...*proto.Command) {
	p.t.Helper()
	var out []byte
	var err error
	for _, c := range commands {
		if len(out) > 0 {
			out = proto.AppendSep(out, proto.Protobuf)
		}
		if out, err = proto.AppendCommand(out, proto.Protobuf, c); err != nil {
			p.t.Fatal(err)
		}
	}
	if p.pack {
		if out, err = msgpack.PackCommands(nil, out); err != nil {
			p.t.Fatal(err)
		}
	}
	p.say(hex.EncodeToString(out))
}

// hears reads one frame as JSON lines.
func (p *talk) hears() string {
	p.t.Helper()
	frame, err := hex.DecodeString(p.line())
	if err != nil {
		p.t.Fatal(err)
	}
	if p.pack {
		if frame, err = msgpack.UnpackReplies(nil, frame, proto.Limits{}); err != nil {
			p.t.Fatal(err)
		}
	}
	var d proto.ReplyDecoder
	d.Reset(frame, proto.Protobuf, proto.Limits{})
	var lines []string
	for {
		r := &proto.Reply{}
		ok, err := d.Next(r)
		if err != nil {
			p.t.Fatal(err)
		}
		if !ok {
			return strings.Join(lines, "\n")
		}
		out, err := proto.AppendReplyWith(nil, proto.JSON, r, proto.Text)
		if err != nil {
			p.t.Fatal(err)
		}
		lines = append(lines, anyEpoch.ReplaceAllString(anyUUID.ReplaceAllString(string(out), "UUID"), `"epoch":"E"`))
	}
}

func TestBinarySessions(t *testing.T) {
	for _, pack := range []bool{false, true} {
		h := newHouse(t, plan{channels: kinds(), blocking: true})
		enc := proto.Protobuf
		if pack {
			enc = proto.MessagePack
		}
		h.speak.Store(int32(enc))
		p := &talk{h.dial(), pack}
		big := []byte(`"` + strings.Repeat("x", 30_000) + `"`)
		p.tell(&proto.Command{Id: 1, Connect: &proto.ConnectRequest{}}, &proto.Command{Id: 2, Subscribe: &proto.SubscribeRequest{Channel: "delta:a", Delta: "fossil"}},
			&proto.Command{Id: 3, Publish: &proto.PublishRequest{Channel: "delta:a", Data: big}}, &proto.Command{Id: 4, PresenceStats: &proto.PresenceStatsRequest{Channel: "rec:a"}})
		got := p.hears()
		for !strings.Contains(got, `"id":4`) || !strings.Contains(got, `"offset":1`) {
			got += "\n" + p.hears()
		}
		for i, want := range []string{`{"id":1,"connect":{"client":"UUID","ping":25,"pong":true}}`,
			`{"id":2,"subscribe":{"recoverable":true,"epoch":"E","positioned":true,"delta":true}}`, `{"id":3,"publish":{}}`,
			`{"id":4,"presence_stats":{"num_clients":0,"num_users":0}}`} {
			if !strings.Contains(got, want) {
				t.Errorf("%s: answer %d is not in %.2000s", enc, i+1, got)
			}
		}
		other := append([]byte(nil), big...)
		other[100] = 'y'
		h.pub("delta:a", string(other))
		if got := p.hears(); !strings.Contains(got, `"delta":true`) || len(got) > 200 {
			t.Errorf("%s: the difference is %.300s", enc, got)
		}
	}
}

// Data that is no JSON ends a JSON session, also while it is subscribing.
func TestJSONSessionsCannotHaveBytes(t *testing.T) {
	h := newHouse(t, plan{channels: kinds(), blocking: true})
	g, late := h.guest("rec:a"), h.guest()
	come, release := h.broker.hold("read")
	late.do("subscribe", `"channel":"rec:a"`)
	await(t, come)
	h.pub("rec:a", "\x00\xff")
	g.sees("closed 3506")
	late.sees("closed 3506")
	close(release)
	if got := h.node.Stats().Dropped[channel.DropNotJSON].Load(); got != 2 {
		t.Errorf("%d drops were counted", got)
	}
}
