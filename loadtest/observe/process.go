package observe

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"time"
)

// Process is what the kernel tells of a process, or of several together. Sizes are bytes.
type Process struct {
	PID       int           `json:"pid,omitempty"` // 0 = this process, or several
	CPU       time.Duration `json:"cpu_ns"`        // user and system time since its start
	RSS       int64         `json:"rss_bytes"`
	RSSAnon   int64         `json:"rss_anon_bytes"`
	RSSPeak   int64         `json:"rss_peak_bytes"`
	PSS       int64         `json:"pss_bytes,omitempty"`           // 0 when smaps_rollup may not be read
	Private   int64         `json:"private_dirty_bytes,omitempty"` // of smaps_rollup
	Threads   int64         `json:"threads"`
	Switches  int64         `json:"context_switches"`             // of the threads there are: it waited
	Preempted int64         `json:"involuntary_context_switches"` // others came before it
	PreciseNS bool          `json:"-"`                            // CPU is from schedstat, to the nanosecond, not from ticks
}

// ReadProcess reads /proc/PID; name is "self" or a number.
func ReadProcess(proc fs.FS, name string) (p Process, err error) {
	stat, err := fs.ReadFile(proc, path.Join(name, "stat"))
	if err != nil {
		return p, err
	}
	if p.CPU, err = cpuOfStat(string(stat)); err != nil {
		return p, err
	}
	if ns, ok := cpuOfTasks(proc, name); ok {
		p.CPU, p.PreciseNS = ns, true
	}
	status, err := fs.ReadFile(proc, path.Join(name, "status"))
	if err != nil {
		return p, err
	}
	fields(string(status), map[string]*int64{
		"VmRSS": &p.RSS, "RssAnon": &p.RSSAnon, "VmHWM": &p.RSSPeak, "Threads": &p.Threads,
		"voluntary_ctxt_switches": &p.Switches, "nonvoluntary_ctxt_switches": &p.Preempted, // of the main thread
	})
	p.switches(proc, name)
	if rollup, err := fs.ReadFile(proc, path.Join(name, "smaps_rollup")); err == nil { // needs the same user
		fields(string(rollup), map[string]*int64{"Pss": &p.PSS, "Private_Dirty": &p.Private})
	}
	return p, nil
}

// ReadProcesses reads several and adds them up.
func ReadProcesses(proc fs.FS, pids []int) (sum Process, each []Process, err error) {
	for _, pid := range pids {
		p, err := ReadProcess(proc, strconv.Itoa(pid))
		if err != nil {
			return sum, each, err
		}
		p.PID = pid
		sum.add(&p)
		each = append(each, p)
	}
	if len(pids) == 1 {
		sum = each[0]
	}
	return sum, each, nil
}

func (p *Process) add(q *Process) {
	p.CPU += q.CPU
	p.RSS += q.RSS
	p.RSSAnon += q.RSSAnon
	p.RSSPeak += q.RSSPeak
	p.PSS += q.PSS
	p.Private += q.Private
	p.Threads += q.Threads
	p.Switches += q.Switches
	p.Preempted += q.Preempted
	p.PreciseNS = q.PreciseNS
}

// switches adds up those of all threads; where that cannot be read, it is left at those of the main thread.
func (p *Process) switches(proc fs.FS, name string) {
	tasks, err := fs.ReadDir(proc, path.Join(name, "task"))
	if err != nil {
		return
	}
	var own, others int64
	for _, t := range tasks {
		if status, err := fs.ReadFile(proc, path.Join(name, "task", t.Name(), "status")); err == nil { // else it has ended meanwhile
			var v, n int64
			fields(string(status), map[string]*int64{"voluntary_ctxt_switches": &v, "nonvoluntary_ctxt_switches": &n})
			own, others = own+v, others+n
		}
	}
	if own+others > 0 {
		p.Switches, p.Preempted = own, others
	}
}

// fields fills in «Name: number [kB]» lines.
func fields(text string, into map[string]*int64) {
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(line, ":")
		at, wanted := into[name]
		if !wanted {
			continue
		}
		value, isKB := strings.CutSuffix(strings.TrimSpace(value), " kB")
		n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
		if err != nil {
			continue
		}
		if isKB {
			n *= 1024
		}
		*at = n
	}
}

// clockTick is 1/USER_HZ, which is 100 on every architecture Linux has today (proc(5)).
const clockTick = 10 * time.Millisecond

var errStat = errors.New("/proc/PID/stat is not in its known form")

// cpuOfStat adds utime and stime, fields 14 and 15; the second field may contain spaces and parentheses.
func cpuOfStat(stat string) (time.Duration, error) {
	end := strings.LastIndexByte(stat, ')')
	if end < 0 {
		return 0, errStat
	}
	f := strings.Fields(stat[end+1:])
	if len(f) < 13 {
		return 0, errStat
	}
	user, err1 := strconv.ParseInt(f[11], 10, 64)
	system, err2 := strconv.ParseInt(f[12], 10, 64)
	if err1 != nil || err2 != nil {
		return 0, errStat
	}
	return time.Duration(user+system) * clockTick, nil
}

// cpuOfTasks adds the run time of all threads from schedstat, which has nanoseconds where stat has hundredths of a second. The
// time of threads that have ended is missing; Go's hardly ever end.
func cpuOfTasks(proc fs.FS, name string) (sum time.Duration, ok bool) {
	tasks, err := fs.ReadDir(proc, path.Join(name, "task"))
	if err != nil {
		return 0, false
	}
	for _, t := range tasks {
		text, err := fs.ReadFile(proc, path.Join(name, "task", t.Name(), "schedstat"))
		if errors.Is(err, fs.ErrNotExist) {
			if len(tasks) == 1 {
				return 0, false
			}
			continue // it ended meanwhile, or the kernel keeps no schedstat: then all are missing
		}
		f := strings.Fields(string(text))
		if err != nil || len(f) != 3 {
			return 0, false
		}
		ns, err := strconv.ParseInt(f[0], 10, 64)
		if err != nil {
			return 0, false
		}
		sum += time.Duration(ns)
	}
	return sum, sum > 0
}

// usageOf is the processor time and the resident memory of processes, from as few files as there are; 0 when one cannot be read.
func usageOf(proc fs.FS, pids []int) (cpu time.Duration, rss int64) {
	for _, pid := range pids {
		c, r := usage(proc, strconv.Itoa(pid))
		if c == 0 {
			return 0, 0
		}
		cpu, rss = cpu+c, rss+r
	}
	return cpu, rss
}

func usage(proc fs.FS, name string) (cpu time.Duration, rss int64) {
	stat, err := fs.ReadFile(proc, path.Join(name, "stat"))
	if err != nil {
		return 0, 0
	}
	if cpu, err = cpuOfStat(string(stat)); err != nil {
		return 0, 0
	}
	if f := strings.Fields(string(stat)[strings.LastIndexByte(string(stat), ')')+1:]); len(f) > 21 {
		pages, _ := strconv.ParseInt(f[21], 10, 64) // field 24
		rss = pages * int64(os.Getpagesize())
	}
	if ns, ok := cpuOfTasks(proc, name); ok {
		cpu = ns
	}
	return cpu, rss
}

// Parent is the process that started one, 0 when that is not known.
func Parent(proc fs.FS, pid int) int {
	stat, err := fs.ReadFile(proc, path.Join(strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0
	}
	f := strings.Fields(string(stat)[strings.LastIndexByte(string(stat), ')')+1:])
	if len(f) < 2 {
		return 0
	}
	parent, _ := strconv.Atoi(f[1])
	return parent
}
