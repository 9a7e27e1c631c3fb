package tuning

import (
	"cmp"
	"io/fs"
	"math"
	"os"
	"path"
	"strconv"
	"strings"
)

// Host is what limits a server. A zero number or an absent sysctl is not known and is not judged.
type Host struct {
	Descriptors uint64              // hard RLIMIT_NOFILE of this process, to which Go raises it
	Sysctls     map[string][]uint64 // those of the table, by name
	FilesUsed   uint64              // open files of the whole host
	Tracked     uint64              // connections in the conntrack table
	Memory      uint64              // bytes of the host
	Available   uint64              // bytes that can still be had, by the host
	PageBytes   uint64              // of memory; 0 = 4,096. Some ARM kernels have 16 or 64 KiB
	Rooms       Memory              // the host and the control groups this process is in
	PIDs        uint64              // threads and processes its control groups allow; 0 = any number
	Kernel      string              // release, as uname -r
	Processors  int
	Clock       string // clocksource
	HugePages   string // transparent_hugepage/enabled: the word in brackets
	Cards       []Card
	Lost        uint64 // packets dropped because netdev_max_backlog was full, since boot
	Accepts     AcceptQueue
	Sealed      bool     // a container with a read-only /proc/sys: its host has to set what is to be set
	Unreadable  []string // files that are there on every Linux and could not be read or understood
}

// Card is a network card.
type Card struct {
	Name, Driver string
	Queues       int  // it receives on
	Spread       bool // by software: some rps_cpus is set
}

// ReadHost reads the host this runs on. Where there is no Linux, nothing is known.
func ReadHost() Host { return HostIn(os.DirFS("/")) }

// HostIn reads a file system with a host's proc and sys: a copy of them, or one a test made up.
func HostIn(root fs.FS) Host {
	r := reader{root: root}
	h := Host{Sysctls: map[string][]uint64{}}
	r.sysctls(h.Sysctls)
	h.Descriptors = r.must("proc/self/limits", descriptorLimit)
	h.FilesUsed = r.must("proc/sys/fs/file-nr", firstNumber)
	h.Tracked, _ = r.number("proc/sys/net/netfilter/nf_conntrack_count")
	h.Memory = r.must("proc/meminfo", func(text string) (uint64, bool) { return kiloBytes(text, "MemTotal") })
	h.Available = r.must("proc/meminfo", func(text string) (uint64, bool) { return kiloBytes(text, "MemAvailable") })
	h.PageBytes, _ = kiloBytes(r.text("proc/self/smaps"), "KernelPageSize")
	h.Rooms, h.PIDs = readMemory(root), r.pids()
	h.Kernel = strings.TrimSpace(r.text("proc/sys/kernel/osrelease"))
	h.Processors = int(r.must("sys/devices/system/cpu/online", listLength))
	h.Clock = strings.TrimSpace(r.text("sys/devices/system/clocksource/clocksource0/current_clocksource"))
	h.HugePages = bracketed(r.text("sys/kernel/mm/transparent_hugepage/enabled"))
	h.Cards = r.cards()
	h.Lost = lostPackets(r.text("proc/net/softnet_stat"))
	h.Accepts = acceptQueueOf(r.text("proc/net/netstat"))
	h.Sealed = r.sealed()
	h.Unreadable = r.unreadable
	return h
}

// Ports is how many ports the kernel chooses from for one source address; 0 = not known.
func (h *Host) Ports() uint64 {
	r := h.Sysctls["net.ipv4.ip_local_port_range"]
	if len(r) != 2 || r[1] < r[0] {
		return 0
	}
	return r[1] - r[0] + 1
}

// pages is the memory in pages, as net.ipv4.tcp_mem counts.
func (h *Host) pages() uint64 { return h.Memory / cmp.Or(h.PageBytes, 4096) }

// tracks says whether conntrack has anything in its table. The module may be loaded and idle: then no rule asks for it.
func (h *Host) tracks() bool { return h.Tracked > 0 }

// free is the memory that can still be had, by the host's or a control group's word, and whose word it is. 0 = not known.
func (h *Host) free() (bytes uint64, whose string) {
	if g, ok := h.group(); ok && (h.Available == 0 || g.free() < h.Available) {
		return g.free(), "cgroup memory"
	}
	return h.Available, "memory"
}

// reader reads small files and remembers what should have been there.
type reader struct {
	root       fs.FS
	unreadable []string
}

// text is a file's contents, empty when it cannot be read.
func (r *reader) text(name string) string {
	b, err := fs.ReadFile(r.root, name)
	if err != nil {
		return ""
	}
	return string(b)
}

// must reads a number from a file that every Linux has.
func (r *reader) must(name string, parse func(text string) (uint64, bool)) uint64 {
	n, ok := parse(r.text(name))
	if ok {
		return n
	}
	if len(r.unreadable) == 0 || r.unreadable[len(r.unreadable)-1] != "/"+name {
		r.unreadable = append(r.unreadable, "/"+name)
	}
	return 0
}

func (r *reader) number(name string) (uint64, bool) { return firstNumber(r.text(name)) }

// sysctls reads those of the table. One that is missing is not of this kernel, of this container or of a module that is not
// loaded, which is no news; one that is odd is.
func (r *reader) sysctls(into map[string][]uint64) {
	for _, s := range settings() {
		file := path.Join("proc/sys", strings.ReplaceAll(s.Name, ".", "/"))
		text := r.text(file)
		if text == "" {
			continue
		}
		numbers, ok := parseNumbers(text)
		if !ok || len(numbers) < len(s.Numbers) {
			r.unreadable = append(r.unreadable, "/"+file)
			continue
		}
		into[s.Name] = numbers
	}
}

// cards lists the network cards: what in sys/class/net has a device, unlike lo, bridges and a container's veth.
func (r *reader) cards() (cards []Card) {
	all, _ := fs.ReadDir(r.root, "sys/class/net") // without it there are none to speak of
	for _, e := range all {
		dir := path.Join("sys/class/net", e.Name())
		event := r.text(path.Join(dir, "device/uevent"))
		if event == "" {
			continue
		}
		c := Card{Name: e.Name()}
		for line := range strings.Lines(event) {
			if driver, ok := strings.CutPrefix(strings.TrimSpace(line), "DRIVER="); ok {
				c.Driver = driver
			}
		}
		queues, _ := fs.ReadDir(r.root, path.Join(dir, "queues"))
		for _, q := range queues {
			if strings.HasPrefix(q.Name(), "rx-") {
				c.Queues++
				mask := strings.Trim(r.text(path.Join(dir, "queues", q.Name(), "rps_cpus")), "0,\n ")
				c.Spread = c.Spread || mask != ""
			}
		}
		cards = append(cards, c)
	}
	return cards
}

func firstNumber(text string) (uint64, bool) {
	first, _, _ := strings.Cut(strings.TrimSpace(text), "\t")
	first, _, _ = strings.Cut(first, " ")
	n, err := strconv.ParseUint(first, 10, 64)
	return n, err == nil
}

// descriptorLimit is the hard limit in /proc/PID/limits: «Max open files  SOFT  HARD  files».
func descriptorLimit(text string) (uint64, bool) {
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, "Max open files")
		f := strings.Fields(rest)
		if !ok || len(f) < 2 {
			continue
		}
		if f[1] == "unlimited" {
			return math.MaxInt64, true
		}
		return firstNumber(f[1])
	}
	return 0, false
}

// kiloBytes is «name: N kB» in bytes.
func kiloBytes(text, name string) (uint64, bool) {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			n, ok := firstNumber(value)
			return n * 1024, ok && n > 0
		}
	}
	return 0, false
}

// listLength counts a list such as 0-3,6.
func listLength(text string) (count uint64, ok bool) {
	for part := range strings.SplitSeq(strings.TrimSpace(text), ",") {
		first, last, isRange := strings.Cut(part, "-")
		a, err := strconv.ParseUint(first, 10, 16)
		if err != nil {
			return 0, false
		}
		b := a
		if isRange {
			if b, err = strconv.ParseUint(last, 10, 16); err != nil || b < a {
				return 0, false
			}
		}
		count += b - a + 1
	}
	return count, count > 0
}

// bracketed is the chosen word of «always [madvise] never».
func bracketed(text string) string {
	_, after, _ := strings.Cut(text, "[")
	word, _, ok := strings.Cut(after, "]")
	if !ok {
		return ""
	}
	return word
}

// lostPackets adds up the second column, in hexadecimal, of /proc/net/softnet_stat: a line for each processor.
func lostPackets(text string) (sum uint64) {
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) > 1 {
			n, err := strconv.ParseUint(f[1], 16, 64)
			if err == nil {
				sum += n
			}
		}
	}
	return sum
}

// sealed says whether this is a container with a read-only /proc/sys. A systemd unit with ProtectKernelTunables has one too;
// its host is this one.
func (r *reader) sealed() bool {
	fixed, container := false, false
	for _, mark := range []string{".dockerenv", "run/.containerenv", "run/systemd/container"} {
		if _, err := fs.Stat(r.root, mark); err == nil {
			container = true
		}
	}
	for line := range strings.Lines(r.text("proc/self/mounts")) {
		f := strings.Fields(line) // what, where, type, options
		if len(f) < 4 {
			continue
		}
		container = container || f[1] == "/" && f[2] == "overlay"
		fixed = fixed || (f[1] == "/proc/sys" || f[1] == "/proc") && strings.HasPrefix(f[3]+",", "ro,")
	}
	return fixed && container
}
