package loadtest

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"shoal/loadtest/engine/answer"
)

// source is where the target tells its metrics.
type source struct {
	remote netip.AddrPort
	host   string
	path   string
}

func (c *Config) metricsSource(t target) (s source, err error) {
	if c.Metrics == "" {
		return source{t.remote, t.host, "/metrics"}, nil
	}
	u, err := url.Parse(c.Metrics)
	if err != nil || u.Scheme != "http" {
		return s, fmt.Errorf("--metrics %q is no plain HTTP address; write it as http://host:port/metrics", c.Metrics)
	}
	if s.remote, err = lookUp(context.Background(), u); err != nil {
		return s, fmt.Errorf("--metrics %q: %w", c.Metrics, err)
	}
	s.host, s.path = u.Host, u.RequestURI()
	return s, nil
}

// measures are the sums of metrics over their labels, by name; nil when there are none.
type measures map[string]float64

const metricsTime = 5 * time.Second

// read asks for the metrics.
func (s source) read(ctx context.Context) (measures, error) {
	ctx, cancel := context.WithTimeout(ctx, metricsTime)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.remote.String())
	if err != nil {
		return nil, fmt.Errorf("--metrics: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if _, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", s.path, s.host); err != nil {
		return nil, fmt.Errorf("--metrics: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(conn, 8<<20))
	if err != nil {
		return nil, fmt.Errorf("--metrics: %w", err)
	}
	r, n, err := answer.Parse(text)
	if err != nil || n == 0 || r.Code != 200 {
		return nil, fmt.Errorf("--metrics: http://%s%s has none (status %d)", s.host, s.path, r.Code)
	}
	return parseMeasures(r.Body), nil
}

// parseMeasures reads the text format of Prometheus: name, labels, value.
func parseMeasures(text []byte) measures {
	m := measures{}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		line := lines.Text()
		if strings.HasPrefix(line, "#") {
			continue
		}
		name := line[:max(strings.IndexAny(line, "{ "), 0)]
		rest := line[max(strings.LastIndexByte(line, '}')+1, len(name)):]
		f := strings.Fields(rest)
		if len(f) == 0 {
			continue
		}
		if v, err := strconv.ParseFloat(f[0], 64); err == nil {
			m[name] += v
		}
	}
	return m
}

// writes is what the target wrote for its deliveries between two readings; nil when it does not say.
func writes(before, after measures) *Writes {
	const deliveries, write, writev = "shoal_deliveries_total", "shoal_loop_writes_total", "shoal_loop_writevs_total"
	grown := func(name string) float64 { return after[name] - before[name] }
	if before == nil || after == nil || grown(deliveries) <= 0 {
		return nil
	}
	w := &Writes{Deliveries: grown(deliveries), Calls: grown(write) + grown(writev), LagMS: 1e3 * after["shoal_loop_tick_lag_seconds"]}
	w.PerDelivery = w.Calls / w.Deliveries
	return w
}

// accepts are the kernel's counters of connections that found an accept queue full.
type accepts struct {
	known           bool
	overflows, lost int64
}

// readAccepts reads /proc/net/netstat: of the server's process when it is known, since containers have their own.
func readAccepts(proc fs.FS, pid int) (a accepts) {
	name := "net/netstat"
	if pid > 0 {
		name = path.Join(strconv.Itoa(pid), name)
	}
	text, err := fs.ReadFile(proc, name)
	if err != nil {
		return a
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] != "TcpExt:" {
			continue
		}
		if names == nil {
			names = f
			continue
		}
		for i, v := range f[:min(len(f), len(names))] {
			n, _ := strconv.ParseInt(v, 10, 64)
			switch names[i] {
			case "ListenOverflows":
				a.overflows, a.known = n, true
			case "ListenDrops":
				a.lost = n
			}
		}
	}
	return a
}
