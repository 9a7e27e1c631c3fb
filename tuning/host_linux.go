package tuning

import (
	"os"
	"syscall"
)

// ReadHost asks the kernel. What it does not tell stays zero.
func ReadHost() Host {
	var h Host
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) == nil {
		h.Descriptors = limit.Cur
	}
	h.readSysctls(os.DirFS("/proc/sys"))
	return h
}

// ReadAcceptQueue asks the kernel.
func ReadAcceptQueue() AcceptQueue { return readAcceptQueue(os.DirFS("/proc/net")) }

// ReadMemory asks the kernel.
func ReadMemory() Memory { return readMemory(os.DirFS("/")) }
