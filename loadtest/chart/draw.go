package chart

import (
	"bytes"
	"fmt"
	"html"
	"math"
	"slices"

	"shoal/loadtest/units"
)

// Figure says how a table is drawn: side by side, a panel for each kind of value.
type Figure struct {
	Name   string // of its files
	Title  string
	Note   string // below: how it was measured
	Panels []Panel
}

// Panel is one pair of axes. Series are drawn in the order in which they first come.
type Panel struct {
	Name    string // as in the table
	X, Y    string // what the axes show, with the unit
	Each    bool   // X are a few choices, as far apart from each other as the next; else a scale
	Log     bool   // of Y, which begins at the power of ten below its least
	Dots    bool   // mark every point
	From    float64
	To      float64 // From to To is shaded, when it is above From
	Between string  // what happens there

	LabelX, LabelY func(float64) string // write a tick; nil = units.Number
	TicksX         []float64            // nil = round ones
	LowX, HighX    float64              // the axis of X goes from one to the other at least
	Events         []Event
}

// Event is something that happened at an X: a line from top to bottom.
type Event struct {
	At   float64
	Name string
}

const (
	width, height = 880.0, 380.0
	left, right   = 62.0, 16.0
	top, bottom   = 84.0, 78.0
	spanTicks     = 5
)

// style makes one drawing readable on light and on dark pages: a picture in a page follows the reader's preference.
const style = `<style>
svg{font:12px system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",sans-serif}
.bg{fill:#ffffff}.t{fill:#1f2328}.m{fill:#59636e}.g{stroke:#d1d9e0}.a{stroke:#818b98}.span{fill:#818b98;opacity:.14}
.l{fill:none;stroke-width:2;stroke-linejoin:round}
.s0{stroke:#0969da;color:#0969da}.s1{stroke:#c4432b;color:#c4432b}.s2{stroke:#1a7f37;color:#1a7f37}
.s3{stroke:#8250df;color:#8250df}.s4{stroke:#9a6700;color:#9a6700}
.d{fill:currentColor;stroke:none}
@media(prefers-color-scheme:dark){
.bg{fill:#0d1117}.t{fill:#f0f6fc}.m{fill:#9198a1}.g{stroke:#2a313c}.a{stroke:#656c76}.span{fill:#9198a1}
.s0{stroke:#58a6ff;color:#58a6ff}.s1{stroke:#ff8e72;color:#ff8e72}.s2{stroke:#4ac26b;color:#4ac26b}
.s3{stroke:#c297ff;color:#c297ff}.s4{stroke:#e3b341;color:#e3b341}
}
</style>
`

// dashes tell series apart without their colours.
var dashes = [...]string{"", "7 4", "2 3", "9 3 2 3", "14 4"}

// Draw draws a table; a panel of which it has nothing is left out.
func Draw(f Figure, rows []Row) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %g %g" role="img" aria-label="%s">`+"\n%s", width, height, text(f.Title), style)
	fmt.Fprintf(&b, "<rect class=\"bg\" width=\"%g\" height=\"%g\" rx=\"6\"/>\n", width, height)
	fmt.Fprintf(&b, "<text class=\"t\" x=\"16\" y=\"26\" font-size=\"16\" font-weight=\"600\">%s</text>\n", text(f.Title))
	fmt.Fprintf(&b, "<text class=\"m\" x=\"16\" y=\"%g\" font-size=\"11\">%s</text>\n", height-12, text(f.Note))
	names := seriesOf(rows)
	legend(&b, names)
	panels := slices.DeleteFunc(slices.Clone(f.Panels), func(p Panel) bool {
		return !slices.ContainsFunc(rows, func(r Row) bool { return r.Panel == p.Name })
	})
	each := width / float64(max(len(panels), 1))
	for i, p := range panels {
		at := float64(i) * each
		a := newAxes(p, rows, box{at + left, at + each - right, height - bottom, top})
		a.draw(&b)
		for k, name := range names {
			a.line(&b, k, name)
		}
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

func text(s string) string { return html.EscapeString(s) }

// seriesOf are the names of all series, in their order.
func seriesOf(rows []Row) (names []string) {
	for _, r := range rows {
		if !slices.Contains(names, r.Series) {
			names = append(names, r.Series)
		}
	}
	return names
}

// legend names the series, unless there is only one.
func legend(b *bytes.Buffer, names []string) {
	if len(names) < 2 {
		return
	}
	x := 16.0
	for k, name := range names {
		fmt.Fprintf(b, "<path class=\"l s%d\" d=\"M%g 47h26\" stroke-dasharray=\"%s\"/><text class=\"t\" x=\"%g\" y=\"51\">%s</text>\n", k%len(dashes), x,
			dashes[k%len(dashes)], x+32, text(name))
		x += 32 + 7.2*float64(len([]rune(name))) + 20
	}
}

// box is where the axes are in the drawing; y1 is the upper end.
type box struct{ x0, x1, y0, y1 float64 }

// axes is a panel with its scales.
type axes struct {
	Panel
	box
	rows        []Row
	choices     []float64 // with Each
	low, high   float64   // of X
	least, most float64   // of Y
	step        float64   // between the ticks of Y
}

func newAxes(p Panel, all []Row, in box) *axes {
	a := &axes{Panel: p, box: in, low: math.Inf(1), high: math.Inf(-1), least: math.Inf(1)}
	if a.LabelX == nil {
		a.LabelX = units.Number
	}
	if a.LabelY == nil {
		a.LabelY = units.Number
	}
	for _, r := range all {
		if r.Panel != p.Name {
			continue
		}
		a.rows = append(a.rows, r)
		a.low, a.high = min(a.low, r.X), max(a.high, r.X)
		a.least, a.most = min(a.least, r.Y), max(a.most, r.Y)
		if p.Each && !slices.Contains(a.choices, r.X) {
			a.choices = append(a.choices, r.X)
		}
	}
	if p.HighX > p.LowX {
		a.low, a.high = min(a.low, p.LowX), max(a.high, p.HighX)
	}
	slices.Sort(a.choices)
	if p.Log {
		a.least = math.Pow(10, math.Floor(math.Log10(max(a.least, 1e-9))))
		a.most = math.Pow(10, math.Ceil(math.Log10(max(a.most, 1e-9))))
	} else {
		a.least = 0
		a.step = tick(a.most)
		a.most = a.step * math.Ceil(a.most/a.step)
	}
	return a
}

// tick is a round distance that divides a span into about five.
func tick(span float64) float64 {
	if span <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(span/spanTicks)))
	for _, f := range [...]float64{1, 2, 2.5, 5} {
		if span/spanTicks <= f*power {
			return f * power
		}
	}
	return 10 * power
}

func (a *axes) x(v float64) float64 {
	if a.Each {
		return a.x0 + (float64(slices.Index(a.choices, v))+0.5)/float64(len(a.choices))*(a.x1-a.x0)
	}
	return a.x0 + (v-a.low)/max(a.high-a.low, 1e-9)*(a.x1-a.x0)
}

func (a *axes) y(v float64) float64 {
	share := (v - a.least) / max(a.most-a.least, 1e-9)
	if a.Log {
		share = math.Log(max(v, a.least)/a.least) / math.Log(a.most/a.least)
	}
	return a.y0 - share*(a.y0-a.y1)
}

// draw draws everything but the series.
func (a *axes) draw(b *bytes.Buffer) {
	if a.To > a.From {
		fmt.Fprintf(b, "<rect class=\"span\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>\n", a.x(a.From), a.y1, a.x(a.To)-a.x(a.From), a.y0-a.y1)
		fmt.Fprintf(b, "<text class=\"m\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\" font-size=\"11\">%s</text>\n", (a.x(a.From)+a.x(a.To))/2, a.y1+13, text(a.Between))
	}
	fmt.Fprintf(b, "<text class=\"t\" x=\"%.1f\" y=\"%.1f\" font-weight=\"600\">%s</text>\n", a.x0-46, a.y1-10, text(a.Y))
	a.scales(b)
}

// scales draws the ticks and the line below.
func (a *axes) scales(b *bytes.Buffer) {
	for _, v := range a.ticksY() {
		fmt.Fprintf(b, "<path class=\"g\" d=\"M%.1f %.1fH%.1f\"/><text class=\"m\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n", a.x0, a.y(v), a.x1,
			a.x0-6, a.y(v)+4, text(a.LabelY(v)))
	}
	for _, v := range a.ticksX() {
		fmt.Fprintf(b, "<path class=\"a\" d=\"M%.1f %.1fv4\"/><text class=\"m\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%s</text>\n", a.x(v), a.y0, a.x(v),
			a.y0+18, text(a.LabelX(v)))
	}
	fmt.Fprintf(b, "<path class=\"a\" d=\"M%.1f %.1fH%.1f\"/><text class=\"m\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%s</text>\n", a.x0, a.y0, a.x1,
		(a.x0+a.x1)/2, a.y0+36, text(a.X))
}

func (a *axes) ticksY() (all []float64) {
	if a.Log {
		for v := a.least; v <= a.most*1.0001; v *= 10 {
			all = append(all, v)
		}
		return all
	}
	for i := 0; float64(i)*a.step <= a.most*1.0001; i++ {
		all = append(all, float64(i)*a.step)
	}
	return all
}

func (a *axes) ticksX() (all []float64) {
	if a.Each {
		return a.choices
	}
	if a.TicksX != nil {
		return a.TicksX
	}
	step := tick(a.high - a.low)
	for i := math.Ceil(a.low / step); i*step <= a.high*1.0001; i++ {
		all = append(all, i*step)
	}
	return all
}

// line draws the k-th series, if this panel has it.
func (a *axes) line(b *bytes.Buffer, k int, name string) {
	var path, dots bytes.Buffer
	for _, r := range a.rows {
		if r.Series != name {
			continue
		}
		letter := byte('L')
		if path.Len() == 0 {
			letter = 'M'
		}
		fmt.Fprintf(&path, "%c%.1f %.1f", letter, a.x(r.X), a.y(r.Y))
		if a.Dots {
			fmt.Fprintf(&dots, "<circle class=\"d\" cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\"/>", a.x(r.X), a.y(r.Y))
		}
	}
	if path.Len() > 0 {
		k %= len(dashes)
		fmt.Fprintf(b, "<g class=\"s%d\"><path class=\"l s%d\" d=\"%s\" stroke-dasharray=\"%s\"/>%s</g>\n", k, k, path.Bytes(), dashes[k], dots.Bytes())
	}
}
