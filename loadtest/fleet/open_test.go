package fleet

import (
	"net/netip"
	"strings"
	"testing"
	"testing/fstest"

	"shoal/loadtest/engine"
)

func TestAsManyProcessesAsAreNeeded(t *testing.T) {
	cfg := configOf(&book{}, 25)
	cfg.Resources.Limits[0].Conns = 10
	_, err := Open(t.Context(), cfg)
	says(t, err, "25 connections are more than the 10", "this process 10 (descriptors)")
	cfg.Command = selfWorker(t, "well")
	f, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	run(t, f)
	if n := len(f.Members()); n != 3 {
		t.Errorf("%d members", n)
	}
}

func TestWrongConfigurationsAreRefused(t *testing.T) {
	for _, c := range []struct {
		change func(*Config)
		want   string
	}{
		{func(c *Config) { c.Make = nil }, "make engines"},
		{func(c *Config) { c.Clock = nil }, "clock"},
		{func(c *Config) { c.Engine = engine.Config{} }, "0 connections"},
		{func(c *Config) { c.Workers = -1 }, "-1 workers"},
		{func(c *Config) { c.Workers = 1 }, "no command"},
		{func(c *Config) { c.EngineMax = -1 }, "of an engine"},
		{func(c *Config) { c.Hosts = 1 }, "come together"},
		{func(c *Config) { c.Elsewhere = true }, "no host carries"},
	} {
		cfg := configOf(&book{}, 10)
		c.change(&cfg)
		_, err := Open(t.Context(), cfg)
		says(t, err, c.want)
	}
}

func TestNamesOfHostsMayBeShown(t *testing.T) {
	for name, want := range map[string]string{"web-1": "web-1", "": "a host", "\x1b[2J": "?[2J", strings.Repeat("é", 90): strings.Repeat("é", 32)} {
		if got := readable(name); got != want {
			t.Errorf("%q: %q", name, got)
		}
	}
}

func TestResidentMemoryIsRead(t *testing.T) {
	root := fstest.MapFS{"proc/self/statm": {Data: []byte("100 50 20\n")}}
	if n := residentBytes(root); n == 0 || n%50 != 0 {
		t.Errorf("%d", n)
	}
	for _, odd := range []fstest.MapFS{{}, {"proc/self/statm": {Data: []byte("1")}}} {
		if n := residentBytes(odd); n != 0 {
			t.Errorf("%d", n)
		}
	}
}

func TestATargetOnLoopbackIsForOneHostOnly(t *testing.T) {
	for boot, refused := range map[string]bool{"a": false, "b": true, "": false} { // of the same kernel, of another, not known
		cfg := configOf(&book{}, 10)
		cfg.Engine.Remote = netip.MustParseAddrPort("127.0.0.1:8000")
		w := workerOf(&book{})
		w.Resources.Boot = boot
		_, err := tryPiped(t, cfg, w)
		if refused {
			says(t, err, "127.0.0.1 means another machine on worker 1", "--target")
		} else if err != nil {
			t.Errorf("%q: %v", boot, err)
		}
	}
}
