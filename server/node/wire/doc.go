// Package wire encodes what is pushed to many: a publication, or joins and leaves,
// once per wire form in which somebody reads it.
package wire
