package tuning

// What the files of this folder are made of: «go test ./tuning -rewrite» writes them anew.

import (
	"fmt"
	"strings"
)

// fileWant is what the files that do not ask are written for.
func fileWant() Want { return Want{Conns: 1_000_000} }

// scriptTable is the table of apply.sh, a line for each setting.
func scriptTable() string {
	var b strings.Builder
	for _, s := range settings() {
		whose := "host"
		if s.Ours {
			whose = "ours"
		}
		fmt.Fprintf(&b, "%s|%s|%d|", s.Name, whose, int(s.For))
		for i, n := range s.Numbers {
			if i > 0 {
				b.WriteByte(' ')
			}
			by := n.basis
			if by == "" {
				by = "-"
			}
			fmt.Fprintf(&b, "%s:%s:%d:%d:%d:%d:%d:%d", n.bound, by, n.floor, n.per1000, n.plus, n.round, n.ceiling, n.memory)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// sysctlText is sysctl.d/90-shoal.conf, for fileWant on a host with memory to spare.
func sysctlText() string {
	var b strings.Builder
	b.WriteString(`# Sysctls for a Shoal server of 1,000,000 connections. Generated from tuning/settings.go; README.md explains each line.
#
# apply.sh is better: it looks at the host first, raises what is too low, lowers nothing and can take everything back. This
# file sets all it says at every boot, or at once with «sysctl -p FILE»; lines that could lower what is set already, and
# those for load tests, are comments. «-» means: no complaint where it does not exist.
`)
	for _, s := range settings() {
		b.WriteString(wrapped("# ", "# ", fmt.Sprintf("%s. Else: %s.", s.Unit, s.Why)))
		mark := map[filing]string{plain: "", optional: "-", remark: "#"}[s.File]
		if !s.concerns(Serve) {
			mark = "#"
		}
		fmt.Fprintf(&b, "%s%s = %s\n", mark, s.Name, s.want(fileWant(), 0, nil))
	}
	return b.String()
}

// limitsText is limits.d/90-shoal.conf.
func limitsText() string {
	open := settings()[0] // fs.nr_open: the limit may be as high as that
	return fmt.Sprintf(`# Descriptors for a Shoal server of 1,000,000 connections, or a load test, started from a login (PAM reads this; log in
# anew). Generated from tuning/settings.go. A systemd unit does not look here: LimitNOFILE= in systemd/shoal.service. A
# container neither: docker run --ulimit nofile=%[1]s:%[1]s
shoal - nofile %[1]s
# Whoever runs «shoal loadtest»; * does not mean root, who needs a line too:
#* - nofile %[1]s
#root - nofile %[1]s
`, open.want(fileWant(), 0, nil))
}

// readmeTable is the table of README.md.
func readmeTable() string {
	var b strings.Builder
	b.WriteString("| setting | for 10,000 | for 100,000 | for 1,000,000 |\n|---|---:|---:|---:|\n")
	for _, s := range settings() {
		fmt.Fprintf(&b, "| `%s` |", s.Name)
		for _, conns := range []int{10_000, 100_000, 1_000_000} {
			fmt.Fprintf(&b, " %s |", s.want(Want{Conns: conns}, 0, nil))
		}
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
	for _, s := range settings() {
		where := "host"
		if s.Ours {
			where = "each container has its own"
		}
		b.WriteString(strings.TrimPrefix(wrapped("* ", "  ", fmt.Sprintf("**`%s`** (%s; %s). *Else:* %s. *Cost:* %s. *Not when:* %s.",
			s.Name, s.Unit, where, s.Why, s.Cost, s.NotWhen)), "\n"))
	}
	return b.String()
}

// wrapped breaks text into lines of at most 120: the first behind one prefix, the others behind another, an empty one before.
func wrapped(first, prefix, text string) string {
	const width = 120
	out, line := "\n", first
	for word := range strings.FieldsSeq(text) {
		if len(line)+len(word) > width {
			out += strings.TrimRight(line, " ") + "\n"
			line = prefix
		}
		line += word + " "
	}
	return out + strings.TrimRight(line, " ") + "\n"
}
