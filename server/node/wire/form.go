package wire

import (
	"shoal/codec/proto"
	"shoal/pool/shared"
	"shoal/server/hub"
)

// Form is one way in which pushes reach sessions. Frame appends the framed payload,
// which is of [Form.Payload]'s encoding; scratch may be used and is returned for the
// next call. It is called on the publisher's goroutine and must be safe for concurrent
// use; an empty frame says that the form cannot carry the payload.
type Form struct {
	Encoding proto.Encoding
	Deflated bool
	Frame    func(dst, scratch, payload []byte) (frame, scratchOut []byte)
}

// Payload is the encoding that the form's payloads are made in: MessagePack sessions
// are served by Protobuf, which Frame transcodes.
func (f *Form) Payload() proto.Encoding {
	if f.Encoding == proto.JSON {
		return proto.JSON
	}
	return proto.Protobuf
}

// Variant is what of a publication a member gets.
type Variant uint8

// The variants.
const (
	Plain Variant = iota // the publication as it is
	Full                 // as it is, for members that read differences: what the next one builds on
	Delta                // the difference from the publication before
	Variants
)

// Want says which forms are read: a bit for each.
type Want struct {
	Forms  uint16
	Deltas uint16 // those of them that are read as differences too
}

// Encoded is a push in the wire forms that were wanted; nil for others. A bit in
// Barred marks a form that cannot carry it. Of the variants beyond Plain only those are
// there that differ from the one before.
type Encoded struct {
	Bytes  [Variants][hub.FormsMax]*shared.Bytes
	Barred uint16
}

// Release gives all bytes back.
func (e *Encoded) Release() {
	for v := range e.Bytes {
		for _, b := range e.Bytes[v] {
			if b != nil {
				b.Release()
			}
		}
	}
}
