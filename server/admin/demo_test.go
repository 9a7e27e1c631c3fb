package admin

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func get(path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	Demo().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w
}

func TestDemoPageIsServedFromTheBinary(t *testing.T) {
	page := get("/")
	if page.Code != 200 || !strings.Contains(page.Body.String(), "<title>Shoal demo</title>") {
		t.Fatalf("answered %d %.80s", page.Code, page.Body)
	}
	parts := regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllStringSubmatch(page.Body.String(), -1)
	if len(parts) < 3 {
		t.Fatalf("the page refers to %v", parts)
	}
	for _, part := range parts {
		if strings.HasPrefix(part[1], "data:") {
			continue
		}
		if strings.Contains(part[1], "//") {
			t.Errorf("the page loads %s from elsewhere", part[1])
			continue
		}
		if w := get("/" + part[1]); w.Code != 200 || w.Body.Len() == 0 {
			t.Errorf("%s answered %d", part[1], w.Code)
		}
	}
}

func TestDemoPageMayOnlyRunItsOwnScripts(t *testing.T) {
	for _, path := range []string{"/", "/demo.js", "/nowhere"} {
		h := get(path).Header()
		policy := h.Get("Content-Security-Policy")
		if !strings.Contains(policy, "default-src 'self'") || strings.Contains(policy, "unsafe") || !strings.Contains(policy, "frame-ancestors 'none'") {
			t.Errorf("%s: Content-Security-Policy is %q", path, policy)
		}
		if h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: no nosniff", path)
		}
	}
	page := get("/").Body.String()
	if regexp.MustCompile(`<script(?:>| [^>]*>)[^<]`).MatchString(page) || regexp.MustCompile(`\son[a-z]+=`).MatchString(page) || strings.Contains(page, "style=") {
		t.Error("the page has inline code or style, which its policy forbids")
	}
	scripts, err := fs.ReadFile(files, "demo/demo.js")
	if err != nil {
		t.Fatal(err)
	}
	if regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(`).Match(scripts) {
		t.Error("demo.js writes HTML: messages must be shown as text")
	}
}

func TestNothingElseIsServed(t *testing.T) {
	for _, path := range []string{"/nowhere", "/../demo.go", "/demo/", "/%2e%2e/demo.go"} {
		if w := get(path); w.Code == 200 {
			t.Errorf("%s answered %d", path, w.Code)
		}
	}
}
