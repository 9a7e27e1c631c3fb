package proto

// The commands as Protobuf: every method reads one embedded message and merges it into m.

// embedded reads a message field with read. have is what the field holds so far; when nothing, a cleared lent is used.
func embedded[T any](r *wireReader, have, lent *T, read func(*wireReader, *T)) *T {
	if have == nil {
		*lent = *new(T)
		have = lent
	}
	outer := r.enter()
	read(r, have)
	r.leave(outer)
	return have
}

func (r *wireReader) command(m *Command, lent *requests) {
	for r.next() {
		switch r.tag {
		case 1<<3 | wireVarint:
			m.Id = uint32(r.varint())
		case 4<<3 | wireBytes:
			m.Connect = embedded(r, m.Connect, &lent.connect, (*wireReader).connectRequest)
		case 5<<3 | wireBytes:
			m.Subscribe = embedded(r, m.Subscribe, &lent.subscribe, (*wireReader).subscribeRequest)
		case 6<<3 | wireBytes:
			m.Unsubscribe = embedded(r, m.Unsubscribe, &lent.unsubscribe, (*wireReader).unsubscribeRequest)
		case 7<<3 | wireBytes:
			m.Publish = embedded(r, m.Publish, &lent.publish, (*wireReader).publishRequest)
		case 8<<3 | wireBytes:
			m.Presence = embedded(r, m.Presence, &lent.presence, (*wireReader).presenceRequest)
		case 9<<3 | wireBytes:
			m.PresenceStats = embedded(r, m.PresenceStats, &lent.presenceStats, (*wireReader).presenceStatsRequest)
		case 10<<3 | wireBytes:
			m.History = embedded(r, m.History, &lent.history, (*wireReader).historyRequest)
		case 11<<3 | wireBytes:
			m.Ping = embedded(r, m.Ping, &lent.ping, (*wireReader).pingRequest)
		case 12<<3 | wireBytes:
			m.Send = embedded(r, m.Send, &lent.send, (*wireReader).sendRequest)
		case 13<<3 | wireBytes:
			m.Rpc = embedded(r, m.Rpc, &lent.rpc, (*wireReader).rpcRequest)
		case 14<<3 | wireBytes:
			m.Refresh = embedded(r, m.Refresh, &lent.refresh, (*wireReader).refreshRequest)
		case 15<<3 | wireBytes:
			m.SubRefresh = embedded(r, m.SubRefresh, &lent.subRefresh, (*wireReader).subRefreshRequest)
		default:
			r.skip()
		}
	}
}

func (r *wireReader) connectRequest(m *ConnectRequest) {
	for r.next() {
		switch r.tag {
		case 1<<3 | wireBytes:
			m.Token = r.str()
		case 2<<3 | wireBytes:
			m.Data = r.bytes()
		case 3<<3 | wireBytes:
			m.Subs = entry(r, m.Subs, (*wireReader).subscribeRequest)
		case 4<<3 | wireBytes:
			m.Name = r.str()
		case 5<<3 | wireBytes:
			m.Version = r.str()
		case 6<<3 | wireBytes:
			m.Headers = r.stringEntry(m.Headers)
		case 7<<3 | wireVarint:
			m.Flag = int64(r.varint())
		case 1000<<3 | wireBytes:
			m.Resume = r.str()
		default:
			r.skip()
		}
	}
}

// entry reads one pair of a map of messages; a missing key is "", a missing value an empty message.
func entry[T any](r *wireReader, all map[string]*T, read func(*wireReader, *T)) map[string]*T {
	if !r.part() {
		return all
	}
	key, value := "", new(T)
	outer := r.enter()
	for r.next() {
		switch r.tag {
		case 1<<3 | wireBytes:
			key = r.str()
		case 2<<3 | wireBytes:
			embedded(r, value, nil, read)
		default:
			r.skip()
		}
	}
	r.leave(outer)
	if all == nil {
		all = make(map[string]*T)
	}
	all[key] = value
	return all
}

// stringEntry reads one pair of a map of strings.
func (r *wireReader) stringEntry(all map[string]string) map[string]string {
	if !r.part() {
		return all
	}
	key, value := "", ""
	outer := r.enter()
	for r.next() {
		switch r.tag {
		case 1<<3 | wireBytes:
			key = r.str()
		case 2<<3 | wireBytes:
			value = r.str()
		default:
			r.skip()
		}
	}
	r.leave(outer)
	if all == nil {
		all = make(map[string]string)
	}
	all[key] = value
	return all
}

// element reads one message of a list.
func element[T any](r *wireReader, list []*T, read func(*wireReader, *T)) []*T {
	if !r.part() {
		return list
	}
	return append(list, embedded(r, nil, new(T), read))
}

func (r *wireReader) subscribeRequest(m *SubscribeRequest) {
	for r.next() {
		switch r.tag {
		case 1<<3 | wireBytes:
			m.Channel = r.str()
		case 2<<3 | wireBytes:
			m.Token = r.str()
		case 3<<3 | wireVarint:
			m.Recover = r.boolean()
		case 6<<3 | wireBytes:
			m.Epoch = r.str()
		case 7<<3 | wireVarint:
			m.Offset = r.varint()
		case 8<<3 | wireBytes:
			m.Data = r.bytes()
		case 9<<3 | wireVarint:
			m.Positioned = r.boolean()
		case 10<<3 | wireVarint:
			m.Recoverable = r.boolean()
		case 11<<3 | wireVarint:
			m.JoinLeave = r.boolean()
		case 12<<3 | wireBytes:
			m.Delta = r.str()
		case 13<<3 | wireBytes:
			if m.Tf == nil {
				m.Tf = new(FilterNode)
				r.part()
			}
			embedded(r, m.Tf, nil, (*wireReader).filterNode)
		case 14<<3 | wireVarint:
			m.Flag = int64(r.varint())
		case 15<<3 | wireVarint:
			m.Type = int32(r.varint())
		default:
			r.skip()
		}
	}
}

// filterNode is the one message that holds itself; enter bounds the depth.
func (r *wireReader) filterNode(m *FilterNode) {
	for r.next() {
		switch r.tag {
		case 1<<3 | wireBytes:
			m.Op = r.str()
		case 2<<3 | wireBytes:
			m.Key = r.str()
		case 3<<3 | wireBytes:
			m.Cmp = r.str()
		case 4<<3 | wireBytes:
			m.Val = r.str()
		case 5<<3 | wireBytes:
			if r.part() {
				m.Vals = append(m.Vals, r.str())
			}
		case 6<<3 | wireBytes:
			m.Nodes = element(r, m.Nodes, (*wireReader).filterNode)
		default:
			r.skip()
		}
	}
}

func (r *wireReader) publishRequest(m *PublishRequest) {
	for r.next() {
		switch r.tag {
		case 1<<3 | wireBytes:
			m.Channel = r.str()
		case 2<<3 | wireBytes:
			m.Data = r.bytes()
		default:
			r.skip()
		}
	}
}

func (r *wireReader) historyRequest(m *HistoryRequest) {
	for r.next() {
		switch r.tag {
		case 1<<3 | wireBytes:
			m.Channel = r.str()
		case 7<<3 | wireVarint:
			m.Limit = int32(r.varint())
		case 8<<3 | wireBytes:
			if m.Since == nil {
				m.Since = new(StreamPosition)
			}
			embedded(r, m.Since, nil, (*wireReader).streamPosition)
		case 9<<3 | wireVarint:
			m.Reverse = r.boolean()
		default:
			r.skip()
		}
	}
}

func (r *wireReader) streamPosition(m *StreamPosition) {
	for r.next() {
		switch r.tag {
		case 1<<3 | wireVarint:
			m.Offset = r.varint()
		case 2<<3 | wireBytes:
			m.Epoch = r.str()
		default:
			r.skip()
		}
	}
}

func (r *wireReader) rpcRequest(m *RPCRequest) {
	for r.next() {
		switch r.tag {
		case 1<<3 | wireBytes:
			m.Data = r.bytes()
		case 2<<3 | wireBytes:
			m.Method = r.str()
		default:
			r.skip()
		}
	}
}

func (r *wireReader) subRefreshRequest(m *SubRefreshRequest) {
	for r.next() {
		switch r.tag {
		case 1<<3 | wireBytes:
			m.Channel = r.str()
		case 2<<3 | wireBytes:
			m.Token = r.str()
		default:
			r.skip()
		}
	}
}

// only reads a message of which field 1, a string, counts.
func (r *wireReader) only(value *string) {
	for r.next() {
		if r.tag == 1<<3|wireBytes {
			*value = r.str()
		} else {
			r.skip()
		}
	}
}

// onlyData reads a message of which field 1, bytes, counts.
func (r *wireReader) onlyData(data *[]byte) {
	for r.next() {
		if r.tag == 1<<3|wireBytes {
			*data = r.bytes()
		} else {
			r.skip()
		}
	}
}

func (r *wireReader) nothing() {
	for r.next() {
		r.skip()
	}
}

func (r *wireReader) unsubscribeRequest(m *UnsubscribeRequest)     { r.only(&m.Channel) }
func (r *wireReader) presenceRequest(m *PresenceRequest)           { r.only(&m.Channel) }
func (r *wireReader) presenceStatsRequest(m *PresenceStatsRequest) { r.only(&m.Channel) }
func (r *wireReader) refreshRequest(m *RefreshRequest)             { r.only(&m.Token) }
func (r *wireReader) sendRequest(m *SendRequest)                   { r.onlyData(&m.Data) }
func (r *wireReader) pingRequest(*PingRequest)                     { r.nothing() }
