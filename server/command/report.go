package command

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"shoal/loadtest/page"
)

// reportCommand makes a page of stored reports.
type reportCommand struct {
	Files []string `arg:"" name:"report.json" help:"Reports that «shoal loadtest --json FILE» wrote; - is standard input."`
	Out   string   `short:"o" default:"-" placeholder:"FILE" help:"Write the page there; - is standard output."`
}

// Help is the text below the flags.
func (reportCommand) Help() string {
	return "Of one report the page shows all there is. Of several it compares what a connection, a delivery and a heartbeat cost; put that with the fewest " +
		"connections first: «shoal report 15000.json 1000000.json > growth.html». The page is one file and needs no network."
}

// Run reads the reports and writes the page.
func (c reportCommand) Run(to Process) error {
	var all []page.Input
	for _, name := range c.Files {
		in, err := readReport(name, to.In)
		if err != nil {
			return usageError{err}
		}
		all = append(all, in)
	}
	if c.Out == "-" {
		return page.Write(to.Out, all...)
	}
	f, err := os.Create(c.Out)
	if err != nil {
		return usageError{fmt.Errorf("--out: %w; name a file that can be written", err)}
	}
	return errors.Join(page.Write(f, all...), f.Close())
}

// readReport reads one, called as its file without the ending.
func readReport(name string, in io.Reader) (page.Input, error) {
	if name == "-" {
		return page.Read("standard input", in)
	}
	f, err := os.Open(name)
	if err != nil {
		return page.Input{}, fmt.Errorf("the report cannot be read: %w; name a file that «shoal loadtest --json FILE» has written", err)
	}
	defer f.Close()
	return page.Read(strings.TrimSuffix(filepath.Base(name), ".json"), f)
}
