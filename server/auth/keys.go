package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

const (
	rsaBitsMin = 2048 // RFC 7518 §3.3
	rsaBitsMax = 8192 // verifying costs the square of it
)

// publicKey verifies the algorithms of one family, or only one of them.
type publicKey struct {
	family family
	only   algorithm // 0: any of the family
	key    crypto.PublicKey
}

// accepts says whether the key was made for the algorithm.
func (k *publicKey) accepts(a algorithm) bool {
	return k.family == a.family() && (k.only == algorithmNone || k.only == a)
}

// verify says whether the signature is that of what is signed. The library refuses
// ECDSA signatures that are not exactly two numbers of the curve's size (RFC 7518
// §3.4). Of the two forms (s and n−s) each is as good as the other: nothing identifies
// a token by its signature.
func (k *publicKey) verify(a algorithm, signed string, signature []byte) bool {
	return k.accepts(a) && a.method().Verify(signed, signature, k.key) == nil
}

// newPublicKey checks that a key is strong enough and of a kind that is known.
func newPublicKey(key crypto.PublicKey) (publicKey, error) {
	switch key := key.(type) {
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < rsaBitsMin || bits > rsaBitsMax {
			return publicKey{}, fmt.Errorf("the RSA key has %d bits; use one of %d to %d", bits, rsaBitsMin, rsaBitsMax)
		}
		if key.E < 3 || key.E%2 == 0 || key.N.Bit(0) == 0 { // with 1 every number is its own signature
			return publicKey{}, errors.New("the RSA key is not one: its exponent is 1 or something is even; generate another")
		}
		return publicKey{family: familyRSA, key: key}, nil
	case *ecdsa.PublicKey:
		only, err := curveAlgorithm(key.Curve)
		return publicKey{family: familyEC, only: only, key: key}, err
	case ed25519.PublicKey:
		if len(key) != ed25519.PublicKeySize {
			return publicKey{}, fmt.Errorf("the Ed25519 key has %d bytes instead of %d", len(key), ed25519.PublicKeySize)
		}
		return publicKey{family: familyEd25519, only: eddsa, key: key}, nil
	}
	return publicKey{}, fmt.Errorf("a key of type %T is of no use; use RSA, ECDSA or Ed25519", key)
}

// curveAlgorithm is the one algorithm of a curve (RFC 7518 §3.4).
func curveAlgorithm(curve elliptic.Curve) (algorithm, error) {
	switch curve {
	case elliptic.P256():
		return es256, nil
	case elliptic.P384():
		return es384, nil
	case elliptic.P521():
		return es512, nil
	}
	return algorithmNone, errors.New("the ECDSA key is on a curve that no token algorithm uses; use P-256, P-384 or P-521")
}

// parsePublicKey reads the public key in PEM of a configuration value: PKIX, PKCS #1 or
// a certificate, of which only the key counts. Errors never quote the value.
func parsePublicKey(text string) (publicKey, error) {
	block, err := onlyBlock(text)
	if err != nil {
		return publicKey{}, err
	}
	var key crypto.PublicKey
	switch block.Type {
	case "PUBLIC KEY":
		key, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		key, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		var certificate *x509.Certificate
		if certificate, err = x509.ParseCertificate(block.Bytes); err == nil {
			key = certificate.PublicKey
		}
	default:
		if strings.Contains(block.Type, "PRIVATE KEY") {
			return publicKey{}, errors.New("it is a private key, which is for whoever issues tokens; give the public one")
		}
		return publicKey{}, fmt.Errorf("it holds PEM of type %q; give PUBLIC KEY, RSA PUBLIC KEY or CERTIFICATE", block.Type)
	}
	if err != nil {
		return publicKey{}, fmt.Errorf("the key cannot be read: %w", err)
	}
	return newPublicKey(key)
}

// onlyBlock decodes a text with exactly one PEM block. A text of one line with \n
// written out, as environment variables have it, is taken for what it means.
func onlyBlock(text string) (*pem.Block, error) {
	if !strings.Contains(text, "\n") {
		text = strings.ReplaceAll(text, `\n`, "\n")
	}
	block, rest := pem.Decode([]byte(text))
	if block != nil && block.Type == "EC PARAMETERS" { // openssl ecparam puts them first
		block, rest = pem.Decode(rest)
	}
	if block == nil {
		return nil, errors.New("it is not PEM; give the whole text from -----BEGIN to -----END")
	}
	if strings.TrimSpace(string(rest)) != "" {
		return nil, errors.New("something follows its first PEM block; give one key")
	}
	return block, nil
}

// parseOf reads a public key that must be of a family.
func parseOf(text string, want family, kind string) (publicKey, error) {
	k, err := parsePublicKey(text)
	if err == nil && k.family != want {
		return publicKey{}, fmt.Errorf("it holds a key of another kind; give %s, or move it to the key of its kind", kind)
	}
	return k, err
}

// staticKeys reads the public keys of the section; the error names the key.
func (c *Config) staticKeys() ([]publicKey, error) {
	var keys []publicKey
	for _, k := range []struct {
		name, text, kind string
		family           family
	}{
		{"rsa_public_key", c.RSAPublicKey, "an RSA key", familyRSA},
		{"ecdsa_public_key", c.ECDSAPublicKey, "an ECDSA key", familyEC},
		{"ed25519_public_key", c.Ed25519PublicKey, "an Ed25519 key", familyEd25519},
	} {
		if k.text == "" {
			continue
		}
		key, err := parseOf(k.text, k.family, k.kind)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k.name, err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}
