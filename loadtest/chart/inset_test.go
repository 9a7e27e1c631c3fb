package chart

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

func TestInsetsAreDescribedAndEscaped(t *testing.T) {
	in := Inset{ID: "x", Title: "a < b", Desc: `"c" & d`, Width: 330, Height: 250}
	panel := Panel{Name: "p", X: "x & y", Y: "<y>", Events: []Event{{1, "<cut>"}, {1.1, "no room"}, {9, "back"}, {99, "outside"}}, HighX: 20}
	for name, svg := range map[string][]byte{
		"curves": Curves(in, panel, []Row{{"p", "one", 1, 3}, {"p", "one", 10, 17}, {"p", "two", 2, 5}, {"other", "three", 2, 5}}),
		"bars":   Bars(in, []Bar{{"<b>", []float64{1, 2, 0}, "3 & more"}, {"c", []float64{0, 1, 7}, "8"}}, 9),
	} {
		wellFormed(t, name, svg)
		text := string(svg)
		for _, part := range []string{`role="img" aria-labelledby="x-t x-d"`, `<title id="x-t">a &lt; b</title>`, `<desc id="x-d">&#34;c&#34; &amp; d</desc>`, "viewBox=\"0 0 330 "} {
			if !strings.Contains(text, part) {
				t.Errorf("%s: no %s in\n%s", name, part, text)
			}
		}
	}
}

func TestCurvesNameTheEventsThatHaveRoom(t *testing.T) {
	p := Panel{Name: "p", X: "x", Y: "y", Events: []Event{{1, "cut"}, {1.1, "no room"}, {9, "back"}, {20, "at the very end"}, {99, "outside"}}, HighX: 20}
	svg := string(Curves(Inset{ID: "x", Width: 330, Height: 250}, p, []Row{{"p", "one", 1, 3}, {"p", "one", 10, 17}}))
	for text, want := range map[string]bool{">cut<": true, ">no room<": false, ">back<": true, ">at the very end<": true, ">outside<": false} {
		if strings.Contains(svg, text) != want {
			t.Errorf("%s is there: %v", text, !want)
		}
	}
	if n := strings.Count(svg, `class="e"`); n != 4 {
		t.Errorf("%d lines of events", n)
	}
	if !strings.Contains(svg, `data-x="48 318 0 20" data-y="208 38 0 20"`) {
		t.Errorf("it does not say where its axes are:\n%s", svg)
	}
	for _, m := range regexp.MustCompile(`<text class="m" x="([0-9.]+)"[^>]*middle" font-size="11">([^<]*)<`).FindAllStringSubmatch(svg, -1) {
		var x float64
		fmt.Sscan(m[1], &x)
		if half := letter / 2 * float64(len(m[2])); x-half < 0 || x+half > 330 {
			t.Errorf("%q lies beyond the edge at %g", m[2], x)
		}
	}
}

func TestTicksOfXAreNoMoreThanHaveRoom(t *testing.T) {
	long := func(v float64) string { return fmt.Sprintf("%.0f percent", v) }
	p := Panel{Name: "p", LabelX: long, TicksX: []float64{0, 1, 2, 3, 4, 5, 6, 7}}
	rows := []Row{{"p", "one", 0, 3}, {"p", "one", 7, 17}}
	for width, want := range map[float64]int{200: 2, 330: 4, 660: 8} {
		svg := string(Curves(Inset{ID: "x", Width: width, Height: 250}, p, rows))
		if n := strings.Count(svg, " percent<"); n != want {
			t.Errorf("%g wide: %d ticks, want %d", width, n, want)
		}
	}
	if p.TicksX[1] != 1 {
		t.Error("the ticks of the panel were changed")
	}
}

func TestBarsAreAsLongAsTheirParts(t *testing.T) {
	svg := string(Bars(Inset{ID: "x", Width: 204}, []Bar{{"a", []float64{10, 30, 0}, "40"}, {"b", []float64{0, 0, 50}, "50"}, {"c", []float64{-5}, "-5"}}, 100))
	var got []string
	for _, m := range regexp.MustCompile(`<rect class="(f\d)" x="([0-9.]+)" y="([0-9.]+)" width="([0-9.]+)"`).FindAllStringSubmatch(svg, -1) {
		got = append(got, strings.Join(m[1:], " "))
	}
	// 100 with a little room is the scale: 200 px are 102.
	if want := "[f0 2.0 23.0 18.6 f1 21.6 23.0 57.8 f2 2.0 71.0 97.0]"; fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
	if !strings.Contains(svg, `<path class="e" d="M198.1 20V144.0"/>`) {
		t.Errorf("no limit at 100 in\n%s", svg)
	}
	if svg := string(Bars(Inset{ID: "x", Width: 204}, []Bar{{"a", []float64{1}, "1"}}, 0)); strings.Contains(svg, `class="e"`) {
		t.Error("a limit nobody asked for")
	}
}
