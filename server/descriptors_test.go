package server

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"shoal/loop/poll"
	"shoal/server/config"
)

// scarce is a kernel whose process may have few descriptors.
type scarce struct {
	poll.Sys
	table *descriptorTable
}

// descriptorTable counts what the loops hold.
type descriptorTable struct {
	mu   sync.Mutex
	open map[int]bool
	most int
}

func (d *descriptorTable) add(open func() (int, error)) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.open) >= d.most {
		return -1, syscall.EMFILE
	}
	fd, err := open()
	if err == nil {
		d.open[fd] = true
	}
	return fd, err
}

func (s scarce) Accept(lfd int) (int, error) {
	return s.table.add(func() (int, error) { return s.Sys.Accept(lfd) })
}

func (s scarce) Reserve() (int, error) { return s.table.add(s.Sys.Reserve) }

func (s scarce) Close(fd int) error {
	s.table.mu.Lock()
	defer s.table.mu.Unlock()
	delete(s.table.open, fd)
	return s.Sys.Close(fd)
}

func TestRunningOutOfDescriptorsHarmsNobody(t *testing.T) {
	table := &descriptorTable{open: map[int]bool{}, most: 2 + 1 + 20} // reserves, control client, others
	r := start(t, quick, func(o *Options) {
		o.NewPoller = func(int) (poll.Poller, poll.Sys, error) {
			p, s, err := poll.Open()
			return p, scarce{s, table}, err
		}
	})
	watch := r.control(t, "")
	var held []*raw
	for range 20 {
		c := r.openRaw(t, "")
		c.connect("")
		held = append(held, c)
	}
	lines := len(r.logs.since(0))
	var crowd []net.Conn // some wait in the kernel's queue and get a descriptor as soon as there is one
	for range 100 {
		conn, err := net.Dial("tcp", r.p.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		crowd = append(crowd, conn)
	}
	eventually(t, "the episode is noticed", func() bool { return r.p.loops.Stats().DescriptorEpisodes > 0 })
	watch.check(t)
	for _, c := range held {
		c.subscribe("still-served")
	}
	if got := r.logs.since(lines); len(got) > 2 || len(got) == 0 || !strings.Contains(strings.ToLower(got[0]), "descriptor") {
		t.Errorf("%d lines were logged, want one per loop:\n%s", len(got), strings.Join(got, "\n"))
	}
	for _, c := range held {
		c.conn.Close()
	}
	for _, conn := range crowd {
		conn.Close()
	}
	eventually(t, "newcomers are served again", func() bool {
		conn, err := net.Dial("tcp", r.p.Addr().String())
		if err != nil {
			return false
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(time.Second))
		_, err = conn.Write([]byte(upgrade(wsPath)))
		b := make([]byte, 12)
		if err == nil {
			_, err = conn.Read(b)
		}
		return err == nil && string(b) == "HTTP/1.1 101"
	})
	watch.check(t)
	// The rest of the crowd may still come out of the kernel's queue and, for a moment, in the way.
	eventually(t, "requests are served again", func() bool {
		res, err := http.Get(r.base + "/health")
		if err != nil {
			return false
		}
		return res.Body.Close() == nil && r.p.loops.Stats().Descriptors == 1
	})
	if m := r.metrics(t); m["shoal_emfile_episodes_total"] == 0 {
		t.Error("/metrics does not tell")
	}
}

// The loops have tables of descriptors of their own: clients are on the loops, requests cross to the process's table.
func TestLoopsWithDescriptorsOfTheirOwnServeEverything(t *testing.T) {
	r := start(t, tuned(func(c *config.Config) { c.Loop.OwnDescriptors, c.Loop.Loops = true, 4 }))
	watch := r.control(t, "")
	var clients []*raw
	for range 40 {
		c := r.openRaw(t, "")
		c.connect("")
		c.subscribe("news")
		clients = append(clients, c)
	}
	for i := range 20 {
		if code, body := r.call("publish", fmt.Sprintf(`{"channel":"news","data":{"n":%d}}`, i)); code != http.StatusOK {
			t.Fatalf("publish: %d %s", code, body)
		}
	}
	for _, c := range clients {
		for i := range 20 {
			if got, want := string(c.pub().Data), fmt.Sprintf(`{"n":%d}`, i); got != want {
				t.Fatalf("got %s, want %s", got, want)
			}
		}
		c.conn.Close()
	}
	watch.check(t)
	if m := r.metrics(t); m["shoal_emfile_episodes_total"] != 0 {
		t.Error("descriptors were short")
	}
}
