package brokertest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"shoal/server/broker"
	"shoal/server/channel"
)

func optionTests() map[string]func(*testing.T, Subject) {
	return map[string]func(*testing.T, Subject){
		"publishes a key once":                 publishesAKeyOnce,
		"publishes a key once without history": publishesAKeyOnceWithoutHistory,
		"forgets keys after their time":        forgetsKeys,
		"publishes a key once in a race":       publishesAKeyOnceInARace,
		"drops old versions":                   dropsOldVersions,
		"keeps the version of what is removed": keepsTheVersion,
		"gives the publication before":         givesThePublicationBefore,
	}
}

func keyed(o broker.PublishOptions, key string) broker.PublishOptions {
	o.IdempotencyKey = key
	return o
}

func publishesAKeyOnce(t *testing.T, b Subject) {
	n := newNode()
	running(t, b, n, "a", "ab")
	first := publish(t, b, "a", "1", keyed(kept, "k"))
	publish(t, b, "a", "2", kept)
	if r := publish(t, b, "a", "again", keyed(kept, "k")); r != (broker.Result{Position: first.Position, Suppressed: true}) {
		t.Errorf("the same key again: %+v, first %+v", r, first)
	}
	// With a key, a channel, or the two run together that are others.
	for _, c := range []struct{ name, key string }{{"a", "K"}, {"a", "k2"}, {"ab", "k"}, {"a", "bk"}, {"ab", "bk"}} {
		if r := publish(t, b, c.name, "other", keyed(kept, c.key)); r.Suppressed {
			t.Errorf("key %s of %s: %+v", c.key, c.name, r)
		}
	}
	if err := b.RemoveHistory(context.Background(), "a"); err != nil {
		t.Fatal(err)
	}
	if r := publish(t, b, "a", "again", keyed(broker.PublishOptions{}, "k")); !r.Suppressed {
		t.Errorf("the same key without history: %+v", r)
	}
	publish(t, b, "a", "end", kept)
	for _, d := range n.wait(t, "a", 6) {
		if d.data == "again" {
			t.Error("a publication that was suppressed was delivered")
		}
	}
	expect(t, b, "a", "6:end", channel.Position{Offset: 6, Epoch: first.Epoch})
}

func publishesAKeyOnceWithoutHistory(t *testing.T, b Subject) {
	n := newNode()
	running(t, b, n, "a")
	o := keyed(broker.PublishOptions{}, "k")
	if r := publish(t, b, "a", "1", o); r != (broker.Result{}) {
		t.Errorf("first %+v", r)
	}
	if r := publish(t, b, "a", "2", o); r != (broker.Result{Suppressed: true}) {
		t.Errorf("then %+v", r)
	}
	publish(t, b, "a", "3")
	if got := n.wait(t, "a", 2); got[0].data != "1" || got[1].data != "3" {
		t.Errorf("delivered were %v", got)
	}
}

func forgetsKeys(t *testing.T, b Subject) {
	running(t, b, newNode())
	short, long := keyed(kept, "short"), keyed(kept, "long")
	short.IdempotencyTTL, long.IdempotencyTTL = 2*time.Second, time.Minute
	suppressed := func(o broker.PublishOptions) bool { return publish(t, b, "a", "x", o).Suppressed }
	if suppressed(short) || suppressed(long) || suppressed(keyed(kept, "default")) || !suppressed(short) {
		t.Error("wrong at the start")
	}
	b.pass(4 * time.Second)
	if suppressed(short) || !suppressed(short) {
		t.Error("the short one is not forgotten after its time, or not remembered anew")
	}
	if !suppressed(long) || !suppressed(keyed(kept, "default")) {
		t.Error("the others are forgotten too early")
	}
	if b.Pass == nil {
		return
	}
	b.pass(4*time.Minute + 50*time.Second) // 4:54 in all
	if suppressed(long) || !suppressed(keyed(kept, "default")) {
		t.Error("before the 5 minutes: the long one is remembered, or the default forgotten")
	}
	b.pass(10 * time.Second)
	if suppressed(keyed(kept, "default")) {
		t.Error("the default is remembered for more than 5 minutes")
	}
}

func publishesAKeyOnceInARace(t *testing.T, b Subject) {
	n := newNode()
	running(t, b, n, "a")
	const keys, publishers = 50, 4
	results := make([][]broker.Result, publishers)
	var wg sync.WaitGroup
	for p := range publishers {
		wg.Go(func() {
			for i := range keys {
				results[p] = append(results[p], publish(t, b, "a", "x", keyed(kept, fmt.Sprint(i))))
			}
		})
	}
	wg.Wait()
	for i := range keys {
		published := 0
		for p := range publishers {
			if results[p][i].Position != results[0][i].Position {
				t.Errorf("key %d is at %v and at %v", i, results[p][i], results[0][i])
			}
			if !results[p][i].Suppressed {
				published++
			}
		}
		if published != 1 {
			t.Errorf("key %d was published %d times", i, published)
		}
	}
	publish(t, b, "a", "end")
	if got := n.wait(t, "a", keys+1); len(got) != keys+1 || got[keys].data != "end" {
		t.Errorf("%d deliveries of %d keys", len(got)-1, keys)
	}
}

func versioned(number uint64, epoch string) broker.PublishOptions {
	o := kept
	o.Version, o.VersionEpoch = number, epoch
	return o
}

func dropsOldVersions(t *testing.T, b Subject) {
	n := newNode()
	running(t, b, n, "a")
	delivered, epoch := 0, ""
	for i, c := range []struct {
		number     uint64
		epoch      string
		suppressed bool
	}{
		{5, "e", false}, {5, "e", true}, {4, "e", true}, {6, "e", false}, {6, "", true}, {7, "", false}, // the last has no epoch
		{7, "e", false}, {1, "f", false}, {1, "f", true}, {2, "f", false}, {1 << 40, "f", false}, {1<<40 - 1, "f", true},
	} {
		r := publish(t, b, "a", fmt.Sprint(i), versioned(c.number, c.epoch))
		if !c.suppressed {
			delivered++
		}
		if epoch == "" {
			epoch = r.Epoch
		}
		if r.Suppressed != c.suppressed || r.Offset != uint64(delivered) || r.Epoch != epoch {
			t.Errorf("step %d, version %d of %q: got %+v, want suppressed %v and top %d", i, c.number, c.epoch, r, c.suppressed, delivered)
		}
	}
	publish(t, b, "a", "end", kept)
	if got := n.wait(t, "a", delivered+1); len(got) != delivered+1 || got[delivered].data != "end" {
		t.Errorf("%d deliveries, want %d", len(got), delivered+1)
	}
	o := versioned(1, "f") // suppressed, so its key was not seen
	o.IdempotencyKey = "k"
	publish(t, b, "b", "1", versioned(1, "f"))
	if r := publish(t, b, "b", "2", o); !r.Suppressed {
		t.Errorf("got %+v", r)
	}
	o.Version = 2
	if r := publish(t, b, "b", "3", o); r.Suppressed || r.Offset != 2 {
		t.Errorf("got %+v", r)
	}
}

func keepsTheVersion(t *testing.T, b Subject) {
	running(t, b, newNode())
	top := publish(t, b, "a", "1", versioned(2, "e")).Position
	if err := b.RemoveHistory(context.Background(), "a"); err != nil {
		t.Fatal(err)
	}
	if r := publish(t, b, "a", "2", versioned(2, "e")); !r.Suppressed || r.Position != top {
		t.Errorf("got %+v at %v", r, top)
	}
}

func givesThePublicationBefore(t *testing.T, b Subject) {
	n := newNode()
	running(t, b, n, "a")
	o := kept
	o.Previous = true
	small := o
	small.HistorySize = 1
	steps := []struct {
		data string
		o    broker.PublishOptions
		prev string
	}{
		{"1", o, ""}, {"2", o, "1"}, {"3", kept, ""}, {"4", o, "3"}, {"5", broker.PublishOptions{Previous: true}, ""},
		{"6", o, "4"}, {"7", small, "6"}, {"8", small, "7"}, {"removed", kept, ""}, {"9", o, ""}, {"10", o, "9"},
	}
	for _, s := range steps {
		publish(t, b, "a", s.data, s.o)
		if s.data == "removed" {
			if err := b.RemoveHistory(context.Background(), "a"); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i, d := range n.wait(t, "a", len(steps)) {
		if d.data != steps[i].data || d.prev != steps[i].prev {
			t.Errorf("%s came after %q, want %s after %q", d.data, d.prev, steps[i].data, steps[i].prev)
		}
	}
	pubs, _ := history(t, b, "a", all)
	for _, p := range pubs {
		if p.Prev != nil {
			t.Errorf("in the history %s comes after %q", p.Data, p.Prev)
		}
	}
}
