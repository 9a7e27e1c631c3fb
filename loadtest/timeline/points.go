package timeline

import "math"

// Point is a point of a distribution: Percent of all values are at most Micros.
type Point struct {
	Percent float64 `json:"percent"`
	Micros  float64 `json:"us"`
}

// Distribution is one, for a curve: at most pointsMax points, the nearer to 100 % the closer together.
type Distribution struct {
	Name   string  `json:"name"` // of what
	Count  int64   `json:"count"`
	Points []Point `json:"points"`
}

// Histogram is of nanoseconds.
type Histogram interface {
	TotalCount() int64
	Min() int64
	Max() int64
	ValueAtPercentile(percent float64) int64
}

const (
	steps     = 6 // points from one half of what is left to the next
	pointsMax = 150
)

// Points describes a histogram; nil when it is empty.
func Points(name string, h Histogram) *Distribution {
	n := h.TotalCount()
	if n == 0 {
		return nil
	}
	d := &Distribution{Name: name, Count: n}
	add := func(percent float64, ns int64) {
		d.Points = append(d.Points, Point{percent, float64(ns) / 1e3})
	}
	add(0, h.Min())
	for i := 1; i < pointsMax-1; i++ {
		left := math.Pow(0.5, float64(i)/steps)
		if left*float64(n) < 1 {
			break // beyond the last value there is none
		}
		add(100*(1-left), h.ValueAtPercentile(100*(1-left)))
	}
	add(100, h.Max())
	return d
}
