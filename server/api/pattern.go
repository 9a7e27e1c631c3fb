package api

import (
	"errors"
	"path"
	"strings"
)

// compilePattern reads the pattern of a channels call: * stands for any run of characters, the slash included, ? for one, [a-c] for one
// of a class and [!a-c] for one outside it, and a backslash takes away such a meaning. It is Centrifugo's language but for alternatives in
// braces, which are refused rather than matched as they stand.
//
// path.Match knows all of it but a * that passes over slashes, so slashes become a control character on both sides.
func compilePattern(pattern string) (match func(name string) bool, err error) {
	var b strings.Builder
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; {
		case c == '{':
			return nil, errors.New("alternatives {a,b} are not supported; make a call for each, or write \\{ for the character")
		case c == '\\' && i+1 < len(pattern):
			i++
			b.WriteByte(c)
			b.WriteByte(noSlash(pattern[i]))
		case c == '[' && i+1 < len(pattern) && pattern[i+1] == '!':
			i++
			b.WriteString("[^")
		default:
			b.WriteByte(noSlash(c))
		}
	}
	translated := b.String()
	if _, err := path.Match(translated, ""); err != nil {
		return nil, err
	}
	return func(name string) bool {
		ok, _ := path.Match(translated, strings.ReplaceAll(name, "/", slashStand))
		return ok
	}, nil
}

// slashStand takes the place of a slash.
const slashStand = "\x01"

func noSlash(c byte) byte {
	if c == '/' {
		return slashStand[0]
	}
	return c
}
