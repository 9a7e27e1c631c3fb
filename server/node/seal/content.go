package seal

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Head is what a token says of the session. Times in microseconds are those of the
// sealing node's clock.
type Head struct {
	Lineage   uint64 // the same for all sessions that came out of one another by tokens
	IssuedAt  int64  // Unix microseconds
	Window    int64  // microseconds that it is good for
	ExpireAt  int64  // Unix seconds at which the credentials end; 0 never
	Renewed   bool   // the backend renews them
	Forwarded bool   // a proxy in front names the user
	Tenanted  bool   // the node had tenants, of whom it names one
	User      string
	Info      []byte // nil none
	Meta      []byte // nil none
	Tenant    string // empty the default one; only with Tenanted
}

// What a subscription is.
const (
	ServerSide    = 1 << iota // the server made it
	Positioned                // it follows the stream without a gap
	Recoverable               // and may recover
	Signals                   // it gets joins and leaves
	Present                   // it is counted as present
	Tells                     // its own join and leave are told
	Delta                     // it reads differences
	ServerRefresh             // the backend renews it
	FromToken                 // the connection token names it
	flagsKnown    = 1<<iota - 1
)

// Sub is what a token says of one subscription.
type Sub struct {
	Channel  []byte
	Flags    uint16
	ExpireAt int64  // Unix seconds; 0 never
	Info     []byte // chan_info; nil none
	Filter   []byte // program of the tags filter; nil none
}

const (
	headRenewed = 1 << iota
	headForwarded
	headTenanted
	headKnown = 1<<iota - 1
)

// AppendHead begins the content of a token.
func AppendHead(dst []byte, h *Head) []byte {
	flags := byte(0)
	if h.Renewed {
		flags |= headRenewed
	}
	if h.Forwarded {
		flags |= headForwarded
	}
	if h.Tenanted {
		flags |= headTenanted
	}
	dst = append(dst, flags)
	dst = binary.LittleEndian.AppendUint64(dst, h.Lineage)
	dst = binary.AppendVarint(dst, h.IssuedAt)
	dst = binary.AppendVarint(dst, h.Window)
	dst = binary.AppendVarint(dst, h.ExpireAt)
	dst = appendText(dst, h.User)
	dst = appendText(appendText(dst, h.Info), h.Meta)
	if h.Tenanted {
		dst = appendText(dst, h.Tenant)
	}
	return dst
}

// AppendSub continues it.
func AppendSub(dst []byte, s *Sub) []byte {
	dst = binary.AppendUvarint(dst, uint64(s.Flags))
	dst = binary.AppendVarint(dst, s.ExpireAt)
	dst = appendText(dst, s.Channel)
	return appendText(appendText(dst, s.Info), s.Filter)
}

func appendText[T string | []byte](dst []byte, text T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(text))), text...)
}

// Read reads the head; rest are the subscriptions, for [Next]. What it returns aliases
// plain, but for the strings. An error says that a server with the same secret writes
// another content.
func Read(plain []byte) (h Head, rest []byte, err error) {
	r := reader{b: plain}
	flags := r.byte()
	h.Renewed, h.Forwarded = flags&headRenewed != 0, flags&headForwarded != 0
	h.Lineage = r.uint64()
	h.IssuedAt, h.Window, h.ExpireAt = r.varint(), r.varint(), r.varint()
	h.User, h.Info, h.Meta = string(r.text()), r.text(), r.text()
	if h.Tenanted = flags&headTenanted != 0; h.Tenanted {
		h.Tenant = string(r.text())
	}
	if r.broken || flags&^headKnown != 0 {
		return Head{}, nil, errors.New("seal: the head of a token is not as this version writes it")
	}
	return h, r.b, nil
}

// Next reads one subscription into s and returns what follows; more is false behind the
// last one. What it reads aliases rest.
func Next(rest []byte, s *Sub) (left []byte, more bool, err error) {
	if len(rest) == 0 {
		return nil, false, nil
	}
	r := reader{b: rest}
	flags := r.uvarint()
	s.Flags, s.ExpireAt = uint16(flags), r.varint()
	s.Channel, s.Info, s.Filter = r.text(), r.text(), r.text()
	if r.broken || flags&^flagsKnown != 0 || len(s.Channel) == 0 {
		return nil, false, fmt.Errorf("seal: a subscription with flags %#x is not as this version writes it", flags)
	}
	return r.b, true, nil
}

// reader reads fields; what is cut short leaves it broken.
type reader struct {
	b      []byte
	broken bool
}

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.b, r.broken = nil, true
		return nil
	}
	p := r.b[:n:n]
	r.b = r.b[n:]
	return p
}

func (r *reader) byte() byte {
	if p := r.take(1); p != nil {
		return p[0]
	}
	return 0
}

func (r *reader) uint64() uint64 {
	if p := r.take(8); p != nil {
		return binary.LittleEndian.Uint64(p)
	}
	return 0
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.b, r.broken = nil, true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	u := r.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

// text reads a field behind its length; nil when it is empty.
func (r *reader) text() []byte {
	n := r.uvarint()
	if p := r.take(n); len(p) > 0 {
		return p
	}
	return nil
}
