// Package auth decides who a client is and what it may do. It turns tokens into
// [Credentials] and [Grant]s ([Verifier]), and namespace options into yes or no
// ([Authority]). It starts nothing and reads no clock: time is a parameter. A decision
// may be made on a loop unless [Authority.SlowConnect] or [Authority.SlowSubscribe] says
// that its token is slow; all is safe for concurrent use.
//
// # Tokens
//
// Tokens are JSON Web Tokens in compact form (RFC 7515, RFC 7519), signed with HMAC
// (HS256, HS384, HS512), RSA (RS and PS), ECDSA (ES) or Ed25519 (EdDSA). The order of the
// checks is part of the contract, because what is not signed is not believed: size,
// shape, header, signature, and only then claims. The algorithm is pinned by the key: a
// key has a family, an elliptic curve one algorithm, and a token cannot have a key taken
// for what it was not made for. A header that names critical extensions (RFC 7515
// §4.1.11) is refused, since none is understood; jwk, jku, x5c and x5u are never followed.
//
// Claims read: sub (or the claim configured instead), exp, nbf, iat (type only: RFC 7519
// §4.1.6 gives it no verdict), aud, iss; in connection tokens expire_at, info, b64info,
// meta, channels, subs, and channel must be absent, so that a subscription token is no
// connection token; in subscription tokens channel (required), client, expire_at, info,
// b64info, data, b64data, override. The payload is read in one pass;
// verifying a usual HS256 token takes about 1 µs and six allocations.
//
// # Key sets
//
// With jwks_public_endpoint the kid of a token chooses its key in a JSON Web Key Set (RFC
// 7517). Only there is anything read before the signature is verified: kid, and iss and
// aud when the endpoint has their groups in it. A set is fetched inside the call that
// needs it, by one caller for all; it is fetched anew after an hour and for a kid that is
// not in it, but not twice within five seconds, and goes on to serve for a day when it
// cannot be fetched.
//
// # Failures
//
// A failure is an [*Error] with a [Reason], whose name is the metric label. An expired
// token becomes error 109, on which clients fetch a new one; a key set that cannot be had
// becomes disconnect 3004 or error 100, on which they try again; anything else
// disconnects with 3500 (connection tokens) or is error 103 (subscription tokens). Texts
// never contain the token or a key.
package auth
