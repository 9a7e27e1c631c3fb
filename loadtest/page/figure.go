package page

import (
	"fmt"
	"html/template"
	"math"
	"strconv"

	"shoal/loadtest/chart"
)

// curve is a series of a figure.
type curve struct {
	name string
	x, y []float64
}

// plot is a figure to be made of curves.
type plot struct {
	id, title, note string
	x, y            string // what the axes show
	log             bool
	curves          []curve
	write           func(float64) string // writes a value of Y in the table and under the pointer; nil = as on the axis
	writeX          func(float64) string
	labelY, labelX  func(float64) string
	ticksX          []float64
	until           float64 // the axis of X goes from 0 to there at least; 0 = as far as there are points
	events          []chart.Event
}

// Sizes of the drawings: one for a narrow screen, one for a wider one. Both are in the page, and its style shows one.
const (
	wideWidth, wideHeight     = 660.0, 300.0
	narrowWidth, narrowHeight = 330.0, 250.0
	curvePoints               = 240 // at most, of one curve
	tableRows                 = 40  // at most, of the table behind a drawing
)

// points are a figure's for the pointer.
type points struct {
	X      string   `json:"x"`
	Series []series `json:"series"`
}

type series struct {
	Name string   `json:"name"`
	X    []short  `json:"x"`
	Y    []short  `json:"y"`
	Text []string `json:"text"`
	At   []string `json:"at"`
}

// short is a number of which four digits are written.
type short float64

// MarshalJSON implements json.Marshaler.
func (s short) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(s), 'g', 5, 64), nil
}

// figure draws a plot; it is empty when no curve has two points and something above zero.
func (p plot) figure() figure {
	var kept []curve
	for _, c := range p.curves {
		if len(c.x) >= 2 && peak(c.y) > 0 {
			kept = append(kept, thin(c, curvePoints))
		}
	}
	f := figure{ID: p.id, Title: p.title, Note: p.note}
	if len(kept) == 0 {
		return f
	}
	if p.write == nil {
		p.write = p.labelY
	}
	if p.writeX == nil {
		p.writeX = func(v float64) string { return fmt.Sprintf("%.1f s", v) }
	}
	panel := chart.Panel{
		Name: p.id, X: p.x, Y: p.y, Log: p.log, LabelX: p.labelX, LabelY: p.labelY, TicksX: p.ticksX, HighX: p.until, Events: p.events,
	}
	var rows []chart.Row
	desc := ""
	f.Points = &points{X: p.x}
	for k, c := range kept {
		s := series{Name: c.name}
		for i := range c.x {
			if p.log && c.y[i] <= 0 {
				continue
			}
			rows = append(rows, chart.Row{Panel: p.id, Series: c.name, X: c.x[i], Y: c.y[i]})
			s.X, s.Y = append(s.X, short(c.x[i])), append(s.Y, short(c.y[i]))
			s.Text, s.At = append(s.Text, p.write(c.y[i])), append(s.At, p.writeX(c.x[i]))
		}
		f.Points.Series = append(f.Points.Series, s)
		f.Legend = append(f.Legend, legend{"s" + strconv.Itoa(k%5), c.name})
		desc += fmt.Sprintf("%s: at most %s, at the end %s. ", c.name, p.write(peak(c.y)), p.write(c.y[len(c.y)-1]))
	}
	f.Wide = p.draw("w", wideWidth, wideHeight, desc, panel, rows)
	f.Narrow = p.draw("n", narrowWidth, narrowHeight, desc, panel, rows)
	f.Data = p.table(kept)
	return f
}

func (p plot) draw(size string, width, height float64, desc string, panel chart.Panel, rows []chart.Row) template.HTML {
	in := chart.Inset{ID: p.id + "-" + size, Title: p.title, Desc: desc, Width: width, Height: height}
	return template.HTML(chart.Curves(in, panel, rows)) // chart escapes all text
}

// table is the data behind a drawing: a row for each X of the first curve, thinned out.
func (p plot) table(curves []curve) grid {
	g := grid{ID: p.id + "-data", Caption: p.title + ": the data", Head: []string{p.x}}
	for _, c := range curves {
		g.Head = append(g.Head, c.name)
	}
	first := thin(curves[0], tableRows)
	at := make([]int, len(curves))
	for _, x := range first.x {
		cells := []string{p.writeX(x)}
		for k, c := range curves {
			for at[k]+1 < len(c.x) && c.x[at[k]] < x {
				at[k]++
			}
			if math.Abs(c.x[at[k]]-x) > 1e-9 && len(c.x) != len(curves[0].x) && k > 0 && c.x[at[k]] < x {
				cells = append(cells, "–")
				continue
			}
			cells = append(cells, p.write(c.y[at[k]]))
		}
		g.Rows = append(g.Rows, row{Cells: cells})
	}
	return g
}

func peak(y []float64) (most float64) {
	for _, v := range y {
		most = max(most, v)
	}
	return most
}

// thin leaves at most n points of a curve: of several that become one the highest, so that no peak is lost, and the last.
func thin(c curve, n int) curve {
	if len(c.x) <= n {
		return c
	}
	out := curve{name: c.name}
	for i := range n {
		from, to := i*len(c.x)/n, (i+1)*len(c.x)/n
		best := from
		for k := from; k < to; k++ {
			if c.y[k] > c.y[best] {
				best = k
			}
		}
		out.x, out.y = append(out.x, c.x[best]), append(out.y, c.y[best])
	}
	if last := len(c.x) - 1; out.x[n-1] < c.x[last] {
		out.x[n-1], out.y[n-1] = c.x[last], c.y[last]
	}
	return out
}

// stack is a figure of bars.
type stack struct {
	id, title, note string
	parts           []string // of each bar
	bars            []chart.Bar
	limit           float64
	write           func(float64) string
}

func (s stack) figure() figure {
	f := figure{ID: s.id, Title: s.title, Note: s.note, Data: grid{ID: s.id + "-data", Caption: s.title + ": the data", Head: []string{""}}}
	if len(s.bars) == 0 {
		return f
	}
	desc := ""
	for _, b := range s.bars {
		desc += b.Name + ": " + b.Text + ". "
		cells := []string{b.Name}
		for k := range s.parts {
			cells = append(cells, s.write(b.Parts[k]))
		}
		if len(s.parts) > 1 {
			cells = append(cells, b.Text)
		}
		f.Data.Rows = append(f.Data.Rows, row{Cells: cells})
	}
	for k, name := range s.parts {
		f.Legend = append(f.Legend, legend{"s" + strconv.Itoa(k%5), name})
		f.Data.Head = append(f.Data.Head, name)
	}
	if len(s.parts) > 1 {
		f.Data.Head = append(f.Data.Head, "all")
	} else {
		f.Legend = nil
	}
	draw := func(size string, width float64) template.HTML {
		in := chart.Inset{ID: s.id + "-" + size, Title: s.title, Desc: desc, Width: width}
		return template.HTML(chart.Bars(in, s.bars, s.limit)) // chart escapes all text
	}
	f.Wide, f.Narrow = draw("w", wideWidth), draw("n", narrowWidth)
	return f
}
