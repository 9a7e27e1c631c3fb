package proto

// Replies as Protobuf: what a client hears often is read by hand into lent messages, the rest by generated code.

func (r *wireReader) reply(m *Reply, lent *answers) {
	for r.next() {
		switch r.tag {
		case 1<<3 | wireVarint:
			m.Id = uint32(r.varint())
		case 2<<3 | wireBytes:
			m.Error = embedded(r, m.Error, &lent.fault, (*wireReader).errorReply)
		case 4<<3 | wireBytes:
			if m.Push == nil {
				lent.push = Push{}
				m.Push = &lent.push
			}
			outer := r.enter()
			r.push(m.Push, lent)
			r.leave(outer)
		case 5<<3 | wireBytes:
			m.Connect = generated(r, m.Connect, (*ConnectResult).UnmarshalVTUnsafe)
		case 6<<3 | wireBytes:
			if m.Subscribe == nil {
				lent.subscribe = SubscribeResult{}
			}
			m.Subscribe = generated(r, &lent.subscribe, (*SubscribeResult).UnmarshalVTUnsafe)
		case 7<<3 | wireBytes:
			m.Unsubscribe = embedded(r, m.Unsubscribe, &lent.unsubscribe, (*wireReader).unsubscribeResult)
		case 8<<3 | wireBytes:
			m.Publish = embedded(r, m.Publish, &lent.publish, (*wireReader).publishResult)
		case 9<<3 | wireBytes:
			m.Presence = generated(r, m.Presence, (*PresenceResult).UnmarshalVTUnsafe)
		case 10<<3 | wireBytes:
			m.PresenceStats = generated(r, m.PresenceStats, (*PresenceStatsResult).UnmarshalVTUnsafe)
		case 11<<3 | wireBytes:
			m.History = generated(r, m.History, (*HistoryResult).UnmarshalVTUnsafe)
		case 12<<3 | wireBytes:
			m.Ping = generated(r, m.Ping, (*PingResult).UnmarshalVTUnsafe)
		case 13<<3 | wireBytes:
			m.Rpc = generated(r, m.Rpc, (*RPCResult).UnmarshalVTUnsafe)
		case 14<<3 | wireBytes:
			m.Refresh = generated(r, m.Refresh, (*RefreshResult).UnmarshalVTUnsafe)
		case 15<<3 | wireBytes:
			m.SubRefresh = generated(r, m.SubRefresh, (*SubRefreshResult).UnmarshalVTUnsafe)
		default:
			r.skip()
		}
	}
}

// generated merges a message field into have by generated code, which aliases the message as well.
func generated[T any](r *wireReader, have *T, unmarshal func(*T, []byte) error) *T {
	if have == nil {
		have = new(T)
	}
	p := r.bytes()
	if r.fail == 0 && unmarshal(have, p) != nil {
		r.failWith(ErrSyntax)
	}
	return have
}

func (r *wireReader) push(m *Push, lent *answers) {
	for r.next() {
		switch r.tag {
		case 1<<3 | wireVarint:
			m.Id = int64(r.varint())
		case 2<<3 | wireBytes:
			m.Channel = r.str()
		case 4<<3 | wireBytes:
			if m.Pub == nil {
				lent.publication = Publication{}
				m.Pub = &lent.publication
			}
			outer := r.enter()
			r.publication(m.Pub, &lent.info)
			r.leave(outer)
		case 5<<3 | wireBytes:
			m.Join = generated(r, m.Join, (*Join).UnmarshalVTUnsafe)
		case 6<<3 | wireBytes:
			m.Leave = generated(r, m.Leave, (*Leave).UnmarshalVTUnsafe)
		case 7<<3 | wireBytes:
			m.Unsubscribe = generated(r, m.Unsubscribe, (*Unsubscribe).UnmarshalVTUnsafe)
		case 8<<3 | wireBytes:
			m.Message = generated(r, m.Message, (*Message).UnmarshalVTUnsafe)
		case 9<<3 | wireBytes:
			m.Subscribe = generated(r, m.Subscribe, (*Subscribe).UnmarshalVTUnsafe)
		case 10<<3 | wireBytes:
			m.Connect = generated(r, m.Connect, (*Connect).UnmarshalVTUnsafe)
		case 11<<3 | wireBytes:
			m.Disconnect = generated(r, m.Disconnect, (*Disconnect).UnmarshalVTUnsafe)
		case 12<<3 | wireBytes:
			m.Refresh = generated(r, m.Refresh, (*Refresh).UnmarshalVTUnsafe)
		default:
			r.skip()
		}
	}
}

// publication reads one publication; info is lent to it.
func (r *wireReader) publication(m *Publication, info *ClientInfo) {
	for r.next() {
		switch r.tag {
		case 4<<3 | wireBytes:
			m.Data = r.bytes()
		case 5<<3 | wireBytes:
			m.Info = embedded(r, m.Info, info, (*wireReader).clientInfo)
		case 6<<3 | wireVarint:
			m.Offset = r.varint()
		case 7<<3 | wireBytes:
			m.Tags = r.stringEntry(m.Tags)
		case 8<<3 | wireVarint:
			m.Delta = r.boolean()
		case 9<<3 | wireVarint:
			m.Time = int64(r.varint())
		case 10<<3 | wireBytes:
			m.Channel = r.str()
		default:
			r.skip()
		}
	}
}

func (r *wireReader) clientInfo(m *ClientInfo) {
	for r.next() {
		switch r.tag {
		case 1<<3 | wireBytes:
			m.User = r.str()
		case 2<<3 | wireBytes:
			m.Client = r.str()
		case 3<<3 | wireBytes:
			m.ConnInfo = r.bytes()
		case 4<<3 | wireBytes:
			m.ChanInfo = r.bytes()
		default:
			r.skip()
		}
	}
}

func (r *wireReader) errorReply(m *Error) {
	for r.next() {
		switch r.tag {
		case 1<<3 | wireVarint:
			m.Code = uint32(r.varint())
		case 2<<3 | wireBytes:
			m.Message = r.str()
		case 3<<3 | wireVarint:
			m.Temporary = r.boolean()
		default:
			r.skip()
		}
	}
}

func (r *wireReader) unsubscribeResult(*UnsubscribeResult) { r.nothing() }
func (r *wireReader) publishResult(*PublishResult)         { r.nothing() }
