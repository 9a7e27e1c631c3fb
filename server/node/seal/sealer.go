package seal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

const (
	// SecretBytesMin is the length of the shortest secret that is taken.
	SecretBytesMin = 16
	// TextBytesMax is the length of the longest token: a quarter of the smallest message
	// limit that is usual, for it comes back inside a connect command.
	TextBytesMax = 16 << 10
	// PlainBytesMax is what fits into a token of that length.
	PlainBytesMax = TextBytesMax*3/4 - headerBytes - tagBytes

	// TextBytesMin is the length of the shortest: what is shorter is no token.
	TextBytesMin = ((headerBytes+tagBytes)*4 + 2) / 3

	// version goes up with the content, the programs of tags filters included.
	version     = 1
	saltBytes   = 12
	headerBytes = 2 + saltBytes + 8
	nonceBytes  = 12
	tagBytes    = 16
	keyBytes    = 32
	derivedMax  = 64 // keys of other processes that are kept
)

// base64url is strict, so that a token has one spelling only. It is never written.
var base64url = base64.RawURLEncoding.Strict()

// Config is fixed for the life of a sealer. The zero value is valid.
type Config struct {
	// Secret is what keys are derived from, at least SecretBytesMin long. Empty: a random
	// one that dies with the process, and its tokens with it.
	Secret string
	// Previous still opens tokens while secrets are being rotated; empty: none.
	Previous string
}

// Scratch is memory for one caller at a time; the zero value is ready.
type Scratch struct {
	nonce [nonceBytes]byte
	buf   []byte
}

// Sealer makes and opens tokens. Use [New]. Safe for concurrent use.
type Sealer struct {
	secrets []secret // the present one, then the previous one
	salt    [saltBytes]byte
	own     cipher.AEAD
	counter atomic.Uint64

	mu      sync.RWMutex
	derived map[derivation]cipher.AEAD // of other processes, by what they have proved to hold
}

// secret is a configured one, stretched to a key.
type secret struct {
	id  byte
	key []byte
}

// derivation names a process's key.
type derivation struct {
	secret int // index in secrets
	salt   [saltBytes]byte
}

// New draws the salt and derives the keys.
func New(cfg Config) (*Sealer, error) {
	if cfg.Secret == "" && cfg.Previous != "" {
		return nil, errors.New("seal: there is a previous secret and no present one; set the present one, or remove the previous one")
	}
	s := &Sealer{derived: map[derivation]cipher.AEAD{}}
	_, _ = rand.Read(s.salt[:]) // it never fails
	text := []byte(cfg.Secret)
	if len(text) == 0 {
		text = make([]byte, keyBytes)
		_, _ = rand.Read(text)
	}
	for _, each := range [][]byte{text, []byte(cfg.Previous)} {
		if len(each) == 0 {
			continue
		}
		if len(each) < SecretBytesMin {
			return nil, fmt.Errorf("seal: a secret has %d bytes; write at least %d random ones", len(each), SecretBytesMin)
		}
		key, err := hkdf.Extract(sha256.New, each, []byte("shoal resume"))
		if err != nil {
			return nil, fmt.Errorf("seal: %w", err)
		}
		id, err := hkdf.Expand(sha256.New, key, "id", 1)
		if err != nil {
			return nil, fmt.Errorf("seal: %w", err)
		}
		s.secrets = append(s.secrets, secret{id: id[0], key: key})
	}
	var err error
	s.own, err = s.derive(derivation{0, s.salt})
	return s, err
}

// derive makes the key of the process with that salt.
func (s *Sealer) derive(d derivation) (cipher.AEAD, error) {
	key, err := hkdf.Expand(sha256.New, s.secrets[d.secret].key, "token"+string(d.salt[:]), keyBytes)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return aead, nil
}

// Seal appends the token of plain, which has at most PlainBytesMax bytes. It allocates
// nothing while dst and scratch have room.
func (s *Sealer) Seal(dst []byte, scratch *Scratch, plain []byte) []byte {
	if len(plain) > PlainBytesMax {
		panic(fmt.Sprintf("seal: %d bytes to seal, at most %d", len(plain), PlainBytesMax))
	}
	b := append(scratch.buf[:0], version, s.secrets[0].id)
	b = append(b, s.salt[:]...)
	b = binary.BigEndian.AppendUint64(b, s.counter.Add(1))
	b = s.own.Seal(b, scratch.nonceOf(b), plain, b)
	scratch.buf = b
	return base64url.AppendEncode(dst, b)
}

// nonceOf is the counter of a header, widened.
func (c *Scratch) nonceOf(header []byte) []byte {
	copy(c.nonce[nonceBytes-8:], header[headerBytes-8:headerBytes])
	return c.nonce[:]
}

// Open gives what was sealed; it lives until the next use of scratch. It allocates nothing
// for tokens of this process while scratch has room.
func (s *Sealer) Open(scratch *Scratch, token string) (plain []byte, why Reason) {
	if len(token) > TextBytesMax {
		return nil, Oversize
	}
	// Go's base64 skips line breaks, RFC 4648 §3.3 does not.
	if len(token) < TextBytesMin {
		return nil, Malformed
	}
	b := append(scratch.buf[:0], token...)
	scratch.buf = b
	if bytes.ContainsAny(b, "\r\n") {
		return nil, Malformed
	}
	n, err := base64url.Decode(b, b)
	if err != nil || n < headerBytes+tagBytes || b[0] != version {
		return nil, Malformed
	}
	header, body := b[:headerBytes], b[headerBytes:n]
	d := derivation{salt: [saltBytes]byte(header[2:])}
	for i := range s.secrets {
		if s.secrets[i].id != header[1] {
			continue
		}
		d.secret = i
		sealed := body
		if i+1 < len(s.secrets) && s.secrets[i+1].id == header[1] {
			sealed = bytes.Clone(body) // a failure wipes it, and the other secret may fit
		}
		if plain, ok := s.openWith(scratch, d, header, sealed); ok {
			return plain, None
		}
	}
	return nil, Foreign
}

// openWith tries one key. One of another process is kept when it has opened something:
// only a holder of the secret can make that happen.
func (s *Sealer) openWith(scratch *Scratch, d derivation, header, body []byte) ([]byte, bool) {
	aead := s.own
	if d.secret != 0 || d.salt != s.salt {
		s.mu.RLock()
		aead = s.derived[d]
		s.mu.RUnlock()
	}
	fresh := aead == nil
	if fresh {
		var err error
		if aead, err = s.derive(d); err != nil {
			return nil, false
		}
	}
	plain, err := aead.Open(body[:0], scratch.nonceOf(header), body, header)
	if err != nil {
		return nil, false
	}
	if fresh {
		s.mu.Lock()
		if len(s.derived) >= derivedMax {
			clear(s.derived)
		}
		s.derived[d] = aead
		s.mu.Unlock()
	}
	return plain, true
}
