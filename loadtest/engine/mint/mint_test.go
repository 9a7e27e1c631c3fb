package mint

import (
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

func TestATokenNamesItsUser(t *testing.T) {
	m := New("secret")
	for number, want := range map[uint32]string{0: "user-0", 999_999: "user-999999"} {
		text, err := m.Token(number)
		if err != nil {
			t.Fatal(err)
		}
		read, err := jwt.Parse(text, func(*jwt.Token) (any, error) { return []byte("secret"), nil }, jwt.WithValidMethods([]string{"HS256"}))
		if err != nil {
			t.Fatal(err)
		}
		if sub, _ := read.Claims.GetSubject(); sub != want {
			t.Errorf("token of %d is of %q, want %q", number, sub, want)
		}
		if _, err := jwt.Parse(text, func(*jwt.Token) (any, error) { return []byte("other"), nil }); err == nil {
			t.Error("it passes with another secret")
		}
	}
}

func TestWithoutASecretThereIsNoToken(t *testing.T) {
	if text, err := New("").Token(1); text != "" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
}
