package command

import (
	"errors"
	"fmt"
	"io"
	"os"

	"shoal/tuning"
)

// doctorCommand says what stands in the way of many connections on this host.
type doctorCommand struct {
	Connections int    `short:"n" default:"1000000" help:"Connections the host is to hold (${default})."`
	Processes   int    `default:"1" help:"Processes they are spread over (${default})."`
	Loops       int    `default:"1" help:"Loops of each process that have descriptors of their own (loop.own_descriptors)."`
	Target      string `default:"serve" enum:"serve,loadtest,both" help:"What is to hold them: serve, loadtest (who dials needs ports), or both on this host (two ends of each)."`
	Sources     int    `default:"1" help:"loadtest: source addresses to dial from (${default})."`
	Strict      bool   `help:"Fail for warnings, and for what could not be read, as well."`
	JSON        bool   `name:"json" help:"Write JSON."`
	Root        string `default:"/" placeholder:"DIR" help:"Judge a copy of another host's /proc and /sys below DIR."`
	Print       string `placeholder:"FILE" help:"Print a file for tuning and end: apply.sh, sysctl, limits or unit."`
}

// Help is the text below the flags.
func (doctorCommand) Help() string {
	return "The exit code is 1 when the host cannot hold the connections. Nothing is changed: «shoal doctor --print=apply.sh» " +
		"prints a script that does, and takes it back."
}

// Run writes the report.
func (c *doctorCommand) Run(to Process) error {
	if c.Print != "" {
		return c.print(to.Out)
	}
	want, err := c.want()
	if err != nil {
		return usageError{err}
	}
	report := tuning.Diagnose(tuning.HostIn(os.DirFS(c.Root)), want)
	if c.JSON {
		err = report.WriteJSON(to.Out)
	} else {
		err = report.WriteText(to.Out, colourful(to.Out))
	}
	if err == nil && report.Failed(c.Strict) {
		err = fmt.Errorf("this host is not ready for %d connections: see above", c.Connections)
	}
	return err
}

// want is what the flags say.
func (c *doctorCommand) want() (tuning.Want, error) {
	for _, n := range []struct {
		flag  string
		value int
	}{{"connections", c.Connections}, {"processes", c.Processes}, {"loops", c.Loops}, {"sources", c.Sources}} {
		if n.value < 1 || n.value > 100_000_000 {
			return tuning.Want{}, fmt.Errorf("--%s %d: give a number from 1 to 100000000", n.flag, n.value)
		}
	}
	if info, err := os.Stat(c.Root); err != nil || !info.IsDir() {
		return tuning.Want{}, fmt.Errorf("--root %s: there is no such directory; give one with proc and sys in it", c.Root)
	}
	target, err := tuning.ParseTarget(c.Target)
	return tuning.Want{Conns: c.Connections, Processes: c.Processes, Tables: c.Loops, Sources: c.Sources, Target: target}, err
}

func (c *doctorCommand) print(w io.Writer) error {
	text := tuning.File(c.Print)
	if text == "" {
		return usageError{errors.New("--print=" + c.Print + ": there are apply.sh, sysctl, limits and unit")}
	}
	_, err := io.WriteString(w, text)
	return err
}

// colourful says whether a person watches w, on something that knows colours and by their leave (no-color.org).
func colourful(w io.Writer) bool {
	return isTerminal(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}
