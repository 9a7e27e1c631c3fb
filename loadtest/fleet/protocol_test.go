package fleet

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"shoal/loadtest/engine"
	"shoal/loadtest/fleet/share"
)

var rewrite = flag.Bool("rewrite", false, "write the golden transcript anew")

// scribe writes down what is sent and read on a connection.
type scribe struct {
	net.Conn
	mu    sync.Mutex
	lines strings.Builder
	raw   bool // nothing is left out
}

func (s *scribe) Write(p []byte) (int, error) {
	s.note("coordinator", p)
	return s.Conn.Write(p)
}

func (s *scribe) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	s.note("worker     ", p[:n])
	return n, err
}

func (s *scribe) note(who string, p []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for line := range bytes.Lines(p) {
		text := string(bytes.TrimSpace(line))
		if !s.raw {
			text = tidied([]byte(text))
		}
		fmt.Fprintf(&s.lines, "%s %s\n", who, text)
	}
}

func (s *scribe) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lines.String()
}

// tidied leaves out of a line what differs from run to run, or belongs to package engine.
func tidied(line []byte) string {
	for _, r := range [][2]string{
		{`"(nonce|proof)":"[^"]{43}="`, `"$1":"…"`},
		{`"(pid|rss_bytes|now|ahead_ns)":-?\d+`, `"$1":…`},
		{`"within_ns":\d+`, `"within_ns":…`},
	} {
		line = regexp.MustCompile(r[0]).ReplaceAll(line, []byte(r[1]))
	}
	for _, own := range []string{"config", "snapshot", "order", "census", "results"} {
		line = bytes.ReplaceAll(line, object(line, own), []byte("{…}"))
	}
	return string(line)
}

// object is the value of a field that is an object, nil if there is none.
func object(line []byte, field string) []byte {
	_, rest, found := bytes.Cut(line, []byte(`"`+field+`":`))
	if !found || rest[0] != '{' {
		return []byte("\x00")
	}
	depth := 0
	for i, c := range rest {
		switch c {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return rest[:i+1]
			}
		}
	}
	return []byte("\x00")
}

// A whole load test as it is spoken. Read the diff when it changes, and raise protocolVersion.
func TestTheProtocolIsSpokenAsWrittenDown(t *testing.T) {
	var b book
	cfg := configOf(&b, 30)
	cfg.Key, cfg.Elsewhere, cfg.EngineMax = "sesame", true, 20
	cfg.Resources.Boot = "another" // so that clocks are compared
	cfg.patience.poll = time.Hour
	w := workerOf(&b)
	w.Key = "sesame"
	near, _ := serve(t, w)
	s := &scribe{Conn: near}
	o := &opening{Config: cfg}
	m, err := o.letIn(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	o.add(m)
	f, err := o.muster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- f.Run() }()
	if err := do(t, f, connect()); err != nil {
		t.Fatal(err)
	}
	b.at(1).set(func(f *fake) { f.outcome = engine.ErrGrace })
	if err := do(t, f, echo()); err != engine.ErrGrace {
		t.Fatal(err)
	}
	_, err1 := f.Census()
	_, err2 := f.Results()
	_, err3 := f.g.Published()
	b.at(0).set(func(f *fake) { f.refuse = errors.New("not on a Sunday") })
	b.at(1).set(func(f *fake) { f.refuse = errors.New("not on a Sunday") })
	if err := f.Order(connect()); err == nil {
		t.Error("no error")
	}
	if err := errors.Join(err1, err2, err3, f.Stop(), f.Close(t.Context()), <-ended); err != nil {
		t.Fatal(err)
	}
	const name = "testdata/transcript.txt"
	const head = "A coordinator and its worker, who carries all 30 connections on two engines: who they are, what time it is, what is to be\n" +
		"carried, two orders of which the second ends with messages missing, questions, an order that is refused, and the end.\n" +
		"… stands for what differs from run to run, {…} for values of package engine.\n\n"
	if *rewrite {
		if err := os.WriteFile(name, []byte(head+s.text()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if got := head + s.text(); err != nil || got != string(want) {
		t.Errorf("%v; got\n%s\nwant\n%s", err, got, want)
	}
}

func TestProofsAreWhatTheyWere(t *testing.T) {
	// echo -en "shoal loadtest: a worker\nab" | openssl dgst -sha256 -hmac key
	const want = "c6f4a4f7c357fbb9f1961ed41728fb5f1de9d50d90dad7b5807272f4caa3a716"
	if got := fmt.Sprintf("%x", prove("key", labelWorker, []byte("a"), []byte("b"))); got != want {
		t.Errorf("got %s", got)
	}
	if prove("", labelWorker, nil, nil) != nil {
		t.Error("a proof without a key")
	}
}

// What one worker proved is no use to another.
func TestNobodyIsLetInByWhatAnotherProved(t *testing.T) {
	var b book
	cfg := configOf(&b, 10)
	cfg.Key = "sesame"
	o := &opening{Config: cfg}
	w := workerOf(&b)
	w.Key = "sesame"
	near, _ := serve(t, w)
	s := &scribe{Conn: near, raw: true}
	m, err := o.letIn(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	defer m.dismiss()
	_, hello, _ := strings.Cut(s.text(), "worker      ")
	hello, _, _ = strings.Cut(hello, "\n")
	near, far := net.Pipe()
	go func() { talk(far, hello+"\n") }()
	_, err = o.letIn(t.Context(), near)
	says(t, err, "the keys of coordinator and worker differ")
	if !strings.HasPrefix(hello, `{"hello":`) {
		t.Errorf("it was %q", hello)
	}
}

func TestWhoIsNotOneOfUsIsRefused(t *testing.T) {
	other := func(change func(*Worker)) func(*Worker) { return change }
	for _, c := range []struct {
		name        string
		key         string // of the coordinator
		change      func(*Worker)
		worker, own string // what each side says
	}{
		{"another build", "", other(func(w *Worker) { w.Build = "v9" }), "the coordinator is of another version (test, protocol 1; here v9, protocol 1)", "use the same build"},
		{"no key", "sesame", other(func(*Worker) {}), "refused: the coordinator asks for a key", "asks for a key and the worker has none"},
		{"a wrong key", "sesame", other(func(w *Worker) { w.Key = "Sesame" }), "refused: the keys of coordinator and worker differ", "keys of coordinator and worker differ"},
		{"a key for nothing", "", other(func(w *Worker) { w.Key = "sesame" }), "the coordinator has none", "the coordinator has none"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b book
			w := workerOf(&b)
			c.change(&w)
			conn, ended := serve(t, w)
			cfg := configOf(&b, 10)
			cfg.Key = c.key
			o := &opening{Config: cfg}
			_, err := o.letIn(t.Context(), conn)
			says(t, err, c.own)
			says(t, <-ended, c.worker)
		})
	}
}

// talk is one side of a conversation in plain lines.
func talk(conn net.Conn, lines ...string) (heard []string) {
	go func() {
		for _, line := range lines {
			_, _ = io.WriteString(conn, line)
		}
	}()
	in := bufio.NewScanner(conn)
	for in.Scan() {
		heard = append(heard, in.Text())
	}
	return heard
}

func TestAWorkerOfAnotherVersionIsTold(t *testing.T) {
	var b book
	near, far := net.Pipe()
	heard := make(chan []string, 1)
	go func() { heard <- talk(far, `{"hello":{"protocol":2,"build":"test","news":1}}`+"\n") }()
	o := &opening{Config: configOf(&b, 10)}
	_, err := o.letIn(t.Context(), near)
	const want = "the worker is of another version (test, protocol 2; here test, protocol 1): use the same build on all hosts"
	says(t, err, want)
	if got := <-heard; len(got) != 2 || !strings.Contains(got[1], `{"refused":"`+want) {
		t.Errorf("it heard %q", got)
	}
}

func TestACoordinatorWithoutTheKeyIsNotServed(t *testing.T) {
	var b book
	w := workerOf(&b)
	w.Key = "sesame"
	for _, welcome := range []string{`{"welcome":{"name":"x"}}`, `{"welcome":{"name":"x","proof":"AAAA"}}`} {
		conn, ended := serve(t, w)
		nonce, _ := json.Marshal(newNonce())
		talk(conn, `{"challenge":{"protocol":1,"build":"test","keyed":true,"nonce":`+string(nonce)+"}}\n", welcome+"\n")
		says(t, <-ended, "the coordinator does not have the key")
	}
}

func TestGarbageIsRefused(t *testing.T) {
	for _, c := range []struct{ name, sent, want string }{
		{"a web browser", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "none of this protocol"},
		{"TLS", "\x16\x03\x01\x02\x00\x01\n", "none of this protocol"},
		{"other JSON", `{"jsonrpc":"2.0"}` + "\n", "none of this protocol"},
		{"a number", "5\n", "none of this protocol"},
		{"an order too early", `{"ask":{"id":1,"verb":"state"}}` + "\n", "something else than who it is"},
		{"an endless line", strings.Repeat("x", 2*strangerBytesMax), "a line of more than"},
		{"a short number", `{"hello":{"protocol":1,"build":"test","nonce":"AAAA"}}` + "\n", "random number"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b book
			near, far := net.Pipe()
			go func() { talk(far, c.sent) }()
			o := &opening{Config: configOf(&b, 10)}
			_, err := o.letIn(t.Context(), near)
			says(t, err, c.want)
			far.Close()

			near, far = net.Pipe() // and the other way round
			go func() { talk(near, c.sent) }()
			err = workerOf(&b).Serve(t.Context(), far)
			if err == nil {
				t.Error("it was served")
			}
			near.Close()
		})
	}
}

func TestWhoSaysNothingIsNotAwaitedForGood(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	s := newStream(far)
	done := within(t.Context(), s, 10*time.Millisecond)
	defer done()
	_, err := s.read()
	says(t, err, "did not say who it is within 10ms")
}

func TestALineEndsWhereItShould(t *testing.T) {
	long := `{"refused":"` + strings.Repeat("y", 9000) + `"}`
	for _, c := range []struct{ sent, want string }{
		{`{"leaving":"x"}` + "\n" + long + "\n", "end"},
		{`{"leaving":"x"}` + "\n" + long, "ended in the middle of a line"},
	} {
		near, far := net.Pipe()
		go func() {
			_, _ = io.WriteString(far, c.sent)
			far.Close()
		}()
		s := newStream(near)
		if m, err := s.read(); err != nil || m.Leaving != "x" {
			t.Errorf("%+v, %v", m, err)
		}
		m, err := s.read()
		if c.want == "end" {
			if err != nil || len(m.Refused) != 9000 {
				t.Errorf("%d bytes, %v", len(m.Refused), err)
			}
			if _, err := s.read(); err != io.EOF {
				t.Errorf("got %v", err)
			}
		} else {
			says(t, err, c.want)
		}
		s.close(io.EOF)
	}
}

func TestWhoDoesNotReadIsCutOff(t *testing.T) {
	near, far := net.Pipe()
	defer far.Close()
	s := newStream(near)
	var err error
	for i := 0; err == nil && i < 10*queueMax; i++ {
		err = s.send(message{Leaving: "x"})
	}
	if err != errUnread {
		t.Errorf("got %v", err)
	}
	if _, err := s.read(); err != errUnread {
		t.Errorf("got %v", err)
	}
	s.last(message{Leaving: "y"}) // does not wait
}

func TestClocksAreCompared(t *testing.T) {
	var b book
	w := workerOf(&b)
	w.Clock = func() time.Time { return time.Now().Add(-time.Hour) }
	w.Resources.Boot = "another"
	f := piped(t, configOf(&b, 20), w)
	m := f.Members()[1]
	if off := m.Clock.Ahead - time.Hour; off.Abs() > m.Clock.Uncertainty || m.Clock.Uncertainty <= 0 {
		t.Errorf("%+v: off by %s", m.Clock, off)
	}
	if got := b.at(1).cfg.ClockOffset; got != m.Clock.Ahead {
		t.Errorf("the engine was told %s", got)
	}
	if got := b.at(0).cfg.ClockOffset; got != 0 || f.Members()[0].Clock != (Offset{}) {
		t.Errorf("this process is off by %s", got)
	}
}

func FuzzLinesOfStrangers(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add([]byte(`{"hello":{"protocol":1,"build":"test","nonce":"AAAA","resources":{"limits":[{"name":"descriptors","connections":1}]}}}` + "\n"))
	f.Add([]byte(`{"challenge":{"protocol":1,"build":"test","nonce":""}}` + "\n" + `{"welcome":{}}` + "\n" + `{"ask":{"id":1,"verb":"begin","begin":{}}}` + "\n"))
	f.Fuzz(func(t *testing.T, sent []byte) {
		var b book
		for _, side := range []func(io.ReadWriteCloser){
			func(rwc io.ReadWriteCloser) {
				s := newStream(rwc)
				_, err := admit(context.Background(), s, identity{build: "test", nonce: newNonce()}, func(share.Resources) string { return "x" })
				s.close(err)
			},
			func(rwc io.ReadWriteCloser) { _ = workerOf(&b).Serve(context.Background(), rwc) },
		} {
			near, far := net.Pipe()
			go func() { _, _ = io.Copy(io.Discard, far) }()
			go func() {
				_, _ = far.Write(sent)
				far.Close()
			}()
			side(near)
		}
	})
}
