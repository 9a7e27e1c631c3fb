package proto

import "shoal/codec/proto/jsontext"

// Messages as JSON, fields in the order of their numbers, as the stock server writes them.

func (w *jsonWriter) reply(m *Reply) {
	w.open()
	w.uint(`"id":`, uint64(m.Id))
	if m.Error != nil {
		w.object(`"error":`)
		w.uint(`"code":`, uint64(m.Error.Code))
		w.str(`"message":`, m.Error.Message)
		w.flag(`"temporary":`, m.Error.Temporary)
		w.close()
	}
	if m.Push != nil {
		w.push(m.Push)
	}
	w.results(m)
	w.close()
}

// results writes those of the reply to a command.
func (w *jsonWriter) results(m *Reply) {
	if m.Connect != nil {
		w.object(`"connect":`)
		w.connectResult(m.Connect)
		w.close()
	}
	if m.Subscribe != nil {
		w.object(`"subscribe":`)
		w.subscribeResult(m.Subscribe)
		w.close()
	}
	if m.Unsubscribe != nil {
		w.name(`"unsubscribe":{}`)
	}
	if m.Publish != nil {
		w.name(`"publish":{}`)
	}
	if m.Presence != nil {
		w.object(`"presence":`)
		w.presence(m.Presence.Presence)
		w.close()
	}
	if m.PresenceStats != nil {
		w.object(`"presence_stats":`)
		w.alwaysUint(`"num_clients":`, uint64(m.PresenceStats.NumClients))
		w.alwaysUint(`"num_users":`, uint64(m.PresenceStats.NumUsers))
		w.close()
	}
	if m.History != nil {
		w.object(`"history":`)
		w.name(`"publications":`)
		w.publications(m.History.Publications, false)
		w.alwaysStr(`"epoch":`, m.History.Epoch)
		w.alwaysUint(`"offset":`, m.History.Offset)
		w.close()
	}
	if m.Ping != nil {
		w.name(`"ping":{}`)
	}
	if m.Rpc != nil {
		w.object(`"rpc":`)
		w.raw(`"data":`, m.Rpc.Data)
		w.close()
	}
	if m.Refresh != nil {
		w.object(`"refresh":`)
		w.str(`"client":`, m.Refresh.Client)
		w.str(`"version":`, m.Refresh.Version)
		w.lifetime(m.Refresh.Expires, m.Refresh.Ttl)
		w.close()
	}
	if m.SubRefresh != nil {
		w.object(`"sub_refresh":`)
		w.lifetime(m.SubRefresh.Expires, m.SubRefresh.Ttl)
		w.close()
	}
}

func (w *jsonWriter) lifetime(expires bool, ttl uint32) {
	w.flag(`"expires":`, expires)
	w.uint(`"ttl":`, uint64(ttl))
}

func (w *jsonWriter) connectResult(m *ConnectResult) {
	w.str(`"client":`, m.Client)
	w.str(`"version":`, m.Version)
	w.lifetime(m.Expires, m.Ttl)
	w.raw(`"data":`, m.Data)
	w.subs(m.Subs)
	w.uint(`"ping":`, uint64(m.Ping))
	w.flag(`"pong":`, m.Pong)
	w.str(`"session":`, m.Session)
	w.str(`"node":`, m.Node)
	w.int(`"time":`, m.Time)
	w.str(`"resume":`, m.Resume)
	w.flag(`"resumed":`, m.Resumed)
}

func (w *jsonWriter) subs(m map[string]*SubscribeResult) {
	if len(m) == 0 {
		return
	}
	w.object(`"subs":`)
	for channel, result := range m {
		w.key(channel)
		w.open()
		w.subscribeResult(result)
		w.close()
	}
	w.close()
}

func (w *jsonWriter) subscribeResult(m *SubscribeResult) {
	w.lifetime(m.Expires, m.Ttl)
	w.flag(`"recoverable":`, m.Recoverable)
	w.str(`"epoch":`, m.Epoch)
	if len(m.Publications) > 0 {
		w.name(`"publications":`)
		w.publications(m.Publications, m.Delta && w.how&Text != 0)
	}
	w.flag(`"recovered":`, m.Recovered)
	w.uint(`"offset":`, m.Offset)
	w.flag(`"positioned":`, m.Positioned)
	w.raw(`"data":`, m.Data)
	w.flag(`"was_recovering":`, m.WasRecovering)
	w.flag(`"delta":`, m.Delta)
	w.int(`"id":`, m.Id)
	w.str(`"resume":`, m.Resume)
}

// presence writes the map even when it is empty: clients look into it unasked.
func (w *jsonWriter) presence(m map[string]*ClientInfo) {
	w.object(`"presence":`)
	for client, info := range m {
		w.key(client)
		w.clientInfo(info)
	}
	w.close()
}

func (w *jsonWriter) publications(list []*Publication, text bool) {
	w.b = append(w.b, '[')
	for _, pub := range list {
		w.comma()
		w.publication(pub, text)
	}
	w.b = append(w.b, ']')
}

func (w *jsonWriter) publication(m *Publication, text bool) {
	w.open()
	if text {
		w.text(`"data":`, m.Data)
	} else {
		w.raw(`"data":`, m.Data)
	}
	w.info(m.Info)
	w.uint(`"offset":`, m.Offset)
	w.stringMap(`"tags":`, m.Tags)
	w.flag(`"delta":`, m.Delta)
	w.int(`"time":`, m.Time)
	w.str(`"channel":`, m.Channel)
	w.close()
}

func (w *jsonWriter) info(m *ClientInfo) {
	if m != nil {
		w.name(`"info":`)
		w.clientInfo(m)
	}
}

// clientInfo always has user and client; an anonymous user is "".
func (w *jsonWriter) clientInfo(m *ClientInfo) {
	w.open()
	w.alwaysStr(`"user":`, m.User)
	w.alwaysStr(`"client":`, m.Client)
	w.raw(`"conn_info":`, m.ConnInfo)
	w.raw(`"chan_info":`, m.ChanInfo)
	w.close()
}

// publicationPush writes Reply{Push{Channel, Pub}} without building the outer two.
func (w *jsonWriter) publicationPush(channel string, pub *Publication) {
	w.b = append(w.b, `{"push":{`...)
	w.str(`"channel":`, channel)
	w.name(`"pub":`)
	w.publication(pub, w.how&Text != 0)
	w.b = append(w.b, '}', '}')
}

func (w *jsonWriter) push(m *Push) {
	w.object(`"push":`)
	w.int(`"id":`, m.Id)
	w.str(`"channel":`, m.Channel)
	if m.Pub != nil {
		w.name(`"pub":`)
		w.publication(m.Pub, w.how&Text != 0)
	}
	if m.Join != nil {
		w.object(`"join":`)
		w.info(m.Join.Info)
		w.close()
	}
	if m.Leave != nil {
		w.object(`"leave":`)
		w.info(m.Leave.Info)
		w.close()
	}
	if m.Unsubscribe != nil {
		w.object(`"unsubscribe":`)
		w.uint(`"code":`, uint64(m.Unsubscribe.Code))
		w.str(`"reason":`, m.Unsubscribe.Reason)
		w.close()
	}
	if m.Message != nil {
		w.object(`"message":`)
		w.raw(`"data":`, m.Message.Data)
		w.close()
	}
	w.sessionPush(m)
	w.close()
}

// sessionPush writes the pushes about the session itself.
func (w *jsonWriter) sessionPush(m *Push) {
	if s := m.Subscribe; s != nil {
		w.object(`"subscribe":`)
		w.flag(`"recoverable":`, s.Recoverable)
		w.str(`"epoch":`, s.Epoch)
		w.uint(`"offset":`, s.Offset)
		w.flag(`"positioned":`, s.Positioned)
		w.raw(`"data":`, s.Data)
		w.close()
	}
	if m.Connect != nil {
		w.object(`"connect":`)
		w.connectPush(m.Connect)
		w.close()
	}
	if m.Disconnect != nil {
		w.object(`"disconnect":`)
		w.uint(`"code":`, uint64(m.Disconnect.Code))
		w.str(`"reason":`, m.Disconnect.Reason)
		w.flag(`"reconnect":`, m.Disconnect.Reconnect)
		w.close()
	}
	if m.Refresh != nil {
		w.object(`"refresh":`)
		w.lifetime(m.Refresh.Expires, m.Refresh.Ttl)
		w.close()
	}
}

// connectPush differs from connectResult in the order of the fields.
func (w *jsonWriter) connectPush(m *Connect) {
	w.str(`"client":`, m.Client)
	w.str(`"version":`, m.Version)
	w.raw(`"data":`, m.Data)
	w.subs(m.Subs)
	w.lifetime(m.Expires, m.Ttl)
	w.uint(`"ping":`, uint64(m.Ping))
	w.flag(`"pong":`, m.Pong)
	w.str(`"session":`, m.Session)
	w.str(`"node":`, m.Node)
	w.int(`"time":`, m.Time)
}

func (w *jsonWriter) command(m *Command) {
	w.open()
	w.uint(`"id":`, uint64(m.Id))
	if m.Connect != nil {
		w.object(`"connect":`)
		w.connectRequest(m.Connect)
		w.close()
	}
	if m.Subscribe != nil {
		w.object(`"subscribe":`)
		w.subscribeRequest(m.Subscribe)
		w.close()
	}
	if m.Unsubscribe != nil {
		w.one(`"unsubscribe":`, `"channel":`, m.Unsubscribe.Channel)
	}
	if m.Publish != nil {
		w.object(`"publish":`)
		w.str(`"channel":`, m.Publish.Channel)
		w.raw(`"data":`, m.Publish.Data)
		w.close()
	}
	if m.Presence != nil {
		w.one(`"presence":`, `"channel":`, m.Presence.Channel)
	}
	if m.PresenceStats != nil {
		w.one(`"presence_stats":`, `"channel":`, m.PresenceStats.Channel)
	}
	if m.History != nil {
		w.historyRequest(m.History)
	}
	w.otherRequests(m)
	w.close()
}

func (w *jsonWriter) otherRequests(m *Command) {
	if m.Ping != nil {
		w.name(`"ping":{}`)
	}
	if m.Send != nil {
		w.object(`"send":`)
		w.raw(`"data":`, m.Send.Data)
		w.close()
	}
	if m.Rpc != nil {
		w.object(`"rpc":`)
		w.raw(`"data":`, m.Rpc.Data)
		w.str(`"method":`, m.Rpc.Method)
		w.close()
	}
	if m.Refresh != nil {
		w.one(`"refresh":`, `"token":`, m.Refresh.Token)
	}
	if m.SubRefresh != nil {
		w.object(`"sub_refresh":`)
		w.str(`"channel":`, m.SubRefresh.Channel)
		w.str(`"token":`, m.SubRefresh.Token)
		w.close()
	}
}

// one writes an object with one string field.
func (w *jsonWriter) one(object, name, value string) {
	w.object(object)
	w.str(name, value)
	w.close()
}

func (w *jsonWriter) connectRequest(m *ConnectRequest) {
	w.str(`"token":`, m.Token)
	w.raw(`"data":`, m.Data)
	if len(m.Subs) > 0 {
		w.object(`"subs":`)
		for channel, request := range m.Subs {
			w.key(channel)
			w.open()
			w.subscribeRequest(request)
			w.close()
		}
		w.close()
	}
	w.str(`"name":`, m.Name)
	w.str(`"version":`, m.Version)
	w.stringMap(`"headers":`, m.Headers)
	w.int(`"flag":`, m.Flag)
	w.str(`"resume":`, m.Resume)
}

func (w *jsonWriter) subscribeRequest(m *SubscribeRequest) {
	w.str(`"channel":`, m.Channel)
	w.str(`"token":`, m.Token)
	w.flag(`"recover":`, m.Recover)
	w.str(`"epoch":`, m.Epoch)
	w.uint(`"offset":`, m.Offset)
	w.raw(`"data":`, m.Data)
	w.flag(`"positioned":`, m.Positioned)
	w.flag(`"recoverable":`, m.Recoverable)
	w.flag(`"join_leave":`, m.JoinLeave)
	w.str(`"delta":`, m.Delta)
	if m.Tf != nil {
		w.name(`"tf":`)
		w.filterNode(m.Tf)
	}
	w.int(`"flag":`, m.Flag)
	w.int(`"type":`, int64(m.Type))
}

func (w *jsonWriter) filterNode(m *FilterNode) {
	w.open()
	w.str(`"op":`, m.Op)
	w.str(`"key":`, m.Key)
	w.str(`"cmp":`, m.Cmp)
	w.str(`"val":`, m.Val)
	if len(m.Vals) > 0 {
		w.name(`"vals":[`)
		for _, val := range m.Vals {
			w.comma()
			w.b = jsontext.AppendQuoted(w.b, val)
		}
		w.b = append(w.b, ']')
	}
	if len(m.Nodes) > 0 {
		w.name(`"nodes":[`)
		for _, node := range m.Nodes {
			w.comma()
			w.filterNode(node)
		}
		w.b = append(w.b, ']')
	}
	w.close()
}

func (w *jsonWriter) historyRequest(m *HistoryRequest) {
	w.object(`"history":`)
	w.str(`"channel":`, m.Channel)
	w.int(`"limit":`, int64(m.Limit))
	if m.Since != nil {
		w.object(`"since":`)
		w.uint(`"offset":`, m.Since.Offset)
		w.str(`"epoch":`, m.Since.Epoch)
		w.close()
	}
	w.flag(`"reverse":`, m.Reverse)
	w.close()
}
