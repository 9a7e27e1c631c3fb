package mint

import (
	"fmt"
	"strconv"

	"github.com/golang-jwt/jwt/v5"
)

// Mint makes tokens with one secret. The zero value makes none.
type Mint struct{ secret []byte }

// New returns one; an empty secret makes no tokens.
func New(secret string) Mint { return Mint{[]byte(secret)} }

// Token is that of user-<number>; empty without a secret.
func (m Mint) Token(number uint32) (string, error) {
	if len(m.secret) == 0 {
		return "", nil
	}
	claims := jwt.RegisteredClaims{Subject: "user-" + strconv.FormatUint(uint64(number), 10)}
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(m.secret)
	if err != nil {
		return "", fmt.Errorf("mint: a token cannot be signed: %w", err)
	}
	return token, nil
}
