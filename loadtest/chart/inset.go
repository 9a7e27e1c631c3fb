package chart

import (
	"bytes"
	"fmt"
	"slices"

	"shoal/loadtest/units"
)

// Inset is a drawing within a page. The page has its styles: classes t (text), m (muted text), g (grid), a (axis), e (event), l (line),
// s0 to s4 (series, whose fill is f0 to f4), d (dot) and span.
type Inset struct {
	ID            string // unique in the page
	Title         string // what is drawn, in a few words
	Desc          string // what it shows, for who does not see it
	Width, Height float64
}

// open begins the drawing, with its title and description.
func (in Inset) open(b *bytes.Buffer, height float64, attributes string) {
	fmt.Fprintf(b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %g %g" role="img" aria-labelledby="%s-t %s-d"%s>`, in.Width, height, text(in.ID), text(in.ID), attributes)
	fmt.Fprintf(b, "<title id=\"%s-t\">%s</title><desc id=\"%s-d\">%s</desc>\n", text(in.ID), text(in.Title), text(in.ID), text(in.Desc))
}

const (
	insetLeft, insetRight = 48.0, 12.0
	insetTop, insetBottom = 38.0, 42.0
)

// Curves draws the series of a panel. The drawing says where its axes are, for whoever wants to point at a place in it.
func Curves(in Inset, p Panel, rows []Row) []byte {
	var b bytes.Buffer
	a := newAxes(p, rows, box{insetLeft, in.Width - insetRight, in.Height - insetBottom, insetTop})
	a.TicksX = a.readable()
	in.open(&b, in.Height, fmt.Sprintf(` data-x="%g %g %g %g" data-y="%g %g %g %g"`, a.x0, a.x1, a.low, a.high, a.y0, a.y1, a.least, a.most))
	fmt.Fprintf(&b, "<text class=\"m\" x=\"%g\" y=\"12\">%s</text>\n", 4.0, text(a.Y))
	a.scales(&b)
	a.events(&b)
	for k, name := range seriesOf(a.rows) {
		a.line(&b, k, name)
	}
	b.WriteString("</svg>")
	return b.Bytes()
}

// readable are as many of the ticks of X as have room beside each other.
func (a *axes) readable() []float64 {
	all := slices.Clone(a.ticksX())
	for len(all) > 2 {
		long := 0
		for _, v := range all {
			long += len([]rune(a.LabelX(v))) + 2
		}
		if letter*float64(long) <= a.x1-a.x0 {
			break
		}
		for i := range (len(all) + 1) / 2 {
			all[i] = all[2*i]
		}
		all = all[:(len(all)+1)/2]
	}
	return all
}

const letter = 6.0 // a letter's width, about

// events draws those within the axes, their names above. One whose name has no room there has a line only.
func (a *axes) events(b *bytes.Buffer) {
	end := 0.0
	for _, e := range a.Events {
		if e.At < a.low || e.At > a.high {
			continue
		}
		x, half := a.x(e.At), letter/2*float64(len([]rune(e.Name)))
		fmt.Fprintf(b, "<path class=\"e\" d=\"M%.1f %.1fV%.1f\"/>", x, a.y0, a.y1-4)
		if at := min(max(x, half), a.x1+insetRight-half); at-half >= end {
			end = at + half + letter
			fmt.Fprintf(b, "<text class=\"m\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\" font-size=\"11\">%s</text>", at, a.y1-8, text(e.Name))
		}
		b.WriteByte('\n')
	}
}

// Bar is a horizontal bar of parts that follow each other.
type Bar struct {
	Name  string
	Parts []float64 // as many as the legend has names; 0 = nothing of it
	Text  string    // its sum, as it is to be read
}

const (
	barHeight = 18.0
	barRow    = 48.0 // with the line of text above it
	barAxis   = 24.0
)

// Bars draws bars one below the other, over one scale, and a line at a limit that they should not exceed; 0 = none.
func Bars(in Inset, bars []Bar, limit float64) []byte {
	var b bytes.Buffer
	most := 0.0
	for _, bar := range bars {
		most = max(most, sum(bar.Parts))
	}
	most = max(most, limit*1.02)
	step := tick(most)
	x := func(v float64) float64 { return 2 + max(v, 0)/max(most, 1e-9)*(in.Width-4) }
	height := barRow*float64(len(bars)) + barAxis
	in.open(&b, height, "")
	for v := 0.0; v <= most*1.0001; v += step {
		fmt.Fprintf(&b, "<path class=\"g\" d=\"M%.1f 0V%.1f\"/><text class=\"m\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s</text>\n", x(v), height-barAxis, x(v), height-6,
			anchorAt(x(v), in.Width), text(units.Short(v)))
	}
	for i, bar := range bars {
		y := barRow * float64(i)
		fmt.Fprintf(&b, "<text class=\"t\" x=\"2\" y=\"%.1f\">%s</text><text class=\"t\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\" font-weight=\"600\">%s</text>\n", y+17, text(bar.Name),
			in.Width-2, y+17, text(bar.Text))
		from := 0.0
		for k, v := range bar.Parts {
			if v > 0 {
				fmt.Fprintf(&b, "<rect class=\"f%d\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%g\"/>", k%len(dashes), x(from), y+23, max(x(from+v)-x(from)-1, 0.5), barHeight)
				from += v
			}
		}
		b.WriteByte('\n')
	}
	if limit > 0 {
		fmt.Fprintf(&b, "<path class=\"e\" d=\"M%.1f 20V%.1f\"/>\n", x(limit), height-barAxis)
	}
	b.WriteString("</svg>")
	return b.Bytes()
}

// anchorAt keeps the text at the edges within the drawing.
func anchorAt(x, width float64) string {
	switch {
	case x < 12:
		return "start"
	case x > width-12:
		return "end"
	}
	return "middle"
}

func sum(parts []float64) (s float64) {
	for _, v := range parts {
		s += max(v, 0)
	}
	return s
}
