package units

import "testing"

func TestNumbersAreWrittenForPeople(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{Grouped(0), "0"}, {Grouped(999), "999"}, {Grouped(1000), "1,000"}, {Grouped(-1234567), "-1,234,567"}, {Grouped(-100), "-100"},
		{Micros(2.4), "2 µs"}, {Micros(999), "999 µs"}, {Micros(1500), "1.50 ms"}, {Micros(2_500_000), "2.50 s"},
		{Size(9999), "9999 B"}, {Size(10_000), "10.0 KB"}, {Size(12e6), "12.0 MB"},
		{Short(0), "0"}, {Short(0.25), "0.25"}, {Short(1500), "1.5k"}, {Short(15_000), "15k"}, {Short(1e6), "1M"}, {Short(-2e9), "-2G"},
		{Number(1234.56), "1235"}, {Number(0.00012), "0.00012"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}
