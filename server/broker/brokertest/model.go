package brokertest

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"shoal/server/broker"
	"shoal/server/channel"
)

// model is a broker as one would write it without looking at memory or time. What
// it cannot know, the epochs, it learns and then insists on.
type model struct {
	now     time.Duration
	streams map[string]*modelStream
	keys    map[string]modelKey
	epochs  map[string]bool // by channel and epoch: all there were
	want    map[string][]delivery
}

type modelStream struct {
	epoch           string
	top             uint64
	pubs            []delivery
	forgetAt, endAt time.Duration // endAt 0: never
	version         uint64
	versionEpoch    string
}

type modelKey struct {
	pos   channel.Position
	until time.Duration
}

// use returns the stream, which lives for metaTTL from now on. epoch is what the
// broker said it has.
func (m *model) use(name, epoch string, metaTTL time.Duration) (*modelStream, error) {
	s := m.streams[name]
	if s != nil && s.endAt != 0 && s.endAt <= m.now {
		s = nil
	}
	if s == nil {
		if m.epochs[name+" "+epoch] || epoch == "" {
			return nil, fmt.Errorf("a new stream of %s has the epoch %q", name, epoch)
		}
		m.epochs[name+" "+epoch] = true
		s = &modelStream{epoch: epoch}
		m.streams[name] = s
	}
	if s.epoch != epoch {
		return nil, fmt.Errorf("the stream of %s has epoch %q, had %q", name, epoch, s.epoch)
	}
	if s.forgetAt <= m.now {
		s.pubs = nil
	}
	if s.endAt = 0; metaTTL > 0 {
		s.endAt = m.now + metaTTL
	}
	return s, nil
}

// publish returns what the broker should have answered instead of r.
func (m *model) publish(name, data string, o broker.PublishOptions, r broker.Result) (broker.Result, error) {
	key := fmt.Sprintf("%d %s %s", len(name), name, o.IdempotencyKey)
	if k, ok := m.keys[key]; ok && o.IdempotencyKey != "" && k.until > m.now {
		return broker.Result{Position: k.pos, Suppressed: true}, nil
	}
	d := delivery{data: data}
	if o.HistorySize > 0 && o.HistoryTTL > 0 {
		s, err := m.use(name, r.Epoch, o.HistoryMetaTTL)
		if err != nil {
			return r, err
		}
		if o.Version > 0 && o.Version <= s.version && (o.VersionEpoch == "" || o.VersionEpoch == s.versionEpoch) {
			return broker.Result{Position: channel.Position{Offset: s.top, Epoch: s.epoch}, Suppressed: true}, nil
		}
		if o.Previous && len(s.pubs) > 0 {
			d.prev = s.pubs[len(s.pubs)-1].data
		}
		s.top++
		d.pos = channel.Position{Offset: s.top, Epoch: s.epoch}
		s.pubs = append(s.pubs, delivery{data: data, pos: d.pos})
		s.pubs = slices.Clone(s.pubs[max(0, len(s.pubs)-o.HistorySize):])
		s.forgetAt = m.now + o.HistoryTTL
		s.version, s.versionEpoch = o.Version, o.VersionEpoch
	}
	m.want[name] = append(m.want[name], d)
	if o.IdempotencyKey != "" {
		m.keys[key] = modelKey{d.pos, m.now + cmp.Or(o.IdempotencyTTL, 5*time.Minute)}
	}
	return broker.Result{Position: d.pos}, nil
}

// history returns what the broker should have answered, when its top has this epoch.
func (m *model) history(name string, q broker.HistoryQuery, epoch string) (out []delivery, top channel.Position, refused bool, err error) {
	s, err := m.use(name, epoch, q.MetaTTL)
	if err != nil {
		return nil, top, false, err
	}
	top = channel.Position{Offset: s.top, Epoch: s.epoch}
	if q.Since != nil && q.Since.Epoch != "" && q.Since.Epoch != s.epoch {
		return nil, top, true, nil
	}
	if q.Reverse && q.Since != nil && q.Since.Offset > s.top+1 {
		return nil, top, false, nil // ahead of what can be
	}
	for _, p := range s.pubs {
		if q.Since == nil || !q.Reverse && p.pos.Offset > q.Since.Offset || q.Reverse && p.pos.Offset < q.Since.Offset {
			out = append(out, p)
		}
	}
	if q.Reverse {
		slices.Reverse(out)
	}
	if q.Limit >= 0 {
		out = out[:min(len(out), q.Limit)]
	}
	return out, top, false, nil
}

// behavesLikeTheModel has random things done and compares every answer. Times to live
// are odd multiples of 5 s and time passes in steps of 10 s, so that nothing hangs on
// the second in which something ends.
func behavesLikeTheModel(t *testing.T, b Subject, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 77))
	n := newNode()
	names := []string{"a", "b", "c"}
	running(t, b, n, names...)
	m := &model{streams: map[string]*modelStream{}, keys: map[string]modelKey{}, epochs: map[string]bool{}, want: map[string][]delivery{}}
	for step := range 400 {
		name := names[random.IntN(len(names))]
		var err error
		switch k := random.IntN(20); {
		case k < 10:
			err = m.checkPublish(b, name, fmt.Sprint(step), randomOptions(random))
		case k < 16:
			err = m.checkHistory(b, name, m.randomQuery(random, name))
		case k < 17:
			err = b.RemoveHistory(context.Background(), name)
			if s := m.streams[name]; s != nil {
				s.pubs = nil
			}
		default:
			d := time.Duration(1+random.IntN(3)) * 10 * time.Second
			b.pass(d)
			m.now += d
		}
		if err != nil {
			t.Fatalf("seed %d, step %d: %v", seed, step, err)
		}
	}
	for _, name := range names {
		want := m.want[name]
		got := n.wait(t, name, len(want))
		for i, d := range got {
			if i >= len(want) || d.data != want[i].data || d.pos != want[i].pos || d.prev != want[i].prev {
				t.Fatalf("seed %d: delivery %d of %s is %+v, want the like of %+v", seed, i, name, d, want[min(i, len(want)-1)])
			}
		}
	}
}

func (m *model) checkPublish(b Subject, name, data string, o broker.PublishOptions) error {
	got, err := b.Publish(context.Background(), name, &channel.Publication{Data: []byte(data)}, o)
	if err != nil {
		return err
	}
	want, err := m.publish(name, data, o, got)
	if err == nil && got != want {
		err = fmt.Errorf("got %+v, want %+v", got, want)
	}
	if err != nil {
		return fmt.Errorf("publish %s to %s with %+v: %w", data, name, o, err)
	}
	return nil
}

func (m *model) checkHistory(b Subject, name string, q broker.HistoryQuery) error {
	pubs, top, refusal := b.History(context.Background(), name, q, nil)
	want, wantTop, refused, err := m.history(name, q, top.Epoch)
	got := make([]delivery, 0, len(pubs))
	for i := range pubs {
		got = append(got, seen(&pubs[i]))
	}
	if err == nil && (fmt.Sprint(got) != fmt.Sprint(want) || top != wantTop || refused != (refusal != nil)) {
		err = fmt.Errorf("got %v up to %v, refused %v, want %v up to %v, refused %v", got, top, refusal != nil, want, wantTop, refused)
	}
	if err != nil {
		return fmt.Errorf("history of %s, %+v since %v: %w", name, q, q.Since, err)
	}
	return nil
}

func randomTTL(random *rand.Rand) time.Duration {
	return time.Duration(random.IntN(6)*10+5) * time.Second
}

func randomOptions(random *rand.Rand) (o broker.PublishOptions) {
	if random.IntN(8) > 0 {
		o.HistorySize, o.HistoryTTL = 1+random.IntN(8), randomTTL(random)
	}
	if random.IntN(8) > 0 {
		o.HistoryMetaTTL = randomTTL(random) + 10*time.Second
	}
	if random.IntN(4) == 0 {
		o.IdempotencyKey = fmt.Sprint("key", random.IntN(5))
		if random.IntN(2) == 0 {
			o.IdempotencyTTL = randomTTL(random)
		}
	}
	if random.IntN(4) == 0 {
		o.Version, o.VersionEpoch = uint64(1+random.IntN(9)), []string{"", "e", "f"}[random.IntN(3)]
	}
	o.Previous = random.IntN(2) == 0
	return o
}

func (m *model) randomQuery(random *rand.Rand, name string) broker.HistoryQuery {
	q := broker.HistoryQuery{Limit: random.IntN(8) - 1, Reverse: random.IntN(2) == 0}
	if random.IntN(8) > 0 {
		q.MetaTTL = randomTTL(random)
	}
	if s := m.streams[name]; s != nil && random.IntN(3) > 0 {
		top := s.top + 3
		q.Since = &channel.Position{Offset: top - min(top, uint64(random.IntN(12)))}
		q.Since.Epoch = []string{"", s.epoch, s.epoch, "nonsense"}[random.IntN(4)]
	}
	return q
}
