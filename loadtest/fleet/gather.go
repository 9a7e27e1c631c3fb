package fleet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"
	"unicode"

	"shoal/loadtest/fleet/share"
)

const (
	// joinTimeDefault is how long hosts have to join.
	joinTimeDefault = 5 * time.Minute
	// strangersMax bounds the connections that are being looked at, before they are let in.
	strangersMax = 16
	// dialPeriod is how often a host that joins tries again.
	dialPeriod = time.Second
)

// gather lets workers of other hosts in until there are enough, and closes the listener. Whoever is refused is told why, and told of.
func (o *opening) gather(ctx context.Context) error {
	limit := o.JoinTime
	if limit == 0 {
		limit = joinTimeDefault
	}
	ctx, enough := context.WithTimeoutCause(ctx, limit, fmt.Errorf("it took longer than %s", limit))
	defer enough()
	defer context.AfterFunc(ctx, func() { _ = o.Listener.Close() })()
	var all sync.WaitGroup
	var mu sync.Mutex
	joined, at := 0, make(chan struct{}, strangersMax)
	for {
		conn, err := o.Listener.Accept()
		if err != nil {
			break // closed
		}
		select {
		case at <- struct{}{}:
		default:
			conn.Close()
			continue
		}
		all.Go(func() {
			defer func() { <-at }()
			m, err := o.letIn(ctx, conn)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				o.tell(fmt.Sprintf("%s was refused: %v", conn.RemoteAddr(), err))
			case joined == o.Hosts:
				m.s.last(message{Refused: "there are enough hosts already"})
			default:
				joined++
				o.add(m)
				o.tell(fmt.Sprintf("%s has joined, %d of %d", m.name, joined, o.Hosts))
				if joined == o.Hosts {
					enough()
				}
			}
		})
	}
	_ = o.Listener.Close() // again, or for the first time
	all.Wait()
	if joined < o.Hosts {
		why := context.Cause(ctx)
		if why == nil {
			why = errors.New("the listener was closed")
		}
		return fmt.Errorf("%d of %d hosts have joined: %w; on each of the others run: shoal loadtest --join ADDRESS:PORT of this one", joined, o.Hosts, why)
	}
	return nil
}

// letIn makes a member of a connection.
func (o *opening) letIn(ctx context.Context, conn net.Conn) (*remote, error) {
	s := newStream(conn)
	name := func(r share.Resources) string { return readable(r.Host) + " (" + conn.RemoteAddr().String() + ")" }
	h, err := admit(ctx, s, o.identity(), name)
	if err != nil {
		s.close(err)
		return nil, err
	}
	return newRemote(name(h.Resources), s, h.Resources, o.Clock, o.patience, nil), nil
}

// readable is a name that may be shown.
func readable(name string) string {
	const most = 64
	name = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, name[:min(len(name), most)])
	if name == "" {
		return "a host"
	}
	return name
}

// Join serves the coordinator at address, HOST:PORT, until the load test is over. While nobody listens there it tries again, for so
// long.
func (w Worker) Join(ctx context.Context, address string, wait time.Duration) error {
	patience, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	conn, err := dial(patience, address)
	if err != nil {
		return fmt.Errorf("no coordinator at %s: %w; start it there with shoal loadtest --listen, and see --wait", address, err)
	}
	if err := w.Serve(ctx, conn); err != nil {
		return fmt.Errorf("%s: %w", address, err)
	}
	return nil
}

// dial tries until ctx is done, once at least.
func dial(ctx context.Context, address string) (net.Conn, error) {
	ticker := time.NewTicker(dialPeriod)
	defer ticker.Stop()
	for {
		conn, err := (&net.Dialer{Timeout: handshakeTime}).DialContext(context.WithoutCancel(ctx), "tcp", address)
		var wrong *net.AddrError
		var unknown *net.DNSError
		if err == nil || errors.As(err, &wrong) || errors.As(err, &unknown) && unknown.IsNotFound {
			return conn, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-ticker.C:
		}
	}
}
