package node
import ("testing";"fmt";"time";"shoal/server/channel";"context")
func TestXTurns(t *testing.T) {
	for _, n := range []int{5000, 20000, 50000} {
	r := newRig(t, 1)
	c := r.client()
	_ = c
	// the members are the session of c, many channels
	r.on(0, func(s *Shard) {
		ses := s.sessions.At(0)
		for i := range n { s.member(0, ses, fmt.Sprint("c", i)) }
	})
	hold := make(chan struct{})
	r.loops.Loop(0).Post(visit{func(){<-hold}})
	for i := range n {
		if _, e := r.node.Publish(context.Background(), fmt.Sprint("c",i), &channel.Publication{Data: []byte(`1`)}); e != nil { t.Fatal(e) }
	}
	t0 := time.Now()
	close(hold)
	for range n { c.pub() }
	t.Log(n, time.Since(t0), "per", time.Since(t0)/time.Duration(n))
	t0 = time.Now()
	r.on(0, func(s *Shard) {
		t0 = time.Now()
		found := map[string]int{}
		s.hub.Each(func(name []byte, members int) bool { found[string(name)] = members; return true })
		t.Log("each", time.Since(t0))
		before := s.hub.HeldBytes()
		s.unsubscribeAll(s.sessions.At(0))
		s.Trim()
		t.Log("hub bytes", before, s.hub.HeldBytes())
	})
	}
}
