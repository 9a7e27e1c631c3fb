package auth

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"sync"
	"time"
)

// KeySetBytesMax is the most that a key set may have. Of a longer one Config.Fetch need not
// get more than one byte more.
const KeySetBytesMax = 1 << 20

const (
	keySetKeysMax = 256
	keySetsMax    = groupTextsMax // key sets held at once: a group can name no more of them

	keySetFresh = time.Hour       // after which the next token fetches the set anew
	keySetStale = 24 * time.Hour  // after which keys that cannot be fetched anew are given up
	keySetPause = 5 * time.Second // between two fetches of one set that is held, failed or not

	fetchesAtOnce = keySetsMax            // of all sets together, after a time without any
	fetchEvery    = 50 * time.Millisecond // from then on
)

// keySets are the key sets of one endpoint (RFC 7517), by URL, so that the key of one
// tenant never verifies the token of another with the same kid. It has no goroutine:
// whoever needs a set that is not there fetches it, and the others wait for it.
type keySets struct {
	endpoint *endpoint
	fetch    func(context.Context, string) ([]byte, error)

	mu    sync.Mutex
	sets  map[string]*keySet
	spent time.Time // when fetchesAtOnce could begin again
}

// keySet is guarded by keySets.mu.
type keySet struct {
	keys    map[string][]publicKey // by kid; never written once here; nil before the first fetch
	useless map[string]error       // by kid: keys of the set that verify nothing
	fetched time.Time              // when keys came
	tried   time.Time              // when the last fetch began; zero: never
	used    time.Time
	failed  error         // why the last fetch brought nothing
	flight  chan struct{} // closed when the fetch under way ends; nil: none is
}

// find returns the keys of that kid. It may fetch the set, and therefore block.
//
// A kid that is not in the set makes it be fetched once more, so that a new key is
// known as soon as it is used. What a flood of invented kids costs is bounded by
// keySetPause for each set that is held, and for all by fetchEvery: with more sets than
// can be held, one may be forgotten with the time of its fetch. A set that is no longer
// fresh serves everybody but the one who fetches it, and goes on to serve when it cannot
// be fetched.
func (s *keySets) find(url, kid string, now time.Time) ([]publicKey, *Error) {
	var set *keySet
	for asked := false; ; asked = true {
		s.mu.Lock()
		if !asked { // what was fetched for this call counts, even if it is not held any more
			set = s.set(url)
		}
		set.used = now
		keys, age := set.keys[kid], now.Sub(set.fetched)
		paused := !set.tried.IsZero() && now.Sub(set.tried).Abs() < keySetPause || !s.mayFetch(now)
		flight := set.flight
		switch {
		case keys != nil && age < keySetFresh, keys != nil && age < keySetStale && (asked || paused || flight != nil):
			s.mu.Unlock()
			return keys, nil
		case asked, paused && flight == nil:
			err := set.missing(kid, asked)
			s.mu.Unlock()
			return nil, err
		case flight != nil:
			s.mu.Unlock()
			<-flight
		default:
			set.tried, set.flight = now, make(chan struct{})
			s.hold(url, set)
			s.spent = s.spent.Add(fetchEvery)
			s.mu.Unlock()
			s.load(url, set, now)
		}
	}
}

// missing says why there is no key; asked, whether the set was fetched to look for it.
func (set *keySet) missing(kid string, asked bool) *Error {
	switch why, known := set.useless[kid]; {
	case set.failed != nil:
		return refuse(ReasonKeySet, "jwks_public_endpoint: %v", set.failed)
	case known:
		return refuse(ReasonKey, "the key set has its kid %.64q, but %v", kid, why)
	case asked:
		return refuse(ReasonKey, "the key set has no kid %.64q for signatures", kid)
	}
	if set.tried.IsZero() {
		return refuse(ReasonKeySet, "too many key sets are being fetched to fetch another one at the moment")
	}
	return refuse(ReasonKeySet, "the key set had no kid %.64q a moment ago and is asked again after %v at the earliest", kid, keySetPause)
}

// mayFetch says whether the bucket of all fetches has one left. s.mu is held.
func (s *keySets) mayFetch(now time.Time) bool {
	if ahead := s.spent.Sub(now); ahead < 0 || ahead > fetchesAtOnce*fetchEvery { // or the clock was set back
		s.spent = now
	}
	return s.spent.Sub(now) <= (fetchesAtOnce-1)*fetchEvery
}

// set gives the set of a URL: an empty one, held as soon as it is fetched, where there is
// none. s.mu is held.
func (s *keySets) set(url string) *keySet {
	if set := s.sets[url]; set != nil {
		return set
	}
	return &keySet{}
}

// hold keeps the set of a URL, if need be in place of another. s.mu is held.
func (s *keySets) hold(url string, set *keySet) {
	if s.sets[url] == nil && len(s.sets) >= keySetsMax {
		s.forget()
	}
	s.sets[url] = set
}

// forget drops the set that was not used for longest, of those without keys if there are any:
// invented ones do not take the place of good ones.
func (s *keySets) forget() {
	worst, of := "", (*keySet)(nil)
	for url, set := range s.sets {
		if set.flight == nil && (of == nil || set.worse(of)) {
			worst, of = url, set
		}
	}
	delete(s.sets, worst)
}

func (set *keySet) worse(than *keySet) bool {
	if (set.keys == nil) != (than.keys == nil) {
		return set.keys == nil
	}
	return set.used.Before(than.used)
}

// load fetches a set whose flight the caller has begun. What was there before is kept
// when the fetch brings nothing good.
func (s *keySets) load(url string, set *keySet, now time.Time) {
	err := errors.New("the fetch ended in a panic") // unless it does not
	var keys map[string][]publicKey
	var useless map[string]error
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if set.failed = err; err == nil {
			set.keys, set.useless, set.fetched = keys, useless, now
		}
		close(set.flight)
		set.flight = nil
	}()
	var body []byte
	if body, err = s.fetch(context.Background(), url); err == nil {
		keys, useless, err = parseKeySet(body)
	}
}

// parseKeySet reads a JSON Web Key Set (RFC 7517 §5). A key that is of no use does not
// spoil the others; a set without any that is of use is refused.
func parseKeySet(text []byte) (keys map[string][]publicKey, useless map[string]error, err error) {
	if len(text) > KeySetBytesMax {
		return nil, nil, fmt.Errorf("the key set has more than %d bytes", KeySetBytesMax)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil || set.Keys == nil {
		return nil, nil, errors.New("what came is not a key set: no JSON object with a list keys (RFC 7517 §5)")
	}
	if len(set.Keys) > keySetKeysMax {
		return nil, nil, fmt.Errorf("the key set has %d keys, the limit is %d", len(set.Keys), keySetKeysMax)
	}
	keys, useless = map[string][]publicKey{}, map[string]error{}
	last := errors.New("it is empty")
	for _, raw := range set.Keys {
		var j jwk
		if json.Unmarshal(raw, &j) != nil {
			last = errors.New("its keys have members of wrong types")
			continue
		}
		key, err := j.publicKey()
		if err == nil && j.KeyID == "" {
			err = errors.New("it has no kid")
		}
		if err != nil {
			last, useless[j.KeyID] = err, err
			continue
		}
		keys[j.KeyID] = append(keys[j.KeyID], key)
	}
	if len(keys) == 0 {
		return nil, nil, fmt.Errorf("no key of the key set is of use: %w", last)
	}
	return keys, useless, nil
}

// jwk is a JSON Web Key (RFC 7517 §4, RFC 7518 §6, RFC 8037 §2).
type jwk struct {
	Kind       string          `json:"kty"`
	KeyID      string          `json:"kid"`
	Use        string          `json:"use"`
	Operations []string        `json:"key_ops"`
	Algorithm  string          `json:"alg"`
	Curve      string          `json:"crv"`
	N          string          `json:"n"`
	E          string          `json:"e"`
	X          string          `json:"x"`
	Y          string          `json:"y"`
	Private    json.RawMessage `json:"d"`
}

// publicKey makes the key, pinned to its alg if it has one.
func (j *jwk) publicKey() (publicKey, error) {
	switch {
	case j.Use != "" && j.Use != "sig":
		return publicKey{}, errors.New("its use is not sig")
	case j.Operations != nil && !slices.Contains(j.Operations, "verify"):
		return publicKey{}, errors.New("its key_ops have no verify")
	case len(j.Private) > 0:
		return publicKey{}, errors.New("it is published with its private part, so anybody can sign with it")
	}
	var key publicKey
	var err error
	switch j.Kind {
	case "RSA":
		key, err = j.rsa()
	case "EC":
		key, err = j.ec()
	case "OKP":
		key, err = j.okp()
	default:
		return publicKey{}, errors.New("its kty is not RSA, EC or OKP")
	}
	if err != nil || j.Algorithm == "" {
		return key, err
	}
	name := j.Algorithm
	if j.Kind == "OKP" && name == "Ed25519" { // the name RFC 9864 gives to EdDSA with this curve
		name = "EdDSA"
	}
	a := algorithmOf([]byte(name))
	if !key.accepts(a) {
		return publicKey{}, errors.New("its alg is not one of its kty and crv")
	}
	key.only = a
	return key, nil
}

func (j *jwk) rsa() (publicKey, error) {
	n, err1 := j.octets(j.N)
	e, err2 := j.octets(j.E)
	exponent := new(big.Int).SetBytes(e)
	if err := errors.Join(err1, err2); err != nil || !exponent.IsInt64() || exponent.Int64() > 1<<31-1 {
		return publicKey{}, errors.New("its n or e is not a number in base64url, or e is above 2³¹−1")
	}
	return newPublicKey(&rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(exponent.Int64())})
}

func (j *jwk) ec() (publicKey, error) {
	var curve elliptic.Curve
	switch j.Curve {
	case "P-256":
		curve = elliptic.P256()
	case "P-384":
		curve = elliptic.P384()
	case "P-521":
		curve = elliptic.P521()
	default:
		return publicKey{}, errors.New("its crv is not P-256, P-384 or P-521")
	}
	x, err1 := j.octets(j.X)
	y, err2 := j.octets(j.Y)
	size := (curve.Params().BitSize + 7) / 8
	if err := errors.Join(err1, err2); err != nil || len(x) > size || len(y) > size {
		return publicKey{}, errors.New("its x or y is not a number of its curve in base64url")
	}
	point := make([]byte, 1+2*size) // RFC 7518 §6.2.1.2 wants full size; some leave leading zeros out
	point[0] = 4
	copy(point[1+size-len(x):], x)
	copy(point[1+2*size-len(y):], y)
	key, err := ecdsa.ParseUncompressedPublicKey(curve, point)
	if err != nil {
		return publicKey{}, errors.New("its x and y are no point of its curve")
	}
	return newPublicKey(key)
}

func (j *jwk) okp() (publicKey, error) {
	x, err := j.octets(j.X)
	if j.Curve != "Ed25519" || err != nil {
		return publicKey{}, errors.New("its crv is not Ed25519, or its x is not base64url")
	}
	return newPublicKey(ed25519.PublicKey(x))
}

// octets decodes base64url; padding, which RFC 7515 §2 forbids, is forgiven here.
func (j *jwk) octets(text string) ([]byte, error) {
	return base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "="))
}
