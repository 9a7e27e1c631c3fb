package clientid

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"shoal/loop"
)

// IDs makes client ids out of conn ids and back. A client id is a conn id
// and a node tag encrypted as one AES block under a key of the node's: it looks
// random, cannot be guessed, needs no memory per conn, and finds its conn without
// an index.
type IDs struct {
	block cipher.Block
	tag   uint64
}

// Bytes is the length of a client id's text: a UUID's.
const Bytes = 36

// New takes 16 bytes of key and 8 of tag, both random.
func New(random [24]byte) (*IDs, error) {
	block, err := aes.NewCipher(random[:16])
	if err != nil {
		return nil, fmt.Errorf("node: client id key: %w", err)
	}
	return &IDs{block: block, tag: binary.LittleEndian.Uint64(random[16:])}, nil
}

// Append appends the text of the conn's client id. b is scratch memory: what a
// cipher gets escapes, and the caller has a place for it.
func (c *IDs) Append(dst []byte, b *[aes.BlockSize]byte, id loop.ConnID) []byte {
	binary.LittleEndian.PutUint64(b[:8], uint64(id))
	binary.LittleEndian.PutUint64(b[8:], c.tag)
	c.block.Encrypt(b[:], b[:])
	for i, group := range [...][2]int{{0, 4}, {4, 6}, {6, 8}, {8, 10}, {10, 16}} {
		if i > 0 {
			dst = append(dst, '-')
		}
		dst = hex.AppendEncode(dst, b[group[0]:group[1]])
	}
	return dst
}

// Parse returns the conn id inside a client id of this node; ok is false for
// anything else.
func (c *IDs) Parse(text string) (id loop.ConnID, ok bool) {
	if len(text) != Bytes || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return 0, false
	}
	digits := text[:8] + text[9:13] + text[14:18] + text[19:23] + text[24:]
	var b [aes.BlockSize]byte
	if _, err := hex.Decode(b[:], []byte(digits)); err != nil {
		return 0, false
	}
	c.block.Decrypt(b[:], b[:])
	if binary.LittleEndian.Uint64(b[8:]) != c.tag {
		return 0, false
	}
	return loop.ConnID(binary.LittleEndian.Uint64(b[:8])), true
}
