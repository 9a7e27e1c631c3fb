package compat_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/centrifugal/protocol"
	fdelta "github.com/shadowspore/fossil-delta"
)

// normal writes a tree in which what differs from run to run has a label: client ids are
// called after their connections, epochs by their order, times and versions by what they
// are. Differences (Fossil) are replaced by what they make, because there is more than
// one for the same result.
func (p *player) normal(w *wire, tree map[string]any, channel string) string {
	if c, ok := tree["connect"].(map[string]any); ok && w != nil {
		if id, ok := c["client"].(string); ok {
			p.names[id] = "<" + w.name + ">"
			p.vars[w.name] = id
		}
		subs, _ := c["subs"].(map[string]any)
		for name, sub := range subs {
			p.patched(w, sub, name)
		}
	}
	if w != nil {
		p.patched(w, tree["subscribe"], channel)
		p.patch(w, tree["pub"], channel)
	}
	return render(p.labelled("", channel, tree))
}

// patched applies the differences in a subscribe result.
func (p *player) patched(w *wire, result any, channel string) {
	r, _ := result.(map[string]any)
	if r["delta"] == true {
		p.deltas[w.name+" "+channel] = true
	}
	pubs, _ := r["publications"].([]any)
	for _, pub := range pubs {
		p.patch(w, pub, channel)
	}
}

// patch replaces a difference by what it makes.
func (p *player) patch(w *wire, publication any, channel string) {
	pub, ok := publication.(map[string]any)
	if !ok {
		return
	}
	key := w.name + " " + channel
	data, isText := pub["data"].(string)
	if !isText {
		data = render(pub["data"])
	}
	if pub["delta"] == true {
		made, err := fdelta.Apply([]byte(p.last[key]), []byte(data))
		if err != nil {
			made = fmt.Appendf(nil, "no difference from %q: %v: %q", p.last[key], err, data)
		}
		data = string(made)
		pub["data"] = data
	}
	if p.deltas[key] && p.enc == protocol.TypeProtobuf {
		pub["data"] = data // as JSON clients get it
	}
	p.last[key] = data
}

// labelled replaces what differs from run to run. Epochs have a label for each channel:
// whether two channels share one is the server's matter.
func (p *player) labelled(key, channel string, v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for _, k := range slices.Sorted(maps.Keys(v)) { // epochs get their labels in this order
			value, of := v[k], channel
			if key == "subs" {
				of = k
			}
			if label, ok := p.names[k]; ok {
				k = label
			}
			out[k] = p.labelled(k, of, value)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = p.labelled(key, channel, v[i])
		}
		return out
	case string:
		if label, ok := p.names[v]; ok {
			return label
		}
		switch key {
		case "epoch":
			return p.epoch(channel, v)
		case "version", "node", "session":
			return "<" + key + ">"
		}
		return v
	case json.Number:
		return number(key, v)
	}
	return v
}

// epoch labels the epoch of a channel, and makes it known to the script.
func (p *player) epoch(channel, v string) string {
	if v == "" || strings.HasPrefix(v, "<") {
		return v
	}
	id := "epoch of " + channel + " " + v
	if p.names[id] == "" {
		n := 1
		for p.vars[fmt.Sprintf("E%d", n)] != "" {
			n++
		}
		p.vars[fmt.Sprintf("E%d", n)], p.names[id] = v, fmt.Sprintf("<E%d>", n)
	}
	return p.names[id]
}

// number forgives a second in times to live, and has no use for points in time.
func number(key string, v json.Number) any {
	switch key {
	case "time":
		return "<time>"
	case "ttl":
		if n, err := v.Int64(); err == nil {
			return (n + 4) / 5 * 5
		}
	}
	return v
}

// difference tells how two transcripts differ: lines of the reference only begin with -,
// those of Shoal only with +. It is empty when they do not differ, or only as the rows of
// testdata/allowed.txt say, which are marked as used.
func difference(t testing.TB, sc *script, ref, shoal []record, allowed *allowances) string {
	var b strings.Builder
	for i := range ref {
		lines := compare(ref[i].lines, shoal[i].lines)
		if lines == nil || allowed.has(sc.name, ref[i].text, lines) {
			continue
		}
		fmt.Fprintf(&b, "\n%s @ %s\n", sc.name, ref[i].text)
		for _, line := range lines {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

// compare gives the lines that only one side has, with their order when only that differs;
// nil when there is no difference.
func compare(ref, shoal []string) (out []string) {
	if slices.Equal(ref, shoal) {
		return nil
	}
	for _, line := range ref {
		if !slices.Contains(shoal, line) {
			out = append(out, "- "+line)
		}
	}
	for _, line := range shoal {
		if !slices.Contains(ref, line) {
			out = append(out, "+ "+line)
		}
	}
	if out != nil {
		return out
	}
	for _, line := range ref {
		out = append(out, "- "+line)
	}
	for _, line := range shoal {
		out = append(out, "+ "+line)
	}
	return out
}
