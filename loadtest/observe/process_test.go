package observe

import (
	"io/fs"
	"os"
	"runtime"
	"testing"
	"testing/fstest"
	"time"
)

func procOf(files map[string]string) fs.FS {
	m := fstest.MapFS{}
	for name, text := range files {
		m[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return m
}

func TestProcessIsReadFromProc(t *testing.T) {
	const stat = "7 (a (strange) name) S 1 7 7 0 -1 4194560 2105 0 0 0 123 45 0 0 20 0 9 0 1 2 3"
	p, err := ReadProcess(procOf(map[string]string{
		"7/stat":              stat,
		"7/status":            "Name:\tx\nVmHWM:\t    4000 kB\nVmRSS:\t    3000 kB\nRssAnon:\t    2000 kB\nThreads:\t9\nvoluntary_ctxt_switches:\t77\nnonvoluntary_ctxt_switches:\t7\n",
		"7/smaps_rollup":      "00-ff ---p 00000000 00:00 0 [rollup]\nRss: 3000 kB\nPss: 2500 kB\nPrivate_Dirty: 1900 kB\n",
		"7/task/7/schedstat":  "1500000000 1 2\n",
		"7/task/11/schedstat": "190000000 1 2\n",
		"7/task/7/status":     "voluntary_ctxt_switches:\t77\nnonvoluntary_ctxt_switches:\t7\n",
		"7/task/11/status":    "voluntary_ctxt_switches:\t23\nnonvoluntary_ctxt_switches:\t1\n",
	}), "7")
	want := Process{
		CPU: 1690 * time.Millisecond, RSS: 3000 << 10, RSSAnon: 2000 << 10, RSSPeak: 4000 << 10, PSS: 2500 << 10, Private: 1900 << 10, Threads: 9,
		Switches: 100, Preempted: 8, PreciseNS: true,
	}
	if err != nil || p != want {
		t.Errorf("%+v %v\nwant %+v", p, err, want)
	}
	p, err = ReadProcess(procOf(map[string]string{"7/stat": stat, "7/status": ""}), "7")
	if err != nil || p.CPU != 1680*time.Millisecond || p.PreciseNS {
		t.Errorf("without schedstat: %+v %v", p, err)
	}
	for _, bad := range []string{"", "7 x S 1", "7 (x) S 1 2 3", "7 (x) S 1 7 7 0 -1 4194560 2105 0 0 0 a b 0"} {
		if _, err := ReadProcess(procOf(map[string]string{"7/stat": bad, "7/status": ""}), "7"); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestAProcessNamesItsParent(t *testing.T) {
	proc := procOf(map[string]string{"7/stat": "7 (a (strange) name) S 42 7", "8/stat": "8 (x)", "9/stat": ""})
	for pid, want := range map[int]int{7: 42, 8: 0, 9: 0, 10: 0} {
		if got := Parent(proc, pid); got != want {
			t.Errorf("%d: %d, want %d", pid, got, want)
		}
	}
}

func TestSeveralProcessesAreListedAndAddedUp(t *testing.T) {
	files := map[string]string{}
	for _, pid := range []string{"7", "8"} {
		files[pid+"/stat"] = pid + " (x) S 1 7 7 0 -1 4194560 2105 0 0 0 100 20 0 0 20 0 9 0 1 2 3"
		files[pid+"/status"] = "VmHWM: 4 kB\nVmRSS: 3 kB\nRssAnon: 2 kB\nThreads: " + pid + "\nvoluntary_ctxt_switches: 5\nnonvoluntary_ctxt_switches: 1\n"
		files[pid+"/smaps_rollup"] = "Pss: 2 kB\nPrivate_Dirty: 1 kB\n"
	}
	sum, each, err := ReadProcesses(procOf(files), []int{7, 8})
	want := Process{CPU: 2400 * time.Millisecond, RSS: 6 << 10, RSSAnon: 4 << 10, RSSPeak: 8 << 10, PSS: 4 << 10, Private: 2 << 10, Threads: 15, Switches: 10, Preempted: 2}
	if err != nil || sum != want || len(each) != 2 || each[0].PID != 7 || each[1].PID != 8 || each[1].Threads != 8 {
		t.Errorf("%+v of %+v, %v", sum, each, err)
	}
	if sum, each, err := ReadProcesses(procOf(files), []int{8}); err != nil || sum != each[0] || sum.PID != 8 {
		t.Errorf("one: %+v, %v", sum, err)
	}
	if _, _, err := ReadProcesses(procOf(files), []int{7, 9}); err == nil {
		t.Error("a process that is not there was read")
	}
}

func TestThisProcessCanBeRead(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("/proc is Linux's")
	}
	p, err := ReadProcess(os.DirFS("/proc"), "self")
	if err != nil || p.RSS == 0 || p.RSSAnon == 0 || p.RSS > p.RSSPeak || p.Threads == 0 || p.CPU <= 0 {
		t.Errorf("%+v %v", p, err)
	}
}
