// Package jsontext knows the grammar of JSON (RFC 8259) and nothing of what a text means: where a value ends, whether it
// is good, how a string is quoted and unquoted. It looks at eight bytes at a time, never recurses, never allocates but
// for what it appends, and takes any bytes: positions are indices into them, never out of range, lengths are checked.
//
// Stricter than encoding/json in two ways: strings must be UTF-8, because the text goes out in a WebSocket text frame,
// and nesting ends at DepthMax.
package jsontext
