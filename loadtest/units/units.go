package units

import (
	"fmt"
	"math"
	"strconv"
)

// Grouped writes a number with thousands apart.
func Grouped(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Micros writes microseconds in a fitting unit.
func Micros(us float64) string {
	switch {
	case us < 1000:
		return fmt.Sprintf("%.0f µs", us)
	case us < 1e6:
		return fmt.Sprintf("%.2f ms", us/1e3)
	default:
		return fmt.Sprintf("%.2f s", us/1e6)
	}
}

// Size writes bytes in a fitting unit.
func Size(n float64) string {
	switch {
	case n < 10_000:
		return fmt.Sprintf("%.0f B", n)
	case n < 10e6:
		return fmt.Sprintf("%.1f KB", n/1e3)
	default:
		return fmt.Sprintf("%.1f MB", n/1e6)
	}
}

// Short writes a number for the scale of a chart: 1.5k, 15k, 1M.
func Short(v float64) string {
	for _, unit := range [...]struct {
		from float64
		name string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if math.Abs(v) >= unit.from {
			return Number(v/unit.from) + unit.name
		}
	}
	return Number(v)
}

// Number writes four significant digits.
func Number(v float64) string {
	v, _ = strconv.ParseFloat(strconv.FormatFloat(v, 'g', 4, 64), 64)
	return strconv.FormatFloat(v+0, 'f', -1, 64) // +0 takes the sign off a zero
}
