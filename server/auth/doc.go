// Package auth decides who a client is and what it may do. It turns tokens into
// [Credentials] and [Grant]s ([Verifier]), and namespace options into yes or no
// ([Authority]); it keeps no state and asks nobody, so every decision may be made on a
// loop. Time is a parameter.
//
// # Tokens
//
// Tokens are JSON Web Tokens in compact form (RFC 7515, RFC 7519) signed with
// HS256, HS384 or HS512. The order of the checks is part of the contract, because what
// is not signed is not believed: size, shape, header, signature, and only then claims.
// The algorithm is pinned by the key: a token cannot choose one that the key was not
// made for. A header that names critical extensions (RFC 7515 §4.1.11) is refused, since
// none is understood; jwk, jku, x5u and kid are never followed.
//
// Claims read: sub (or the claim configured instead), exp, nbf, iat (type only: RFC 7519
// §4.1.6 gives it no verdict), aud, iss; in connection tokens expire_at, info, b64info,
// meta, channels, subs, and channel must be absent, so that a subscription token is no
// connection token; in subscription tokens channel (required), client, expire_at, info,
// b64info, data, b64data, override.
//
// # Failures
//
// A failure is an [*Error] with a [Reason], whose name is the metric label. An expired
// token becomes error 109, on which clients fetch a new one; anything else disconnects
// with 3500 (connection tokens) or is error 103 (subscription tokens). Texts never
// contain the token.
package auth
