//go:build linux

package page

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"shoal/server/admin/chromium"
)

// file writes a page of reports and returns its address.
func file(t *testing.T, in ...Input) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "page.html")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := Write(f, in...); err != nil {
		t.Fatal(err)
	}
	return "file://" + name
}

func TestThePageFitsEveryScreenInBothThemes(t *testing.T) {
	many := full()
	many.Connections.Asked, many.Connections.Ready = 1_000_000, 1_000_000
	for name, in := range map[string][]Input{"report": {{Report: full()}}, "comparison": {{Report: full()}, {Report: many}}, "failed": {{Report: hostile()}}, "mixed": {{Report: mixed()}}} {
		t.Run(name, func(t *testing.T) {
			address := file(t, in...)
			page := chromium.Open(t, address)
			for _, width := range []int{360, 800, 1400} {
				for _, dark := range []bool{false, true} {
					page.Show(width, 900, dark)
					if beyond := page.Eval(`document.documentElement.scrollWidth - document.documentElement.clientWidth`); beyond != "0" {
						t.Errorf("on a screen of %d the page is %s px too wide", width, beyond)
					}
					hidden := page.Eval(`[...document.querySelectorAll('.slim td')].filter(c => c.checkVisibility() && c.getBoundingClientRect().right > innerWidth).length`)
					if hidden != "0" {
						t.Errorf("on a screen of %d %s values of narrow tables are out of sight", width, hidden)
					}
					paper, ink := "rgb(255, 255, 255)", "rgb(31, 35, 40)"
					if dark {
						paper, ink = "rgb(13, 17, 23)", "rgb(240, 246, 252)"
					}
					if got := page.Eval(`getComputedStyle(document.body).backgroundColor + getComputedStyle(document.body).color`); got != paper+ink {
						t.Errorf("dark %v: %s", dark, got)
					}
					small := page.Eval(`Math.min(...[...document.querySelectorAll('svg[role=img] text')].filter(t => t.getBoundingClientRect().width > 0).map(t => t.getScreenCTM().a * parseFloat(getComputedStyle(t).fontSize)))`)
					var px float64
					if fmt.Sscan(small, &px); px < 9.5 {
						t.Errorf("on a screen of %d the smallest text of a drawing is %s px high", width, small)
					}
					page.Screenshot(fmt.Sprintf("%s-%d-%s", name, width, map[bool]string{false: "light", true: "dark"}[dark]))
				}
			}
			if n := page.Eval(`document.querySelectorAll('figure').length`); n == "0" {
				t.Error("there are no drawings")
			}
			if errs := page.Errors(); len(errs) > 0 {
				t.Errorf("errors: %q", errs)
			}
			for _, request := range page.Requests() {
				if request != address {
					t.Errorf("it asked for %s", request)
				}
			}
		})
	}
}

func TestThePointerShowsTheValuesAndTheButtonTurnsTheTheme(t *testing.T) {
	page := chromium.Open(t, file(t, Input{Report: full()}))
	page.Show(1400, 900, false)
	page.Eval(`document.querySelector('#f-ready').scrollIntoView({block: 'center'})`)
	var left, top, wide, high float64
	fmt.Sscan(page.Eval(`(() => { const b = document.querySelector('#f-ready .wide svg').getBoundingClientRect(); return [b.left, b.top, b.width, b.height].join(' ') })()`), &left, &top, &wide, &high)
	page.Point(left+wide*0.9, top+high/2)
	if tip := page.Eval(`document.querySelector('#f-ready .tip').innerText`); !strings.Contains(tip, "ready 15,000") || !strings.Contains(tip, " s") {
		t.Errorf("the pointer shows %q", tip)
	}
	page.Screenshot("pointer")
	page.Eval(`document.querySelector('#f-cdf .plot').focus(); for (const _ of [1, 2, 3]) document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowRight', bubbles: true}))`)
	if tip := page.Eval(`document.querySelector('#f-cdf .tip').innerText`); !strings.Contains(tip, "99 %") || !strings.Contains(tip, "each receipt 1.50 ms") {
		t.Errorf("the arrow keys show %q", tip)
	}
	page.Eval(`document.getElementById('theme').click()`)
	if got := page.Eval(`getComputedStyle(document.body).backgroundColor + document.getElementById('theme').innerText`); got != "rgb(13, 17, 23)Light" {
		t.Errorf("after the button: %s", got)
	}
	if errs := page.Errors(); len(errs) > 0 {
		t.Errorf("errors: %q", errs)
	}
}
