package tuning

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
)

const (
	// processBytes is what a connection may cost its process (server/docs/BUDGET.md: 400; measured 235 – 284).
	processBytes = 400
	// SocketBytes is what the kernel takes for one idle end of a connection: socket, inode, file, epoll entry
	// (README.md, measured).
	SocketBytes = 4200
	// reservePercent of the memory stays for everything else.
	reservePercent = 5
)

// bytesPerConn is what one connection takes of the host, idle.
func (w Want) bytesPerConn() uint64 { return w.sides() * (processBytes + SocketBytes) }

// usable is the free memory without the reserve.
func (h *Host) usable() uint64 {
	free, _ := h.free()
	all := h.Memory
	if g, ok := h.group(); ok && (all == 0 || g.Limit < all) {
		all = g.Limit
	}
	reserve := all * reservePercent / 100
	return free - min(free, reserve)
}

// Limit is how many connections one resource is good for.
type Limit struct {
	Name  string `json:"name"`
	Conns uint64 `json:"connections"`
	How   string `json:"how"`  // the sum it comes from
	Soft  bool   `json:"soft"` // above it connections hold, but not everything reaches them at once
}

// limits lists what is known of h to bound w, tightest first, at equality the harder one.
func limits(h *Host, w Want) (all []Limit) {
	add := func(known bool, name string, conns uint64, soft bool, how string, args ...any) {
		if known {
			all = append(all, Limit{name, conns, fmt.Sprintf(how, args...), soft})
		}
	}
	one := func(name string) (uint64, bool) {
		v := h.Sysctls[name]
		if len(v) != 1 {
			return 0, false
		}
		return v[0], true
	}
	sides, per := w.sides(), w.bytesPerConn()
	add(h.Descriptors > 0, "descriptors", spared(h.Descriptors)*w.tables(), false, "%s less %d, × %s",
		grouped(h.Descriptors), spareDescriptors, w.spread())
	most, known := one("fs.file-max")
	add(known, "fs.file-max", (most-min(most, h.FilesUsed))/sides, false, "%s less %s open", short(most), grouped(h.FilesUsed))
	if i := len(all) - 1; i >= 0 && all[i].Conns >= anyNumber {
		all[i].How = "" // the largest number there is, which systemd sets
	}
	most, known = one("fs.epoll.max_user_watches")
	add(known, "fs.epoll.max_user_watches", most/sides, false, "for each user")
	free, whose := h.free()
	add(free > 0, whose, h.usable()/per, false, "%s free, %s each", bytesText(h.usable()), grouped(per))
	most, known = one("net.netfilter.nf_conntrack_max")
	add(known && h.tracks(), "conntrack", most-min(most, h.Tracked), false, "%s less %s tracked", grouped(most), grouped(h.Tracked))
	add(w.target() == LoadTest && h.Ports() > 0, "source ports", h.Ports()*w.sources(), false, "%s × %s",
		grouped(h.Ports()), counted(w.sources(), "address", "addresses"))
	if pages := h.Sysctls["net.ipv4.tcp_mem"]; len(pages) == 3 {
		add(true, "net.ipv4.tcp_mem", pages[2]/sides, true, "a page each for a message to all")
	}
	slices.SortStableFunc(all, func(a, b Limit) int { return cmp.Compare(a.Conns, b.Conns) })
	return all
}

// spread says over what the connections are.
func (w Want) spread() string {
	text := counted(w.processes(), "process", "processes")
	if w.Tables > 1 {
		text += ", " + counted(uint64(w.Tables), "loop", "loops") + " each"
	}
	return text
}

// grouped writes a number with thousands apart.
func grouped(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// anyNumber is more connections than anybody will ever have on a host.
const anyNumber = 1_000_000_000

// short is a number of connections; those nobody will ever have are not written out.
func short(n uint64) string {
	if n >= anyNumber {
		return "any number"
	}
	return grouped(n)
}

// bytesText writes bytes with a unit.
func bytesText(n uint64) string {
	for _, u := range []struct {
		shift int
		name  string
	}{{30, "GiB"}, {20, "MiB"}} {
		if n >= 1<<u.shift {
			return strconv.FormatFloat(float64(n)/float64(uint64(1)<<u.shift), 'f', 1, 64) + " " + u.name
		}
	}
	return grouped(n) + " B"
}
