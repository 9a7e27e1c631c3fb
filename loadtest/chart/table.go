package chart

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"slices"
	"strconv"

	"shoal/loadtest/units"
)

// Row is one point of a curve.
type Row struct {
	Panel  string // of the figure
	Series string
	X, Y   float64
}

var header = []string{"panel", "series", "x", "y"}

// AppendCSV writes rows as a table.
func AppendCSV(rows []Row) ([]byte, error) {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	_ = w.Write(header) // a buffer takes everything
	for _, r := range rows {
		_ = w.Write([]string{r.Panel, r.Series, units.Number(r.X), units.Number(r.Y)})
	}
	w.Flush()
	return b.Bytes(), w.Error()
}

// ParseCSV reads such a table.
func ParseCSV(text []byte) ([]Row, error) {
	lines, err := csv.NewReader(bytes.NewReader(text)).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("chart: %w", err)
	}
	if len(lines) == 0 || !slices.Equal(lines[0], header) {
		return nil, fmt.Errorf("chart: the table does not begin with %v", header)
	}
	rows := make([]Row, 0, len(lines)-1)
	for i, l := range lines[1:] {
		x, err1 := strconv.ParseFloat(l[2], 64)
		y, err2 := strconv.ParseFloat(l[3], 64)
		if err1 != nil || err2 != nil {
			return nil, fmt.Errorf("chart: line %d of the table has no numbers: %v", i+2, l)
		}
		rows = append(rows, Row{l[0], l[1], x, y})
	}
	return rows, nil
}
