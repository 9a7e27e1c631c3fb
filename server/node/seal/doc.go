// Package seal makes and reads resume tokens: what a session was, sealed so that only a
// server with the same secret can read or make it, handed to the client and given back
// when it reconnects. It knows no shard, and the time only by what it is given; the
// node decides what goes into a token and what one is still worth.
//
//	token   base64url( version 1 │ key id 1 │ salt 12 │ counter 8 │ AES-256-GCM )
//	plain   [Head], then any number of [Sub]s, fields behind their lengths
//
// A process seals under a key of its own, derived by HKDF-SHA256 from the secret and a salt
// drawn at its start, with a counter for a nonce: no nonce is ever used twice under one
// key, however many processes share a secret and however often they restart, and nothing
// random is drawn per token. The salt stands in the token, so that every other holder of
// the secret derives the same key; the header is authenticated with the rest.
//
// A token is a bearer's: like the connection token it stands for, whoever has it is that
// user until it ends. [Marks] say which tokens ended early; a [Book] joins them with what
// seals.
package seal
