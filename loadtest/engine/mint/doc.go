// Package mint makes the tokens connections come with: JWTs signed by HMAC-SHA256 (RFC 7519), one for each user. They have no end, so
// a long test needs no refresh. Nothing is kept of them.
package mint
