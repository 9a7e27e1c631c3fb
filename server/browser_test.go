//go:build linux

package server

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

// browser is a page in headless Chromium, driven over the DevTools protocol.
type browser struct {
	t    *testing.T
	conn *websocket.Conn
	id   int
}

// openPage starts a Chromium of its own and opens the page.
func openPage(t *testing.T, url string) *browser {
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
func attach(t *testing.T, endpoint, url string) *browser {
	t.Helper()
	dial := func(endpoint string) *browser {
		conn, _, err := websocket.DefaultDialer.Dial(endpoint, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return &browser{t: t, conn: conn}
	}
	var target struct{ TargetID string }
	dial(endpoint).call("Target.createTarget", map[string]any{"url": url}, &target)
	host := strings.Split(strings.TrimPrefix(endpoint, "ws://"), "/")[0]
	return dial("ws://" + host + "/devtools/page/" + target.TargetID)
}

// call sends one command and decodes its result.
func (b *browser) call(method string, params map[string]any, result any) {
	b.t.Helper()
	b.id++
	if err := b.conn.WriteJSON(map[string]any{"id": b.id, "method": method, "params": params}); err != nil {
		b.t.Fatal(err)
	}
	for {
		var reply struct {
			ID     int
			Result json.RawMessage
			Error  *struct{ Message string }
		}
		_ = b.conn.SetReadDeadline(time.Now().Add(patience))
		if err := b.conn.ReadJSON(&reply); err != nil {
			b.t.Fatalf("%s: %v", method, err)
		}
		if reply.ID != b.id {
			continue
		}
		if reply.Error != nil {
			b.t.Fatalf("%s: %s", method, reply.Error.Message)
		}
		if err := json.Unmarshal(reply.Result, result); err != nil {
			b.t.Fatal(err)
		}
		return
	}
}

// eval runs JavaScript in the page and returns its value as text.
func (b *browser) eval(js string) string {
	b.t.Helper()
	var out struct {
		Result           struct{ Value any }
		ExceptionDetails *struct{ Text string }
	}
	b.call("Runtime.evaluate", map[string]any{"expression": js, "returnByValue": true}, &out)
	if out.ExceptionDetails != nil {
		b.t.Fatalf("%s: %s", js, out.ExceptionDetails.Text)
	}
	return fmt.Sprint(out.Result.Value)
}

// screenshot writes the page as it looks to the folder SHOAL_SCREENSHOTS names, if
// there is one.
func (b *browser) screenshot(name string) {
	dir := os.Getenv("SHOAL_SCREENSHOTS")
	if dir == "" {
		return
	}
	var shot struct{ Data string }
	b.call("Page.captureScreenshot", map[string]any{"format": "png"}, &shot)
	png, err := base64.StdEncoding.DecodeString(shot.Data)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o600); err != nil {
		b.t.Fatal(err)
	}
}

func TestBrowserDemoPageShowsWhatIsPublished(t *testing.T) {
	r := start(t, nil)
	page := openPage(t, r.base+"/")
	eventually(t, "the page connects", func() bool {
		return page.eval(`document.getElementById('state')?.dataset.state`) == "connected"
	})
	eventually(t, "the page subscribes", func() bool {
		return strings.Contains(page.eval(`document.getElementById('log').innerText`), "subscribed to news")
	})

	if status, body := r.call("publish", `{"channel":"news","data":{"text":"hello from a shell"}}`); status != 200 {
		t.Fatalf("publish answered %d %s", status, body)
	}
	eventually(t, "the page shows what the API published", func() bool {
		return strings.Contains(page.eval(`document.getElementById('log').innerText`), "hello from a shell")
	})

	page.eval(`document.getElementById('text').value = 'hello <b>from</b> the page'; document.getElementById('publish').requestSubmit()`)
	eventually(t, "the page shows its own message as text, with its round trip", func() bool {
		return strings.Contains(page.eval(`document.getElementById('log').innerText`), "hello <b>from</b> the page") &&
			strings.Contains(page.eval(`document.getElementById('last').innerText`), "ms")
	})
	if got := page.eval(`document.getElementById('count').innerText`); got != "2" {
		t.Errorf("the page counts %s messages, want 2", got)
	}
	page.screenshot("demo")

	page.eval(`document.getElementById('channel').value = 'unknown:x'; document.getElementById('subscribe').requestSubmit()`)
	eventually(t, "the page says why a channel is refused", func() bool {
		return strings.Contains(page.eval(`document.getElementById('error').innerText`), "unknown channel")
	})
	page.screenshot("demo-error")
}
