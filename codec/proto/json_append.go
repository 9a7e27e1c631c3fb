package proto

import (
	"bytes"
	"strconv"
	"unicode/utf8"

	"shoal/codec/proto/jsontext"
)

// jsonWriter appends JSON. Field names come with their quotes and colon; a comma is put in front of each but the
// first of an object. Fields with a zero value are left out unless the method's name begins with "always".
type jsonWriter struct {
	b   []byte
	how Payloads
	bad bool // a raw field was not JSON
}

// finish returns what was written behind the first n bytes, or nothing of it.
func (w *jsonWriter) finish(n int) ([]byte, error) {
	if w.bad {
		return w.b[:n], ErrNotJSON
	}
	return w.b, nil
}

func (w *jsonWriter) open()  { w.b = append(w.b, '{') }
func (w *jsonWriter) close() { w.b = append(w.b, '}') }

// comma separates from the value before, unless this is the first one in its container.
func (w *jsonWriter) comma() {
	if c := w.b[len(w.b)-1]; c != '{' && c != '[' {
		w.b = append(w.b, ',')
	}
}

func (w *jsonWriter) name(name string) {
	w.comma()
	w.b = append(w.b, name...)
}

// object begins a field that is an object; the caller closes it.
func (w *jsonWriter) object(name string) {
	w.name(name)
	w.open()
}

func (w *jsonWriter) uint(name string, n uint64) {
	if n != 0 {
		w.alwaysUint(name, n)
	}
}

func (w *jsonWriter) alwaysUint(name string, n uint64) {
	w.name(name)
	w.b = strconv.AppendUint(w.b, n, 10)
}

func (w *jsonWriter) int(name string, n int64) {
	if n != 0 {
		w.name(name)
		w.b = strconv.AppendInt(w.b, n, 10)
	}
}

func (w *jsonWriter) flag(name string, set bool) {
	if set {
		w.name(name)
		w.b = append(w.b, "true"...)
	}
}

func (w *jsonWriter) str(name, s string) {
	if s != "" {
		w.alwaysStr(name, s)
	}
}

func (w *jsonWriter) alwaysStr(name, s string) {
	w.name(name)
	w.b = jsontext.AppendQuoted(w.b, s)
}

// raw writes p as it stands, but without line feeds: they separate messages, and valid JSON has them only between
// tokens, where they mean nothing.
func (w *jsonWriter) raw(name string, p []byte) {
	if len(p) == 0 {
		return
	}
	if w.how&Trusted == 0 && !jsontext.Valid(p) {
		w.bad = true
		return
	}
	w.name(name)
	for {
		end := bytes.IndexByte(p, '\n')
		if end < 0 {
			w.b = append(w.b, p...)
			return
		}
		w.b = append(w.b, p[:end]...)
		p = p[end+1:]
	}
}

// text writes p as a JSON string, "" too: a delta subscriber decodes the string unasked.
func (w *jsonWriter) text(name string, p []byte) {
	if !utf8.Valid(p) {
		w.bad = true
		return
	}
	w.alwaysStr(name, view(p))
}

// key writes the key of a map entry.
func (w *jsonWriter) key(key string) {
	w.comma()
	w.b = append(jsontext.AppendQuoted(w.b, key), ':')
}

func (w *jsonWriter) stringMap(name string, m map[string]string) {
	if len(m) == 0 {
		return
	}
	w.object(name)
	for key, value := range m {
		w.key(key)
		w.b = jsontext.AppendQuoted(w.b, value)
	}
	w.close()
}
