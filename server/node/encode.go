package node

import (
	"unsafe"

	"shoal/codec/proto"
	"shoal/pool/shared"
	"shoal/server/channel"
	"shoal/server/hub"
)

// encoded is one publication in the wire forms that are in use; nil for others. A
// bit in barred marks a form that cannot carry it.
type encoded struct {
	bytes  [hub.FormsMax]*shared.Bytes
	barred uint8
}

func (e *encoded) release() {
	for _, b := range e.bytes {
		if b != nil {
			b.Release()
		}
	}
}

// encoder is the scratch memory of one encoding; pooled.
type encoder struct {
	payload [2][]byte // by proto.Encoding
	scratch []byte
	frame   []byte
	pub     proto.Publication
	info    proto.ClientInfo
}

// encoderBytesKept bounds what a pooled encoder holds on to.
const encoderBytesKept = 64 << 10

// encode encodes the publication once per encoding and frames it once per form.
func (e *encoder) encode(n *Node, name string, pub *channel.Publication, a *audience) (out encoded) {
	e.fill(pub)
	var done, barred [2]bool
	for i := range n.cfg.Forms {
		form := &n.cfg.Forms[i]
		enc := form.Encoding
		if a[i] == 0 {
			continue
		}
		if !done[enc] {
			payload, err := proto.AppendPublicationPush(e.payload[enc][:0], enc, name, &e.pub)
			e.payload[enc], done[enc], barred[enc] = payload, true, err != nil
		}
		if barred[enc] {
			out.barred |= 1 << i
			continue
		}
		e.frame, e.scratch = form.Frame(e.frame[:0], e.scratch, e.payload[enc])
		b := n.cfg.Bytes.New(len(e.frame))
		b.Buf = append(b.Buf[:0], e.frame...)
		out.bytes[i] = b
	}
	e.forget()
	return out
}

func (e *encoder) fill(pub *channel.Publication) {
	e.pub.Data, e.pub.Offset, e.pub.Tags, e.pub.Time = pub.Data, pub.Offset, pub.Tags, pub.Time
	if i := pub.Info; i != nil {
		e.info.User, e.info.Client, e.info.ConnInfo, e.info.ChanInfo = i.User, i.Client, i.ConnInfo, i.ChanInfo
		e.pub.Info = &e.info
	}
}

// forget drops what belongs to the publisher, and memory that grew too large.
func (e *encoder) forget() {
	e.pub.Reset()
	e.info.Reset()
	for _, b := range [...]*[]byte{&e.payload[0], &e.payload[1], &e.scratch, &e.frame} {
		if cap(*b) > encoderBytesKept {
			*b = nil
		}
	}
}

// bytesOf views a string as bytes that must not be written.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// stringOf views bytes as a string, valid until they change.
func stringOf(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
