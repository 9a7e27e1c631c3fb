package tuning

import (
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
)

// AcceptQueue is what the kernel counted of full accept queues since the host, or the container, started: of all sockets
// in its network namespace, not of one process. The zero value is also that of a host that does not tell.
type AcceptQueue struct {
	Overflows uint64 // connections that found an accept queue full: ListenOverflows
	Drops     uint64 // connections that could not be queued for any reason, those among them: ListenDrops
}

// ReadAcceptQueue asks the kernel this runs on.
func ReadAcceptQueue() AcceptQueue { return acceptQueueIn(os.DirFS("/")) }

func acceptQueueIn(root fs.FS) AcceptQueue {
	text, err := fs.ReadFile(root, "proc/net/netstat")
	if err != nil {
		return AcceptQueue{}
	}
	return acceptQueueOf(string(text))
}

// acceptQueueOf reads /proc/net/netstat. Of a text that is odd nothing is known.
func acceptQueueOf(text string) (q AcceptQueue) {
	var names []string // the kernel writes two lines for each group: names, then numbers in the same places
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0 || fields[0] != "TcpExt:":
		case names == nil:
			names = fields
		default:
			q.Overflows, q.Drops = numberOf(names, fields, "ListenOverflows"), numberOf(names, fields, "ListenDrops")
			return q
		}
	}
	return q
}

func numberOf(names, numbers []string, name string) uint64 {
	i := slices.Index(names, name)
	if i < 0 || i >= len(numbers) {
		return 0
	}
	n, err := strconv.ParseUint(numbers[i], 10, 64)
	if err != nil {
		return 0
	}
	return n
}
