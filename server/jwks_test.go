package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"shoal/server/auth"
)

// keySetServer answers as handler says and counts the requests.
func keySetServer(t *testing.T, secure bool, handler http.HandlerFunc) (address string, f *keyFetcher, asked *atomic.Int32) {
	t.Helper()
	asked = &atomic.Int32{}
	counted := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		handler(w, r)
	})
	if !secure {
		s := httptest.NewServer(counted)
		t.Cleanup(s.Close)
		return s.URL, &keyFetcher{client: keyClient(nil)}, asked
	}
	s := httptest.NewTLSServer(counted)
	t.Cleanup(s.Close)
	trust := x509.NewCertPool()
	trust.AddCert(s.Certificate())
	return s.URL, &keyFetcher{client: keyClient(&tls.Config{RootCAs: trust})}, asked
}

func TestKeySetsAreFetched(t *testing.T) {
	for _, secure := range []bool{false, true} {
		address, f, asked := keySetServer(t, secure, func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet || r.URL.Path != "/keys" || r.Header.Get("Accept") == "" {
				t.Errorf("asked %s %s, accepting %q", r.Method, r.URL, r.Header.Get("Accept"))
			}
			w.Write([]byte(`{"keys":[]}`))
		})
		body, err := f.fetch(context.Background(), address+"/keys")
		if err != nil || string(body) != `{"keys":[]}` || asked.Load() != 1 {
			t.Errorf("https %t: got %q, %v after %d requests", secure, body, err, asked.Load())
		}
	}
}

func TestKeySetsThatCannotBeHad(t *testing.T) {
	for _, c := range []struct {
		name    string
		handler http.HandlerFunc
		want    string
		asked   int32
	}{
		{"not found", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }, "status 404", 1},
		{"not allowed", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) }, "status 401", 1},
		{"not modified", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(304) }, "status 304", 1},
		{"broken", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, "status 503", 2},
		{"cut", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			w.Write([]byte("{"))
		}, "breaks off", 2},
		{"hung up", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "cannot be fetched", 2},
		{"redirected in a circle", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/a", http.StatusFound) }, "redirects more than 3 times", 8},
		{"headers without end", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 100<<10)) }, "cannot be fetched", 2},
	} {
		address, f, asked := keySetServer(t, false, c.handler)
		secret := strings.Replace(address, "http://", "http://user:hush@", 1) + "/private"
		body, err := f.fetch(context.Background(), secret)
		if err == nil || body != nil || !strings.Contains(err.Error(), c.want) || asked.Load() != c.asked {
			t.Errorf("%s: got %d bytes, %v after %d requests; want %q after %d", c.name, len(body), err, asked.Load(), c.want, c.asked)
		}
		if err != nil && (strings.Contains(err.Error(), "hush") || strings.Contains(err.Error(), "/private")) {
			t.Errorf("%s: the error quotes the URL: %v", c.name, err)
		}
	}
}

// A key set without end is read no further than shows that it is too long.
func TestKeySetsThatAreTooLong(t *testing.T) {
	address, f, asked := keySetServer(t, false, func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 4096)); err != nil {
				return
			}
		}
	})
	if body, err := f.fetch(context.Background(), address); err != nil || len(body) != auth.KeySetBytesMax+1 || asked.Load() != 1 {
		t.Errorf("got %d bytes, %v after %d requests", len(body), err, asked.Load())
	}
}

// TestKeySetsComeBackAfterOneFailure: the second try counts.
func TestKeySetsComeBackAfterOneFailure(t *testing.T) {
	first := atomic.Bool{}
	address, f, _ := keySetServer(t, false, func(w http.ResponseWriter, _ *http.Request) {
		if !first.Swap(true) {
			w.WriteHeader(502)
		}
		w.Write([]byte("ok"))
	})
	if body, err := f.fetch(context.Background(), address); err != nil || string(body) != "ok" {
		t.Errorf("got %q, %v", body, err)
	}
}

func TestKeySetsAreNotFollowedOutOfHTTPS(t *testing.T) {
	plain, _, asked := keySetServer(t, false, func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(`{"keys":[]}`)) })
	address, f, _ := keySetServer(t, true, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, plain, http.StatusFound) })
	if _, err := f.fetch(context.Background(), address); err == nil || !strings.Contains(err.Error(), "from https to http") || asked.Load() != 0 {
		t.Errorf("got %v, %d requests of the plain one", err, asked.Load())
	}
}

func TestKeySetServersMustBeTrusted(t *testing.T) {
	address, _, asked := keySetServer(t, true, func(http.ResponseWriter, *http.Request) {})
	var unknown *tls.CertificateVerificationError
	if _, err := NewKeyFetcher()(context.Background(), address); !errors.As(err, &unknown) || asked.Load() != 0 {
		t.Errorf("got %v after %d requests", err, asked.Load())
	}
}

func TestKeySetFetchesEndWithTheirContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	address, f, asked := keySetServer(t, false, func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})
	if _, err := f.fetch(ctx, address); !errors.Is(err, context.Canceled) || asked.Load() != 1 {
		t.Errorf("got %v after %d requests", err, asked.Load())
	}
}

// TestKeySetServersThatDoNotAnswer: nobody accepts, and the timeout ends each try.
func TestKeySetServersThatDoNotAnswer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f := &keyFetcher{client: keyClient(nil)}
	f.client.Timeout /= 100
	var late net.Error
	if _, err := f.fetch(context.Background(), "http://"+l.Addr().String()); !errors.As(err, &late) || !late.Timeout() {
		t.Errorf("got %v", err)
	}
	for _, address := range []string{"", "://", "http://[", "ftp://x/y", "http://127.0.0.1:1/"} {
		if body, err := f.fetch(context.Background(), address); err == nil || body != nil {
			t.Errorf("%q: got %q", address, body)
		}
	}
}
