package server

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"shoal/codec/ws"
	"shoal/server/channel"
	"shoal/server/config"
	"shoal/server/node"
)

// TestAFloodOfHistoryIsAnsweredInPieces: one message with a thousand questions must not
// hold up others, nor be answered into memory for a client that does not read.
func TestAFloodOfHistoryIsAnsweredInPieces(t *testing.T) {
	r := start(t, tuned(func(c *config.Config) {
		kept := plainChannels()
		kept.Name, kept.HistorySize, kept.HistoryTTL = "kept", 100, time.Hour
		kept.AllowHistoryForClient, kept.AllowHistoryForAnonymous = true, true
		c.Channel.Namespaces = []channel.Options{kept}
		c.Loop.Loops = 1
	}))
	r.call("info", "{}") // it serves
	for range 100 {
		data := []byte(`"` + strings.Repeat("x", 10_000) + `"`)
		if _, e := r.p.node.Publish(context.Background(), "kept:a", &channel.Publication{Data: data}, node.PublishOptions{}); e != nil {
			t.Fatal(e)
		}
	}
	control := r.control(t, "")
	flood := r.openRaw(t, "")
	flood.connect("")
	var b strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&b, `{"id":%d,"history":{"channel":"kept:a","limit":-1}}`+"\n", i+10)
	}
	flood.say(strings.TrimSuffix(b.String(), "\n"))
	control.check(t) // while a gigabyte of answers is asked for and nobody reads
	flood.conn.SetReadDeadline(time.Now().Add(patience))
	eventually(t, "the flood is cut off", func() bool { return r.p.node.Stats().Sessions.Load() == 1 })
	if held := r.p.loops.Stats().BacklogBytes; held > 8<<20 {
		t.Errorf("%d bytes wait for the flood", held)
	}
	control.check(t)
}

func TestAFloodOfHistoryThatIsReadIsAnsweredWhole(t *testing.T) {
	r := start(t, tuned(func(c *config.Config) {
		kept := plainChannels()
		kept.Name, kept.HistorySize, kept.HistoryTTL = "kept", 10, time.Hour
		kept.AllowHistoryForClient, kept.AllowHistoryForAnonymous = true, true
		c.Channel.Namespaces = []channel.Options{kept}
	}))
	r.call("info", "{}") // it serves
	if _, e := r.p.node.Publish(context.Background(), "kept:a", &channel.Publication{Data: []byte(`1`)}, node.PublishOptions{}); e != nil {
		t.Fatal(e)
	}
	c := r.openRaw(t, "")
	c.connect("")
	var b strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&b, `{"id":%d,"history":{"channel":"kept:a","limit":-1}}`+"\n", i+10)
	}
	c.say(strings.TrimSuffix(b.String(), "\n"))
	c.say(`{"id":5000,"unsubscribe":{"channel":"x"}}`)
	for i, re := range c.replies(1001) {
		if want := min(i, 1000) + 10; i < 1000 && (int(re.Id) != want || len(re.History.GetPublications()) != 1) || i == 1000 && re.Id != 5000 {
			t.Fatalf("reply %d is %v", i, re)
		}
	}
}

func TestMessagesOfOneClientComeOneAfterTheOther(t *testing.T) {
	var mu sync.Mutex
	var got []string
	at := 0
	r := start(t, quick, func(o *Options) {
		o.Embed.Callbacks.OnMessage = func(_ context.Context, m *MessageRequest) error {
			mu.Lock()
			at++
			together := at > 1
			got = append(got, string(m.Data))
			mu.Unlock()
			if together {
				t.Error("two messages of one client at a time")
			}
			mu.Lock()
			at--
			mu.Unlock()
			return nil
		}
	})
	c := r.openRaw(t, "")
	c.connect("")
	var b strings.Builder
	for i := range 500 {
		fmt.Fprintf(&b, `{"send":{"data":%d}}`+"\n", i)
	}
	c.say(strings.TrimSuffix(b.String(), "\n"))
	eventually(t, "all have come", func() bool { mu.Lock(); defer mu.Unlock(); return len(got) == 500 })
	for i, data := range got {
		if data != fmt.Sprint(i) {
			t.Fatalf("message %d is %s", i, data)
		}
	}
}

func TestOfTwoConnectionsThatMayBeOneOneStays(t *testing.T) {
	r := start(t, tuned(withTokens, func(c *config.Config) {
		c.Client.PersonalChannel = config.PersonalChannel{Enabled: true, Namespace: "personal", SingleConnection: true}
		personal := plainChannels()
		personal.Name = "personal"
		c.Channel.Namespaces = []channel.Options{personal}
	}))
	for round := range 20 {
		user := token(t, claims{"sub": fmt.Sprint("user-", round)})
		conns := []*raw{r.openRaw(t, ""), r.openRaw(t, ""), r.openRaw(t, "")}
		for _, c := range conns {
			c.say(`{"id":1,"connect":{"token":"` + user + `"}}`)
		}
		eventually(t, "one is left", func() bool { return r.p.node.Stats().Sessions.Load() == 1 })
		left := 0
		for _, c := range conns {
			if re := c.replies(1)[0]; re.Connect == nil || re.Connect.Subs["personal:#user-"+fmt.Sprint(round)] == nil {
				t.Fatalf("connect answered %v", re)
			}
			c.message([]byte(`{"id":2,"unsubscribe":{"channel":"x"}}`))
			op, _, payload, err := c.next()
			if err == nil && op == ws.Text && c.decode(payload)[0].Unsubscribe != nil {
				left++
				c.conn.Close()
			} else if err != nil || op != ws.CloseOp || !strings.Contains(closeText(payload), "3504") {
				t.Errorf("another was ended with %s, %v", closeText(payload), err)
			}
		}
		if left != 1 {
			t.Fatalf("round %d: %d are left", round, left)
		}
		eventually(t, "it has gone too", func() bool { return r.p.node.Stats().Sessions.Load() == 0 })
	}
}
