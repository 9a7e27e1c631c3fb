// Package session is one client's protocol state as a pure machine: [Session.Step]
// takes an input and appends the effects that follow from it. It knows no clock, no
// socket, no lock and allocates nothing; whoever owns the session, the performer,
// carries the effects out and reports what came of them as further inputs.
//
// # States
//
//	Idle ── connected ──▶ Active ◀─ any bytes ─ Dormant
//	 │  └─ connect error ─▶ Unusable  └─ missed pongs ─▶ ┘
//	 └──────────────┴────────────┴──── disconnect ───▶ Closing
//
// [StateIdle] has no identity yet and must connect before a deadline. [StateUnusable]
// got an error as answer to its connect and only waits for that deadline. [StateActive]
// may do everything. [StateDormant] missed pongs and is observed for a while; any byte
// wakes it. [StateClosing] is final: nothing follows from any input.
//
// # Inputs
//
// Every input carries Now. What else a kind needs is all that is read of it.
//
//	KindOpened         the transport is ready         Native
//	KindBytes          any bytes arrived              –
//	KindPong           a native pong frame arrived    –
//	KindCommand        one decoded command            Command, View
//	KindMalformed      a message held no command or   –
//	                   could not be decoded
//	KindTimer          the conn's timer fired         –
//	KindAuthenticated  outcome of EffectAuthenticate  ID; Refusal, or Unix, ExpireAt, Subs, Rand
//	KindSubscribed     outcome of EffectSubscribe     ID, Channel; Refusal, or Unix, ExpireAt
//	KindPublished      outcome of EffectPublish       ID, Channel; Refusal
//	KindRefreshed      outcome of EffectRefresh       ID; Refusal, or Unix, ExpireAt
//	KindDisconnect     the server wants it gone       Disconnect
//
// # Effects, and what the performer does for each
//
// Effects are performed in order. Strings and pointers in them are those of the input
// and live as long as it does.
//
//	EffectArm             (re)arm the conn's one timer, After ticks from now; step KindTimer
//	                      when it fires. Early, late and needless firing do no harm.
//	EffectDisconnect      close the conn with Disconnect's code and reason in the close
//	                      frame (code 3000: no frame). It is the last effect there will be.
//	EffectAuthenticate    decide who this is from Command.Connect; then set s.User and
//	                      s.Info and step KindAuthenticated with the effect's ID.
//	EffectSubscribe       make the session a member of Channel, ruled by Options. Sub nil: a
//	                      client asked (Command.Subscribe); check token and permission.
//	                      Sub set: its token says so; nothing is to be checked, and what the
//	                      client knows of it is in the connect command's subs. Then step
//	                      KindSubscribed with the effect's ID and Channel. From now until a
//	                      refusal View.Subscribed must be true for it.
//	EffectUnsubscribe     end the membership in Channel, if there still is one.
//	EffectUnsubscribeAll  end all memberships.
//	EffectPublish         check the permission by Options, publish Command.Publish, then step
//	                      KindPublished with the effect's ID and Channel.
//	EffectRefresh         verify Command.Refresh.Token, which must be of the same user; set
//	                      s.Info if it changed; then step KindRefreshed with the effect's ID.
//	EffectReplyError      reply Err to command ID.
//	EffectReplyConnect    reply a connect result to ID: Expires, TTL, Ping, Pong from the
//	                      effect; client, version, node, session, data and the results of the
//	                      server-side subscriptions from the performer. Publications of those
//	                      subscriptions must not be sent before it.
//	EffectReplySubscribe  reply a subscribe result to ID (Expires, TTL), before any
//	                      publication of Channel.
//	EffectReplyUnsubscribe, EffectReplyPublish
//	                      reply an empty result to ID.
//	EffectReplyRefresh    reply a refresh result to ID (Expires, TTL; client and version).
//	EffectPing            send a protocol ping, the empty reply.
//	EffectPingFrame       send a WebSocket ping frame.
//	EffectDormant         give back what is held for the conn beyond its slot: partial
//	                      frames, buffers. Subscriptions stay, publications are still sent.
//	EffectAwake           the conn lives after all; nothing need be done.
//
// # Rules for the performer
//
//   - One asking effect (Authenticate, Subscribe, Publish, Refresh) is answered by one
//     outcome, at once or later. While [Session.Busy] is true no KindCommand may be
//     stepped: keep the rest of the frame, pause reading, go on after the outcome. All
//     other inputs are welcome meanwhile. The commands of a conn are so handled strictly
//     in order.
//   - Outcomes are stepped after all effects of the step that asked were performed.
//   - After a command that leaves the session [StateUnusable] or [StateClosing] the rest
//     of the frame is discarded.
//   - KindBytes is stepped once for whatever arrived, before the commands in it.
//   - When the conn is gone nothing is stepped any more; the performer then ends the
//     memberships and releases User and Info.
//   - An outcome nobody waits for, or a command while busy, is the performer's mistake
//     and ends the session with 3004.
package session
