package brokertest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"shoal/server/broker"
	"shoal/server/channel"
)

func historyTests() map[string]func(*testing.T, Subject) {
	return map[string]func(*testing.T, Subject){
		"numbers what it keeps":                       numbersWhatItKeeps,
		"reads what is asked for":                     readsWhatIsAskedFor,
		"appends what it reads":                       appendsWhatItReads,
		"refuses a position of another epoch":         refusesAnotherEpoch,
		"opens a stream for who asks":                 opensAStream,
		"keeps all of a publication":                  keepsAllOfAPublication,
		"keeps copies":                                keepsCopies,
		"keeps as many as the last publication says":  keepsAsManyAsSaid,
		"gives no offset without history":             givesNoOffsetWithoutHistory,
		"forgets publications after their time":       forgetsPublications,
		"forgets the stream after its time":           forgetsTheStream,
		"keeps a stream that is used":                 keepsAStreamThatIsUsed,
		"removes publications and keeps the position": removesPublications,
		"has histories of channels apart":             hasHistoriesApart,
	}
}

// kept keeps history for as long as a test takes.
var kept = broker.PublishOptions{HistorySize: 10, HistoryTTL: time.Hour, HistoryMetaTTL: 2 * time.Hour}

var all = broker.HistoryQuery{Limit: -1, MetaTTL: 2 * time.Hour}

func history(t *testing.T, b broker.Broker, name string, q broker.HistoryQuery) ([]channel.Publication, channel.Position) {
	t.Helper()
	pubs, top, err := b.History(context.Background(), name, q, nil)
	if err != nil {
		t.Fatalf("history of %s: %v", name, err)
	}
	return pubs, top
}

// texts reads as "offset:data offset:data".
func texts(pubs []channel.Publication) string {
	var out []string
	for _, p := range pubs {
		out = append(out, fmt.Sprintf("%d:%s", p.Offset, p.Data))
	}
	return strings.Join(out, " ")
}

// expect compares the whole history of a channel and its top.
func expect(t *testing.T, b broker.Broker, name, want string, top channel.Position) {
	t.Helper()
	pubs, got := history(t, b, name, all)
	if texts(pubs) != want || got != top {
		t.Errorf("history of %s is %q up to %v, want %q up to %v", name, texts(pubs), got, want, top)
	}
}

func numbersWhatItKeeps(t *testing.T, b Subject) {
	n := newNode()
	running(t, b, n, "a")
	var epoch string
	for i := range 5 {
		r := publish(t, b, "a", fmt.Sprint(i), kept)
		if epoch = r.Epoch; r.Offset != uint64(i+1) || r.Suppressed || epoch == "" {
			t.Errorf("publication %d got %+v", i, r)
		}
	}
	for i, d := range n.wait(t, "a", 5) {
		if d.pos != (channel.Position{Offset: uint64(i + 1), Epoch: epoch}) || d.data != fmt.Sprint(i) || d.prev != "" {
			t.Errorf("publication %d was delivered as %+v", i, d)
		}
	}
	expect(t, b, "a", "1:0 2:1 3:2 4:3 5:4", channel.Position{Offset: 5, Epoch: epoch})
}

func readsWhatIsAskedFor(t *testing.T, b Subject) {
	running(t, b, newNode())
	o := kept
	o.HistorySize = 3
	var top channel.Position
	for _, data := range []string{"a", "b", "c", "d", "e"} {
		top = publish(t, b, "ch", data, o).Position
	}
	since := func(offset uint64) *channel.Position { return &channel.Position{Offset: offset, Epoch: top.Epoch} }
	for _, c := range []struct {
		q    broker.HistoryQuery
		want string
	}{
		{broker.HistoryQuery{Limit: -1}, "3:c 4:d 5:e"},
		{broker.HistoryQuery{Limit: -1, Reverse: true}, "5:e 4:d 3:c"},
		{broker.HistoryQuery{}, ""},
		{broker.HistoryQuery{Since: since(3)}, ""},
		{broker.HistoryQuery{Limit: 2}, "3:c 4:d"},
		{broker.HistoryQuery{Limit: 2, Reverse: true}, "5:e 4:d"},
		{broker.HistoryQuery{Limit: 100}, "3:c 4:d 5:e"},
		{broker.HistoryQuery{Limit: -1, Since: since(3)}, "4:d 5:e"},
		{broker.HistoryQuery{Limit: 1, Since: since(3)}, "4:d"},
		{broker.HistoryQuery{Limit: -1, Since: since(2)}, "3:c 4:d 5:e"},
		{broker.HistoryQuery{Limit: -1, Since: since(0)}, "3:c 4:d 5:e"},
		{broker.HistoryQuery{Limit: -1, Since: &channel.Position{Offset: 4}}, "5:e"},
		{broker.HistoryQuery{Limit: -1, Since: since(5)}, ""},
		{broker.HistoryQuery{Limit: -1, Since: since(6)}, ""},
		{broker.HistoryQuery{Limit: -1, Since: since(math.MaxInt64 - 1)}, ""},
		{broker.HistoryQuery{Limit: -1, Since: since(5), Reverse: true}, "4:d 3:c"},
		{broker.HistoryQuery{Limit: 1, Since: since(5), Reverse: true}, "4:d"},
		{broker.HistoryQuery{Limit: -1, Since: since(3), Reverse: true}, ""},
		{broker.HistoryQuery{Limit: -1, Since: since(1), Reverse: true}, ""},
		{broker.HistoryQuery{Limit: -1, Since: since(6), Reverse: true}, "5:e 4:d 3:c"},
	} {
		pubs, pos := history(t, b, "ch", c.q)
		if got := texts(pubs); got != c.want || pos != top {
			t.Errorf("%+v since %v: got %q up to %v, want %q up to %v", c.q, c.q.Since, got, pos, c.want, top)
		}
	}
}

func appendsWhatItReads(t *testing.T, b Subject) {
	running(t, b, newNode())
	publish(t, b, "a", "1", kept)
	before := []channel.Publication{{Data: []byte("x")}}
	pubs, _, err := b.History(context.Background(), "a", all, before)
	if err != nil || texts(pubs) != "0:x 1:1" {
		t.Errorf("got %q, %v", texts(pubs), err)
	}
}

func refusesAnotherEpoch(t *testing.T, b Subject) {
	running(t, b, newNode())
	top := publish(t, b, "a", "1", kept).Position
	for _, q := range []broker.HistoryQuery{
		{Limit: -1, Since: &channel.Position{Epoch: "nonsense"}},
		{Limit: 0, Since: &channel.Position{Offset: 1, Epoch: "nonsense"}},
		{Limit: 1, Since: &channel.Position{Offset: 2, Epoch: "nonsense"}, Reverse: true},
	} {
		before := []channel.Publication{{Data: []byte("x")}}
		pubs, pos, err := b.History(context.Background(), "a", q, before)
		var e *channel.Error
		if !errors.As(err, &e) || e.Code != uint32(channel.ErrUnrecoverablePosition) {
			t.Errorf("%+v: error %v, want 112", q, err)
		}
		if pos != top || texts(pubs) != "0:x" {
			t.Errorf("%+v: got %q up to %v, want nothing new up to %v", q, texts(pubs), pos, top)
		}
	}
	for _, peek := range []bool{true, false} {
		since := channel.Position{Offset: 1, Epoch: "forgotten"}
		if _, pos, err := b.History(context.Background(), "new", broker.HistoryQuery{Since: &since, Peek: peek}, nil); err == nil || pos.Epoch == "" {
			t.Errorf("a position of a stream that is forgotten, peek %t: %v up to %v", peek, err, pos)
		}
	}
}

func opensAStream(t *testing.T, b Subject) {
	running(t, b, newNode())
	pubs, top := history(t, b, "a", all)
	if len(pubs) != 0 || top.Offset != 0 || top.Epoch == "" {
		t.Errorf("a new stream has %v up to %v", pubs, top)
	}
	if _, again := history(t, b, "a", broker.HistoryQuery{Since: &top, Limit: -1}); again != top {
		t.Errorf("asked again it is at %v, before at %v", again, top)
	}
	if r := publish(t, b, "a", "1", kept); r.Epoch != top.Epoch || r.Offset != 1 {
		t.Errorf("the first publication is %+v of a stream at %v", r, top)
	}
}

func keepsAllOfAPublication(t *testing.T, b Subject) {
	n := newNode()
	running(t, b, n, "a")
	info := &channel.ClientInfo{User: "ü", Client: "c", ConnInfo: []byte(`{"x":1}`), ChanInfo: []byte("\x00")}
	for i, pub := range []channel.Publication{
		{Data: []byte("{}")},
		{Data: []byte("\x00\xff"), Time: 1_700_000_000_123},
		{Data: []byte("x"), Info: info, Exclude: "c"},
		{Data: []byte{}, Tags: map[string]string{"k": "v", "": "empty", "é": ""}},
		{Data: make([]byte, 100_000), Info: &channel.ClientInfo{}, Tags: map[string]string{"k": "v"}, Time: 1},
	} {
		want := seen(&pub)
		want.exclude = ""
		r, err := b.Publish(context.Background(), "a", &pub, kept)
		if err != nil {
			t.Fatal(err)
		}
		want.pos = r.Position
		pubs, _ := history(t, b, "a", broker.HistoryQuery{Limit: 1, Reverse: true})
		if got := seen(&pubs[0]); fmt.Sprint(got) != fmt.Sprint(want) || (pubs[0].Info == nil) != (pub.Info == nil) {
			t.Errorf("publication %d is kept as %.300v, want %.300v", i, got, want)
		}
	}
}

func keepsCopies(t *testing.T, b Subject) {
	running(t, b, newNode())
	o := kept
	o.HistorySize = 5
	data := []byte("00000000")
	pub := channel.Publication{Data: data, Position: channel.Position{Offset: 99, Epoch: "mine"}, Prev: []byte("mine")}
	var held []channel.Publication
	for i := range 200 {
		copy(data, fmt.Sprintf("%08d", i))
		if _, err := b.Publish(context.Background(), "a", &pub, o); err != nil {
			t.Fatal(err)
		}
		copy(data, "xxxxxxxx")
		if i%5 == 4 {
			read, _ := history(t, b, "a", all)
			held = append(held, read...)
		}
	}
	if pub.Offset != 99 || pub.Epoch != "mine" || string(pub.Prev) != "mine" {
		t.Errorf("the publisher's publication was changed to %+v", pub)
	}
	if err := b.RemoveHistory(context.Background(), "a"); err != nil {
		t.Fatal(err)
	}
	for i, p := range held {
		if want := fmt.Sprintf("%08d", i); string(p.Data) != want || p.Offset != uint64(i+1) {
			t.Fatalf("what was read changed: publication %d is %s", p.Offset, p.Data)
		}
	}
	if len(held) != 200 {
		t.Errorf("%d were read", len(held))
	}
}

func keepsAsManyAsSaid(t *testing.T, b Subject) {
	running(t, b, newNode())
	var top channel.Position
	for i, c := range []struct {
		size int
		want string
	}{{3, "1:0"}, {3, "1:0 2:1"}, {3, "1:0 2:1 3:2"}, {3, "2:1 3:2 4:3"}, {1, "5:4"}, {4, "5:4 6:5"}, {2, "6:5 7:6"}} {
		o := kept
		o.HistorySize = c.size
		top = publish(t, b, "a", fmt.Sprint(i), o).Position
		expect(t, b, "a", c.want, top)
	}
}

func givesNoOffsetWithoutHistory(t *testing.T, b Subject) {
	n := newNode()
	running(t, b, n, "a")
	top := publish(t, b, "a", "1", kept).Position
	for _, o := range []broker.PublishOptions{{}, {HistoryTTL: time.Hour}, {HistorySize: 1}, {Previous: true}, {Version: 1}} {
		if r := publish(t, b, "a", "not kept", o); r != (broker.Result{}) {
			t.Errorf("%+v: got %+v", o, r)
		}
	}
	expect(t, b, "a", "1:1", top)
	if r := publish(t, b, "a", "2", kept); r.Offset != 2 || r.Epoch != top.Epoch {
		t.Errorf("then %+v", r)
	}
	for i, d := range n.wait(t, "a", 7) {
		if inside := i == 0 || i == 6; inside != (d.pos.Offset != 0) || inside != (d.pos.Epoch != "") || d.prev != "" {
			t.Errorf("publication %d was delivered as %+v", i, d)
		}
	}
}

func forgetsPublications(t *testing.T, b Subject) {
	running(t, b, newNode())
	o := broker.PublishOptions{HistorySize: 10, HistoryTTL: 4 * time.Second, HistoryMetaTTL: time.Hour}
	publish(t, b, "a", "1", o)
	b.pass(2 * time.Second)
	top := publish(t, b, "a", "2", o).Position // all live on for 4 s
	b.pass(2500 * time.Millisecond)
	expect(t, b, "a", "1:1 2:2", top)
	b.pass(3 * time.Second)
	expect(t, b, "a", "", top)
	if r := publish(t, b, "a", "3", o); r.Offset != 3 || r.Epoch != top.Epoch {
		t.Errorf("then %+v after %v", r, top)
	}
}

func forgetsTheStream(t *testing.T, b Subject) {
	running(t, b, newNode())
	o := broker.PublishOptions{HistorySize: 10, HistoryTTL: time.Second, HistoryMetaTTL: 2 * time.Second}
	first := publish(t, b, "a", "1", o)
	_, second := history(t, b, "b", broker.HistoryQuery{MetaTTL: 2 * time.Second})
	b.pass(4 * time.Second)
	if r := publish(t, b, "a", "1", o); r.Offset != 1 || r.Epoch == first.Epoch || r.Epoch == "" {
		t.Errorf("then %+v after %+v", r, first)
	}
	if _, top := history(t, b, "b", all); top.Offset != 0 || top.Epoch == second.Epoch || top.Epoch == "" {
		t.Errorf("then %+v after %+v", top, second)
	}
	if _, _, err := b.History(context.Background(), "a", broker.HistoryQuery{Since: &first.Position}, nil); err == nil {
		t.Error("a position of the stream before is taken for good")
	}
}

func keepsAStreamThatIsUsed(t *testing.T, b Subject) {
	running(t, b, newNode())
	o := broker.PublishOptions{HistorySize: 10, HistoryTTL: time.Second, HistoryMetaTTL: 3 * time.Second}
	q := broker.HistoryQuery{MetaTTL: 3 * time.Second}
	first, _ := publish(t, b, "read", "1", o), publish(t, b, "written", "1", o)
	for i := range 3 {
		b.pass(1500 * time.Millisecond)
		if _, top := history(t, b, "read", q); top != first.Position {
			t.Errorf("the one that is read is at %v, was at %v", top, first)
		}
		if r := publish(t, b, "written", "2", o); r.Offset != uint64(i+2) {
			t.Errorf("the one that is written is at %v", r)
		}
	}
}

func removesPublications(t *testing.T, b Subject) {
	running(t, b, newNode())
	publish(t, b, "a", "1", kept)
	top := publish(t, b, "a", "2", kept).Position
	for range 2 {
		if err := b.RemoveHistory(context.Background(), "a"); err != nil {
			t.Error(err)
		}
		expect(t, b, "a", "", top)
	}
	if err := b.RemoveHistory(context.Background(), "never-used"); err != nil {
		t.Error(err)
	}
	if r := publish(t, b, "a", "3", kept); r.Offset != 3 || r.Epoch != top.Epoch {
		t.Errorf("then %+v after %v", r, top)
	}
	expect(t, b, "a", "3:3", channel.Position{Offset: 3, Epoch: top.Epoch})
}

func hasHistoriesApart(t *testing.T, b Subject) {
	running(t, b, newNode())
	names := []string{"a", "A", "a:b", "a.b", "*", "a b", "é", strings.Repeat("x", 255), strings.Repeat("x", 254)}
	tops := map[string]channel.Position{}
	for round := range 2 {
		for _, name := range names {
			if tops[name] = publish(t, b, name, name, kept).Position; tops[name].Offset != uint64(round+1) {
				t.Errorf("%q is at %v", name, tops[name])
			}
		}
	}
	for _, name := range names {
		expect(t, b, name, "1:"+name+" 2:"+name, tops[name])
	}
}
