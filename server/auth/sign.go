package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/golang-jwt/jwt/v5"
)

// Signer issues tokens, for the command line and tests: a server only verifies them.
type Signer struct {
	algorithm algorithm
	key       any // []byte or crypto.Signer
	keyID     string
}

// NewSigner takes a secret or a private key in PEM (PKCS #8, PKCS #1 or SEC 1), of which
// just one is given, and an algorithm of it; "" is HS256, RS256, EdDSA, or what the curve
// has. keyID becomes the kid; "" for none. Errors never quote the key.
func NewSigner(algorithm, secret, privateKey, keyID string) (*Signer, error) {
	a := algorithmOf([]byte(algorithm))
	switch {
	case (secret == "") == (privateKey == ""):
		return nil, errors.New("give a secret or a private key, and not both")
	case algorithm != "" && a == algorithmNone:
		return nil, fmt.Errorf("algorithm %q is unknown; choose from %v", algorithm, algorithmNames[1:])
	case len(keyID) > keyIDBytesMax:
		return nil, fmt.Errorf("the kid has %d bytes, the limit is %d", len(keyID), keyIDBytesMax)
	}
	s := &Signer{algorithm: a, keyID: keyID, key: []byte(secret)}
	verifies := publicKey{family: familyHMAC}
	if privateKey != "" {
		key, err := parsePrivateKey(privateKey)
		if err != nil {
			return nil, err
		}
		s.key = key
		if verifies, err = newPublicKey(key.Public()); err != nil {
			return nil, err
		}
	}
	if algorithm == "" {
		s.algorithm = verifies.preferred()
	}
	if !verifies.accepts(s.algorithm) {
		return nil, fmt.Errorf("%v is no algorithm of that key; leave the algorithm out, or give a key it is for", s.algorithm)
	}
	return s, nil
}

// preferred is the algorithm most used with a key.
func (k *publicKey) preferred() algorithm {
	switch k.family {
	case familyHMAC:
		return hs256
	case familyRSA:
		return rs256
	}
	return k.only
}

// Algorithm is the one it signs with.
func (s *Signer) Algorithm() string { return s.algorithm.String() }

// Sign makes a token of claims in JSON.
func (s *Signer) Sign(claims []byte) (string, error) {
	header := struct {
		Algorithm string `json:"alg"`
		Type      string `json:"typ"`
		KeyID     string `json:"kid,omitempty"`
	}{s.algorithm.String(), "JWT", s.keyID}
	text, err := json.Marshal(header)
	if err != nil {
		return "", err
	}
	signed := base64url.EncodeToString(text) + "." + base64url.EncodeToString(claims)
	var method jwt.SigningMethod
	switch s.algorithm {
	case hs256:
		method = jwt.SigningMethodHS256
	case hs384:
		method = jwt.SigningMethodHS384
	case hs512:
		method = jwt.SigningMethodHS512
	default:
		method = s.algorithm.method()
	}
	signature, err := method.Sign(signed, s.key)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	return signed + "." + base64url.EncodeToString(signature), nil
}

// parsePrivateKey reads a private key in PEM.
func parsePrivateKey(text string) (crypto.Signer, error) {
	block, err := onlyBlock(text)
	if err != nil {
		return nil, fmt.Errorf("the private key: %w", err)
	}
	var key any
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("it holds PEM of type %q; give an unencrypted PRIVATE KEY", block.Type)
	}
	if err != nil {
		return nil, fmt.Errorf("the private key cannot be read: %w", err)
	}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		return key, nil
	case *ecdsa.PrivateKey:
		return key, nil
	case ed25519.PrivateKey:
		return key, nil
	}
	return nil, fmt.Errorf("a private key of type %T is of no use; give RSA, ECDSA or Ed25519", key)
}
