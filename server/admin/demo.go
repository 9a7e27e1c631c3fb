package admin

import (
	"embed"
	"io/fs"
	"net/http"
)

//go:embed demo
var files embed.FS

// Demo serves the demo page of `shoal serve --dev`: a WebSocket client made of
// plain HTML and centrifuge-js, both from the binary.
func Demo() http.Handler {
	sub, err := fs.Sub(files, "demo")
	if err != nil {
		panic("admin: the demo folder is not embedded: " + err.Error())
	}
	pages := http.FileServerFS(sub)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'self'; connect-src 'self' ws: wss:; frame-ancestors 'none'; base-uri 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-cache")
		pages.ServeHTTP(w, r)
	})
}
