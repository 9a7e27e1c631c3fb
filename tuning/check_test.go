package tuning

import (
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

func TestCheckNamesTheLimitsInTheWay(t *testing.T) {
	roomy := Host{Descriptors: 1 << 21, FilesMax: 1 << 22, PerProcess: 1 << 21, SoMaxConn: 4096, SynBacklog: 8192}
	with := func(change func(*Host)) Host {
		h := roomy
		change(&h)
		return h
	}
	for _, c := range []struct {
		name string
		host Host
		want Want
		find []string // names, worst first
	}{
		{"a roomy host", roomy, Want{Conns: 1_000_000}, nil},
		{"an unknown host", Host{}, Want{Conns: 1_000_000}, nil},
		{"the usual limit", with(func(h *Host) { h.Descriptors = 1024 }), Want{}, []string{"RLIMIT_NOFILE"}},
		{"enough for a small server", with(func(h *Host) { h.Descriptors = 1024 }), Want{Conns: 500}, nil},
		{"exactly enough", with(func(h *Host) { h.Descriptors = 1256 }), Want{Conns: 1000}, nil},
		{"one too few", with(func(h *Host) { h.Descriptors = 1255 }), Want{Conns: 1000}, []string{"RLIMIT_NOFILE"}},
		{"a million on a stock kernel", Host{Descriptors: 20_000, PerProcess: 20_000, FilesMax: 100_000, SoMaxConn: 128, SynBacklog: 256},
			Want{Conns: 1_000_000},
			[]string{"RLIMIT_NOFILE", "fs.nr_open", "fs.file-max", "net.core.somaxconn", "net.ipv4.tcp_max_syn_backlog"}},
		{"a longer queue than there is", roomy, Want{ListenBacklog: 5000}, []string{"net.core.somaxconn"}},
	} {
		var names []string
		for _, f := range Check(c.host, c.want) {
			names = append(names, f.Name)
			if f.Why == "" || f.Change == "" || !strings.Contains(f.String(), f.Change) {
				t.Errorf("%s: finding %+v does not say why and what to change", c.name, f)
			}
		}
		if !slices.Equal(names, c.find) {
			t.Errorf("%s: found %q, want %q", c.name, names, c.find)
		}
	}
}

func TestSysctlsAreReadAndOddOnesIgnored(t *testing.T) {
	var h Host
	h.readSysctls(fstest.MapFS{
		"net/core/somaxconn": {Data: []byte("4096\n")},
		"fs/nr_open":         {Data: []byte("many\n")},
	})
	if want := (Host{SoMaxConn: 4096}); h != want {
		t.Errorf("got %+v, want %+v", h, want)
	}
}

func TestLinuxTellsItsLimits(t *testing.T) {
	h := ReadHost()
	if known := h.Descriptors > 0 && h.FilesMax > 0; known != (runtime.GOOS == "linux") {
		t.Errorf("on %s ReadHost gives %+v", runtime.GOOS, h)
	}
}
