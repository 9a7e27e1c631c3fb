package observe

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"shoal/loadtest/engine/answer"
)

// Source is where the target tells its metrics.
type Source struct {
	Remote netip.AddrPort
	Host   string
	Path   string // with the query
}

// Measures are the values of metrics by name and, within, by their labels as they were written; nil when there are none.
type Measures map[string]map[string]float64

// sum is the value of a metric over all its labels.
func (m Measures) sum(name string) (sum float64) {
	for _, v := range m[name] {
		sum += v
	}
	return sum
}

// by are the values of a metric by one of its labels, summed over the others.
func (m Measures) by(name, label string) map[string]float64 {
	all := map[string]float64{}
	for labels, v := range m[name] {
		all[labelOf(labels, label)] += v
	}
	return all
}

// labelOf finds a label in «a="x",b="y"»; values with quotes or commas in them are none of the target's.
func labelOf(labels, name string) string {
	for one := range strings.SplitSeq(labels, ",") {
		if key, value, _ := strings.Cut(one, "="); strings.TrimSpace(key) == name {
			return strings.Trim(value, `"`)
		}
	}
	return ""
}

const metricsTime = 5 * time.Second

// Read asks for the metrics.
func (s Source) Read(ctx context.Context) (Measures, error) {
	ctx, cancel := context.WithTimeout(ctx, metricsTime)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.Remote.String())
	if err != nil {
		return nil, fmt.Errorf("--metrics: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if _, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", s.Path, s.Host); err != nil {
		return nil, fmt.Errorf("--metrics: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(conn, 8<<20))
	if err != nil {
		return nil, fmt.Errorf("--metrics: %w", err)
	}
	r, n, err := answer.Parse(text)
	if err != nil || n == 0 || r.Code != 200 {
		return nil, fmt.Errorf("--metrics: http://%s%s has none (status %d)", s.Host, s.Path, r.Code)
	}
	return parse(r.Body), nil
}

// parse reads the text format of Prometheus: name, labels, value.
func parse(text []byte) Measures {
	m := Measures{}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		line := lines.Text()
		if strings.HasPrefix(line, "#") {
			continue
		}
		name := line[:max(strings.IndexAny(line, "{ "), 0)]
		end := max(strings.LastIndexByte(line, '}')+1, len(name))
		labels := strings.Trim(line[len(name):end], "{}")
		f := strings.Fields(line[end:])
		if len(f) == 0 {
			continue
		}
		if v, err := strconv.ParseFloat(f[0], 64); err == nil {
			if m[name] == nil {
				m[name] = map[string]float64{}
			}
			m[name][labels] += v
		}
	}
	return m
}
