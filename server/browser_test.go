//go:build linux

package server

import (
	"strings"
	"testing"

	"shoal/server/admin/chromium"
)

func TestBrowserDemoPageShowsWhatIsPublished(t *testing.T) {
	r := start(t, nil)
	page := chromium.Open(t, r.base+"/")
	eventually(t, "the page connects", func() bool {
		return page.Eval(`document.getElementById('state')?.dataset.state`) == "connected"
	})
	eventually(t, "the page subscribes", func() bool {
		return strings.Contains(page.Eval(`document.getElementById('log').innerText`), "subscribed to news")
	})

	if status, body := r.call("publish", `{"channel":"news","data":{"text":"hello from a shell"}}`); status != 200 {
		t.Fatalf("publish answered %d %s", status, body)
	}
	eventually(t, "the page shows what the API published", func() bool {
		return strings.Contains(page.Eval(`document.getElementById('log').innerText`), "hello from a shell")
	})

	page.Eval(`document.getElementById('text').value = 'hello <b>from</b> the page'; document.getElementById('publish').requestSubmit()`)
	eventually(t, "the page shows its own message as text, with its round trip", func() bool {
		return strings.Contains(page.Eval(`document.getElementById('log').innerText`), "hello <b>from</b> the page") &&
			strings.Contains(page.Eval(`document.getElementById('last').innerText`), "ms")
	})
	if got := page.Eval(`document.getElementById('count').innerText`); got != "2" {
		t.Errorf("the page counts %s messages, want 2", got)
	}
	page.Screenshot("demo")

	page.Eval(`document.getElementById('channel').value = 'unknown:x'; document.getElementById('subscribe').requestSubmit()`)
	eventually(t, "the page says why a channel is refused", func() bool {
		return strings.Contains(page.Eval(`document.getElementById('error').innerText`), "unknown channel")
	})
	page.Screenshot("demo-error")
}
