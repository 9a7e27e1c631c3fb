package server

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"shoal/codec/proto"
	"shoal/server/channel"
	"shoal/server/config"
	"shoal/server/node"
)

// recoverers is a server on one loop where one recovery is under way at a time, and a
// channel with so many publications of 64 KiB.
func recoverers(t *testing.T, n int) *rig {
	r := start(t, tuned(withTokens, recovering, patientClose, func(c *config.Config) {
		c.Loop.Loops, c.Client.RecoveryBacklogLimit, c.Client.QueueMaxSize = 1, 1, 64<<20
		c.Channel.WithoutNamespace.AllowHistoryForClient = true
	}))
	r.openRaw(t, "") // it runs
	for i := range n {
		r.publishBig(t, i)
	}
	return r
}

func (r *rig) publishBig(t *testing.T, i int) {
	t.Helper()
	data := fmt.Appendf(nil, `{"n":%d,"pad":%q}`, i, strings.Repeat("x", 64<<10))
	if _, e := r.p.node.Publish(t.Context(), "big", &channel.Publication{Data: data}, node.PublishOptions{}); e != nil {
		t.Fatal(e)
	}
}

// fromTheStart recovers all there is.
func fromTheStart() *proto.SubscribeRequest {
	return &proto.SubscribeRequest{Channel: "big", Recover: true}
}

// whole says what of n publications from the first on is missing.
func whole(pubs []*proto.Publication, n int) string {
	for i, p := range pubs {
		if p.Offset != uint64(i+1) {
			return fmt.Sprintf("publication %d has offset %d", i, p.Offset)
		}
	}
	if len(pubs) != n {
		return fmt.Sprintf("%d publications, want %d", len(pubs), n)
	}
	return ""
}

// trickle reads so slowly that the peer's bytes last for the test, and is never stuck.
// Then everything can be read again.
func (c *raw) trickle() (then func()) {
	var got bytes.Buffer
	var stop atomic.Bool
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for !stop.Load() {
			if _, err := io.CopyN(&got, c.in, 32<<10); err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	return func() {
		stop.Store(true)
		<-ended
		c.in = bufio.NewReaderSize(io.MultiReader(&got, c.in), 64<<10)
	}
}

// A subscription, a session with a resume token and a question for the history wait until a
// slow client has read what it recovered. Nobody else does, and nothing is lost or told twice.
func TestRecoveriesWaitForEachOtherAndNobodyElseForThem(t *testing.T) {
	const n = 60
	r := recoverers(t, n)
	resumer, resume := r.asking(t, "", "7", "big")
	resumer.hangUp()
	user := func() *raw {
		c := r.openRaw(t, "")
		c.connect(token(t, claims{"sub": "9"}))
		return c
	}
	subscriber, historian, bystander := user(), user(), user()

	hog := r.stalledUser(t)
	hog.batch(&proto.Command{Id: 9, Subscribe: fromTheStart()})
	s := &r.p.node.Stats().Recoveries
	eventually(t, "the slow one has its turn", func() bool { return s.Bytes.Load() > 1<<20 })
	then := hog.trickle()

	subscriber.batch(&proto.Command{Id: 9, Subscribe: fromTheStart()}, &proto.Command{Id: 10, PresenceStats: &proto.PresenceStatsRequest{Channel: "big"}})
	resumer = r.openRaw(t, "")
	resumer.batch(&proto.Command{Id: 9, Connect: &proto.ConnectRequest{Resume: resume, Subs: map[string]*proto.SubscribeRequest{"big": fromTheStart()}}})
	historian.batch(&proto.Command{Id: 9, History: &proto.HistoryRequest{Channel: "big", Limit: -1}})
	eventually(t, "three wait", func() bool { return s.Waiting.Load() == 3 })
	for range 3 {
		bystander.subscribed(&proto.SubscribeRequest{Channel: "small"})
		bystander.do(&proto.Command{Unsubscribe: &proto.UnsubscribeRequest{Channel: "small"}})
	}
	if got := r.metrics(t); got["shoal_recoveries_waiting"] != 3 || got["shoal_recovery_backlog_bytes"] < 1<<20 || got["shoal_recoveries_postponed_total"] != 3 {
		t.Errorf("metrics: %v wait, %v bytes, %v postponed", got["shoal_recoveries_waiting"], got["shoal_recovery_backlog_bytes"], got["shoal_recoveries_postponed_total"])
	}
	r.publishBig(t, n)
	then()

	if missing := whole(hog.replies(1)[0].GetSubscribe().GetPublications(), n); missing != "" {
		t.Errorf("the slow one: %s", missing)
	}
	if p := hog.pub(); p.Offset != uint64(n+1) {
		t.Errorf("the slow one then got publication %d", p.Offset)
	}
	got := subscriber.replies(2)
	if missing := whole(got[0].GetSubscribe().GetPublications(), n+1); missing != "" || got[1].Id != 10 {
		t.Errorf("the subscriber: %s; then %d", missing, got[1].Id)
	}
	back := resumer.replies(1)[0].GetConnect()
	if missing := whole(back.GetSubs()["big"].GetPublications(), n+1); missing != "" || !back.Resumed {
		t.Errorf("the one with a resume token: %s; resumed %v", missing, back.GetResumed())
	}
	if missing := whole(historian.replies(1)[0].GetHistory().GetPublications(), n+1); missing != "" {
		t.Errorf("the history: %s", missing)
	}
	r.publishBig(t, n+1)
	for _, c := range []*raw{hog, subscriber, resumer} {
		if p := c.pub(); p.Offset != n+2 {
			t.Errorf("after all got publication %d, want %d", p.Offset, n+2)
		}
	}
	if s.Refused.Load() != 0 {
		t.Errorf("%d were refused", s.Refused.Load())
	}
}

// A client that comes back slowly is not ended by what it recovers: neither by one recovery
// that is larger than its queue, nor by many, in one frame or one after the other, nor by what
// is published meanwhile.
func TestWhatAClientRecoversDoesNotEndIt(t *testing.T) {
	const times = 4
	again := func() (commands []*proto.Command) {
		for i := range uint32(times) {
			commands = append(commands, &proto.Command{Id: 10 + 2*i, Subscribe: fromTheStart()}, &proto.Command{Id: 11 + 2*i, Unsubscribe: &proto.UnsubscribeRequest{Channel: "big"}})
		}
		return append(commands, &proto.Command{Id: 99, Subscribe: fromTheStart()})
	}
	frames := map[string]func(c *raw){
		"in one frame": func(c *raw) { c.batch(again()...) },
		"frame by frame": func(c *raw) {
			for _, cmd := range again() {
				c.batch(cmd)
			}
		},
	}
	for _, n := range []int{8, 15, 20} { // half of the queue, nearly all, more
		for name, send := range frames {
			t.Run(fmt.Sprint(n, " ", name), func(t *testing.T) {
				t.Parallel()
				slowly(t, n, times, send)
			})
		}
	}
}

// slowly has a client with a queue of 1 MiB recover n publications of 64 KiB so many times and
// once more.
func slowly(t *testing.T, n, times int, send func(c *raw)) {
	r := start(t, tuned(withTokens, recovering, patientClose, func(c *config.Config) { c.Client.QueueMaxSize = 1 << 20 }))
	r.openRaw(t, "") // it runs
	for i := range n {
		r.publishBig(t, i)
	}
	c := r.stalledUser(t)
	send(c)
	then := c.trickle()
	eventually(t, "the last subscription is made", func() bool { return r.p.node.Stats().Recovered.Load() == uint64(times+1) })
	r.publishBig(t, n)
	then()
	for i, reply := range c.replies(2*times + 1) {
		if i%2 == 1 {
			continue
		}
		if missing := whole(reply.GetSubscribe().GetPublications(), n); missing != "" {
			t.Errorf("recovery %d: %s", i/2, missing)
		}
	}
	if p := c.pub(); p.Offset != uint64(n+1) {
		t.Errorf("then got publication %d", p.Offset)
	}
	if got := r.disconnected(3008); got != 0 {
		t.Errorf("%d were ended as slow", got)
	}
}

// stalledUser is a connected user with small socket buffers.
func (r *rig) stalledUser(t *testing.T) *raw {
	t.Helper()
	c := r.dialRaw(t)
	if err := c.conn.(interface{ SetReadBuffer(int) error }).SetReadBuffer(64 << 10); err != nil {
		t.Fatal(err)
	}
	c.upgradeTo(wsPath)
	c.connect(token(t, claims{"sub": "8"}))
	return c
}

// What a session may have again is judged when it has its turn, not before.
func TestWhatEndsWhileASessionWaitsDoesNotComeBack(t *testing.T) {
	for how, request := range map[string]string{"unsubscribe": `{"user":"7","channel":"big"}`, "disconnect": `{"user":"7"}`} {
		t.Run(how, func(t *testing.T) {
			r := recoverers(t, 60)
			resumer, resume := r.asking(t, "", "7", "big", "other")
			resumer.hangUp()
			hog := r.stalledUser(t)
			hog.batch(&proto.Command{Id: 9, Subscribe: fromTheStart()})
			s := &r.p.node.Stats().Recoveries
			eventually(t, "the slow one has its turn", func() bool { return s.Bytes.Load() > 1<<20 })
			then := hog.trickle()
			resumer = r.openRaw(t, "")
			resumer.batch(&proto.Command{Id: 9, Connect: &proto.ConnectRequest{Resume: resume, Subs: map[string]*proto.SubscribeRequest{"big": fromTheStart(), "other": {}}}})
			eventually(t, "it waits", func() bool { return s.Waiting.Load() == 1 })
			if _, body := r.call(how, request); body != `{"result":{}}` {
				t.Fatal(body)
			}
			then()
			if how == "disconnect" {
				resumer.expectClosed(int(channel.DisconnectForced))
			} else if back := resumer.replies(1)[0].GetConnect(); !back.GetResumed() || len(back.GetSubs()) != 1 || back.Subs["other"] == nil {
				t.Errorf("came back with %v", back)
			}
		})
	}
}
