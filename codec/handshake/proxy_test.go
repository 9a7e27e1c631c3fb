package handshake

import (
	"encoding/binary"
	"hash/crc32"
	"net/netip"
	"strings"
	"testing"
)

// proxyV2 builds a v2 header with a length that is true.
func proxyV2(command, kind byte, body string) string {
	b := append([]byte(proxyV2Signature), command, kind)
	b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
	return string(b) + body
}

// withLength overwrites the length field of a v2 header.
func withLength(header string, n uint16) string {
	b := []byte(header)
	binary.BigEndian.PutUint16(b[14:], n)
	return string(b)
}

// withSum appends a right CRC32c TLV.
func withSum(command, kind byte, body string) string {
	header := []byte(proxyV2(command, kind, body+"\x03\x00\x04\x00\x00\x00\x00"))
	sum := crc32.Checksum(header, crc32.MakeTable(crc32.Castagnoli))
	binary.BigEndian.PutUint32(header[len(header)-4:], sum)
	return string(header)
}

const (
	addrs4 = "\x01\x02\x03\x04\x7f\x00\x00\x01\x1f\x90\x01\xbb" // 1.2.3.4:8080 to 127.0.0.1:443
	addrs6 = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" + "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" + "\x1f\x90\x01\xbb"
	tls    = "\x20\x00\x0a" + "0123456789" // a TLV of 10 bytes
)

// parseProxyEverywhere parses in whole, cut at every boundary, and followed by other bytes.
func parseProxyEverywhere(t *testing.T, in string) (n int, src, dst netip.AddrPort, status Status) {
	t.Helper()
	n, src, dst, status = ParseProxy([]byte(in))
	for i := range len(in) {
		m, s, d, st := ParseProxy([]byte(in[:i]))
		if st != NeedMore && (m != n || s != src || d != dst || st != status) {
			t.Fatalf("%q cut at %d: got %d %v %v %v, whole %d %v %v %v", in, i, m, s, d, st, n, src, dst, status)
		}
		if st == Done && i < n {
			t.Fatalf("%q: done after %d bytes but n is %d", in, i, n)
		}
	}
	if m, _, _, st := ParseProxy([]byte(in + "GET / HTTP/1.1\r\n")); status == Done && (m != n || st != Done) {
		t.Fatalf("%q with a request behind it: got %d %v", in, m, st)
	}
	if status != Done && (n != 0 || src != netip.AddrPort{} || dst != netip.AddrPort{}) {
		t.Fatalf("%q: %v with %d %v %v", in, status, n, src, dst)
	}
	return n, src, dst, status
}

func TestProxyHeadersThatArePassed(t *testing.T) {
	const none = "invalid AddrPort"
	for _, c := range []struct{ name, in, src, dst string }{
		{"v1 TCP4", "PROXY TCP4 1.2.3.4 127.0.0.1 8080 443\r\n", "1.2.3.4:8080", "127.0.0.1:443"},
		{"v1 longest TCP4", "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255:65535", "255.255.255.255:65535"},
		{"v1 port 0", "PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", "0.0.0.0:0", "0.0.0.0:0"},
		{"v1 TCP6", "PROXY TCP6 2001:db8::1 ::1 8080 443\r\n", "[2001:db8::1]:8080", "[::1]:443"},
		{"v1 TCP6 mapped", "PROXY TCP6 ::ffff:1.2.3.4 ::1 1 2\r\n", "[::ffff:1.2.3.4]:1", "[::1]:2"},
		{"v1 UNKNOWN", "PROXY UNKNOWN\r\n", none, none},
		{"v1 UNKNOWN with anything", "PROXY UNKNOWN ffff:f...f:ffff what ever 65535\r\n", none, none},
		{"v2 TCP4", proxyV2(0x21, 0x11, addrs4), "1.2.3.4:8080", "127.0.0.1:443"},
		{"v2 TCP6", proxyV2(0x21, 0x21, addrs6), "[2001:db8::1]:8080", "[::1]:443"},
		{"v2 Unix", proxyV2(0x21, 0x31, strings.Repeat("x", 216)), none, none},
		{"v2 UNSPEC", proxyV2(0x21, 0x00, ""), none, none},
		{"v2 UNSPEC with anything", proxyV2(0x21, 0x00, "\x01\xff\xff"), none, none},
		{"v2 LOCAL", proxyV2(0x20, 0x00, ""), none, none},
		{"v2 LOCAL, family and block ignored", proxyV2(0x20, 0x77, "whatever"), none, none},
		{"v2 TLV", proxyV2(0x21, 0x11, addrs4+tls), "1.2.3.4:8080", "127.0.0.1:443"},
		{"v2 empty TLV", proxyV2(0x21, 0x11, addrs4+"\x04\x00\x00"+tls), "1.2.3.4:8080", "127.0.0.1:443"},
		{"v2 checksum", withSum(0x21, 0x11, addrs4), "1.2.3.4:8080", "127.0.0.1:443"},
		{"v2 checksum behind TLV", withSum(0x21, 0x21, addrs6+tls), "[2001:db8::1]:8080", "[::1]:443"},
		{"v2 longest", proxyV2(0x21, 0x11, addrs4+"\x04\x0f\xe1"+strings.Repeat("\x00", 0xfe1)), "1.2.3.4:8080", "127.0.0.1:443"},
	} {
		n, src, dst, status := parseProxyEverywhere(t, c.in)
		if status != Done || n != len(c.in) || src.String() != c.src || dst.String() != c.dst {
			t.Errorf("%s: got %d %v %v %v, want %d %s %s", c.name, n, src, dst, status, len(c.in), c.src, c.dst)
		}
	}
}

func TestProxyHeadersThatAreRefused(t *testing.T) {
	tcp4 := proxyV2(0x21, 0x11, addrs4)
	badSum := []byte(withSum(0x21, 0x11, addrs4))
	badSum[16] ^= 1
	for _, c := range []struct {
		name, in string
		want     Status
	}{
		{"a request", "GET / HTTP/1.1\r\n\r\n", NotProxy},
		{"a request that begins alike", "PROPFIND / HTTP/1.1\r\n\r\n", NotProxy},
		{"TLS", "\x16\x03\x01", NotProxy},
		{"v1 lower case", "proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n", NotProxy},
		{"v2 signature, one off", strings.Replace(tcp4, "QUIT", "QUIT"[:3]+"t", 1), NotProxy},
		{"v1 other family", "PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n", BadProxyLine},
		{"v1 two spaces", "PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n", BadProxyLine},
		{"v1 space behind", "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n", BadProxyLine},
		{"v1 too few", "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", BadProxyLine},
		{"v1 nothing", "PROXY \r\n", BadProxyLine},
		{"v1 family only", "PROXY TCP4\r\n", BadProxyLine},
		{"v1 too many", "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n", BadProxyLine},
		{"v1 LF alone", "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n", BadProxyLine},
		{"v1 LF at once", "PROXY \n", BadProxyLine},
		{"v1 108 bytes", "PROXY UNKNOWN " + strings.Repeat("x", 92) + "\r\n", BadProxyLine},
		{"v1 no end", "PROXY UNKNOWN " + strings.Repeat("x", 200), BadProxyLine},
		{"v1 octet 256", "PROXY TCP4 1.2.3.256 1.2.3.4 1 2\r\n", BadProxyAddr},
		{"v1 octet 01", "PROXY TCP4 1.2.3.01 1.2.3.4 1 2\r\n", BadProxyAddr},
		{"v1 three octets", "PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n", BadProxyAddr},
		{"v1 five octets", "PROXY TCP4 1.2.3.4.5 1.2.3.4 1 2\r\n", BadProxyAddr},
		{"v1 empty octet", "PROXY TCP4 1..3.4 1.2.3.4 1 2\r\n", BadProxyAddr},
		{"v1 octet 9999", "PROXY TCP4 9999.2.3.4 1.2.3.4 1 2\r\n", BadProxyAddr},
		{"v1 IPv6 as TCP4", "PROXY TCP4 ::1 ::1 1 2\r\n", BadProxyAddr},
		{"v1 IPv4 as TCP6", "PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n", BadProxyAddr},
		{"v1 zone", "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n", BadProxyAddr},
		{"v1 bad IPv6", "PROXY TCP6 1::2::3 ::1 1 2\r\n", BadProxyAddr},
		{"v1 port 65536", "PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n", BadProxyAddr},
		{"v1 port 080", "PROXY TCP4 1.2.3.4 1.2.3.4 080 2\r\n", BadProxyAddr},
		{"v1 port -1", "PROXY TCP4 1.2.3.4 1.2.3.4 1 -1\r\n", BadProxyAddr},
		{"v1 port huge", "PROXY TCP4 1.2.3.4 1.2.3.4 1 99999999999999999999\r\n", BadProxyAddr},
		{"v1 NUL", "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\x00\r\n", BadProxyAddr},
		{"v2 version 1", proxyV2(0x11, 0x11, addrs4), BadProxyKind},
		{"v2 version 3", proxyV2(0x31, 0x11, addrs4), BadProxyKind},
		{"v2 command 2", proxyV2(0x22, 0x11, addrs4), BadProxyKind},
		{"v2 UDP4", proxyV2(0x21, 0x12, addrs4), BadProxyKind},
		{"v2 family 4", proxyV2(0x21, 0x41, addrs4), BadProxyKind},
		{"v2 length 0", withLength(tcp4, 0), BadProxyLen},
		{"v2 length 11", withLength(tcp4, 11), BadProxyLen},
		{"v2 length of IPv4 for IPv6", proxyV2(0x21, 0x21, addrs4), BadProxyLen},
		{"v2 length of IPv6 for Unix", proxyV2(0x21, 0x31, addrs6), BadProxyLen},
		{"v2 length 65535", withLength(tcp4, 65535), BadProxyLen},
		{"v2 length over limit", withLength(tcp4, 4081), BadProxyLen},
		{"v2 length over limit, LOCAL", withLength(proxyV2(0x20, 0, ""), 4081), BadProxyLen},
		{"v2 TLV of one byte", proxyV2(0x21, 0x11, addrs4+"\x04"), BadProxyTLV},
		{"v2 TLV of two bytes", proxyV2(0x21, 0x11, addrs4+"\x04\x00"), BadProxyTLV},
		{"v2 TLV one too long", proxyV2(0x21, 0x11, addrs4+"\x20\x00\x0b0123456789"), BadProxyTLV},
		{"v2 TLV 65535", proxyV2(0x21, 0x11, addrs4+"\x20\xff\xff0123456789"), BadProxyTLV},
		{"v2 second TLV lies", proxyV2(0x21, 0x11, addrs4+tls+"\x20\x00\x01"), BadProxyTLV},
		{"v2 checksum wrong", string(badSum), BadProxySum},
		{"v2 checksum of 3 bytes", proxyV2(0x21, 0x11, addrs4+"\x03\x00\x03123"), BadProxySum},
		{"v2 checksum of 0 bytes", proxyV2(0x21, 0x11, addrs4+"\x03\x00\x00"), BadProxySum},
	} {
		if _, _, _, status := parseProxyEverywhere(t, c.in); status != c.want {
			t.Errorf("%s: got %v, want %v", c.name, status, c.want)
		}
	}
}

func TestProxyLengthsWaitForTheirBytes(t *testing.T) {
	for _, in := range []string{"", "P", "PROXY", "PROXY TCP4 1.2.3.4", "\r", "\r\n\r\n\x00\r\nQUI", withLength(proxyV2(0x21, 0x11, addrs4), 13), withLength(proxyV2(0x20, 0, ""), 4080)} {
		if n, _, _, status := ParseProxy([]byte(in)); n != 0 || status != NeedMore {
			t.Errorf("%q: got %d %v, want need-more", in, n, status)
		}
	}
}
