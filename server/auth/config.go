package auth

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Config is the configuration section "client.token" (and "client.subscription_token").
// Without a key of any kind every token is refused.
type Config struct {
	HMACSecretKey string `json:"hmac_secret_key"` // verifies HS256, HS384, HS512
	// The previous key is still accepted, until ValidUntil (Unix seconds; 0: for ever).
	HMACPreviousSecretKey           string `json:"hmac_previous_secret_key"`
	HMACPreviousSecretKeyValidUntil int64  `json:"hmac_previous_secret_key_valid_until"`

	// PEM: PKIX, PKCS #1 or a certificate.
	RSAPublicKey     string `json:"rsa_public_key"`     // verifies RS256 to RS512 and PS256 to PS512; 2,048 to 8,192 bits
	ECDSAPublicKey   string `json:"ecdsa_public_key"`   // verifies ES256, ES384 or ES512, as its curve has it
	Ed25519PublicKey string `json:"ed25519_public_key"` // verifies EdDSA

	// The URL of a key set (RFC 7517), whose keys verify all tokens: with it the keys above
	// do not count, secrets neither ([Config.Warnings] says so). For {{name}} in it what the
	// group of that name in IssuerRegex or AudienceRegex matched is put in. It must be
	// https, or on this machine, and such a group must stand for a fixed list of texts,
	// unless InsecureSkipJWKSEndpointSafetyCheck.
	JWKSPublicEndpoint                  string `json:"jwks_public_endpoint"`
	InsecureSkipJWKSEndpointSafetyCheck bool   `json:"insecure_skip_jwks_endpoint_safety_check"`
	// Fetch gets what a URL has; required with JWKSPublicEndpoint. It is called by whoever
	// verifies, several at once for different URLs, may block, must bound its time and what
	// it reads, and its errors must not quote the URL, which may have a password in it.
	Fetch func(ctx context.Context, url string) ([]byte, error) `json:"-"`

	Algorithms []string `json:"algorithms"` // accepted ones; empty: all that the keys can verify

	Audience      string `json:"audience"`       // aud must be, or contain, it; empty: not checked
	AudienceRegex string `json:"audience_regex"` // one of aud must match; not together with Audience
	Issuer        string `json:"issuer"`         // iss must be it; empty: not checked
	IssuerRegex   string `json:"issuer_regex"`   // not together with Issuer

	UserIDClaim string `json:"user_id_claim"` // the claim that names the user; empty: sub
	TenantClaim string `json:"-"`             // the claim of connection tokens that names the tenant; empty: none

	LeewaySeconds int `json:"leeway_seconds"`  // clock difference forgiven in exp and nbf; 0–60
	TokenBytesMax int `json:"token_bytes_max"` // 0 means 65,536
}

const (
	leewaySecondsMax     = 60
	tokenBytesMaxDefault = 65_536
	secretBytesShort     = 32 // a hash of HS256 long
)

// Validate checks the section; the error names the key and says what to change.
func (c Config) Validate() error {
	switch {
	case c.HMACPreviousSecretKey != "" && c.HMACSecretKey == "":
		return fmt.Errorf("hmac_previous_secret_key is set without hmac_secret_key; set the current key too")
	case c.HMACPreviousSecretKeyValidUntil < 0:
		return fmt.Errorf("hmac_previous_secret_key_valid_until is negative; give Unix seconds")
	case c.Audience != "" && c.AudienceRegex != "":
		return fmt.Errorf("audience and audience_regex are both set; keep one")
	case c.Issuer != "" && c.IssuerRegex != "":
		return fmt.Errorf("issuer and issuer_regex are both set; keep one")
	case c.LeewaySeconds < 0 || c.LeewaySeconds > leewaySecondsMax:
		return fmt.Errorf("leeway_seconds is %d; choose 0 to %d", c.LeewaySeconds, leewaySecondsMax)
	case c.TokenBytesMax < 0:
		return fmt.Errorf("token_bytes_max is negative; choose a size, or 0 for %d", tokenBytesMaxDefault)
	}
	for key, expr := range map[string]string{"audience_regex": c.AudienceRegex, "issuer_regex": c.IssuerRegex} {
		if _, err := regexp.Compile(expr); err != nil {
			return fmt.Errorf("%s does not compile: %w", key, err)
		}
	}
	for _, r := range c.UserIDClaim {
		if r != '_' && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') {
			return fmt.Errorf("user_id_claim is %q; use letters, digits and _", c.UserIDClaim)
		}
	}
	if err := c.validateKeys(); err != nil {
		return err
	}
	return c.validateAlgorithms()
}

// validateKeys checks keys of all kinds.
func (c *Config) validateKeys() error {
	for key, secret := range map[string]string{"hmac_secret_key": c.HMACSecretKey, "hmac_previous_secret_key": c.HMACPreviousSecretKey} {
		if strings.Contains(secret, "-----BEGIN PUBLIC KEY") || strings.Contains(secret, "-----BEGIN RSA PUBLIC KEY") ||
			strings.Contains(secret, "-----BEGIN CERTIFICATE") {
			return fmt.Errorf("%s is a public key, which everybody may know; move it to rsa_public_key, ecdsa_public_key or ed25519_public_key", key)
		}
	}
	if _, err := c.staticKeys(); err != nil {
		return err
	}
	if c.JWKSPublicEndpoint == "" {
		return nil
	}
	if _, err := parseEndpoint(c); err != nil {
		return fmt.Errorf("jwks_public_endpoint: %w", err)
	}
	return nil
}

// validateAlgorithms refuses what is unknown, and what no key would verify.
func (c *Config) validateAlgorithms() error {
	able := c.able()
	for _, name := range c.Algorithms {
		a := algorithmOf([]byte(name))
		if a == algorithmNone {
			return fmt.Errorf("algorithms has %q; choose from %v", name, algorithmNames[1:])
		}
		if !able[a] {
			return fmt.Errorf("algorithms has %s and there is no key for it; set one, or leave it out", name)
		}
	}
	return nil
}

// able says which algorithms there are keys for; the section is valid.
func (c *Config) able() (able [algorithmCount]bool) {
	keys, _ := c.staticKeys()
	for a := hs256; a < algorithmCount; a++ {
		switch {
		case c.JWKSPublicEndpoint != "":
			able[a] = a.family() != familyHMAC
		case a.family() == familyHMAC:
			able[a] = c.HMACSecretKey != ""
		default:
			able[a] = slices.ContainsFunc(keys, func(k publicKey) bool { return k.accepts(a) })
		}
	}
	return able
}

// Warnings lists what is allowed but most likely not meant, for the log.
func (c Config) Warnings() (warnings []string) {
	if c.JWKSPublicEndpoint != "" && (c.HMACSecretKey != "" || c.RSAPublicKey != "" || c.ECDSAPublicKey != "" || c.Ed25519PublicKey != "") {
		warnings = append(warnings, "jwks_public_endpoint is set, so the other keys do not count; remove them")
	}
	if c.JWKSPublicEndpoint != "" && c.InsecureSkipJWKSEndpointSafetyCheck {
		safe := c
		safe.InsecureSkipJWKSEndpointSafetyCheck = false
		if _, err := parseEndpoint(&safe); err != nil {
			warnings = append(warnings, "insecure_skip_jwks_endpoint_safety_check lets through this jwks_public_endpoint: "+err.Error())
		}
	}
	if n := len(c.HMACSecretKey); c.JWKSPublicEndpoint == "" && n > 0 && n < secretBytesShort {
		warnings = append(warnings, fmt.Sprintf("hmac_secret_key has only %d bytes and can be guessed from any token; use at least %d (RFC 7518 §3.2)", n, secretBytesShort))
	}
	return warnings
}

// previousValid says whether the previous key still counts.
func (c *Config) previousValid(now time.Time) bool {
	until := c.HMACPreviousSecretKeyValidUntil
	return c.HMACPreviousSecretKey != "" && (until == 0 || now.Unix() <= until)
}
