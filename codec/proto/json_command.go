package proto

// The commands as JSON: every method reads one object into m, which is zero.

// object reads an object with read into a cleared m, or a null as nil.
func object[T any](r *jsonReader, m *T, read func(*jsonReader, *T)) *T {
	if r.null() {
		return nil
	}
	*m = *new(T)
	read(r, m)
	return m
}

// objects reads an array of objects; a null in it is skipped.
func objects[T any](r *jsonReader, read func(*jsonReader, *T)) []*T {
	if r.null() {
		return nil
	}
	var list []*T
	for first := true; r.element(first) && r.part(); first = false {
		if m := object(r, new(T), read); m != nil {
			list = append(list, m)
		}
	}
	return list
}

// objectMap reads an object of objects; a null in it is skipped.
func objectMap[T any](r *jsonReader, read func(*jsonReader, *T)) map[string]*T {
	if r.null() {
		return nil
	}
	var all map[string]*T
	for key, ok := r.open(); ok && r.part(); key, ok = r.next() {
		name := text(key)
		if m := object(r, new(T), read); m != nil {
			if all == nil {
				all = make(map[string]*T)
			}
			all[name] = m
		}
	}
	return all
}

// lentSubs are the subscriptions of a connect command, lent as the command is.
type lentSubs struct {
	all  map[string]*SubscribeRequest
	made []*SubscribeRequest // that all is made of, and more
}

// subsKeptMax is for how many subscriptions of a connect command a reader keeps room.
const subsKeptMax = 256

// connectSubs reads an object of subscribe requests; a null in it is skipped.
func (r *jsonReader) connectSubs() map[string]*SubscribeRequest {
	if r.null() {
		return nil
	}
	l := &r.subs
	if clear(l.all); l.all == nil || len(l.made) > subsKeptMax {
		*l = lentSubs{all: map[string]*SubscribeRequest{}}
	}
	n := 0
	for key, ok := r.open(); ok && r.part(); key, ok = r.next() {
		name := text(key)
		if n == len(l.made) {
			l.made = append(l.made, new(SubscribeRequest))
		}
		if m := object(r, l.made[n], (*jsonReader).subscribeRequest); m != nil {
			l.all[name] = m
			n++
		}
	}
	if n == 0 {
		return nil
	}
	return l.all
}

func (r *jsonReader) command(m *Command, lent *requests) {
	for key, ok := r.open(); ok; key, ok = r.next() {
		switch string(key) {
		case "id":
			m.Id = r.uint32()
		case "connect":
			m.Connect = object(r, &lent.connect, (*jsonReader).connectRequest)
		case "subscribe":
			m.Subscribe = object(r, &lent.subscribe, (*jsonReader).subscribeRequest)
		case "unsubscribe":
			m.Unsubscribe = object(r, &lent.unsubscribe, (*jsonReader).unsubscribeRequest)
		case "publish":
			m.Publish = object(r, &lent.publish, (*jsonReader).publishRequest)
		case "presence":
			m.Presence = object(r, &lent.presence, (*jsonReader).presenceRequest)
		case "presence_stats":
			m.PresenceStats = object(r, &lent.presenceStats, (*jsonReader).presenceStatsRequest)
		case "history":
			m.History = object(r, &lent.history, (*jsonReader).historyRequest)
		case "ping":
			m.Ping = object(r, &lent.ping, (*jsonReader).pingRequest)
		case "send":
			m.Send = object(r, &lent.send, (*jsonReader).sendRequest)
		case "rpc":
			m.Rpc = object(r, &lent.rpc, (*jsonReader).rpcRequest)
		case "refresh":
			m.Refresh = object(r, &lent.refresh, (*jsonReader).refreshRequest)
		case "sub_refresh":
			m.SubRefresh = object(r, &lent.subRefresh, (*jsonReader).subRefreshRequest)
		default:
			r.skip()
		}
	}
}

func (r *jsonReader) connectRequest(m *ConnectRequest) {
	for key, ok := r.open(); ok; key, ok = r.next() {
		switch string(key) {
		case "token":
			m.Token = r.str()
		case "data":
			m.Data = r.raw()
		case "subs":
			m.Subs = r.connectSubs()
		case "name":
			m.Name = r.str()
		case "version":
			m.Version = r.str()
		case "headers":
			m.Headers = r.stringMap()
		case "flag":
			m.Flag = r.int64()
		case "resume":
			m.Resume = r.str()
		default:
			r.skip()
		}
	}
}

func (r *jsonReader) subscribeRequest(m *SubscribeRequest) {
	for key, ok := r.open(); ok; key, ok = r.next() {
		switch string(key) {
		case "channel":
			m.Channel = r.str()
		case "token":
			m.Token = r.str()
		case "recover":
			m.Recover = r.boolean()
		case "epoch":
			m.Epoch = r.str()
		case "offset":
			m.Offset = r.uint64()
		case "data":
			m.Data = r.raw()
		case "positioned":
			m.Positioned = r.boolean()
		case "recoverable":
			m.Recoverable = r.boolean()
		case "join_leave":
			m.JoinLeave = r.boolean()
		case "delta":
			m.Delta = r.str()
		case "tf":
			if r.part() {
				m.Tf = object(r, new(FilterNode), (*jsonReader).filterNode)
			}
		case "flag":
			m.Flag = r.int64()
		case "type":
			m.Type = r.int32()
		default:
			r.skip()
		}
	}
}

// filterNode is the one message that holds itself; open bounds the depth.
func (r *jsonReader) filterNode(m *FilterNode) {
	for key, ok := r.open(); ok; key, ok = r.next() {
		switch string(key) {
		case "op":
			m.Op = r.str()
		case "key":
			m.Key = r.str()
		case "cmp":
			m.Cmp = r.str()
		case "val":
			m.Val = r.str()
		case "vals":
			m.Vals = r.strings()
		case "nodes":
			m.Nodes = objects(r, (*jsonReader).filterNode)
		default:
			r.skip()
		}
	}
}

func (r *jsonReader) publishRequest(m *PublishRequest) {
	for key, ok := r.open(); ok; key, ok = r.next() {
		switch string(key) {
		case "channel":
			m.Channel = r.str()
		case "data":
			m.Data = r.raw()
		default:
			r.skip()
		}
	}
}

func (r *jsonReader) historyRequest(m *HistoryRequest) {
	for key, ok := r.open(); ok; key, ok = r.next() {
		switch string(key) {
		case "channel":
			m.Channel = r.str()
		case "limit":
			m.Limit = r.int32()
		case "since":
			if r.part() {
				m.Since = object(r, new(StreamPosition), (*jsonReader).streamPosition)
			}
		case "reverse":
			m.Reverse = r.boolean()
		default:
			r.skip()
		}
	}
}

func (r *jsonReader) streamPosition(m *StreamPosition) {
	for key, ok := r.open(); ok; key, ok = r.next() {
		switch string(key) {
		case "offset":
			m.Offset = r.uint64()
		case "epoch":
			m.Epoch = r.str()
		default:
			r.skip()
		}
	}
}

func (r *jsonReader) rpcRequest(m *RPCRequest) {
	for key, ok := r.open(); ok; key, ok = r.next() {
		switch string(key) {
		case "data":
			m.Data = r.raw()
		case "method":
			m.Method = r.str()
		default:
			r.skip()
		}
	}
}

func (r *jsonReader) subRefreshRequest(m *SubRefreshRequest) {
	for key, ok := r.open(); ok; key, ok = r.next() {
		switch string(key) {
		case "channel":
			m.Channel = r.str()
		case "token":
			m.Token = r.str()
		default:
			r.skip()
		}
	}
}

// only reads an object of which one string field counts.
func (r *jsonReader) only(name string) (value string) {
	for key, ok := r.open(); ok; key, ok = r.next() {
		if string(key) == name {
			value = r.str()
		} else {
			r.skip()
		}
	}
	return value
}

// onlyData reads an object of which the field data counts.
func (r *jsonReader) onlyData() (data []byte) {
	for key, ok := r.open(); ok; key, ok = r.next() {
		if string(key) == "data" {
			data = r.raw()
		} else {
			r.skip()
		}
	}
	return data
}

// nothing reads an object of which no field counts.
func (r *jsonReader) nothing() {
	for _, ok := r.open(); ok; _, ok = r.next() {
		r.skip()
	}
}

func (r *jsonReader) unsubscribeRequest(m *UnsubscribeRequest)     { m.Channel = r.only("channel") }
func (r *jsonReader) presenceRequest(m *PresenceRequest)           { m.Channel = r.only("channel") }
func (r *jsonReader) presenceStatsRequest(m *PresenceStatsRequest) { m.Channel = r.only("channel") }
func (r *jsonReader) refreshRequest(m *RefreshRequest)             { m.Token = r.only("token") }
func (r *jsonReader) sendRequest(m *SendRequest)                   { m.Data = r.onlyData() }
func (r *jsonReader) pingRequest(*PingRequest)                     { r.nothing() }
