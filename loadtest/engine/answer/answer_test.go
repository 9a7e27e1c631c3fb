package answer

import (
	"strings"
	"testing"
)

func TestAnswersAreReadWholeAndAtEveryCut(t *testing.T) {
	for _, c := range []struct {
		name, text string
		code       int
		body       string
		bad        bool // the answer means failure
	}{
		{"success", "HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{\"result\":{}}", 200, `{"result":{}}`, false},
		{"error in the body", "HTTP/1.1 200 OK\r\ncontent-length: 22\r\n\r\n{\"error\":{\"code\":102}}", 200, `{"error":{"code":102}}`, true},
		{"status", "HTTP/1.1 401 Unauthorized\r\nContent-Length: 4\r\n\r\nnope", 401, "nope", true},
		{"chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"r\r\nA;x=1\r\nesult\":{}}\r\n0\r\n\r\n", 200, `{"result":{}}`, false},
		{"chunks with a trailer", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX: y\r\n\r\n", 200, `{}`, true},
		{"nothing", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, "", true},
	} {
		next := c.text + "HTTP/1.1 200 OK\r\n"
		for cut := range len(c.text) {
			if _, n, err := Parse([]byte(c.text[:cut])); n != 0 || err != nil {
				t.Errorf("%s: the first %d bytes are read as %d, %v", c.name, cut, n, err)
			}
		}
		r, n, err := Parse([]byte(next))
		if err != nil || n != len(c.text) || r.Code != c.code || string(r.Body) != c.body || (r.Err() != nil) != c.bad {
			t.Errorf("%s: %d bytes, status %d, body %q, failure %v, %v", c.name, n, r.Code, r.Body, r.Err(), err)
		}
	}
}

func TestAnswersThatAreNoneAreRefused(t *testing.T) {
	for _, text := range []string{
		"SSH-2.0-OpenSSH_9.2\r\n", "HTTP/1.1\r\n\r\n", "HTTP/1.1 x\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFF\r\n",
		"HTTP/1.1 200 " + strings.Repeat("x", headBytesMax),
	} {
		if _, n, err := Parse([]byte(text)); err == nil {
			t.Errorf("%.60q was accepted (%d bytes)", text, n)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, n, err := Parse(b)
		if n < 0 || n > len(b) || err != nil && n != 0 || len(r.Body) > len(b) {
			t.Fatalf("%d of %d bytes, body of %d, %v", n, len(b), len(r.Body), err)
		}
	})
}
