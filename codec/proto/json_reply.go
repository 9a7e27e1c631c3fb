package proto

// Replies and pushes as JSON: every method reads one object into m, which is zero.

func (r *jsonReader) reply(m *Reply, lent *answers) {
	for key, ok := r.open(); ok; key, ok = r.next() {
		switch string(key) {
		case "id":
			m.Id = r.uint32()
		case "error":
			m.Error = object(r, &lent.fault, (*jsonReader).errorReply)
		case "push":
			if m.Push = nil; !r.null() {
				lent.push = Push{}
				m.Push = &lent.push
				r.push(m.Push, lent)
			}
		case "connect":
			m.Connect = object(r, new(ConnectResult), (*jsonReader).connectResult)
		case "subscribe":
			m.Subscribe = object(r, &lent.subscribe, (*jsonReader).subscribeResult)
		case "unsubscribe":
			m.Unsubscribe = object(r, &lent.unsubscribe, (*jsonReader).unsubscribeResult)
		case "publish":
			m.Publish = object(r, &lent.publish, (*jsonReader).publishResult)
		case "presence":
			m.Presence = object(r, new(PresenceResult), (*jsonReader).presenceResult)
		case "presence_stats":
			m.PresenceStats = object(r, new(PresenceStatsResult), (*jsonReader).presenceStatsResult)
		case "history":
			m.History = object(r, new(HistoryResult), (*jsonReader).historyResult)
		case "ping":
			m.Ping = object(r, new(PingResult), (*jsonReader).pingResult)
		case "rpc":
			m.Rpc = object(r, new(RPCResult), (*jsonReader).rpcResult)
		case "refresh":
			m.Refresh = object(r, new(RefreshResult), (*jsonReader).refreshResult)
		case "sub_refresh":
			m.SubRefresh = object(r, new(SubRefreshResult), (*jsonReader).subRefreshResult)
		default:
			r.skip()
		}
	}
}

func (r *jsonReader) push(m *Push, lent *answers) {
	for key, ok := r.open(); ok; key, ok = r.next() {
		switch string(key) {
		case "id":
			m.Id = r.int64()
		case "channel":
			m.Channel = r.str()
		case "pub":
			if m.Pub = nil; !r.null() {
				lent.publication = Publication{}
				m.Pub = &lent.publication
				r.publicationWith(m.Pub, &lent.info)
			}
		case "join":
			m.Join = object(r, new(Join), (*jsonReader).join)
		case "leave":
			m.Leave = object(r, new(Leave), (*jsonReader).leave)
		case "unsubscribe":
			m.Unsubscribe = object(r, new(Unsubscribe), (*jsonReader).unsubscribe)
		case "message":
			m.Message = object(r, new(Message), (*jsonReader).message)
		case "subscribe":
			m.Subscribe = object(r, new(Subscribe), (*jsonReader).subscribe)
		case "connect":
			m.Connect = object(r, new(Connect), (*jsonReader).connect)
		case "disconnect":
			m.Disconnect = object(r, new(Disconnect), (*jsonReader).disconnect)
		case "refresh":
			m.Refresh = object(r, new(Refresh), (*jsonReader).refresh)
		default:
			r.skip()
		}
	}
}

func (r *jsonReader) publication(m *Publication) { r.publicationWith(m, nil) }

// publicationWith reads one publication; info is lent to it unless nil.
func (r *jsonReader) publicationWith(m *Publication, info *ClientInfo) {
	for key, ok := r.open(); ok; key, ok = r.next() {
		switch string(key) {
		case "data":
			m.Data = r.raw()
		case "info":
			if info == nil {
				info = new(ClientInfo)
			}
			m.Info = object(r, info, (*jsonReader).clientInfo)
		case "offset":
			m.Offset = r.uint64()
		case "tags":
			m.Tags = r.stringMap()
		case "delta":
			m.Delta = r.boolean()
		case "time":
			m.Time = r.int64()
		case "channel":
			m.Channel = r.str()
		default:
			r.skip()
		}
	}
}

func (r *jsonReader) clientInfo(m *ClientInfo) {
	for key, ok := r.open(); ok; key, ok = r.next() {
		switch string(key) {
		case "user":
			m.User = r.str()
		case "client":
			m.Client = r.str()
		case "conn_info":
			m.ConnInfo = r.raw()
		case "chan_info":
			m.ChanInfo = r.raw()
		default:
			r.skip()
		}
	}
}

func (r *jsonReader) errorReply(m *Error) {
	for key, ok := r.open(); ok; key, ok = r.next() {
		switch string(key) {
		case "code":
			m.Code = r.uint32()
		case "message":
			m.Message = r.str()
		case "temporary":
			m.Temporary = r.boolean()
		default:
			r.skip()
		}
	}
}

func (r *jsonReader) connectResult(m *ConnectResult) {
	for key, ok := r.open(); ok; key, ok = r.next() {
		switch string(key) {
		case "client":
			m.Client = r.str()
		case "version":
			m.Version = r.str()
		case "expires":
			m.Expires = r.boolean()
		case "ttl":
			m.Ttl = r.uint32()
		case "data":
			m.Data = r.raw()
		case "subs":
			m.Subs = objectMap(r, (*jsonReader).subscribeResult)
		case "ping":
			m.Ping = r.uint32()
		case "pong":
			m.Pong = r.boolean()
		case "session":
			m.Session = r.str()
		case "node":
			m.Node = r.str()
		case "time":
			m.Time = r.int64()
		case "resume":
			m.Resume = r.str()
		case "resumed":
			m.Resumed = r.boolean()
		default:
			r.skip()
		}
	}
}

// connect reads the push, which has the fields of the result.
func (r *jsonReader) connect(m *Connect) {
	var c ConnectResult
	r.connectResult(&c)
	m.Client, m.Version, m.Data, m.Subs = c.Client, c.Version, c.Data, c.Subs
	m.Expires, m.Ttl, m.Ping, m.Pong = c.Expires, c.Ttl, c.Ping, c.Pong
	m.Session, m.Node, m.Time = c.Session, c.Node, c.Time
}

func (r *jsonReader) subscribeResult(m *SubscribeResult) {
	for key, ok := r.open(); ok; key, ok = r.next() {
		switch string(key) {
		case "expires":
			m.Expires = r.boolean()
		case "ttl":
			m.Ttl = r.uint32()
		case "recoverable":
			m.Recoverable = r.boolean()
		case "epoch":
			m.Epoch = r.str()
		case "publications":
			m.Publications = objects(r, (*jsonReader).publication)
		case "recovered":
			m.Recovered = r.boolean()
		case "offset":
			m.Offset = r.uint64()
		case "positioned":
			m.Positioned = r.boolean()
		case "data":
			m.Data = r.raw()
		case "was_recovering":
			m.WasRecovering = r.boolean()
		case "delta":
			m.Delta = r.boolean()
		case "id":
			m.Id = r.int64()
		case "resume":
			m.Resume = r.str()
		default:
			r.skip()
		}
	}
}

// subscribe reads the push, whose fields are some of the result's.
func (r *jsonReader) subscribe(m *Subscribe) {
	var s SubscribeResult
	r.subscribeResult(&s)
	m.Recoverable, m.Epoch, m.Offset, m.Positioned, m.Data = s.Recoverable, s.Epoch, s.Offset, s.Positioned, s.Data
}

func (r *jsonReader) presenceResult(m *PresenceResult) {
	for key, ok := r.open(); ok; key, ok = r.next() {
		if string(key) == "presence" {
			m.Presence = objectMap(r, (*jsonReader).clientInfo)
		} else {
			r.skip()
		}
	}
}

func (r *jsonReader) presenceStatsResult(m *PresenceStatsResult) {
	for key, ok := r.open(); ok; key, ok = r.next() {
		switch string(key) {
		case "num_clients":
			m.NumClients = r.uint32()
		case "num_users":
			m.NumUsers = r.uint32()
		default:
			r.skip()
		}
	}
}

func (r *jsonReader) historyResult(m *HistoryResult) {
	for key, ok := r.open(); ok; key, ok = r.next() {
		switch string(key) {
		case "publications":
			m.Publications = objects(r, (*jsonReader).publication)
		case "epoch":
			m.Epoch = r.str()
		case "offset":
			m.Offset = r.uint64()
		default:
			r.skip()
		}
	}
}

func (r *jsonReader) refreshResult(m *RefreshResult) {
	for key, ok := r.open(); ok; key, ok = r.next() {
		switch string(key) {
		case "client":
			m.Client = r.str()
		case "version":
			m.Version = r.str()
		case "expires":
			m.Expires = r.boolean()
		case "ttl":
			m.Ttl = r.uint32()
		default:
			r.skip()
		}
	}
}

// lifetime reads the two fields that a sub_refresh result and a refresh push have.
func (r *jsonReader) lifetime() (expires bool, ttl uint32) {
	var m RefreshResult
	r.refreshResult(&m)
	return m.Expires, m.Ttl
}

// farewell reads the fields of an unsubscribe and a disconnect push.
func (r *jsonReader) farewell() (code uint32, reason string, reconnect bool) {
	for key, ok := r.open(); ok; key, ok = r.next() {
		switch string(key) {
		case "code":
			code = r.uint32()
		case "reason":
			reason = r.str()
		case "reconnect":
			reconnect = r.boolean()
		default:
			r.skip()
		}
	}
	return code, reason, reconnect
}

// onlyInfo reads an object of which the field info counts.
func (r *jsonReader) onlyInfo() (info *ClientInfo) {
	for key, ok := r.open(); ok; key, ok = r.next() {
		if string(key) == "info" {
			info = object(r, new(ClientInfo), (*jsonReader).clientInfo)
		} else {
			r.skip()
		}
	}
	return info
}

func (r *jsonReader) join(m *Join)                         { m.Info = r.onlyInfo() }
func (r *jsonReader) leave(m *Leave)                       { m.Info = r.onlyInfo() }
func (r *jsonReader) unsubscribe(m *Unsubscribe)           { m.Code, m.Reason, _ = r.farewell() }
func (r *jsonReader) disconnect(m *Disconnect)             { m.Code, m.Reason, m.Reconnect = r.farewell() }
func (r *jsonReader) refresh(m *Refresh)                   { m.Expires, m.Ttl = r.lifetime() }
func (r *jsonReader) subRefreshResult(m *SubRefreshResult) { m.Expires, m.Ttl = r.lifetime() }
func (r *jsonReader) message(m *Message)                   { m.Data = r.onlyData() }
func (r *jsonReader) rpcResult(m *RPCResult)               { m.Data = r.onlyData() }
func (r *jsonReader) unsubscribeResult(*UnsubscribeResult) { r.nothing() }
func (r *jsonReader) publishResult(*PublishResult)         { r.nothing() }
func (r *jsonReader) pingResult(*PingResult)               { r.nothing() }
