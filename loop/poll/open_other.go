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

// Take fails like Open.
func Take(net.Conn) (fd int, err error) { return -1, ErrNoSocket }
