package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Key compares API keys in a time that tells nothing about them: both sides are hashed
// first, so that not even the length shows. Use [NewKey].
type Key [sha256.Size]byte

// NewKey returns what is compared with the key.
func NewKey(key string) Key { return sha256.Sum256([]byte(key)) }

// Is says whether the given key is the one.
func (k *Key) Is(given string) bool {
	hash := sha256.Sum256([]byte(given))
	return subtle.ConstantTimeCompare(hash[:], k[:]) == 1
}

// authorized: a wrong key in a header does not spoil the right one in the URL.
func (k *Key) authorized(r *http.Request) bool {
	return k.Is(inHeader(r)) || r.URL.RawQuery != "" && k.Is(r.URL.Query().Get("api_key"))
}

// inHeader is the key in the first header that has one.
func inHeader(r *http.Request) string {
	if key := r.Header.Get("X-API-Key"); key != "" {
		return key
	}
	if scheme, key, ok := strings.Cut(strings.TrimSpace(r.Header.Get("Authorization")), " "); ok && strings.EqualFold(scheme, "apikey") {
		return strings.TrimSpace(key)
	}
	return ""
}

// requestIDBytesMax bounds what a log line takes from a header.
const requestIDBytesMax = 128

// AccessLog logs a line at level info for every request to next: HTTP method, path, names of
// the query's parameters, status, error code of the API, duration, bytes of the answer, peer,
// and X-Request-Id if the caller sent one. Never a value of the query, which may be a key
// under any spelling, a header with a key, or a body. clock must not be nil.
func AccessLog(next http.Handler, log *slog.Logger, clock func() time.Time) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := clock()
		l := &logged{ResponseWriter: w}
		completed := false
		defer func() { // also when the handler panics: that request more than others
			if !completed && l.status == 0 {
				l.status = http.StatusInternalServerError
			}
			l.line(log, r, clock().Sub(began))
		}()
		next.ServeHTTP(l, r)
		completed = true
	})
}

// logged notes what is answered.
type logged struct {
	http.ResponseWriter
	status int // 0: nothing was written, which is 200
	bytes  int64
	code   uint32 // error of the API
}

// WriteHeader notes the status, the first final one.
func (l *logged) WriteHeader(status int) {
	if l.status == 0 && status >= http.StatusOK {
		l.status = status
	}
	l.ResponseWriter.WriteHeader(status)
}

// Write notes the bytes.
func (l *logged) Write(p []byte) (int, error) {
	if l.status == 0 {
		l.status = http.StatusOK
	}
	n, err := l.ResponseWriter.Write(p)
	l.bytes += int64(n)
	return n, err
}

// Unwrap is for http.ResponseController.
func (l *logged) Unwrap() http.ResponseWriter { return l.ResponseWriter }

func (l *logged) line(log *slog.Logger, r *http.Request, took time.Duration) {
	if !log.Enabled(r.Context(), slog.LevelInfo) {
		return
	}
	if l.status == 0 {
		l.status = http.StatusOK
	}
	attrs := make([]slog.Attr, 0, 9)
	attrs = append(attrs, slog.String("method", r.Method), slog.String("path", pathOf(r)), slog.Int("status", l.status),
		slog.Duration("duration", took), slog.Int64("bytes", l.bytes), slog.String("remote", r.RemoteAddr))
	if l.code != 0 {
		attrs = append(attrs, slog.Uint64("code", uint64(l.code)))
	}
	if names := queryNames(r.URL.RawQuery); names != "" {
		attrs = append(attrs, slog.String("query", names))
	}
	if id := r.Header.Get("X-Request-Id"); id != "" && len(id) <= requestIDBytesMax {
		attrs = append(attrs, slog.String("request_id", id))
	}
	log.LogAttrs(r.Context(), slog.LevelInfo, "API request", attrs...)
}

// pathOf is the path as the caller sent it, before a prefix was cut off.
func pathOf(r *http.Request) string {
	if path, _, _ := strings.Cut(r.RequestURI, "?"); strings.HasPrefix(path, "/") {
		return path
	}
	return r.URL.Path
}

// queryNames are the names of the parameters, without their values.
func queryNames(query string) string {
	if query == "" {
		return ""
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return "malformed"
	}
	names := make([]string, 0, len(values))
	for name, vs := range values {
		if vs[0] == "" {
			name = "?" // without a value the name itself may be the key: /api/info?KEY
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ",")
}
