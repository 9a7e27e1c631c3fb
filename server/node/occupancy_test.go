package node

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"shoal/pool/worker"
	"shoal/server/backend"
	"shoal/server/channel"
	"shoal/server/node/occupancy"
)

// stateHouse is a house whose backend is told of channels by tell.
func stateHouse(t *testing.T, tell func(*backend.ChannelStateRequest) error) *house {
	t.Helper()
	return newHouse(t, plan{channels: channel.Config{WithoutNamespace: channel.Options{AllowSubscribeForClient: true, AllowSubscribeForAnonymous: true}},
		workers: worker.Config{Workers: 2 * occupancy.TellingMax, QueueMax: occupancy.TellingMax},
		backend: &oracle{state: tell, rpc: func(*backend.RPCRequest) (*backend.RPCReply, error) { return &backend.RPCReply{Data: []byte(`1`)}, nil }}})
}

// quiet waits until the backend is told of nothing any more; it returns how many channels
// are noted then, and how many the backend takes for occupied.
func (h *house) quiet() (noted, told int) {
	h.t.Helper()
	for end := time.Now().Add(patience); ; runtime.Gosched() {
		noted, told, busy := h.node.occupancy.Pending()
		if !busy {
			return noted, told
		}
		if time.Now().After(end) {
			h.t.Fatal("the backend is still being told")
		}
	}
}

// However many channels change and however slow the backend is to hear of it, questions of
// clients find a worker.
func TestTellingOfChannelsLeavesWorkersForQuestions(t *testing.T) {
	var telling atomic.Int32
	var over atomic.Bool
	gate := make(chan struct{})
	h := stateHouse(t, func(*backend.ChannelStateRequest) error {
		if telling.Add(1) > occupancy.TellingMax {
			over.Store(true)
		}
		<-gate
		telling.Add(-1)
		return nil
	})
	const n = 100
	crowd, victim := h.guest(), h.guest()
	for i := range n {
		crowd.do("subscribe", fmt.Sprintf(`"channel":"c-%d"`, i))
		crowd.next()
	}
	now := time.Now()
	h.node.TellStates(now)
	h.node.TellStates(now.Add(occupancy.Delay))
	for range 10 {
		victim.do("rpc", `"method":"pay"`)
		if got := victim.next(); !strings.Contains(got, `"rpc":{"data":1}`) {
			t.Errorf("a question of a client: %s", got)
		}
	}
	close(gate)
	if _, told := h.quiet(); told != n || over.Load() { // each tells of the next one: no second look is needed
		t.Errorf("of %d channels %d were told; more than %d at a time: %v", n, told, occupancy.TellingMax, over.Load())
	}
	h.node.TellStates(now.Add(occupancy.Delay))
	h.node.TellStates(now.Add(2 * occupancy.Delay))
	if left, _ := h.quiet(); left != 0 {
		t.Errorf("%d channels are noted although nothing has changed since", left)
	}
}

// The backend is told what lasted, in order for each channel, and again until it takes it.
func TestTheBackendIsToldUntilItTakesIt(t *testing.T) {
	var mu sync.Mutex
	var told []string
	refuse := 0
	h := stateHouse(t, func(r *backend.ChannelStateRequest) error {
		mu.Lock()
		defer mu.Unlock()
		if refuse--; refuse == 0 {
			panic("the callback does not like it")
		}
		if told = append(told, fmt.Sprint(r.Channel, " ", r.Occupied)); refuse > 0 {
			return errors.New("not now")
		}
		return nil
	})
	g, now := h.guest(), time.Now()
	do := func(what string) {
		t.Helper()
		g.do(what, `"channel":"a"`)
		g.next()
	}
	look := func(seconds int, want string) {
		t.Helper()
		for range seconds {
			now = now.Add(time.Second)
			h.node.TellStates(now)
			h.quiet()
		}
		mu.Lock()
		defer mu.Unlock()
		if got := strings.Join(told, ", "); got != want {
			t.Errorf("told %q, want %q", got, want)
		}
		told = nil
	}
	do("subscribe")
	look(2, "")
	do("unsubscribe") // a page that was loaded and left
	look(5, "")
	do("subscribe")
	look(1, "")
	do("unsubscribe")
	do("subscribe") // loaded anew
	look(5, "a true")
	refuse = 3
	do("unsubscribe")
	look(3, "a false")
	look(3, "a false")
	look(3, "") // the panic
	look(3, "a false")
	look(9, "")
	if got := h.node.stats.StatesFailed.Load(); got != 3 {
		t.Errorf("%d failures were counted, want 3", got)
	}
}
