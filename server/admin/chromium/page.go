//go:build linux

package chromium

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// Page is a page in headless Chromium, driven over the DevTools protocol. It belongs to the test's goroutine.
type Page struct {
	t        *testing.T
	conn     *websocket.Conn
	id       int
	errs     []string
	requests []string
}

// patience bounds every wait; nothing is measured by it.
const patience = 30 * time.Second

// Open starts a Chromium of its own, which ends with the test, and opens the page. Where there is none the test is skipped.
func Open(t *testing.T, url string) *Page {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("no chromium on this machine: apt-get install chromium; CI installs it")
	}
	profile, err := os.MkdirTemp("", "shoal-browser-*")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
		"--window-size=900,900", "--remote-debugging-port=0", "--user-data-dir="+profile, "about:blank")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // its children end with it
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		_ = os.RemoveAll(profile) // a child may still be ending; the profile is a temporary one
	})
	const announcement = "DevTools listening on "
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		if _, endpoint, ok := strings.Cut(lines.Text(), announcement); ok {
			go func() {
				for lines.Scan() { // keep the pipe empty
				}
			}()
			return attach(t, endpoint, url)
		}
	}
	t.Fatal("chromium did not say where it listens")
	return nil
}

// attach opens the page in a new target and talks to that one from then on.
func attach(t *testing.T, endpoint, url string) *Page {
	t.Helper()
	dial := func(endpoint string) *Page {
		conn, _, err := websocket.DefaultDialer.Dial(endpoint, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return &Page{t: t, conn: conn}
	}
	var target struct{ TargetID string }
	dial(endpoint).call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	host := strings.Split(strings.TrimPrefix(endpoint, "ws://"), "/")[0]
	p := dial("ws://" + host + "/devtools/page/" + target.TargetID)
	var none struct{}
	for _, domain := range []string{"Runtime", "Log", "Network", "Page"} {
		p.call(domain+".enable", nil, &none)
	}
	p.call("Page.navigate", map[string]any{"url": url}, &none)
	return p
}

// call sends one command and decodes its result.
func (p *Page) call(method string, params map[string]any, result any) {
	p.t.Helper()
	p.id++
	if err := p.conn.WriteJSON(map[string]any{"id": p.id, "method": method, "params": params}); err != nil {
		p.t.Fatal(err)
	}
	for {
		var reply struct {
			ID     int
			Result json.RawMessage
			Error  *struct{ Message string }
			event
		}
		_ = p.conn.SetReadDeadline(time.Now().Add(patience))
		if err := p.conn.ReadJSON(&reply); err != nil {
			p.t.Fatalf("%s: %v", method, err)
		}
		if reply.ID != p.id {
			p.note(reply.event)
			continue
		}
		if reply.Error != nil {
			p.t.Fatalf("%s: %s", method, reply.Error.Message)
		}
		if err := json.Unmarshal(reply.Result, result); err != nil {
			p.t.Fatal(err)
		}
		return
	}
}

// event is what the browser tells without being asked.
type event struct {
	Method string
	Params struct {
		Request          struct{ URL string }
		Entry            struct{ Level, Text string }
		ExceptionDetails struct {
			Text      string
			Exception struct{ Description string }
		}
	}
}

func (p *Page) note(e event) {
	switch e.Method {
	case "Network.requestWillBeSent":
		p.requests = append(p.requests, e.Params.Request.URL)
	case "Runtime.exceptionThrown":
		p.errs = append(p.errs, e.Params.ExceptionDetails.Text+" "+e.Params.ExceptionDetails.Exception.Description)
	case "Log.entryAdded":
		if e.Params.Entry.Level == "error" {
			p.errs = append(p.errs, e.Params.Entry.Text)
		}
	}
}

// Errors are those of the page's scripts and of what it asked for, until the last call.
func (p *Page) Errors() []string { return p.errs }

// Requests are the addresses it asked for, its own first, until the last call.
func (p *Page) Requests() []string { return p.requests }

// Show shows the page on a screen of that width, to a reader who has dark pages or not.
func (p *Page) Show(width, height int, dark bool) {
	p.t.Helper()
	theme := "light"
	if dark {
		theme = "dark"
	}
	var none struct{}
	p.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}, &none)
	p.call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]any{{"name": "prefers-color-scheme", "value": theme}}}, &none)
}

// Point moves the pointer to a place of the screen.
func (p *Page) Point(x, y float64) {
	p.t.Helper()
	var none struct{}
	p.call("Input.dispatchMouseEvent", map[string]any{"type": "mouseMoved", "x": x, "y": y}, &none)
}

// Eval runs JavaScript in the page and returns its value as text.
func (p *Page) Eval(js string) string {
	p.t.Helper()
	var out struct {
		Result           struct{ Value any }
		ExceptionDetails *struct{ Text string }
	}
	p.call("Runtime.evaluate", map[string]any{"expression": js, "returnByValue": true}, &out)
	if out.ExceptionDetails != nil {
		p.t.Fatalf("%s: %s", js, out.ExceptionDetails.Text)
	}
	return fmt.Sprint(out.Result.Value)
}

// Screenshot writes the whole page as it looks to the folder SHOAL_SCREENSHOTS names, if there is one.
func (p *Page) Screenshot(name string) {
	dir := os.Getenv("SHOAL_SCREENSHOTS")
	if dir == "" {
		return
	}
	var shot struct{ Data string }
	p.call("Page.captureScreenshot", map[string]any{"format": "png", "captureBeyondViewport": true}, &shot)
	png, err := base64.StdEncoding.DecodeString(shot.Data)
	if err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o600); err != nil {
		p.t.Fatal(err)
	}
}
