package history

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"shoal/server/channel"
)

const now = 1_700_000_000_000

var kept = Limits{Size: 10, TTL: time.Minute}

func open(t *testing.T) *Stream {
	t.Helper()
	s := &Stream{}
	s.Open(now, "epoch", 0)
	return s
}

func appendAll(s *Stream, limits Limits, data ...string) {
	for _, d := range data {
		s.Append(now, &channel.Publication{Data: []byte(d)}, limits)
	}
}

// texts reads as "offset:data offset:data".
func texts(t *testing.T, s *Stream, q Query) string {
	t.Helper()
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	pubs, ok := s.Read(q, nil)
	if !ok {
		return "refused"
	}
	out := []string{}
	for _, p := range pubs {
		if p.Epoch != "epoch" {
			t.Errorf("publication %d has epoch %q", p.Offset, p.Epoch)
		}
		out = append(out, fmt.Sprintf("%d:%s", p.Offset, p.Data))
	}
	return strings.Join(out, " ")
}

func at(offset uint64, epoch string) *channel.Position {
	return &channel.Position{Offset: offset, Epoch: epoch}
}

func TestReadPicksWhatIsAskedFor(t *testing.T) {
	s := open(t)
	appendAll(s, Limits{Size: 3, TTL: time.Minute}, "a", "b", "c", "d", "e") // kept are 3, 4, 5
	for _, c := range []struct {
		q    Query
		want string
	}{
		{Query{Limit: -1}, "3:c 4:d 5:e"},
		{Query{Limit: -1, Reverse: true}, "5:e 4:d 3:c"},
		{Query{Limit: 0}, ""},
		{Query{Limit: 2}, "3:c 4:d"},
		{Query{Limit: 2, Reverse: true}, "5:e 4:d"},
		{Query{Limit: 100}, "3:c 4:d 5:e"},
		{Query{Limit: -1, Since: at(3, "epoch")}, "4:d 5:e"},
		{Query{Limit: -1, Since: at(3, "")}, "4:d 5:e"},
		{Query{Limit: 1, Since: at(3, "epoch")}, "4:d"},
		{Query{Limit: -1, Since: at(2, "epoch")}, "3:c 4:d 5:e"},
		{Query{Limit: -1, Since: at(0, "epoch")}, "3:c 4:d 5:e"}, // 1 and 2 are forgotten: the caller sees it
		{Query{Limit: -1, Since: at(5, "epoch")}, ""},
		{Query{Limit: -1, Since: at(6, "epoch")}, ""},
		{Query{Limit: -1, Since: at(1<<64-1, "epoch")}, ""},
		{Query{Limit: -1, Since: at(3, "other")}, "refused"},
		{Query{Limit: 0, Since: at(3, "other")}, "refused"},
		{Query{Limit: -1, Since: at(5, "epoch"), Reverse: true}, "4:d 3:c"},
		{Query{Limit: 1, Since: at(5, "epoch"), Reverse: true}, "4:d"},
		{Query{Limit: -1, Since: at(3, "epoch"), Reverse: true}, ""},
		{Query{Limit: -1, Since: at(1, "epoch"), Reverse: true}, ""},
		{Query{Limit: -1, Since: at(0, "epoch"), Reverse: true}, ""},
		{Query{Limit: -1, Since: at(6, "epoch"), Reverse: true}, "5:e 4:d 3:c"},
		{Query{Limit: -1, Since: at(7, "epoch"), Reverse: true}, ""}, // ahead of what can be
		{Query{Limit: -1, Since: at(1<<64-1, "epoch"), Reverse: true}, ""},
		{Query{Limit: -1, Since: at(5, "other"), Reverse: true}, "refused"},
	} {
		if got := texts(t, s, c.q); got != c.want {
			t.Errorf("%+v since %v: got %q, want %q", c.q, c.q.Since, got, c.want)
		}
	}
	if top := s.Top(); top != (channel.Position{Offset: 5, Epoch: "epoch"}) {
		t.Errorf("top is %v", top)
	}
}

func TestEmptyStreamHasAPosition(t *testing.T) {
	s := open(t)
	for _, q := range []Query{{Limit: -1}, {Limit: -1, Reverse: true}, {Limit: -1, Since: at(0, "")}, {Limit: -1, Since: at(7, ""), Reverse: true}} {
		if got := texts(t, s, q); got != "" {
			t.Errorf("%+v: %q", q, got)
		}
	}
	if s.Top() != *at(0, "epoch") || s.Last() != nil || s.Deadline() != 0 || s.HeldBytes() != 0 {
		t.Errorf("top %v, last %q, deadline %d, held %d", s.Top(), s.Last(), s.Deadline(), s.HeldBytes())
	}
}

func TestReadAppendsToWhatThereIs(t *testing.T) {
	s := open(t)
	appendAll(s, kept, "a")
	before := []channel.Publication{{Data: []byte("x")}}
	pubs, _ := s.Read(Query{Limit: -1, Reverse: true}, before)
	if len(pubs) != 2 || string(pubs[0].Data) != "x" || string(pubs[1].Data) != "a" {
		t.Errorf("got %v", pubs)
	}
	if pubs, ok := s.Read(Query{Limit: -1, Since: at(1, "z")}, before); ok || len(pubs) != 1 {
		t.Errorf("got %v, %v", pubs, ok)
	}
}

func TestPublicationsAreForgottenAfterTheLastOne(t *testing.T) {
	s := open(t)
	limits := Limits{Size: 10, TTL: time.Second, MetaTTL: time.Hour}
	s.Append(now, &channel.Publication{Data: []byte("a")}, limits)
	s.Append(now+900, &channel.Publication{Data: []byte("b")}, limits)
	if d := s.Deadline(); d != now+1900 {
		t.Errorf("deadline in %d ms", d-now)
	}
	if !s.Expire(now+1899) || texts(t, s, Query{Limit: -1}) != "1:a 2:b" {
		t.Error("forgotten too early")
	}
	if !s.Expire(now+1900) || texts(t, s, Query{Limit: -1}) != "" || s.HeldBytes() != 0 {
		t.Error("not forgotten in time")
	}
	if d := s.Deadline(); d != now+900+time.Hour.Milliseconds() {
		t.Errorf("deadline in %d ms", d-now)
	}
	s.Append(now+2000, &channel.Publication{Data: []byte("c")}, limits)
	if got := texts(t, s, Query{Limit: -1}); got != "3:c" {
		t.Errorf("after a new one: %q", got)
	}
}

func TestStreamEndsAfterItsLastUse(t *testing.T) {
	s := open(t)
	s.Append(now, &channel.Publication{}, Limits{Size: 1, TTL: time.Hour, MetaTTL: time.Second})
	s.Touch(now+500, time.Second)
	if !s.Expire(now+1499) || s.Len() != 1 {
		t.Error("ended too early")
	}
	if s.Expire(now + 1500) {
		t.Error("did not end")
	}
	s.Open(now+1500, "epoch", 0)
	if s.Top().Offset != 0 || s.Deadline() != 0 {
		t.Error("opened anew it is not new")
	}
	s.Touch(now, 1) // a nanosecond is 1 ms
	if s.Deadline() != now+1 {
		t.Errorf("deadline in %d ms", s.Deadline()-now)
	}
	s.Touch(now, 0)
	if s.Deadline() != 0 {
		t.Error("0 is not for ever")
	}
}

func TestRemoveKeepsThePosition(t *testing.T) {
	s := open(t)
	appendAll(s, kept, "a", "b")
	s.Remove()
	if s.Top() != *at(2, "epoch") || s.Len() != 0 || s.Last() != nil || s.HeldBytes() != 0 {
		t.Errorf("top %v, %d left, %d bytes", s.Top(), s.Len(), s.HeldBytes())
	}
	appendAll(s, kept, "c")
	if got := texts(t, s, Query{Limit: -1, Since: at(2, "epoch")}); got != "3:c" {
		t.Errorf("got %q", got)
	}
}

func TestOutdatedLooksAtTheLastVersion(t *testing.T) {
	s := open(t)
	publish := func(number uint64, epoch string) {
		s.Append(now, &channel.Publication{}, Limits{Size: 1, TTL: time.Minute, Version: number, VersionEpoch: epoch})
	}
	check := func(number uint64, epoch string, want bool) {
		t.Helper()
		if got := s.Outdated(number, epoch); got != want {
			t.Errorf("version %d of %q: outdated is %v", number, epoch, got)
		}
	}
	check(1, "", false)
	publish(5, "e")
	check(0, "e", false)
	check(4, "e", true)
	check(5, "e", true)
	check(6, "e", false)
	check(5, "", true) // any epoch
	check(5, "f", false)
	s.Remove()
	check(5, "e", true)
	publish(3, "f")
	check(4, "e", false)
	check(3, "f", true)
	publish(0, "") // the last one has no version
	check(1, "", false)
	check(1, "f", false)
}

func TestAppendKeepsCopies(t *testing.T) {
	s := open(t)
	data, raw := []byte("data"), []byte("info")
	epoch := []byte("e1")
	pub := &channel.Publication{
		Data: data, Time: 1234567890123, Tags: map[string]string{"k": "v"}, Exclude: "c", Prev: []byte("p"),
		Info: &channel.ClientInfo{User: "u", Client: "c", ConnInfo: raw},
	}
	s.Append(now, pub, Limits{Size: 1, TTL: time.Minute, Version: 1, VersionEpoch: string(epoch)})
	copy(data, "xxxx")
	copy(raw, "xxxx")
	pub.Tags["k"] = "x"
	pub.Info.User = "x"
	pubs, _ := s.Read(Query{Limit: -1}, nil)
	want := channel.Publication{
		Position: *at(1, "epoch"), Data: []byte("data"), Time: 1234567890123, Tags: map[string]string{"k": "v"},
		Info: &channel.ClientInfo{User: "u", Client: "c", ConnInfo: []byte("info")},
	}
	if !reflect.DeepEqual(pubs, []channel.Publication{want}) {
		t.Errorf("got %+v", pubs)
	}
	if string(s.Last()) != "data" {
		t.Errorf("last is %q", s.Last())
	}
}

func TestWhatWasReadNeverChanges(t *testing.T) {
	s := open(t)
	random := rand.New(rand.NewPCG(3, 4))
	type held struct {
		pubs []channel.Publication
		want []string
	}
	var all []held
	for i := range 3000 {
		body := strings.Repeat(fmt.Sprint(i%10), random.IntN(400))
		s.Append(now, &channel.Publication{Data: []byte(body), Tags: map[string]string{"n": fmt.Sprint(i)}}, Limits{Size: 30, TTL: time.Minute})
		if i%17 == 0 {
			pubs, _ := s.Read(Query{Limit: -1}, nil)
			h := held{pubs: pubs}
			for _, p := range pubs {
				h.want = append(h.want, strings.Clone(string(p.Data)+p.Tags["n"]))
			}
			all = append(all, h)
		}
		if i%1000 == 999 {
			s.Remove()
		}
	}
	for _, h := range all {
		for i, p := range h.pubs {
			if string(p.Data)+p.Tags["n"] != h.want[i] {
				t.Fatalf("publication %d changed", p.Offset)
			}
			if cap(p.Data) != len(p.Data) {
				t.Fatalf("publication %d can be appended to", p.Offset)
			}
		}
	}
}

// model is the stream as one would write it without looking at memory.
type model struct {
	pubs []channel.Publication
	top  uint64
}

func (m *model) append(p channel.Publication, size int) {
	m.top++
	p.Position = channel.Position{Offset: m.top, Epoch: "epoch"}
	m.pubs = append(m.pubs, p)
	m.pubs = slices.Clone(m.pubs[max(0, len(m.pubs)-size):])
}

func (m *model) read(q Query) (out []channel.Publication) {
	if q.Reverse && q.Since != nil && q.Since.Offset > m.top+1 {
		return nil // ahead of what can be
	}
	for _, p := range m.pubs {
		if q.Since == nil || !q.Reverse && p.Offset > q.Since.Offset || q.Reverse && p.Offset < q.Since.Offset {
			out = append(out, p)
		}
	}
	if q.Reverse {
		slices.Reverse(out)
	}
	if q.Limit >= 0 && len(out) > q.Limit {
		out = out[:q.Limit]
	}
	return out
}

func randomPublication(random *rand.Rand) channel.Publication {
	size := random.IntN(40)
	switch random.IntN(40) {
	case 0:
		size = random.IntN(100_000)
	case 1, 2, 3:
		size = random.IntN(3000)
	}
	p := channel.Publication{Data: bytes.Repeat([]byte{byte(random.Int())}, size)}
	if random.IntN(2) == 0 {
		p.Time = now + random.Int64N(1<<40) - 1<<41
	}
	if random.IntN(4) == 0 {
		p.Info = &channel.ClientInfo{User: strings.Repeat("u", random.IntN(200))}
		if random.IntN(2) == 0 {
			p.Info.ChanInfo = []byte{}
		}
	}
	if random.IntN(4) == 0 {
		p.Tags = map[string]string{}
		for i := range random.IntN(20) + 1 {
			p.Tags[fmt.Sprint("key", i)] = strings.Repeat("v", random.IntN(3))
		}
	}
	return p
}

func TestStreamBehavesLikeTheModel(t *testing.T) {
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 5))
		s, m := open(t), &model{}
		if seed%3 == 0 { // the low halves of the offsets overflow
			s.top, m.top = 1<<32-50, 1<<32-50
		}
		size := 1 + random.IntN(100)
		for range 400 {
			switch random.IntN(30) {
			case 0:
				size = 1 + random.IntN(100)
			case 1:
				s.Remove()
				m.pubs = nil
			default:
				p := randomPublication(random)
				s.Append(now, &p, Limits{Size: size, TTL: time.Minute})
				m.append(p, size)
			}
			q := Query{Limit: random.IntN(size+2) - 1, Reverse: random.IntN(2) == 0}
			if random.IntN(3) > 0 {
				q.Since = at(m.top+3-min(m.top, uint64(random.IntN(size+6))), "")
			}
			got, _ := s.Read(q, nil)
			if err := s.Validate(); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if want := m.read(q); len(got) != len(want) || len(want) > 0 && !reflect.DeepEqual(got, want) {
				t.Fatalf("seed %d: %+v since %v: got %v\nwant %v", seed, q, q.Since, got, want)
			}
			if n := len(m.pubs); s.Len() != n || s.Top().Offset != m.top || n > 0 && !bytes.Equal(s.Last(), m.pubs[n-1].Data) {
				t.Fatalf("seed %d: %d kept up to %d, last %q", seed, s.Len(), s.Top().Offset, s.Last())
			}
		}
	}
}

func TestAppendPanicsOnWhatItCannotKeep(t *testing.T) {
	for name, f := range map[string]func(){
		"closed stream": func() { (&Stream{}).Append(now, &channel.Publication{}, kept) },
		"size 0":        func() { open(t).Append(now, &channel.Publication{}, Limits{TTL: time.Minute}) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
}

func TestEqualTagsAndInfosAreShared(t *testing.T) {
	s := open(t)
	tags := map[string]string{}
	for i := range 12 {
		tags[fmt.Sprint(i)] = "x"
	}
	for range 9 {
		s.Append(now, &channel.Publication{Tags: maps.Clone(tags), Info: &channel.ClientInfo{User: "u"}}, kept)
	}
	pubs, _ := s.Read(Query{Limit: -1}, nil)
	for _, p := range pubs {
		if p.Info != pubs[0].Info || reflect.ValueOf(p.Tags).Pointer() != reflect.ValueOf(pubs[0].Tags).Pointer() || !maps.Equal(p.Tags, tags) {
			t.Fatalf("publication %d has its own", p.Offset)
		}
	}
}
