package msgpack

import (
	"encoding/binary"
	"math"
)

// The first bytes of MessagePack values (github.com/msgpack/msgpack, spec.md, "Formats").
const (
	fixmap   = 0x80
	fixarray = 0x90
	fixstr   = 0xa0
	null     = 0xc0
	never    = 0xc1
	no       = 0xc2
	yes      = 0xc3
	bin8     = 0xc4
	bin16    = 0xc5
	bin32    = 0xc6
	ext8     = 0xc7
	ext32    = 0xc9
	float32_ = 0xca
	float64_ = 0xcb
	uint8_   = 0xcc
	uint16_  = 0xcd
	uint32_  = 0xce
	uint64_  = 0xcf
	int8_    = 0xd0
	int16_   = 0xd1
	int32_   = 0xd2
	int64_   = 0xd3
	fixext1  = 0xd4
	fixext16 = 0xd8
	str8     = 0xd9
	str16    = 0xda
	str32    = 0xdb
	array16  = 0xdc
	array32  = 0xdd
	map16    = 0xde
	map32    = 0xdf
	negative = 0xe0 // and above: -32 … -1
)

// The appenders choose the shortest form.

func appendUint(dst []byte, n uint64) []byte {
	switch {
	case n < 0x80:
		return append(dst, byte(n))
	case n <= math.MaxUint8:
		return append(dst, uint8_, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(dst, uint16_), uint16(n))
	case n <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(dst, uint32_), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, uint64_), n)
}

func appendInt(dst []byte, n int64) []byte {
	switch {
	case n >= 0:
		return appendUint(dst, uint64(n))
	case n >= -32:
		return append(dst, byte(n))
	case n >= math.MinInt8:
		return append(dst, int8_, byte(n))
	case n >= math.MinInt16:
		return binary.BigEndian.AppendUint16(append(dst, int16_), uint16(n))
	case n >= math.MinInt32:
		return binary.BigEndian.AppendUint32(append(dst, int32_), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, int64_), uint64(n))
}

// appendLong appends a length or count that is over what fits a first byte: the code for 16 bits or its successor for 32.
func appendLong(dst []byte, code16 byte, n int) []byte {
	if n <= math.MaxUint16 {
		return binary.BigEndian.AppendUint16(append(dst, code16), uint16(n))
	}
	return binary.BigEndian.AppendUint32(append(dst, code16+1), uint32(n))
}

func appendString(dst, s []byte) []byte {
	switch n := len(s); {
	case n <= keyBytesMax:
		dst = append(dst, fixstr|byte(n))
	case n <= math.MaxUint8:
		dst = append(dst, str8, byte(n))
	default:
		dst = appendLong(dst, str16, n)
	}
	return append(dst, s...)
}

func appendBin(dst, p []byte) []byte {
	if n := len(p); n <= math.MaxUint8 {
		dst = append(dst, bin8, byte(n))
	} else {
		dst = appendLong(dst, bin16, n)
	}
	return append(dst, p...)
}

func appendArray(dst []byte, n int) []byte {
	if n < 16 {
		return append(dst, fixarray|byte(n))
	}
	return appendLong(dst, array16, n)
}

func appendMap(dst []byte, n int) []byte {
	if n <= smallMapMost {
		return append(dst, fixmap|byte(n))
	}
	return appendLong(dst, map16, n)
}
