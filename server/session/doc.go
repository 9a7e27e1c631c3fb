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
// Every input carries Now, and every outcome with a Refusal or an ExpireAt carries View.
// What else a kind needs is all that is read of it.
//
//	KindOpened         the transport is ready         Native
//	KindBytes          any bytes arrived              –
//	KindPong           a native pong frame arrived    –
//	KindCommand        one decoded command            Command, View
//	KindMalformed      a message held no command or   –
//	                   could not be decoded
//	KindTimer          the conn's timer fired         –
//	KindAuthenticated  outcome of EffectAuthenticate  ID; Refusal, or Unix, ExpireAt, Subs, Rand,
//	                                                  ServerRefresh
//	KindSubscribed     outcome of EffectSubscribe     ID, Channel; Refusal, or Unix, ExpireAt,
//	                                                  ServerRefresh
//	KindPublished      outcome of EffectPublish       ID, Channel; Refusal
//	KindRefreshed      outcome of EffectRefresh       ID; Refusal, or Unix, ExpireAt
//	KindAnswered       outcome of EffectAsk           ID; Refusal
//	KindSent           outcome of EffectSend          Refusal, of which only a disconnect counts
//	KindSubRefreshed   outcome of EffectSubRefresh    ID, Channel; Refusal, or Unix, ExpireAt
//	KindRenewed        outcome of EffectRenew         Refusal, or Expired, or Unix, ExpireAt
//	KindDisconnect     the server wants it gone       Disconnect
//	KindAdded          the server made a membership   Channel
//	KindRemoved        the server ends a membership   Channel, Unsubscribe
//	KindExtended       the server's API renewed the   Expired, or Unix, ExpireAt
//	                   credentials
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
//	EffectSubRefresh      verify Command.SubRefresh.Token, which must be of the same user and
//	                      of Channel; set when the membership ends; then step KindSubRefreshed
//	                      with the effect's ID and Channel. Options rule the channel.
//	EffectAsk             do what Command asks: presence, presence_stats, history (of Channel,
//	                      ruled by Options: check the permission) or rpc (no Channel). Keep the
//	                      result, then step KindAnswered with the effect's ID.
//	EffectSend            hand Command.Send.Data to whoever takes messages, then step KindSent.
//	EffectRenew           the credentials that the server renews have ended: ask whether the
//	                      session may go on, set s.Info if it changed, then step KindRenewed.
//	                      Without an answer there is no other end of the credentials, so there
//	                      must be one; the session is not Busy meanwhile.
//	EffectReplyError      reply Err to command ID.
//	EffectReplyConnect    reply a connect result to ID: Expires, TTL, Ping, Pong from the
//	                      effect; client, version, node, session, data and the results of the
//	                      server-side subscriptions from the performer. Publications of those
//	                      subscriptions must not be sent before it.
//	EffectReplySubscribe  reply a subscribe result to ID (Expires, TTL), before any
//	                      publication of Channel.
//	EffectReplyUnsubscribe, EffectReplyPublish
//	                      reply an empty result to ID.
//	EffectReplyRefresh    reply a refresh result to ID (Expires, TTL).
//	EffectReplySubRefresh reply a sub_refresh result to ID (Expires, TTL).
//	EffectReplyAnswer     reply the result that was kept for EffectAsk to ID.
//	EffectPushSubscribe   push subscribe for Channel, before any publication of it.
//	EffectPushUnsubscribe push unsubscribe for Channel with Unsubscribe's code and reason, after
//	                      all publications of it.
//	EffectPushRefresh     push refresh (Expires, TTL).
//	EffectPing            send a protocol ping, the empty reply.
//	EffectPingFrame       send a WebSocket ping frame.
//	EffectDormant         give back what is held for the conn beyond its slot: partial
//	                      frames, buffers. Subscriptions stay, publications are still sent.
//	EffectAwake           the conn lives after all; nothing need be done.
//
// # Too many
//
// View.Admits is asked before a command is performed, be it a connect. One that
// it does not admit is answered with error 111, in its turn, or dropped if it is a send;
// nothing else follows from it. Each such command, and each that is answered with an error
// which is not temporary, is told to View.Tolerates; when that is false the session ends
// with 3509, behind the answer.
//
// # What the server does by itself
//
// KindAdded, KindRemoved and KindExtended are no outcomes and welcome at any time, also
// while [Session.Busy].
//
//   - KindAdded: the performer has made a membership that did not exist. An active or
//     dormant session counts it and has it pushed; over the limit it ends with 3505. Any
//     other session cannot have it yet: it is undone by EffectUnsubscribe. The membership
//     must not get publications before the step.
//   - KindRemoved: the membership is still there; EffectUnsubscribe ends it. A session that
//     is not active or dormant, or has no membership, ignores it: who wants a membership of
//     a session that connects to end ends the session. For a channel whose KindSubscribed
//     is awaited it must be put off until after that.
//   - KindExtended: ExpireAt 0 means for ever, one that has passed ends the session with
//     3005, as Expired does. Before the connect reply it is not pushed, the reply has it;
//     a session without credentials ignores it.
//
// Credentials with ServerRefresh are renewed by the server: their end leads to EffectRenew
// without grace, and a refresh command of the client to 3501.
//
// # Rules for the performer
//
//   - One asking effect (Authenticate, Subscribe, Publish, Refresh, SubRefresh, Ask, Send) is
//     answered by one outcome, at once or later, and so is Renew. While [Session.Busy] is
//     true, which Renew does not make it, no KindCommand may be stepped: keep the rest of
//     the frame, pause reading, go on after the outcome. All other inputs are welcome
//     meanwhile. The commands of a conn are so handled strictly in order.
//   - While the session is busy no pong is missed, since reading may be paused: the time
//     for a pong that is awaited begins anew with the outcome.
//   - Outcomes are stepped after all effects of the step that asked were performed.
//   - After a command that leaves the session [StateUnusable] or [StateClosing] the rest
//     of the frame is discarded.
//   - KindBytes is stepped once for whatever arrived, before the commands in it.
//   - What an effect points to is the input's: who answers later copies what is needed.
//   - When the conn is gone nothing is stepped any more; the performer then ends the
//     memberships and releases User and Info.
//   - An outcome nobody waits for, or a command while busy, is the performer's mistake
//     and ends the session with 3004.
package session
