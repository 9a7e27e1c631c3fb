package loadtest

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"shoal/tuning"
)

func TestHostsThatAreTooSmallAreRefused(t *testing.T) {
	host := tuning.Host{Sysctls: map[string][]uint64{"net.ipv4.ip_local_port_range": {32768, 60999}}}
	for _, c := range []struct {
		conns       int
		descriptors uint64
		sources     int
		want        string // "" = enough
	}{
		{20_000, 20_064, 40, ""}, {20_000, 20_063, 40, "--connections 19999"}, {20_000, 0, 40, ""}, {20_000, 10, 0, "--connections 0"},
		{28_232, 0, 0, ""}, {28_233, 0, 1, "28232"}, {56_464, 0, 2, ""}, {56_465, 0, 2, "--sources"},
	} {
		host.Descriptors = c.descriptors
		err := demand{c.conns, c.sources, true}.checkLimits(host, 1)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	for _, odd := range [][]uint64{nil, {9}, {9, 3}} {
		host := tuning.Host{Sysctls: map[string][]uint64{"net.ipv4.ip_local_port_range": odd}}
		if err := (demand{1 << 20, 1, true}).checkLimits(host, 1); err != nil {
			t.Errorf("%v: %v; what is not known is not judged", odd, err)
		}
	}
}

func TestTargetsAreUnderstood(t *testing.T) {
	for _, c := range []struct{ target, api, remote, host, path, apiHost, apiPath string }{
		{"127.0.0.1:81", "", "127.0.0.1:81", "127.0.0.1:81", "/connection/websocket", "127.0.0.1:81", "/api/publish"},
		{"ws://[::1]:81/x?y=1", "", "[::1]:81", "[::1]:81", "/x?y=1", "[::1]:81", "/api/publish"},
		{"ws://127.0.0.1", "", "127.0.0.1:80", "127.0.0.1", "/connection/websocket", "127.0.0.1", "/api/publish"},
		{"ws://:82/", "http://127.0.0.2:83/a/", "127.0.0.1:82", ":82", "/", "127.0.0.2:83", "/a/publish"},
	} {
		cfg := Config{Scenario: Fanout, Target: c.target, API: c.api, APIKey: "k"}
		got, err := cfg.resolve(t.Context(), true)
		if err != nil || got.remote.String() != c.remote || got.host != c.host || got.path != c.path || got.apis[0].Host != c.apiHost || got.apis[0].Path != c.apiPath || got.apis[0].Key != "k" {
			t.Errorf("%s: %+v %v", c.target, got, err)
		}
	}
	cfg := Config{Scenario: Fanout, APIKey: "a\r\nb"}
	if _, err := cfg.resolve(t.Context(), true); err == nil {
		t.Error("a key with a line break was accepted")
	}
	cfg = Config{Scenario: Fanout, API: "https://x/"}
	if _, err := cfg.resolve(t.Context(), true); err == nil {
		t.Error("an API over TLS was accepted")
	}
}

func TestAdviceKeepsTheError(t *testing.T) {
	base := fmt.Errorf("x: %w", fs.ErrPermission)
	if got := advise(base); got != base {
		t.Errorf("%v", got)
	}
	if got := advise(fmt.Errorf("too many open files: %w", fs.ErrPermission)); !strings.Contains(got.Error(), "ulimit") || !strings.HasPrefix(got.Error(), "too many") {
		t.Errorf("%v", got)
	}
	if advise(nil) != nil {
		t.Error("advice on nothing")
	}
}
