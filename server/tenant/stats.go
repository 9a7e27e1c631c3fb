package tenant

import (
	"errors"
	"fmt"
	"time"

	"shoal/server/backend"
)

// Stats is what a tenant has now and what it has done.
type Stats struct {
	Name                                 string // [DefaultName] for the default one
	Connections, Channels, Subscriptions int
	Messages, Bytes                      uint64
	Asked, Waiting                       int   // questions
	Backlog                              int64 // bytes, as of the last look
	Refused                              [LimitCount]uint64
}

// Each calls f for every tenant, the default one first.
func (s *Set) Each(f func(Stats)) {
	if s == nil {
		return
	}
	for _, t := range s.tenants {
		out := Stats{
			Name: t.name, Connections: int(t.conns.n.Load()), Channels: int(t.channels.n.Load()), Subscriptions: int(t.subs.n.Load()),
			Messages: t.taken.Load(), Bytes: t.takenBytes.Load(), Backlog: t.backlog.Load(),
		}
		out.Asked, out.Waiting = s.questions.now(t)
		for l := range t.refused {
			out.Refused[l] = t.refused[l].Load()
		}
		f(out)
	}
}

// complaint is what is reported: a tenant and a limit.
type complaint struct {
	id    ID
	limit Limit
}

type report struct {
	at    time.Time
	count uint64
}

// Report logs what was refused since the last time it did, seldom for each tenant and limit.
// To be called about once a second, by one goroutine.
func (s *Set) Report(now time.Time) {
	if s == nil {
		return
	}
	for id, t := range s.tenants {
		for l := range limitCount {
			key, count := complaint{ID(id), l}, t.refused[l].Load()
			was, known := s.last[key]
			if count == was.count || known && now.Sub(was.at).Abs() < backend.SeldomInterval {
				continue
			}
			s.last[key] = report{now, count}
			s.complain(t, l, count-was.count)
		}
	}
}

func (s *Set) complain(t *tenant, l Limit, n uint64) {
	switch l {
	case Unknown:
		name := ""
		if p := s.unknown.Load(); p != nil {
			name = *p
		}
		s.host.Logger.Warn("clients were refused: their tokens or the connect proxy name a tenant that is not in tenants.list", "such as", name, "refused", n)
	case Overload:
		s.host.Logger.Warn("basic tenants were not served: the node had too much to do", "tenant", t.name, "refused", n)
	case Foreign:
		s.host.Logger.Warn("sessions of a tenant were refused in channels of another", "tenant", t.name, "refused", n)
	default:
		s.host.Logger.Warn("a tenant is over a limit; see tenants in the configuration", "tenant", t.name, "limit", l.String(), "refused", n)
	}
}

// Actual is what a tenant has, counted anew.
type Actual struct{ Connections, Channels, Subscriptions int }

// Validate compares what is counted with what there is, by ID. It is slow and for tests, while
// nothing moves.
func (s *Set) Validate(actual []Actual) error {
	if s == nil {
		return nil
	}
	errs := []error{s.questions.validate()}
	for id, t := range s.tenants {
		counted := Actual{int(t.conns.n.Load()), int(t.channels.n.Load()), int(t.subs.n.Load())}
		if is := actual[id]; counted != is {
			errs = append(errs, fmt.Errorf("tenant: %s: %+v are counted, there are %+v", t.name, counted, is))
		}
	}
	return errors.Join(errs...)
}
