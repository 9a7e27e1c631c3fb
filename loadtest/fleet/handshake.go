package fleet

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"

	"shoal/loadtest/fleet/share"
)

// handshakeTime bounds each side's part of getting to know each other.
const handshakeTime = 10 * time.Second

const nonceBytes = 32

// The two sides prove different things with the same key, so that neither proof can be handed back.
const (
	labelWorker      = "shoal loadtest: a worker\n"
	labelCoordinator = "shoal loadtest: a coordinator\n"
)

// prove makes the proof of a side that has the key; nil without a key.
func prove(key, label string, coordinator, worker []byte) []byte {
	if key == "" {
		return nil
	}
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(label))
	mac.Write(coordinator)
	mac.Write(worker)
	return mac.Sum(nil)
}

// newNonce is a number used once.
func newNonce() []byte {
	b := make([]byte, nonceBytes)
	_, _ = rand.Read(b) // never fails: crypto/rand ends the process first
	return b
}

// identity is what both sides say of themselves.
type identity struct {
	build string
	key   string // "" = none
	nonce []byte
}

// within closes the stream unless done is called in time or while ctx lasts.
func within(ctx context.Context, s *stream, d time.Duration) (done func()) {
	ctx, cancel := context.WithTimeoutCause(ctx, d, fmt.Errorf("did not say who it is within %s", d))
	stop := context.AfterFunc(ctx, func() { s.close(context.Cause(ctx)) })
	return func() { stop(); cancel() }
}

// admit is the coordinator's part: it lets a worker in or says why not. The stream is closed when it did not.
func admit(ctx context.Context, s *stream, own identity, name func(share.Resources) string) (hello, error) {
	defer within(ctx, s, handshakeTime)()
	if err := s.send(message{Challenge: &challenge{Protocol: protocolVersion, Build: own.build, Nonce: own.nonce, Keyed: own.key != ""}}); err != nil {
		return hello{}, err
	}
	m, err := s.read()
	if err == nil && m.Refused != "" {
		err = errors.New(m.Refused)
		s.close(err)
		return hello{}, err
	}
	if err == nil && m.Hello == nil {
		err = errors.New("sent something else than who it is")
	}
	if err == nil {
		err = own.judge(m.Hello)
	}
	if err != nil {
		s.last(message{Refused: err.Error()})
		return hello{}, err
	}
	s.max = lineBytesMax
	proof := prove(own.key, labelCoordinator, own.nonce, m.Hello.Nonce)
	return *m.Hello, s.send(message{Welcome: &welcome{Proof: proof, Name: name(m.Hello.Resources)}})
}

// judge says why a worker is not let in.
func (own identity) judge(h *hello) error {
	if err := own.same(h.Protocol, h.Build, "the worker"); err != nil {
		return err
	}
	switch want := prove(own.key, labelWorker, own.nonce, h.Nonce); {
	case len(h.Nonce) != nonceBytes:
		return fmt.Errorf("the worker's random number has %d bytes; it needs %d", len(h.Nonce), nonceBytes)
	case own.key == "":
		return nil // what it may have proved was not asked for
	case len(h.Proof) == 0:
		return errors.New("the coordinator asks for a key and the worker has none: give both the same --key")
	case !hmac.Equal(want, h.Proof):
		return errors.New("the keys of coordinator and worker differ: give both the same --key")
	}
	return nil
}

// same says why the other side's version will not do. Orders and results are values of the build, so it has to be the same.
func (own identity) same(protocol int, build, who string) error {
	if protocol != protocolVersion || build != own.build {
		return fmt.Errorf("%s is of another version (%s, protocol %d; here %s, protocol %d): use the same build on all hosts",
			who, build, protocol, own.build, protocolVersion)
	}
	return nil
}

// present is the worker's part: it says who it is and makes sure whom it serves. The name is the one the coordinator gave it. The
// stream is closed when it is not let in.
func present(ctx context.Context, s *stream, own identity, r share.Resources) (name string, err error) {
	defer within(ctx, s, handshakeTime)()
	m, err := s.read()
	switch {
	case errors.Is(err, io.EOF):
		err = errors.New("the other side ended the connection; it may wait for other hosts than this one, or be no coordinator")
	case err == nil && m.Challenge == nil:
		err = errors.New("the other side is no coordinator of load tests")
	case err == nil:
		err = own.same(m.Challenge.Protocol, m.Challenge.Build, "the coordinator")
		switch {
		case err != nil:
		case len(m.Challenge.Nonce) != nonceBytes:
			err = errors.New("the coordinator's random number is too short")
		case own.key != "" && !m.Challenge.Keyed:
			err = errors.New("the worker has a key and the coordinator has none: give both the same --key")
		}
	}
	if err != nil {
		s.last(message{Refused: err.Error()})
		return "", err
	}
	nonce := m.Challenge.Nonce
	h := &hello{
		Protocol: protocolVersion, Build: own.build, Nonce: own.nonce, Proof: prove(own.key, labelWorker, nonce, own.nonce), Resources: r,
	}
	if err := s.send(message{Hello: h}); err != nil {
		return "", err
	}
	m, err = s.read()
	switch {
	case err == nil && m.Refused != "":
		err = fmt.Errorf("refused: %s", m.Refused)
	case err == nil && m.Welcome == nil:
		err = errors.New("the coordinator sent something else than a welcome")
	case err == nil && !hmac.Equal(m.Welcome.Proof, prove(own.key, labelCoordinator, nonce, own.nonce)):
		err = errors.New("the coordinator does not have the key: give both the same --key")
	}
	if err != nil {
		s.close(err)
		return "", err
	}
	s.max = lineBytesMax
	return m.Welcome.Name, nil
}
