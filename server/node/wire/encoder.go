package wire

import (
	"shoal/codec/delta"
	"shoal/codec/proto"
	"shoal/pool/shared"
	"shoal/server/channel"
)

// Encoder is the scratch memory of one encoding. The zero value is ready; it serves one
// goroutine at a time.
type Encoder struct {
	payload [Variants][2][]byte // by proto.Encoding of the payload
	done    [Variants][2]bool
	barred  [Variants][2]bool
	scratch []byte
	frame   []byte
	patch   []byte
	pub     proto.Publication
	info    proto.ClientInfo
	push    proto.Push
	reply   proto.Reply
	join    proto.Join
	leave   proto.Leave
}

// bytesKept bounds what an idle encoder holds on to.
const bytesKept = 64 << 10

// Publication encodes a publication to the members of the channel name. of is the
// channel it was published to, when name is a wildcard; else empty.
func (e *Encoder) Publication(forms []Form, pool *shared.Pool, want Want, name, of string, pub *channel.Publication) (out Encoded) {
	e.fill(pub, of)
	patched := false
	if want.Deltas != 0 && pub.Prev != nil {
		e.patch = delta.Append(e.patch[:0], pub.Prev, pub.Data)
		patched = len(e.patch) < len(pub.Data) // else the whole is the shorter difference
	}
	for i := range forms {
		if want.Forms>>i&1 == 0 {
			continue
		}
		form, enc := &forms[i], forms[i].Payload()
		if !e.variant(Plain, enc, name, pub.Data, 0) {
			out.Barred |= 1 << i
			continue
		}
		if out.Bytes[Plain][i] = e.framed(form, pool, e.payload[Plain][enc]); out.Bytes[Plain][i] == nil {
			out.Barred |= 1 << i
			continue
		}
		if want.Deltas>>i&1 == 0 {
			continue
		}
		if enc == proto.JSON && e.variant(Full, enc, name, pub.Data, proto.Text) { // elsewhere Plain serves
			out.Bytes[Full][i] = e.framed(form, pool, e.payload[Full][enc])
		}
		if patched && e.variant(Delta, enc, name, e.patch, proto.Text) {
			out.Bytes[Delta][i] = e.framed(form, pool, e.payload[Delta][enc])
		}
	}
	e.forget()
	return out
}

// variant encodes the push once for an encoding; false when it cannot carry it: data
// that is no JSON, or a difference that cuts a character in two.
func (e *Encoder) variant(v Variant, enc proto.Encoding, name string, data []byte, how proto.Payloads) bool {
	if !e.done[v][enc] {
		e.done[v][enc] = true
		e.pub.Data, e.pub.Delta = data, v == Delta
		var err error
		e.payload[v][enc], err = proto.AppendPublicationPushWith(e.payload[v][enc][:0], enc, name, &e.pub, how)
		e.barred[v][enc] = err != nil
	}
	return !e.barred[v][enc]
}

// Signals encodes joins and leaves of the channel, one push each, into one payload.
func (e *Encoder) Signals(forms []Form, pool *shared.Pool, want Want, name string, signals []channel.Signal) (out Encoded) {
	for i := range forms {
		if want.Forms>>i&1 == 0 {
			continue
		}
		enc := forms[i].Payload()
		if !e.done[Plain][enc] {
			e.done[Plain][enc] = true
			e.payload[Plain][enc] = e.signals(e.payload[Plain][enc][:0], enc, name, signals)
		}
		if len(e.payload[Plain][enc]) == 0 {
			continue
		}
		out.Bytes[Plain][i] = e.framed(&forms[i], pool, e.payload[Plain][enc])
	}
	e.forget()
	return out
}

// signals appends the pushes. One that JSON cannot carry, because its info is bytes,
// is left out there: it is no message, and nobody need be cut off for it.
func (e *Encoder) signals(dst []byte, enc proto.Encoding, name string, signals []channel.Signal) []byte {
	for i := range signals {
		s := &signals[i]
		e.info.Reset()
		e.info.User, e.info.Client, e.info.ConnInfo, e.info.ChanInfo = s.Info.User, s.Info.Client, s.Info.ConnInfo, s.Info.ChanInfo
		e.push.Reset()
		e.push.Channel = name
		if s.Leave {
			e.leave.Info = &e.info
			e.push.Leave = &e.leave
		} else {
			e.join.Info = &e.info
			e.push.Join = &e.join
		}
		e.reply.Push = &e.push
		with := dst
		if len(dst) > 0 {
			with = proto.AppendSep(dst, enc)
		}
		if out, err := proto.AppendReply(with, enc, &e.reply); err == nil {
			dst = out
		}
	}
	return dst
}

func (e *Encoder) framed(form *Form, pool *shared.Pool, payload []byte) *shared.Bytes {
	e.frame, e.scratch = form.Frame(e.frame[:0], e.scratch, payload)
	if len(e.frame) == 0 {
		return nil // the form cannot carry it
	}
	b := pool.New(len(e.frame))
	b.Buf = append(b.Buf[:0], e.frame...)
	return b
}

func (e *Encoder) fill(pub *channel.Publication, of string) {
	e.pub.Channel, e.pub.Tags, e.pub.Time = of, pub.Tags, pub.Time
	if of == "" { // the offset is one of the channel published to, which a wildcard is not
		e.pub.Offset = pub.Offset
	}
	if i := pub.Info; i != nil {
		e.info.User, e.info.Client, e.info.ConnInfo, e.info.ChanInfo = i.User, i.Client, i.ConnInfo, i.ChanInfo
		e.pub.Info = &e.info
	}
}

// forget drops what belongs to the publisher, and memory that grew too large.
func (e *Encoder) forget() {
	e.pub.Reset()
	e.info.Reset()
	e.push.Reset()
	e.reply.Reset()
	e.done, e.barred = [Variants][2]bool{}, [Variants][2]bool{}
	kept := func(b *[]byte) {
		if cap(*b) > bytesKept {
			*b = nil
		}
	}
	for v := range e.payload {
		kept(&e.payload[v][0])
		kept(&e.payload[v][1])
	}
	kept(&e.scratch)
	kept(&e.frame)
	kept(&e.patch)
}
