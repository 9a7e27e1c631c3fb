// Package config turns flags, SHOAL_… environment variables and one YAML, JSON or TOML file into a single typed,
// validated Config.
//
// Precedence, strongest first: flags, environment, file, the development profile (only with dev = true), defaults.
// Keys carry the names Centrifugo v6 gives the same notion, so that a Centrifugo file loads; a key Shoal does not act on
// yet, or does not know at all, costs one Warning and nothing else. Shoal's own sections are loop, tcp, handshake,
// heartbeat, proxy_protocol, echo, gc and the top-level dev; single keys of its own say so in their documentation.
//
// The fields of Config are the only list of keys: the struct tags "key", "doc" and "secret" give the name, the
// documentation and whether a value may be shown. A value is a text, a number, a duration, a yes/no, a list or a map of
// texts, or a list of sections, which may hold all of these again. Flags, environment names, Print, the unknown-key check and the
// suggestions are all derived from it (schema.go).
//
// The package holds plain data, and server/program.go translates a section into the Config of the floor that acts on it;
// the section channel is server/channel's own Config, which that package judges. Of codec/handshake it asks whether an entry
// of client.allowed_origins is understood. It reads the environment and files, knows no clock and starts no goroutine. A
// Config is a value: copy it freely, but its slices and maps are shared and must not be written to after Load.
package config
