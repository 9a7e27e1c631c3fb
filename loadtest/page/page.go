package page

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"

	"shoal/loadtest"
)

//go:embed page.html
var layout string

//go:embed page.css
var styles string

//go:embed page.js
var script string

// Input is a report and what it is called beside others.
type Input struct {
	Name   string
	Report *loadtest.Report
}

var errNone = errors.New("page: there is no report to draw")

// Write writes the page: of one report all there is, of several what differs.
func Write(w io.Writer, reports ...Input) error {
	if len(reports) == 0 {
		return errNone
	}
	v := single(reports[0].Report)
	if len(reports) > 1 {
		v = compare(reports)
	}
	v.Styles, v.Script = template.CSS(styles), template.JS(script) // both are of this package
	t, err := template.New("page").Parse(layout)
	if err != nil {
		return fmt.Errorf("page: %w", err)
	}
	if err := t.Execute(w, v); err != nil {
		return fmt.Errorf("page: %w", err)
	}
	return nil
}

// Read reads a stored report.
func Read(name string, r io.Reader) (Input, error) {
	in := Input{Name: name, Report: &loadtest.Report{}}
	if err := json.NewDecoder(r).Decode(in.Report); err != nil {
		return in, fmt.Errorf("%s is no report of a load test: %w; name a file that «shoal loadtest --json FILE» has written", name, err)
	}
	if in.Report.Scenario == "" {
		return in, fmt.Errorf("%s is no report of a load test: it names no scenario; name a file that «shoal loadtest --json FILE» has written", name)
	}
	return in, nil
}

// view is the page as the layout takes it.
type view struct {
	Title    string
	Kicker   string // above the title
	Mood     string // good, bad or note
	Verdict  string
	Headline string
	Failures []string
	More     int // failures that are not listed
	Cards    []card
	Facts    []pair
	Sections []section
	Foot     string
	Styles   template.CSS
	Script   template.JS
}

// card is a figure that is seen first.
type card struct{ Name, Value, Note string }

type pair struct{ Name, Value string }

// section is a part of the page; one without content is not shown.
type section struct {
	ID, Title, Intro string
	Figures          []figure
	Beside           []grid // beside the last figure, where that would be alone
	Grids            []grid
}

// figure is a drawing with its data.
type figure struct {
	ID, Title, Note string
	Legend          []legend
	Wide, Narrow    template.HTML
	Points          *points // for the pointer; nil = a bar chart, which has its values written on it
	Data            grid
}

type legend struct{ Class, Name string }

// grid is a table. The first column names the row.
type grid struct {
	ID, Caption string
	Head        []string
	Rows        []row
	Text        bool // all columns are words, not numbers
}

type row struct {
	Cells []string
	Mood  string // bad, good, or none
}

// add adds a section that has something.
func (v *view) add(s section) {
	figures, grids := s.Figures[:0:0], s.Grids[:0:0]
	for _, f := range s.Figures {
		if f.Wide != "" {
			figures = append(figures, f)
		}
	}
	for _, g := range s.Grids {
		if len(g.Rows) > 0 {
			grids = append(grids, g)
		}
	}
	if s.Figures, s.Grids = figures, grids; len(figures)+len(grids) > 0 {
		if len(figures)%2 == 1 && len(grids) > 0 {
			s.Beside, s.Grids = grids[:1], grids[1:]
		}
		v.Sections = append(v.Sections, s)
	}
}
