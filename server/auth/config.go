package auth

import (
	"fmt"
	"regexp"
	"slices"
	"time"
)

// Config is the configuration section "client.token" (and "client.subscription_token").
type Config struct {
	HMACSecretKey string `json:"hmac_secret_key"` // empty: every token is refused
	// The previous key is still accepted, until ValidUntil (Unix seconds; 0: for ever).
	HMACPreviousSecretKey           string `json:"hmac_previous_secret_key"`
	HMACPreviousSecretKeyValidUntil int64  `json:"hmac_previous_secret_key_valid_until"`

	Algorithms []string `json:"algorithms"` // of HS256, HS384, HS512; empty: all three

	Audience      string `json:"audience"`       // aud must be, or contain, it; empty: not checked
	AudienceRegex string `json:"audience_regex"` // one of aud must match; not together with Audience
	Issuer        string `json:"issuer"`         // iss must be it; empty: not checked
	IssuerRegex   string `json:"issuer_regex"`   // not together with Issuer

	UserIDClaim string `json:"user_id_claim"` // the claim that names the user; empty: sub

	LeewaySeconds int `json:"leeway_seconds"`  // clock difference forgiven in exp and nbf; 0–60
	TokenBytesMax int `json:"token_bytes_max"` // 0 means 65,536
}

const (
	leewaySecondsMax     = 60
	tokenBytesMaxDefault = 65_536
	headerBytesMax       = 4096
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
	for _, a := range c.Algorithms {
		if !slices.Contains(hmacAlgorithms, a) {
			return fmt.Errorf("algorithms has %q; choose from %v", a, hmacAlgorithms)
		}
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
	return nil
}

// hmacAlgorithms is never written.
var hmacAlgorithms = []string{"HS256", "HS384", "HS512"}

// previousValid says whether the previous key still counts.
func (c *Config) previousValid(now time.Time) bool {
	until := c.HMACPreviousSecretKeyValidUntil
	return c.HMACPreviousSecretKey != "" && (until == 0 || now.Unix() < until)
}
