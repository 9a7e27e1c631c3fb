//go:build !linux

package poll

import (
	"errors"
	"net"
	"runtime"
)

// Open fails: the loop needs epoll, eventfd and timerfd.
func Open() (Poller, Sys, error) {
	return nil, nil, errors.New("poll: linux only; this program was built for " + runtime.GOOS)
}

// Tables fails like Open.
type Tables struct{ Crowd int }

// Open fails.
func (*Tables) Open() (Poller, Sys, error) { return Open() }

// ErrMainThread does not occur.
var ErrMainThread = errors.New("poll: linux only")

// Take fails like Open.
func Take(net.Conn) (fd int, err error) { return -1, ErrNoSocket }
