package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"hash"
	"sync"
	"unsafe"

	"github.com/golang-jwt/jwt/v5"
)

// algorithm is a signature algorithm of RFC 7518 §3.1 or RFC 8037 §3.1; 0 is none that
// is known, "none" among them.
type algorithm uint8

const (
	algorithmNone algorithm = iota
	hs256
	hs384
	hs512
	rs256
	rs384
	rs512
	ps256
	ps384
	ps512
	es256
	es384
	es512
	eddsa
	algorithmCount
)

// algorithmNames is never written.
var algorithmNames = [algorithmCount]string{"", "HS256", "HS384", "HS512", "RS256", "RS384", "RS512",
	"PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

func (a algorithm) String() string { return algorithmNames[a] }

// algorithmOf knows a name exactly as the RFCs write it.
func algorithmOf(name []byte) algorithm {
	for a := hs256; a < algorithmCount; a++ {
		if algorithmNames[a] == string(name) {
			return a
		}
	}
	return algorithmNone
}

// family is the kind of key an algorithm needs. A key serves its family only, so a
// token cannot have a public key taken for a secret.
type family uint8

const (
	familyHMAC family = iota + 1
	familyRSA
	familyEC
	familyEd25519
)

func (a algorithm) family() family {
	switch {
	case a == algorithmNone:
		return 0
	case a <= hs512:
		return familyHMAC
	case a <= ps512:
		return familyRSA
	case a <= es512:
		return familyEC
	}
	return familyEd25519
}

// method is the library's implementation of an asymmetric algorithm.
func (a algorithm) method() jwt.SigningMethod {
	switch a {
	case rs256:
		return jwt.SigningMethodRS256
	case rs384:
		return jwt.SigningMethodRS384
	case rs512:
		return jwt.SigningMethodRS512
	case ps256:
		return jwt.SigningMethodPS256
	case ps384:
		return jwt.SigningMethodPS384
	case ps512:
		return jwt.SigningMethodPS512
	case es256:
		return jwt.SigningMethodES256
	case es384:
		return jwt.SigningMethodES384
	case es512:
		return jwt.SigningMethodES512
	case eddsa:
		return jwt.SigningMethodEdDSA
	}
	panic("auth: " + a.String() + " is no asymmetric algorithm") // our bug
}

// secretKey verifies HMAC. The hash states, with the key already mixed in, are kept for
// the next token: that halves the hashing of a short one and saves its allocations.
type secretKey struct{ states [hs512]sync.Pool }

type secretState struct {
	mac hash.Hash
	sum [sha512.Size]byte
}

// newSecretKey returns nil for the empty secret, which verifies nothing.
func newSecretKey(secret string) *secretKey {
	if secret == "" {
		return nil
	}
	k := &secretKey{}
	for i, h := range [...]func() hash.Hash{sha256.New, sha512.New384, sha512.New} {
		k.states[i].New = func() any { return &secretState{mac: hmac.New(h, []byte(secret))} }
	}
	return k
}

// verify says, in constant time, whether the signature is that of what is signed.
func (k *secretKey) verify(a algorithm, signed string, signature []byte) bool {
	pool := &k.states[a-hs256]
	s := pool.Get().(*secretState)
	s.mac.Reset()
	s.mac.Write(bytesOf(signed))
	ok := hmac.Equal(s.mac.Sum(s.sum[:0]), signature)
	pool.Put(s)
	return ok
}

// bytesOf is the string's bytes, not copied: they must not be written.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
