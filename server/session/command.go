package session

import (
	"shoal/codec/proto"
	"shoal/server/channel"
)

// command handles one command; the state decides before the request does.
func (m *machine) command() {
	m.alive()
	cmd := m.in.Command
	switch method := cmd.Method(); {
	case m.state == StateUnusable:
		m.disconnect(channel.DisconnectBadRequest)
	case m.Busy():
		m.disconnect(channel.DisconnectServerError) // the performer broke its rule
	case m.state == StateIdle && method != proto.MethodConnect:
		m.disconnect(channel.DisconnectBadRequest)
	case cmd.Id == 0 && cmd.Send == nil: // whatever else it holds
		m.pong()
	default:
		m.dispatch(cmd, method)
	}
}

func (m *machine) dispatch(cmd *proto.Command, method proto.Method) {
	if !m.in.View.Admits(method) {
		m.tooMany(cmd.Id, method)
		return
	}
	switch method {
	case proto.MethodConnect:
		m.connect(cmd)
	case proto.MethodSubscribe:
		m.subscribe(cmd)
	case proto.MethodUnsubscribe:
		m.unsubscribe(cmd)
	case proto.MethodPublish:
		m.publish(cmd)
	case proto.MethodRefresh:
		m.refresh(cmd)
	case proto.MethodSubRefresh:
		m.subRefresh(cmd)
	case proto.MethodPresence:
		m.askChannel(cmd, cmd.Presence.Channel)
	case proto.MethodPresenceStats:
		m.askChannel(cmd, cmd.PresenceStats.Channel)
	case proto.MethodHistory:
		m.askChannel(cmd, cmd.History.Channel)
	case proto.MethodRPC:
		m.ask(cmd, "", nil)
	case proto.MethodSend:
		m.send(cmd)
	default:
		m.disconnect(channel.DisconnectBadRequest)
	}
}

func (m *machine) connect(cmd *proto.Command) {
	if m.state != StateIdle {
		m.disconnect(channel.DisconnectBadRequest)
		return
	}
	m.setAwait(awaitAuth)
	m.emit(Effect{Kind: EffectAuthenticate, ID: cmd.Id, Command: cmd})
}

func (m *machine) subscribe(cmd *proto.Command) {
	req := cmd.Subscribe
	if req.Channel == "" || req.Delta != "" && req.Delta != "fossil" {
		m.disconnect(channel.DisconnectBadRequest)
		return
	}
	opts, err := m.maySubscribe(req)
	if err != nil {
		m.replyError(cmd.Id, err)
		return
	}
	m.subCount++
	m.setAwait(awaitSubscribed)
	m.emit(Effect{Kind: EffectSubscribe, ID: cmd.Id, Channel: req.Channel, Options: opts, Command: cmd})
}

// maySubscribe makes the checks that need no knowledge of the user, in the order that
// decides which error is seen.
func (m *machine) maySubscribe(req *proto.SubscribeRequest) (*channel.Options, *channel.Error) {
	switch {
	case !m.cfg.Rules.Fits(req.Channel):
		return nil, channel.ErrBadRequest.Err()
	case m.in.View.Subscribed(req.Channel):
		return nil, channel.ErrAlreadySubscribed.Err()
	case int(m.subCount) >= m.cfg.channelsMax():
		return nil, channel.ErrLimitExceeded.Err()
	case req.Type != 0: // map and shared-poll subscriptions
		return nil, channel.ErrNotAvailable.Err()
	}
	return m.cfg.Rules.ResolveForClient(req.Channel)
}

func (m *machine) unsubscribe(cmd *proto.Command) {
	name := cmd.Unsubscribe.Channel
	if name == "" {
		m.disconnect(channel.DisconnectBadRequest)
		return
	}
	// Not being a member is no error: the client may not have seen yet that it was removed.
	if m.subCount > 0 && m.in.View.Subscribed(name) {
		m.subCount--
		m.emit(Effect{Kind: EffectUnsubscribe, Channel: name})
	}
	m.reply(Effect{Kind: EffectReplyUnsubscribe, ID: cmd.Id, Channel: name})
}

func (m *machine) publish(cmd *proto.Command) {
	req := cmd.Publish
	if req.Channel == "" || len(req.Data) == 0 {
		m.disconnect(channel.DisconnectBadRequest)
		return
	}
	opts, err := m.cfg.Rules.ResolveForClient(req.Channel)
	if err != nil {
		m.replyError(cmd.Id, err)
		return
	}
	m.setAwait(awaitPublished)
	m.emit(Effect{Kind: EffectPublish, ID: cmd.Id, Channel: req.Channel, Options: opts, Command: cmd})
}

// askChannel asks about a channel, which the session need not be a member of.
func (m *machine) askChannel(cmd *proto.Command, name string) {
	if name == "" {
		m.disconnect(channel.DisconnectBadRequest)
		return
	}
	opts, err := m.cfg.Rules.ResolveForClient(name)
	if err != nil {
		m.replyError(cmd.Id, err)
		return
	}
	m.ask(cmd, name, opts)
}

func (m *machine) ask(cmd *proto.Command, name string, opts *channel.Options) {
	m.setAwait(awaitAnswered)
	m.emit(Effect{Kind: EffectAsk, ID: cmd.Id, Channel: name, Options: opts, Command: cmd})
}

// send has no reply that could say that nobody takes the message.
func (m *machine) send(cmd *proto.Command) {
	if !m.cfg.Send {
		m.disconnect(channel.DisconnectNotAvailable)
		return
	}
	m.setAwait(awaitSent)
	m.emit(Effect{Kind: EffectSend, ID: cmd.Id, Command: cmd})
}

func (m *machine) subRefresh(cmd *proto.Command) {
	req := cmd.SubRefresh
	switch {
	case req.Channel == "":
		m.disconnect(channel.DisconnectBadRequest)
		return
	case m.subCount == 0 || !m.in.View.Subscribed(req.Channel):
		m.replyError(cmd.Id, channel.ErrPermissionDenied.Err())
		return
	case m.in.View.ServerRefreshed(req.Channel):
		m.disconnect(channel.DisconnectBadRequest)
		return
	case req.Token == "":
		m.replyError(cmd.Id, channel.ErrBadRequest.Err())
		return
	}
	opts, err := m.cfg.Rules.ResolveForClient(req.Channel)
	if err != nil {
		m.replyError(cmd.Id, err)
		return
	}
	m.setAwait(awaitSubRefreshed)
	m.emit(Effect{Kind: EffectSubRefresh, ID: cmd.Id, Channel: req.Channel, Options: opts, Command: cmd})
}

func (m *machine) refresh(cmd *proto.Command) {
	if cmd.Refresh.Token == "" || m.has(modeServerRefresh) {
		m.disconnect(channel.DisconnectBadRequest)
		return
	}
	m.setAwait(awaitRefreshed)
	m.emit(Effect{Kind: EffectRefresh, ID: cmd.Id, Command: cmd})
}

// reply emits a reply; the client hears of us and we heard of it.
func (m *machine) reply(e Effect) {
	m.activeAt = m.in.Now
	m.emit(e)
}

// replyError refuses a command. A temporary error says that the server could not do it
// now: it is not the client's.
func (m *machine) replyError(id uint32, err *channel.Error) {
	m.reply(Effect{Kind: EffectReplyError, ID: id, Err: err})
	if !err.Temporary {
		m.fault()
	}
}

// tooMany refuses a command that is one too many. A send has no reply that could say so.
func (m *machine) tooMany(id uint32, method proto.Method) {
	if method != proto.MethodSend {
		m.reply(Effect{Kind: EffectReplyError, ID: id, Err: channel.ErrTooManyRequests.Err()})
	}
	m.fault()
}

// fault counts an error of the client's.
func (m *machine) fault() {
	if !m.in.View.Tolerates() {
		m.disconnect(channel.DisconnectTooManyErrors)
	}
}
