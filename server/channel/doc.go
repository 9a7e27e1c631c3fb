// Package channel holds the nouns of the server: what its packages talk about when
// they talk to each other. Of the project it imports only the check of what is JSON, and
// everything on its floor and above may import it.
//
// # Vocabulary
//
// One noun per notion, used with this meaning everywhere:
//
//   - conn: one socket.
//   - session: one client's protocol state on a conn.
//   - user: an authenticated identity; the empty user is anonymous.
//   - channel: a named stream of publications.
//   - namespace: the channels whose names share a prefix up to the boundary; it
//     carries their [Options].
//   - wildcard: a channel name with stars that stands for many; it can be subscribed to
//     and not published to.
//   - subscription: a session's membership in a channel.
//   - publication: one message in a channel.
//   - position: offset and epoch of a publication in its channel's stream.
//   - command, reply, push: messages of the client protocol, from the client, in
//     answer to it, and unasked.
//   - frame: WebSocket bytes; handshake: the HTTP upgrade.
//   - loop, turn, tick: one event loop, one pass of it, one step of its timer wheel.
//   - hub: a loop's index from channels to their subscribers.
//   - node: one server process; broker: what carries publications between nodes.
//   - backlog: bytes queued to a conn; slow: a conn whose backlog is over its limit.
//   - drop, disconnect: what then happens, always with a named reason ([Drop],
//     [Disconnect]).
//
// # Rules
//
// [Config] is the configuration section "channel", [Options] those of one namespace in
// it; both are defined and judged here and nowhere else. [Rules] are what [Compile] makes
// of them: asked for every command, without locks and allocations.
//
// # Codes
//
// [ErrorCode], [DisconnectCode] and [UnsubscribeCode] are the published codes of the
// client protocol; the texts and the reconnect rule that belong to a code are in one
// table each. [Error] and [Disconnect] are the values that travel; those that come
// from the tables are shared by everybody and must not be changed.
package channel
