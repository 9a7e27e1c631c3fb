package brokertest

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"shoal/server/broker"
	"shoal/server/channel"
)

func raceTests() map[string]func(*testing.T, Subject) {
	return map[string]func(*testing.T, Subject){
		"keeps offsets consecutive in a race":                    keepsOffsetsConsecutive,
		"leaves no gap between the history and what comes later": leavesNoGap,
		"reads whole histories in a race":                        readsWholeHistories,
	}
}

func keepsOffsetsConsecutive(t *testing.T, b Subject) {
	n := newNode()
	names := []string{"a", "b", "c"}
	running(t, b, n, names...)
	const publishers, each = 4, 150
	var wg sync.WaitGroup
	var mu sync.Mutex
	told := map[string]map[uint64]string{"a": {}, "b": {}, "c": {}}
	for p := range publishers {
		wg.Go(func() {
			for i := range each {
				name, data := names[i%len(names)], fmt.Sprintf("%d-%d", p, i)
				r := publish(t, b, name, data, kept)
				mu.Lock()
				told[name][r.Offset] = data
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for _, name := range names {
		total := publishers * each / len(names)
		got := n.wait(t, name, total)
		for i, d := range got {
			if d.pos.Offset != uint64(i+1) || d.pos.Epoch != got[0].pos.Epoch {
				t.Fatalf("%s: delivery %d has position %v", name, i, d.pos)
			}
			if d.data != told[name][d.pos.Offset] {
				t.Fatalf("%s: offset %d was delivered as %s, its publisher was told of it for %s", name, d.pos.Offset, d.data, told[name][d.pos.Offset])
			}
		}
		pubs, top := history(t, b, name, all)
		if top.Offset != uint64(total) || len(pubs) != kept.HistorySize {
			t.Errorf("%s: %d kept up to %v", name, len(pubs), top)
		}
		for _, p := range pubs {
			if string(p.Data) != told[name][p.Offset] {
				t.Errorf("%s: offset %d is kept as %s, was %s", name, p.Offset, p.Data, told[name][p.Offset])
			}
		}
	}
}

// publishing publishes to a channel as fast as it can until stop is called.
func publishing(t *testing.T, b broker.Broker, name string, o broker.PublishOptions) (stop func()) {
	t.Helper()
	end, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-end:
				return
			default:
				publish(t, b, name, fmt.Sprint(i), o)
			}
		}
	}()
	stop = sync.OnceFunc(func() { close(end); <-done })
	t.Cleanup(stop)
	return stop
}

// A node that subscribes and then reads has in the history and the deliveries
// together everything, however fast others publish.
func leavesNoGap(t *testing.T, b Subject) {
	n := newNode()
	running(t, b, n)
	o := kept
	o.HistorySize = 100_000
	for round := range 30 {
		name := fmt.Sprint("round-", round)
		quiet := publishing(t, b, name, o)
		if err := b.Subscribe(name); err != nil {
			t.Fatal(err)
		}
		pubs, top := history(t, b, name, all)
		quiet()
		last := publish(t, b, name, "end", o).Position
		var got []delivery
		n.until(t, "the last publication", func() bool {
			got = n.got[name]
			return len(got) > 0 && got[len(got)-1].pos == last
		})
		for i, p := range pubs {
			if p.Offset != uint64(i+1) {
				t.Fatalf("the history has offset %d in place %d", p.Offset, i+1)
			}
		}
		if uint64(len(pubs)) != top.Offset {
			t.Fatalf("the history has %d publications up to %v", len(pubs), top)
		}
		if first := got[0].pos.Offset; first > top.Offset+1 {
			t.Fatalf("the history ends at %d, the deliveries begin at %d", top.Offset, first)
		}
		for i := 1; i < len(got); i++ {
			if got[i].pos.Offset != got[i-1].pos.Offset+1 {
				t.Fatalf("offset %d was delivered after %d", got[i].pos.Offset, got[i-1].pos.Offset)
			}
		}
	}
}

func readsWholeHistories(t *testing.T, b Subject) {
	running(t, b, newNode())
	publishing(t, b, "a", kept)
	var wg sync.WaitGroup
	for reader := range 3 {
		wg.Go(func() {
			for range 200 {
				q := broker.HistoryQuery{Limit: -1, Reverse: reader == 1}
				pubs, top, err := b.History(context.Background(), "a", q, nil)
				if err != nil {
					t.Error(err)
					return
				}
				if reader == 1 {
					for i, j := 0, len(pubs)-1; i < j; i, j = i+1, j-1 {
						pubs[i], pubs[j] = pubs[j], pubs[i]
					}
				}
				checkWhole(t, pubs, top)
				if reader == 2 {
					if err := b.RemoveHistory(context.Background(), "a"); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
}

// checkWhole: publications end at the top and have no hole.
func checkWhole(t *testing.T, pubs []channel.Publication, top channel.Position) {
	t.Helper()
	for i, p := range pubs {
		if want := top.Offset - uint64(len(pubs)-1-i); p.Offset != want || string(p.Data) != fmt.Sprint(want-1) {
			t.Errorf("place %d of %d up to %d has offset %d, data %s", i, len(pubs), top.Offset, p.Offset, p.Data)
			return
		}
	}
}
