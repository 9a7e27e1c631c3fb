package handshake

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"net/netip"
)

// The PROXY protocol, versions 1 and 2, as HAProxy's proxy-protocol.txt specifies it.
const (
	proxyV1Prefix     = "PROXY "
	proxyV1BytesMax   = 107 // §2.1: the longest line with its CR LF
	proxyV2Signature  = "\r\n\r\n\x00\r\nQUIT\n"
	proxyV2HeadBytes  = 16
	proxyV2BytesMax   = 4 << 10 // whole header; a TLV with a certificate's common name fits, a certificate flood does not
	proxyTLVHeadBytes = 3
	proxyTLVChecksum  = 0x03 // PP2_TYPE_CRC32C, §2.2.3
)

// ParseProxy looks at b, which begins with the first byte of a connection that only a trusted load balancer can open. Done: n is the length
// of the header, and the client's bytes follow; src is the client and dst the address it asked for, both zero when the balancer speaks for itself
// (LOCAL), does not know (UNKNOWN, UNSPEC), or it was a Unix socket. NeedMore: n is 0; call again with these bytes and more. Otherwise a failure: close
// without an answer, as the specification asks. It keeps no state (a header is at most 4 KiB), and allocates only for an IPv6 address in text (v1).
func ParseProxy(b []byte) (n int, src, dst netip.AddrPort, status Status) {
	v1, v2 := hasPrefix(b, proxyV1Prefix), hasPrefix(b, proxyV2Signature)
	switch {
	case !v1 && !v2:
		status = NotProxy
	case len(b) < len(proxyV1Prefix):
		status = NeedMore
	case v1:
		n, src, dst, status = parseProxyV1(b)
	default:
		n, src, dst, status = parseProxyV2(b)
	}
	if status != Done {
		return 0, netip.AddrPort{}, netip.AddrPort{}, status
	}
	return n, src, dst, Done
}

// hasPrefix reports whether b begins with prefix, or prefix with b.
func hasPrefix(b []byte, prefix string) bool {
	n := min(len(b), len(prefix))
	return string(b[:n]) == prefix[:n]
}

// parseProxyV1 reads PROXY SP family SP source SP destination SP port SP port CR LF (§2.1).
func parseProxyV1(b []byte) (n int, src, dst netip.AddrPort, status Status) {
	i := bytes.IndexByte(b[:min(len(b), proxyV1BytesMax)], '\n')
	if i < 0 {
		if len(b) >= proxyV1BytesMax {
			return 0, src, dst, BadProxyLine
		}
		return 0, src, dst, NeedMore
	}
	if b[i-1] != '\r' {
		return 0, src, dst, BadProxyLine
	}
	n = i + 1
	family, rest := cutSpace(b[len(proxyV1Prefix) : i-1])
	switch string(family) {
	case "UNKNOWN": // §2.1: ignore anything before the CR LF
		return n, src, dst, Done
	case "TCP4", "TCP6":
	default:
		return 0, src, dst, BadProxyLine
	}
	var part [4][]byte
	for i := range part {
		part[i], rest = cutSpace(rest)
	}
	if rest != nil || part[3] == nil {
		return 0, src, dst, BadProxyLine
	}
	six := family[3] == '6'
	src, ok1 := proxyAddr(part[0], part[2], six)
	dst, ok2 := proxyAddr(part[1], part[3], six)
	if !ok1 || !ok2 {
		return 0, src, dst, BadProxyAddr
	}
	return n, src, dst, Done
}

// cutSpace cuts at the first space; rest is nil when there was none.
func cutSpace(s []byte) (part, rest []byte) {
	if i := bytes.IndexByte(s, ' '); i >= 0 {
		return s[:i], s[i+1:]
	}
	return s, nil
}

func proxyAddr(addr, port []byte, six bool) (netip.AddrPort, bool) {
	if len(port) == 0 || len(port) > 5 || !all(port, isDigit) || len(port) > 1 && port[0] == '0' || number(port) > 65535 {
		return netip.AddrPort{}, false
	}
	a, ok := proxyIPv4(addr)
	if six {
		if !all(addr, isIPv6) { // also keeps zones away
			return netip.AddrPort{}, false
		}
		var err error
		a, err = netip.ParseAddr(string(addr))
		ok = err == nil && a.Is6()
	}
	return netip.AddrPortFrom(a, uint16(number(port))), ok
}

// proxyIPv4 reads a dotted quad without leading zeros. Not netip.ParseAddr: that one wants a string, which would be an allocation.
func proxyIPv4(s []byte) (netip.Addr, bool) {
	var quad [4]byte
	for i := range quad {
		digits := 0
		for digits < len(s) && isDigit(s[digits]) {
			digits++
		}
		if digits == 0 || digits > 3 || digits > 1 && s[0] == '0' || number(s[:digits]) > 255 {
			return netip.Addr{}, false
		}
		quad[i] = byte(number(s[:digits]))
		s = s[digits:]
		if i == 3 {
			break
		}
		if len(s) == 0 || s[0] != '.' {
			return netip.Addr{}, false
		}
		s = s[1:]
	}
	return netip.AddrFrom4(quad), len(s) == 0
}

// parseProxyV2 reads the binary header (§2.2). Fields are judged in byte order, each as soon as it is there; the length before anything
// that it measures.
func parseProxyV2(b []byte) (n int, src, dst netip.AddrPort, status Status) {
	const local, proxied = 0x20, 0x21 // version 2 with command LOCAL or PROXY
	if len(b) > 12 && b[12] != local && b[12] != proxied {
		return 0, src, dst, BadProxyKind
	}
	if len(b) <= 13 {
		return 0, src, dst, NeedMore
	}
	kind := b[13]
	if b[12] == local {
		kind = 0 // §2.2: the receiver ignores family and addresses, as with UNSPEC
	}
	addrBytes, ok := proxyAddrBytes(kind)
	if !ok {
		return 0, src, dst, BadProxyKind
	}
	if len(b) < proxyV2HeadBytes {
		return 0, src, dst, NeedMore
	}
	length := int(binary.BigEndian.Uint16(b[14:]))
	if length < addrBytes || length > proxyV2BytesMax-proxyV2HeadBytes {
		return 0, src, dst, BadProxyLen
	}
	n = proxyV2HeadBytes + length
	if len(b) < n {
		return 0, src, dst, NeedMore
	}
	if kind == 0 {
		return n, src, dst, Done
	}
	if status := checkTLVs(b[:n], proxyV2HeadBytes+addrBytes); status != Done {
		return 0, src, dst, status
	}
	src, dst = proxyV2Addrs(b[proxyV2HeadBytes:n], addrBytes)
	return n, src, dst, Done
}

// proxyAddrBytes returns the size of the address block of a family and transport; only stream transports and UNSPEC make sense here.
func proxyAddrBytes(kind byte) (n int, ok bool) {
	switch kind {
	case 0x00: // UNSPEC
		return 0, true
	case 0x11: // TCP over IPv4
		return 12, true
	case 0x21: // TCP over IPv6
		return 36, true
	case 0x31: // Unix stream
		return 216, true
	}
	return 0, false
}

func proxyV2Addrs(body []byte, addrBytes int) (src, dst netip.AddrPort) {
	switch addrBytes {
	case 12:
		src = netip.AddrPortFrom(netip.AddrFrom4([4]byte(body)), binary.BigEndian.Uint16(body[8:]))
		dst = netip.AddrPortFrom(netip.AddrFrom4([4]byte(body[4:])), binary.BigEndian.Uint16(body[10:]))
	case 36:
		src = netip.AddrPortFrom(netip.AddrFrom16([16]byte(body)), binary.BigEndian.Uint16(body[32:]))
		dst = netip.AddrPortFrom(netip.AddrFrom16([16]byte(body[16:])), binary.BigEndian.Uint16(body[34:]))
	}
	return src, dst
}

// checkTLVs walks the TLVs of header from offset at, and verifies the checksum where there is one (§2.2.3: a receiver that finds another
// sum must abort). TLVs themselves say nothing this server needs.
func checkTLVs(header []byte, at int) Status {
	for at < len(header) {
		if len(header)-at < proxyTLVHeadBytes {
			return BadProxyTLV
		}
		value := at + proxyTLVHeadBytes
		length := int(binary.BigEndian.Uint16(header[at+1:]))
		if length > len(header)-value {
			return BadProxyTLV
		}
		if header[at] == proxyTLVChecksum && (length != 4 || !checksumFits(header, value)) {
			return BadProxySum
		}
		at = value + length
	}
	return Done
}

// checksumFits computes CRC32c over header with the four bytes at offset at, the sum itself, taken as zero.
func checksumFits(header []byte, at int) bool {
	table := crc32.MakeTable(crc32.Castagnoli)
	var zero [4]byte
	sum := crc32.Update(0, table, header[:at])
	sum = crc32.Update(sum, table, zero[:])
	sum = crc32.Update(sum, table, header[at+4:])
	return sum == binary.BigEndian.Uint32(header[at:])
}
