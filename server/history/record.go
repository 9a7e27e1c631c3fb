package history

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"slices"
	"unsafe"

	"shoal/server/channel"
)

// What is in front of a record's data; the bits are those of its entry that a
// record's end does not need.
const (
	flagTime = 1 << 31
	flagInfo = 1 << 30
	flagTags = 1 << 29
	flagMask = flagTime | flagInfo | flagTags

	recordMax = 1<<29 - 1
	timeBytes = 6 // ±4,459 years around 1970
)

// recordBytes returns how long the record of a publication is.
func recordBytes(pub *channel.Publication) int {
	n := len(pub.Data)
	if pub.Time != 0 {
		n += timeBytes
	}
	if pub.Info != nil {
		n += blockBytes(infoBytes(pub.Info))
	}
	if len(pub.Tags) != 0 {
		n += blockBytes(tagsBytes(pub.Tags))
	}
	return n
}

// A block is its length and so many bytes; a text within it likewise.
func blockBytes(n int) int { return uvarintBytes(uint64(n)) + n }

func uvarintBytes(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }

func infoBytes(info *channel.ClientInfo) int {
	return blockBytes(len(info.User)) + blockBytes(len(info.Client)) + rawBytes(info.ConnInfo) + rawBytes(info.ChanInfo)
}

// Raw bytes have their length plus one in front, 0 for nil.
func rawBytes(b []byte) int {
	if b == nil {
		return 1
	}
	return uvarintBytes(uint64(len(b))+1) + len(b)
}

func tagsBytes(tags map[string]string) int {
	n := 0
	for k, v := range tags {
		n += blockBytes(len(k)) + blockBytes(len(v))
	}
	return n
}

// writeRecord fills dst, which is as long as the record, and returns its flags.
func writeRecord(dst []byte, pub *channel.Publication) (flags uint32) {
	b := dst[:0]
	if pub.Time != 0 {
		flags |= flagTime
		t := uint64(pub.Time)
		b = append(b, byte(t), byte(t>>8), byte(t>>16), byte(t>>24), byte(t>>32), byte(t>>40))
	}
	if info := pub.Info; info != nil {
		flags |= flagInfo
		b = binary.AppendUvarint(b, uint64(infoBytes(info)))
		b = appendText(appendText(b, info.User), info.Client)
		b = appendRaw(appendRaw(b, info.ConnInfo), info.ChanInfo)
	}
	if len(pub.Tags) != 0 {
		flags |= flagTags
		b = binary.AppendUvarint(b, uint64(tagsBytes(pub.Tags)))
		b = appendTags(b, pub.Tags)
	}
	copy(dst[len(b):], pub.Data)
	return flags
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendRaw(b, raw []byte) []byte {
	if raw == nil {
		return append(b, 0)
	}
	return append(binary.AppendUvarint(b, uint64(len(raw))+1), raw...)
}

// appendTags writes the tags in order of their keys, so that equal tags are equal
// bytes and a reader makes one map of them.
func appendTags(b []byte, tags map[string]string) []byte {
	var room [16]string
	keys := room[:0]
	for k := range tags {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		b = appendText(appendText(b, k), tags[k])
	}
	return b
}

// dataStart returns where in a record its data begins.
func dataStart(record []byte, flags uint32) int {
	at := 0
	if flags&flagTime != 0 {
		at = timeBytes
	}
	for f := flags & (flagInfo | flagTags); f != 0; f &= f - 1 {
		n, w := binary.Uvarint(record[at:])
		at += w + int(n)
	}
	return at
}

// reader makes publications of records. Those with equal tags or infos share one
// map and one ClientInfo.
type reader struct {
	infoRaw, tagsRaw []byte
	info             *channel.ClientInfo
	tags             map[string]string
}

// read sets the fields of pub that the record has.
func (r *reader) read(pub *channel.Publication, record []byte, flags uint32) {
	if flags == 0 {
		pub.Data = record
		return
	}
	if flags&flagTime != 0 {
		low := uint64(binary.LittleEndian.Uint32(record)) | uint64(binary.LittleEndian.Uint16(record[4:]))<<32
		pub.Time = int64(low<<16) >> 16
		record = record[timeBytes:]
	}
	if flags&flagInfo != 0 {
		var raw []byte
		raw, record = cutBlock(record)
		if r.info == nil || !bytes.Equal(raw, r.infoRaw) {
			r.infoRaw, r.info = raw, readInfo(raw)
		}
		pub.Info = r.info
	}
	if flags&flagTags != 0 {
		var raw []byte
		raw, record = cutBlock(record)
		if r.tags == nil || !bytes.Equal(raw, r.tagsRaw) {
			r.tagsRaw, r.tags = raw, readTags(raw)
		}
		pub.Tags = r.tags
	}
	pub.Data = record
}

func cutBlock(b []byte) (block, rest []byte) {
	n, w := binary.Uvarint(b)
	end := w + int(n)
	return b[w:end:end], b[end:]
}

// cutText returns a string that points into b, which is never changed.
func cutText(b []byte) (s string, rest []byte) {
	block, rest := cutBlock(b)
	return unsafe.String(unsafe.SliceData(block), len(block)), rest
}

func cutRaw(b []byte) (raw, rest []byte) {
	n, w := binary.Uvarint(b)
	if n == 0 {
		return nil, b[w:]
	}
	end := w + int(n) - 1
	return b[w:end:end], b[end:]
}

func readInfo(b []byte) *channel.ClientInfo {
	info := &channel.ClientInfo{}
	info.User, b = cutText(b)
	info.Client, b = cutText(b)
	info.ConnInfo, b = cutRaw(b)
	info.ChanInfo, _ = cutRaw(b)
	return info
}

func readTags(b []byte) map[string]string {
	tags := make(map[string]string)
	for len(b) > 0 {
		var k, v string
		k, b = cutText(b)
		v, b = cutText(b)
		tags[k] = v
	}
	return tags
}
