package node

import (
	"bytes"
	"slices"
	"strings"

	"shoal/server/backend"
	"shoal/server/session"
)

// detail is what the backend is told of a conn beyond its identity, where there is
// something: interned.
type detail struct {
	meta     uint32
	headers  uint32
	emulated uint32
}

// Headers notes what of the request that opened the conn the backend is told: pairs of
// lower-case name and value. Before Open; the pairs are copied.
func (s *Shard) Headers(slot uint32, pairs [][2][]byte) {
	if !s.node.cfg.HeadersKept || len(pairs) == 0 {
		return
	}
	var b []byte
	for _, p := range pairs {
		b = appendHeader(b, stringOf(p[0]), stringOf(p[1]))
	}
	s.setDetail(&s.details.At(slot).headers, b)
}

// appendHeader appends a line that headers reads. A value has no line break: HTTP has
// none there, and in that of a command it would begin another header.
func appendHeader(b []byte, name, value string) []byte {
	if strings.ContainsAny(value, "\r\n") {
		return b
	}
	return append(append(append(append(b, name...), ':'), value...), '\n')
}

// emulate keeps the headers of a connect command that the backend is told.
func (s *Shard) emulate(slot uint32, headers map[string]string) {
	if len(headers) == 0 || len(s.node.cfg.Emulated) == 0 {
		return
	}
	var b []byte
	for name, value := range headers {
		if name = strings.ToLower(name); slices.Contains(s.node.cfg.Emulated, name) {
			b = appendHeader(b, name, value)
		}
	}
	if len(b) > 0 {
		s.setDetail(&s.details.At(slot).emulated, b)
	}
}

// setMeta keeps the meta of a session; empty forgets it.
func (s *Shard) setMeta(slot uint32, meta []byte) {
	if len(meta) > 0 || s.details.Peek(slot) != nil {
		s.setDetail(&s.details.At(slot).meta, meta)
	}
}

func (s *Shard) setDetail(id *uint32, v []byte) {
	old := *id
	*id = 0
	if len(v) > 0 {
		*id = s.infos.Acquire(v)
	}
	if old != 0 {
		s.infos.Release(old)
	}
}

// forget drops what is kept for a conn that is gone.
func (s *Shard) forget(slot uint32) {
	delete(s.rests, slot)
	delete(s.openings, slot)
	s.tenants.Left(slot)
	if r := s.resumption(slot); r != nil {
		*r = resumption{}
	}
	if d := s.details.Peek(slot); d != nil {
		s.setDetail(&d.meta, nil)
		s.setDetail(&d.headers, nil)
		s.setDetail(&d.emulated, nil)
	}
}

// client tells the backend whom a question is about.
func (s *Shard) client(slot uint32, ses *session.Session) backend.Client {
	c := backend.Client{
		ID: strings.Clone(s.clientID(slot)), User: strings.Clone(s.user(ses)),
		Tenant: s.tenants.Name(slot), Transport: "websocket", Encoding: s.encodingOf(ses).String(),
	}
	if d := s.details.Peek(slot); d != nil {
		if d.meta != 0 {
			c.Meta = bytes.Clone(s.infos.Bytes(d.meta))
		}
		if d.headers != 0 {
			c.Headers = headers(s.infos.String(d.headers))
		}
		if d.emulated != 0 {
			c.Emulated = headers(s.infos.String(d.emulated))
		}
	}
	if peer, err := s.l.Peer(slot); err == nil {
		c.Remote = peer.String()
	}
	return c
}

// headerUser is the user that a proxy in front names; empty for none.
func (s *Shard) headerUser(slot uint32) string {
	if s.node.cfg.UserHeader == "" {
		return ""
	}
	if d := s.details.Peek(slot); d != nil && d.headers != 0 {
		return headers(s.infos.String(d.headers))[s.node.cfg.UserHeader]
	}
	return ""
}

// headers reads what Headers wrote; text is the caller's.
func headers(text string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ":"); ok {
			out[name] = value
		}
	}
	return out
}
