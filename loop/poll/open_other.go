//go:build !linux

package poll

import (
	"errors"
	"runtime"
)

// Open fails: the loop needs epoll, eventfd and timerfd.
func Open() (Poller, Sys, error) {
	return nil, nil, errors.New("poll: linux only; this program was built for " + runtime.GOOS)
}
