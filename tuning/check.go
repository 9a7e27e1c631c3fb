package tuning

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Severity is how bad a finding is.
type Severity int

// The severities, worst first.
const (
	Fails   Severity = iota // the host cannot hold what it is wanted for
	Warns                   // it can, but loses connections or messages when much comes at once
	Unknown                 // it could not be read, so nobody can say
	Notes                   // it could be better, or tighter
)

func (s Severity) String() string { return [...]string{"fails", "warns", "unknown", "note"}[s] }

// MarshalText gives JSON the word.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Finding is one thing that should be changed.
type Finding struct {
	Severity Severity `json:"severity"`
	Name     string   `json:"name"` // of the limit, as the host calls it
	Value    string   `json:"value"`
	Need     string   `json:"need,omitempty"`
	Why      string   `json:"why"`    // a clause: no capital, no full stop
	Change   string   `json:"change"` // what to do, ready to paste where it is a command
}

// String is the line to log.
func (f Finding) String() string { return fmt.Sprintf("%s: %s; %s", f.head(), f.Why, f.Change) }

// head is what is, and what should be.
func (f Finding) head() string {
	switch {
	case f.Need == "":
		return f.Name + " = " + f.Value
	case f.Severity == Notes:
		return f.Name + " = " + f.Value + ", better " + f.Need
	default:
		return f.Name + " = " + f.Value + ", needs " + f.Need
	}
}

// Check lists what on h stands in the way of w, worst first. An empty list, never nil, means that nothing known does.
func Check(h Host, w Want) []Finding {
	c := checker{h: &h, w: w, found: []Finding{}}
	c.descriptors()
	c.memory()
	c.ports()
	for _, s := range settings() {
		c.setting(&s)
	}
	c.listenBacklog()
	c.kernel()
	c.traces()
	c.cards()
	if n := len(h.Unreadable); n > 0 {
		c.add(Finding{Unknown, "files that cannot be read", strconv.Itoa(n), "",
			"missing or in an unknown form, so nobody can say what they limit: " + strings.Join(h.Unreadable, ", "),
			"run it where /proc and /sys are mounted, as the user who is to run the server"})
	}
	slices.SortStableFunc(c.found, func(a, b Finding) int { return cmp.Compare(a.Severity, b.Severity) })
	return c.found
}

// checker collects findings.
type checker struct {
	h     *Host
	w     Want
	found []Finding
}

func (c *checker) add(f Finding) { c.found = append(c.found, f) }

func decimal(n uint64) string { return strconv.FormatUint(n, 10) }

// loopsMax is how many loops a server can have.
const loopsMax = 64

func (c *checker) descriptors() {
	have, need := c.h.Descriptors, c.w.perTable()+spareDescriptors
	if have == 0 || have >= need {
		return
	}
	why := fmt.Sprintf("a process can hold at most %d connections", spared(have))
	if c.w.Conns > 0 {
		why += fmt.Sprintf(", not %d", c.w.perTable())
	}
	change := fmt.Sprintf("ulimit -n %d, or LimitNOFILE=%d in the systemd unit", need, need)
	if c.h.Sealed {
		change = fmt.Sprintf("docker run --ulimit nofile=%d:%d", need, need)
	}
	switch tables, most := c.h.TablesFor(c.w.conns()), spared(have); {
	case c.w.Conns == 0 || tables == 0:
	case c.w.Processes <= 1 && tables <= loopsMax:
		change += fmt.Sprintf(", or loop.own_descriptors: true with loop.loops: %d", tables)
	default:
		change += fmt.Sprintf(", or %d processes", (c.w.conns()+most-1)/most)
	}
	c.add(Finding{Fails, "descriptors", decimal(have), decimal(need), why, change})
}

// TablesFor is how many tables of descriptors hold so many connections when the kernel deals them out, as it does to listeners that share
// a port: not evenly, but by a hash. 4.5 standard deviations are left free in each, so that one in 5,000 hosts would see a full table. 0 = not
// known, or too small a limit.
func (h *Host) TablesFor(conns uint64) uint64 {
	most := float64(spared(h.Descriptors))
	if most -= 4.5 * math.Sqrt(most); most < 1 {
		return 0
	}
	return uint64(math.Ceil(float64(conns) / most))
}

func spared(descriptors uint64) uint64 { return descriptors - min(descriptors, spareDescriptors) }

func (c *checker) memory() {
	free, whose := c.h.free()
	if need := c.w.conns() * c.w.bytesPerConn(); c.w.Conns > 0 && free > 0 && c.h.usable() < need {
		more := "fewer connections, or memory; what else runs here?"
		if whose != "memory" {
			more = "raise the limit of the container or the unit (docker run --memory, MemoryMax=), or fewer connections"
		}
		c.add(Finding{Fails, whose, bytesText(c.h.usable()), bytesText(need), fmt.Sprintf(
			"a connection takes about %d bytes here, most of them the kernel's; without them the OOM killer ends the process", c.w.bytesPerConn()), more})
	}
	if pids, need := c.h.PIDs, 64*c.w.processes(); pids > 0 && pids < need {
		c.add(Finding{Warns, "cgroup pids", decimal(pids), decimal(need), "Go starts a thread for whatever blocks, and ends when it gets none",
			"docker run --pids-limit, or TasksMax= in the unit"})
	}
}

// ports are needed by who dials. Over loopback there are as many addresses as one likes.
func (c *checker) ports() {
	ports := c.h.Ports()
	need := (c.w.conns() + c.w.sources() - 1) / c.w.sources()
	if c.w.target() != LoadTest || ports == 0 || ports >= need {
		return
	}
	c.add(Finding{Fails, "source ports", decimal(ports), decimal(need),
		fmt.Sprintf("each connection to one address needs a port of its own, and there are %d for each source address", ports),
		fmt.Sprintf("widen net.ipv4.ip_local_port_range (below 65536), dial from %d addresses (--sources), or run load tests on more hosts", (need*c.w.sources()+ports-1)/ports)})
}

func (w Want) sources() uint64 { return uint64(max(w.Sources, 1)) }

// setting judges one sysctl.
func (c *checker) setting(s *setting) {
	now := c.h.Sysctls[s.Name]
	low, severe := s.judge(c.w, c.h.pages(), now)
	if !s.concerns(c.w.target()) || !low {
		return
	}
	grade, why := Notes, s.Why
	if severe {
		grade = s.Grade
	}
	if strings.HasPrefix(s.Name, "net.netfilter.") && !c.h.tracks() {
		grade, why = Notes, "nothing is tracked now, but a firewall rule is enough to start it; then "+why
	}
	want := s.want(c.w, c.h.pages(), now)
	c.add(Finding{grade, s.Name, joined(now[:len(s.Numbers)]), want, why, c.sysctl(s, want)})
}

// sysctl is the command that sets it, from where it can be set.
func (c *checker) sysctl(s *setting, value string) string {
	assignment := s.Name + "=" + value
	if len(s.Numbers) > 1 {
		assignment = s.Name + `="` + value + `"`
	}
	switch {
	case !c.h.Sealed:
		return "sysctl -w " + assignment
	case s.Ours:
		return "docker run --sysctl " + assignment
	default:
		return "on the container's host: sysctl -w " + assignment
	}
}

func joined(numbers []uint64) string {
	parts := make([]string, len(numbers))
	for i, n := range numbers {
		parts[i] = decimal(n)
	}
	return strings.Join(parts, " ")
}

// listenBacklog compares what the server is configured to ask for with what it will get.
func (c *checker) listenBacklog() {
	most := c.h.Sysctls["net.core.somaxconn"]
	told := slices.ContainsFunc(c.found, func(f Finding) bool { return f.Name == "net.core.somaxconn" && f.Severity < Notes })
	if len(most) != 1 || uint64(c.w.ListenBacklog) <= most[0] || told {
		return
	}
	c.add(Finding{Warns, "net.core.somaxconn", decimal(most[0]), strconv.Itoa(c.w.ListenBacklog),
		"loop.listen_backlog asks for more, and the kernel quietly gives that", fmt.Sprintf("sysctl -w net.core.somaxconn=%d", c.w.ListenBacklog)})
}

// kernel judges what only a new kernel, or a boot option, changes.
func (c *checker) kernel() {
	if major, minor, ok := release(c.h.Kernel); ok && (major < 5 || major == 5 && minor < 4) {
		f := Finding{Notes, "kernel", c.h.Kernel, "5.4", "older ones are not tested, and get no more corrections", "upgrade the distribution"}
		if major < 3 || major == 3 && minor < 9 {
			f.Severity, f.Why = Fails, "loops share a port with SO_REUSEPORT, which came with 3.9"
		}
		c.add(f)
	}
	if known := []string{"", "tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page", "riscv_clocksource"}; !slices.Contains(known, c.h.Clock) {
		c.add(Finding{Warns, "clocksource", c.h.Clock, "tsc", "a look at the clock is a system call of about a microsecond instead of 25 ns, and every pass of a loop looks",
			"echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource; or the best of available_clocksource beside it"})
	}
	if c.h.HugePages == "always" {
		c.add(Finding{Notes, "transparent_hugepage", "always", "madvise", "the kernel makes 2 MiB of a few used pages: memory given back after a burst comes back",
			"echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"})
	}
}

// release reads the first two numbers of uname -r.
func release(text string) (major, minor int, ok bool) {
	n, _ := fmt.Sscanf(text, "%d.%d", &major, &minor)
	return major, minor, n == 2
}

// traces are what earlier bad minutes left in the kernel's counters.
func (c *checker) traces() {
	if n := c.h.Lost; n > 0 {
		grade := Notes
		if slices.ContainsFunc(c.found, func(f Finding) bool { return f.Name == "net.core.netdev_max_backlog" }) {
			grade = Warns // it still is too short
		}
		c.add(Finding{grade, "dropped packets", decimal(n), "", "so many found the queue of a processor full since boot (/proc/net/softnet_stat)",
			"raise net.core.netdev_max_backlog, or spread packets with RPS"})
	}
	if n := c.h.Accepts.Overflows; n > 0 && c.w.target() != LoadTest {
		c.add(Finding{Notes, "dropped connections", decimal(n), "", "so many found an accept queue full since boot (ListenOverflows), of any program",
			"raise net.core.somaxconn, and loop.listen_backlog if it is set; or limit connects (admission in PRESSURE.md)"})
	}
}

// cards looks for network cards whose packets all meet one processor.
func (c *checker) cards() {
	for _, card := range c.h.Cards {
		if card.Queues == 0 || card.Queues >= c.h.Processors || card.Spread {
			continue
		}
		mask := strconv.FormatUint(1<<min(c.h.Processors, 32)-1, 16)
		c.add(Finding{Notes, "queues of " + card.Name, strconv.Itoa(card.Queues), strconv.Itoa(c.h.Processors),
			fmt.Sprintf("all packets that come in there (%s) meet %d of %d processors, and the loops of the others wait", cmp.Or(card.Driver, "driver unknown"), card.Queues, c.h.Processors),
			fmt.Sprintf("ethtool -L %s combined %d; or by software: for q in /sys/class/net/%s/queues/rx-*/rps_cpus; do echo %s > $q; done",
				card.Name, c.h.Processors, card.Name, mask)})
	}
}
