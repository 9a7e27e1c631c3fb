package tuning

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Report is what shoal doctor says of a host.
type Report struct {
	Wanted    uint64    `json:"connections"`
	Target    string    `json:"target"`
	Processes uint64    `json:"processes"`
	OK        bool      `json:"ok"`    // nothing fails
	Holds     uint64    `json:"holds"` // connections this host can hold as it is; meaningless while Ends is empty
	Ends      string    `json:"ends"`  // the limit that ends first; empty = none is known
	Host      []Fact    `json:"host"`
	Limits    []Limit   `json:"limits"`   // tightest first
	Findings  []Finding `json:"findings"` // worst first
	want      Want
}

// Fact is something about the host that explains the rest.
type Fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Diagnose judges h by what w wants.
func Diagnose(h Host, w Want) Report {
	r := Report{
		Wanted: w.conns(), Target: w.target().String(), Processes: w.processes(), Host: h.facts(),
		Limits: limits(&h, w), Findings: Check(h, w), want: w,
	}
	if i := slices.IndexFunc(r.Limits, func(l Limit) bool { return !l.Soft }); i >= 0 {
		r.Holds, r.Ends = r.Limits[i].Conns, r.Limits[i].Name
	}
	r.OK = !r.Failed(false)
	return r
}

// Failed says whether the answer is no. strict counts warnings, and what could not be read, as well.
func (r *Report) Failed(strict bool) bool {
	worst := Notes
	if len(r.Findings) > 0 {
		worst = r.Findings[0].Severity // they are sorted
	}
	return worst == Fails || r.Ends == "" || strict && worst < Notes
}

// facts describe the host in a few lines.
func (h *Host) facts() (facts []Fact) {
	add := func(known bool, name, format string, args ...any) {
		if known {
			facts = append(facts, Fact{name, fmt.Sprintf(format, args...)})
		}
	}
	add(h.Kernel != "", "kernel", "Linux %s", h.Kernel)
	add(h.Processors > 0, "processors", "%d", h.Processors)
	add(h.Memory > 0, "memory", "%s, %s of it available", bytesText(h.Memory), bytesText(h.Available))
	group, limited := h.group()
	add(limited, "cgroup", "%s, %s of it free", bytesText(group.Limit), bytesText(group.free()))
	for _, c := range h.Cards {
		add(true, "network", "%s (%s), %s", c.Name, c.Driver, counted(uint64(c.Queues), "receive queue", "receive queues"))
	}
	add(h.Clock != "", "clock", "%s", h.Clock)
	add(h.Sealed, "container", "/proc/sys is read-only: its host has to set it")
	return facts
}

// WriteJSON writes the report for a program.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// WriteText writes the report for a person: 80 columns, but for commands, which stay whole. Colours are for terminals.
func (r *Report) WriteText(w io.Writer, colours bool) error {
	p := &page{colours: colours}
	p.line("shoal doctor: %s connections, target %s, %s", grouped(r.Wanted), r.Target, r.want.spread())
	p.line("")
	for _, f := range r.Host {
		p.wrapped(fmt.Sprintf("  %-12s ", f.Name), f.Value)
	}
	p.limits(r)
	p.findings(r)
	p.verdict(r)
	_, err := io.WriteString(w, p.b.String())
	return err
}

func counted(n uint64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return grouped(n) + " " + many
}

// page is text under construction.
type page struct {
	b       strings.Builder
	colours bool
}

const (
	columns = 80
	red     = "31;1"
	yellow  = "33"
	green   = "32;1"
	dim     = "2"
)

func (p *page) line(format string, args ...any) { fmt.Fprintf(&p.b, format+"\n", args...) }

// paint colours a text, which does not change its width.
func (p *page) paint(colour, text string) string {
	if !p.colours || colour == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// wrapped writes text behind a head, breaking it at spaces; further lines begin below its first letter.
func (p *page) wrapped(head, text string) {
	width := len([]rune(head))
	at := width
	p.b.WriteString(head)
	for i, word := range strings.Fields(text) {
		n := len([]rune(word))
		switch {
		case i == 0:
		case at+1+n > columns:
			p.b.WriteString("\n" + strings.Repeat(" ", width))
			at = width
		default:
			p.b.WriteByte(' ')
			at++
		}
		p.b.WriteString(word)
		at += n
	}
	p.b.WriteByte('\n')
}

func (p *page) limits(r *Report) {
	if len(r.Limits) == 0 {
		return
	}
	p.line("\nwhat ends first          connections")
	for _, l := range r.Limits {
		colour, mark := green, " "
		if l.Conns < r.Wanted {
			colour = red
		}
		if l.Soft {
			mark = "~"
			if colour == red {
				colour = yellow
			}
		}
		row := fmt.Sprintf("  %-25s%s%s", l.Name, mark, p.paint(colour, fmt.Sprintf("%13s", short(l.Conns))))
		if l.How != "" {
			row += "  " + p.paint(dim, l.How)
		}
		p.line("%s", row)
	}
	if slices.ContainsFunc(r.Limits, func(l Limit) bool { return l.Soft }) {
		p.wrapped("  ~ ", "above it connections hold, but a message to all needs several rounds")
	}
}

func (p *page) findings(r *Report) {
	for _, f := range r.Findings {
		colour := map[Severity]string{Fails: red, Warns: yellow, Unknown: yellow}[f.Severity]
		p.line("\n%s  %s", p.paint(colour, fmt.Sprintf("%-7s", f.Severity)), f.head())
		p.wrapped("  why    ", f.Why)
		if len(f.Change) <= columns-9 {
			p.line("  do     %s", f.Change)
		} else {
			p.change(f.Change)
		}
	}
}

// change writes a long one: alternatives, apart by «; or », on lines of their own, prose wrapped, commands whole.
func (p *page) change(text string) {
	head := "  do     "
	for part := range strings.SplitSeq(text, "; or ") {
		if head != "  do     " {
			part = "or " + part
		}
		if strings.Contains(part, " > /sys/") || strings.Contains(part, "for q in") { // a command that cannot be broken
			p.line("%s%s", head, part)
		} else {
			p.wrapped(head, part)
		}
		head = "         "
	}
}

// verdict is the last paragraph: yes or no, and the one command that does most of it.
func (p *page) verdict(r *Report) {
	p.line("")
	switch {
	case r.Ends == "":
		p.answer(red, "CANNOT TELL", "nothing that limits connections could be read")
		return
	case !r.Failed(false):
		p.answer(green, "YES", fmt.Sprintf("this host holds %s connections; first to end: %s, at %s", grouped(r.Wanted), r.Ends, short(r.Holds)))
	case r.Holds >= r.Wanted:
		p.answer(red, "NO", "see "+r.Findings[0].Name+" above")
	default:
		p.answer(red, "NO", fmt.Sprintf("as it is, this host holds %s of %s connections; first to end: %s", short(r.Holds), grouped(r.Wanted), r.Ends))
	}
	if slices.ContainsFunc(r.Findings, func(f Finding) bool { return strings.HasPrefix(f.Change, "sysctl -w") }) {
		p.line("\nAll sysctls at once, and --rollback to take them back:")
		p.line("  shoal doctor --print=apply.sh >apply.sh")
		p.line("  sudo sh apply.sh --apply%s", r.flags())
	}
}

// answer writes one word in colour, and text behind it.
func (p *page) answer(colour, word, text string) {
	at := p.b.Len()
	p.wrapped(word+"  ", text)
	if rest := p.b.String()[at+len(word):]; p.colours {
		whole := p.b.String()[:at] + p.paint(colour, word) + rest
		p.b.Reset()
		p.b.WriteString(whole)
	}
}

// flags are those of apply.sh that make it size for the same.
func (r *Report) flags() (flags string) {
	if r.Wanted != 1_000_000 {
		flags += fmt.Sprintf(" --connections %d", r.Wanted)
	}
	if n := r.want.tables(); n > 1 {
		flags += fmt.Sprintf(" --processes %d", n)
	}
	if r.want.target() != Serve {
		flags += " --target " + r.Target
	}
	return flags
}
