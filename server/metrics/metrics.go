package metrics

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"

	vm "github.com/VictoriaMetrics/metrics"
)

// labelsMax bounds the series of one family, in case a source gives labels that are no enumeration.
const labelsMax = 256

// labelsMore times as many series has a family for each further label.
const labelsMore = 16

// Registry writes the server's metrics. Make it with New; safe for concurrent use.
type Registry struct {
	sources  Sources
	families []family

	mu     sync.Mutex // one scrape at a time
	set    *vm.Set
	series map[string]setter // guarded by mu
	counts map[string]int    // series of each family; guarded by mu
}

// setter stores a value where the set will find it.
type setter func(value float64)

// New makes a registry over sources. It switches on TYPE lines, a setting the library has for the whole process.
func New(sources Sources) *Registry {
	vm.ExposeMetadata(true)
	return &Registry{
		sources: sources, families: families(), set: vm.NewSet(),
		series: map[string]setter{}, counts: map[string]int{},
	}
}

// WritePrometheus takes one snapshot from each source and writes every metric, then those of the Go runtime and the
// process, which stop the world for some ten microseconds. The library's count of open descriptors is left out: it lists
// a directory with an entry for every connection, and shoal_conns tells the same.
func (r *Registry) WritePrometheus(w io.Writer) error {
	var out bytes.Buffer
	r.writeServer(&out)
	vm.WriteProcessMetrics(&out)
	_, err := w.Write(out.Bytes())
	return err
}

// writeServer writes the metrics of the table.
func (r *Registry) writeServer(w io.Writer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sources.take()
	for i := range r.families {
		f := &r.families[i]
		if f.kind == histogram {
			continue
		}
		f.read(&s, func(label string, value float64) { r.store(f, label, value) })
	}
	r.set.WritePrometheus(w)
	for i := range r.families {
		if f := &r.families[i]; f.kind == histogram {
			writeHistogram(w, f, &s)
		}
	}
}

// writeHistogram writes what was counted elsewhere, which the library has no type for.
func writeHistogram(w io.Writer, f *family, s *snapshot) {
	first := true
	f.read(s, func(label string, value float64) {
		if first {
			first = false
			_, _ = fmt.Fprintf(w, "# HELP %s\n# TYPE %s histogram\n", f.name, f.name)
		}
		v := strconv.FormatFloat(value, 'f', -1, 64)
		if label == "sum" {
			_, _ = fmt.Fprintf(w, "%s_sum %s\n", f.name, v)
			return
		}
		_, _ = fmt.Fprintf(w, "%s_bucket{%s=%q} %s\n", f.name, f.label, label, v)
		if label == "+Inf" {
			_, _ = fmt.Fprintf(w, "%s_count %s\n", f.name, v)
		}
	})
}

func (r *Registry) store(f *family, label string, value float64) {
	name := f.name
	if f.label != "" {
		name += "{" + labels(f.label, label) + "}"
	}
	set, known := r.series[name]
	if !known {
		if r.counts[f.name] == labelsMax*(1+labelsMore*strings.Count(f.label, ",")) {
			return
		}
		r.counts[f.name]++
		set = r.register(f, name)
		r.series[name] = set
	}
	set(value)
}

// labels writes names and values, each joined by commas.
func labels(names, values string) string {
	var b strings.Builder
	for more := true; more; {
		var name, value string
		name, names, more = strings.Cut(names, ",")
		if value = values; more {
			value, values, _ = strings.Cut(values, ",")
		}
		b.WriteString(name + "=" + strconv.Quote(value))
		if more {
			b.WriteByte(',')
		}
	}
	return b.String()
}

func (r *Registry) register(f *family, name string) setter {
	if f.kind == counter {
		c := r.set.NewCounter(name)
		return func(value float64) { c.Set(uint64(value)) }
	}
	return r.set.NewGauge(name, nil).Set
}

// WriteNames writes the table of names: name, type, label and meaning, one a line.
func WriteNames(w io.Writer) error {
	for _, f := range families() {
		label := f.label
		if label == "" {
			label = "-"
		}
		if _, err := fmt.Fprintf(w, "%-40s %-8s %-8s %s\n", f.name, f.kind, label, f.help); err != nil {
			return err
		}
	}
	return nil
}
