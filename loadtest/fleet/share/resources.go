package share

import (
	"io/fs"
	"os"
	"strings"

	"shoal/tuning"
)

// Resources is what a member has for connections. A zero number is not known and bounds nothing.
type Resources struct {
	Host       string         `json:"host"`
	PID        int            `json:"pid"`
	Boot       string         `json:"boot,omitempty"` // the same for all processes of one kernel
	Processors int            `json:"processors"`
	Limits     []tuning.Limit `json:"limits"` // of one process with one source address
	// Tables: every engine has a table of descriptors of its own, so that the limit of descriptors is not that of the process.
	Tables bool `json:"tables"`
}

// The limits that are not those of a whole host.
const (
	limitDescriptors = "descriptors"  // of a process, or of a table
	limitPorts       = "source ports" // for one source address
)

// Read looks at this process and its host. tables says whether engines can have tables of their own; see [OwnTables].
func Read(tables bool) Resources {
	return read(os.DirFS("/"), tuning.ReadHost(), tables)
}

func read(root fs.FS, host tuning.Host, tables bool) Resources {
	name, _ := os.Hostname() // for people to read
	boot, _ := fs.ReadFile(root, "proc/sys/kernel/random/boot_id")
	r := Resources{Host: name, PID: os.Getpid(), Boot: strings.TrimSpace(string(boot)), Processors: host.Processors, Tables: tables}
	for _, l := range tuning.Diagnose(host, tuning.Want{Target: tuning.LoadTest}).Limits {
		if !l.Soft {
			r.Limits = append(r.Limits, l)
		}
	}
	return r
}

// Table is how many connections one table of descriptors holds; 0 = not known.
func (r *Resources) Table() int {
	for _, l := range r.Limits {
		if l.Name == limitDescriptors {
			return int(min(l.Conns, holdsMax))
		}
	}
	return 0
}

// holdsMax is more connections than one member will ever hold.
const holdsMax = 1 << 27
