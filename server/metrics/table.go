package metrics

import (
	"slices"
	"strconv"
)

// kind is how a value behaves over time.
type kind uint8

const (
	counter kind = iota // only grows while the process lives
	gauge
	histogram // its label is le, of name_bucket; name_sum and name_count have none
)

func (k kind) String() string { return [...]string{"counter", "gauge", "histogram"}[k] }

// family is one metric name.
type family struct {
	name  string
	kind  kind
	label string // empty = the metric has one value; names joined by a comma = so many labels
	help  string
	read  func(s *snapshot, emit emit)
}

// emit takes one value; label is ignored for a family without label. Of several labels the values are joined by commas
// too, of which they have none.
type emit func(label string, value float64)

// families is every metric of the server, apart from the go_ and process_ ones of the runtime.
func families() []family {
	return slices.Concat(webSocketFamilies(), loopFamilies(), sessionFamilies(), recoveryFamilies(), tenantFamilies(), hookFamilies(), apiFamilies(), overloadFamilies(), resourceFamilies())
}

func webSocketFamilies() []family {
	ws := func(name, help string, value func(*WebSocketSnapshot) uint64) family {
		return one(name, counter, help, func(s *snapshot) *WebSocketSnapshot { return s.webSocket },
			func(w *WebSocketSnapshot) float64 { return float64(value(w)) })
	}
	byName := func(name, label, help string, values func(*WebSocketSnapshot) []Labeled) family {
		return many(name, label, help, func(s *snapshot) *WebSocketSnapshot { return s.webSocket }, values)
	}
	return []family{
		{
			"websocket_connections_total", gauge, "state", "WebSocket connections: open now, opened and closed since the start.",
			func(s *snapshot, emit emit) {
				if w := s.webSocket; w != nil {
					emit("open", float64(w.Open))
					emit("opened", float64(w.Opened))
					emit("closed", float64(w.Opened)-float64(w.Open))
				}
			},
		},
		ws("websocket_messages_received_total", "Data messages from clients.", func(w *WebSocketSnapshot) uint64 { return w.MessagesIn }),
		ws("websocket_messages_sent_total", "Data messages to clients.", func(w *WebSocketSnapshot) uint64 { return w.MessagesOut }),
		ws("websocket_received_bytes_total", "Payload of data messages from clients, after inflating.",
			func(w *WebSocketSnapshot) uint64 { return w.PayloadIn }),
		ws("websocket_sent_bytes_total", "Payload of data messages to clients, before deflating.",
			func(w *WebSocketSnapshot) uint64 { return w.PayloadOut }),
		ws("websocket_pings_received_total", "Ping frames from clients.", func(w *WebSocketSnapshot) uint64 { return w.PingsIn }),
		ws("websocket_pongs_received_total", "Pong frames from clients.", func(w *WebSocketSnapshot) uint64 { return w.PongsIn }),
		ws("websocket_control_floods_total", "Connections ended for sending too many ping or pong frames.", func(w *WebSocketSnapshot) uint64 { return w.Floods }),
		ws("websocket_messages_compressed_total", "Messages sent compressed.", func(w *WebSocketSnapshot) uint64 { return w.Compressed }),
		ws("websocket_messages_uncompressed_total", "Messages sent as they are though compression was negotiated.",
			func(w *WebSocketSnapshot) uint64 { return w.Uncompressed }),
		byName("websocket_handshakes_refused_total", "reason", "Upgrades answered with an HTTP error.",
			func(w *WebSocketSnapshot) []Labeled { return w.Refused }),
		byName("websocket_errors_total", "reason", "Connections closed for breaking RFC 6455 or RFC 7692.",
			func(w *WebSocketSnapshot) []Labeled { return w.Failed }),
	}
}

func loopFamilies() []family {
	of := func(s *snapshot) *LoopSnapshot { return s.loop }
	count := func(name, help string, value func(*LoopSnapshot) uint64) family {
		return one(name, counter, help, of, func(l *LoopSnapshot) float64 { return float64(value(l)) })
	}
	now := func(name, help string, value func(*LoopSnapshot) float64) family {
		return one(name, gauge, help, of, value)
	}
	return []family{
		now("shoal_loops", "Event loops.", func(l *LoopSnapshot) float64 { return float64(l.Loops) }),
		now("shoal_conns", "Sockets open now, of any kind.", func(l *LoopSnapshot) float64 { return float64(l.Conns) }),
		count("shoal_conns_accepted_total", "Sockets accepted.", func(l *LoopSnapshot) uint64 { return l.Accepted }),
		many("shoal_conns_closed_total", "reason", "Sockets closed.", of, func(l *LoopSnapshot) []Labeled { return l.Closed }),
		now("shoal_conn_slots_bytes", "Memory held for connections.", func(l *LoopSnapshot) float64 { return float64(l.SlotBytes) }),
		now("shoal_backlog_bytes", "Bytes waiting for peers that read slowly.", func(l *LoopSnapshot) float64 { return float64(l.BacklogBytes) }),
		count("shoal_loop_read_bytes_total", "Bytes read from sockets.", func(l *LoopSnapshot) uint64 { return l.ReadBytes }),
		count("shoal_loop_written_bytes_total", "Bytes written to sockets.", func(l *LoopSnapshot) uint64 { return l.WrittenBytes }),
		count("shoal_loop_reads_total", "read(2) calls.", func(l *LoopSnapshot) uint64 { return l.Reads }),
		count("shoal_loop_writes_total", "write(2) calls.", func(l *LoopSnapshot) uint64 { return l.Writes }),
		count("shoal_loop_writevs_total", "writev(2) calls.", func(l *LoopSnapshot) uint64 { return l.Writevs }),
		count("shoal_loop_turns_total", "Turns of the loops.", func(l *LoopSnapshot) uint64 { return l.Turns }),
		distribution("shoal_loop_lag_seconds", "How long passes of the loops took: what arrives during one waits for its end at least.", of,
			func(l *LoopSnapshot) *Histogram { return &l.Lag }),
		now("shoal_loop_tick_lag_seconds", "The latest a tick came since the start: how long a loop was busy or held up; 0 below three ticks.",
			func(l *LoopSnapshot) float64 { return l.TickLag.Seconds() }),
		count("shoal_loop_panics_total", "Panics recovered while serving one connection. Each is a bug.",
			func(l *LoopSnapshot) uint64 { return l.Panics }),
		count("shoal_loop_mailbox_refusals_total", "Messages a full mailbox refused.", func(l *LoopSnapshot) uint64 { return l.MailboxFull }),
		count("shoal_conns_refused_total", "Sockets accepted and closed at once: a limit, or no descriptor left.",
			func(l *LoopSnapshot) uint64 { return l.Refused }),
		count("shoal_accept_errors_total", "Connections lost between the kernel's queue and accept(2).", func(l *LoopSnapshot) uint64 { return l.AcceptErrors }),
		count("shoal_listen_overflows_total", "Connections the kernel dropped because an accept queue was full: of all sockets of this host or container, since its start.",
			func(l *LoopSnapshot) uint64 { return l.ListenOverflows }),
		count("shoal_listen_drops_total", "Connections the kernel could not queue for any reason: of all sockets of this host or container, since its start.",
			func(l *LoopSnapshot) uint64 { return l.ListenDrops }),
		count("shoal_shed_bytes_total", "Bytes queued to slow peers and dropped when they were disconnected.",
			func(l *LoopSnapshot) uint64 { return l.ShedBytes }),
		count("shoal_backlog_reliefs_total", "Times the backlog of all connections came near its limit and the largest were disconnected.",
			func(l *LoopSnapshot) uint64 { return l.Reliefs }),
		count("shoal_emfile_episodes_total", "Times the process ran out of descriptors.", func(l *LoopSnapshot) uint64 { return l.EmfileEpisodes }),
	}
}

func sessionFamilies() []family {
	of := func(s *snapshot) *NodeSnapshot { return s.node }
	count := func(name, help string, value func(*NodeSnapshot) uint64) family {
		return one(name, counter, help, of, func(n *NodeSnapshot) float64 { return float64(value(n)) })
	}
	now := func(name, help string, value func(*NodeSnapshot) int) family {
		return one(name, gauge, help, of, func(n *NodeSnapshot) float64 { return float64(value(n)) })
	}
	by := func(name, label, help string, values func(*NodeSnapshot) []Labeled) family {
		return many(name, label, help, of, values)
	}
	return []family{
		now("shoal_sessions", "Client sessions open now.", func(n *NodeSnapshot) int { return n.Sessions }),
		now("shoal_sessions_dormant", "Sessions that missed pings and are being watched.", func(n *NodeSnapshot) int { return n.Dormant }),
		now("shoal_handshakes", "Connections whose connect command has not come or is not answered yet.", func(n *NodeSnapshot) int { return n.Handshakes }),
		by("shoal_connects_refused_total", "reason", "Connect commands refused by a limit of admission.", func(n *NodeSnapshot) []Labeled { return n.ConnectsRefused }),
		now("shoal_addresses", "Addresses of clients that admission remembers.", func(n *NodeSnapshot) int { return n.Addresses }),
		count("shoal_addresses_untracked_total", "Connections let in without limits by address, because no more addresses can be remembered.",
			func(n *NodeSnapshot) uint64 { return n.AddressesNotTracked }),
		now("shoal_users", "Different users among the sessions.", func(n *NodeSnapshot) int { return n.Users }),
		now("shoal_channels", "Channels with a subscriber on this node.", func(n *NodeSnapshot) int { return n.Channels }),
		now("shoal_subscriptions", "Subscriptions on this node.", func(n *NodeSnapshot) int { return n.Subscriptions }),
		by("shoal_commands_total", "method", "Commands from clients.", func(n *NodeSnapshot) []Labeled { return n.Commands }),
		by("shoal_command_errors_total", "code", "Replies with an error.", func(n *NodeSnapshot) []Labeled { return n.Errors }),
		by("shoal_commands_refused_total", "method", "Commands over a rate limit: answered with error 111, or dropped if sends.",
			func(n *NodeSnapshot) []Labeled { return n.CommandsRefused }),
		by("shoal_disconnects_total", "code", "Sessions ended by the server.", func(n *NodeSnapshot) []Labeled { return n.Disconnects }),
		count("shoal_malformed_messages_total", "Messages from clients that could not be decoded.", func(n *NodeSnapshot) uint64 { return n.Malformed }),
		count("shoal_publish_errors_total", "Publications not accepted.", func(n *NodeSnapshot) uint64 { return n.PublishErrors }),
		now("shoal_inflight_bytes", "Encoded publications on their way to their receivers.", func(n *NodeSnapshot) int { return int(n.InflightBytes) }),
		count("shoal_publications_total", "Publications accepted.", func(n *NodeSnapshot) uint64 { return n.Publications }),
		count("shoal_deliveries_total", "Publications handed to one subscriber each.", func(n *NodeSnapshot) uint64 { return n.Deliveries }),
		by("shoal_drops_total", "reason", "Deliveries that did not happen.", func(n *NodeSnapshot) []Labeled { return n.Drops }),
		count("shoal_pings_sent_total", "Pings to clients.", func(n *NodeSnapshot) uint64 { return n.PingsSent }),
		count("shoal_pongs_missed_total", "Pings without an answer in time.", func(n *NodeSnapshot) uint64 { return n.PongsMissed }),
		count("shoal_insufficient_state_total", "Subscriptions that missed a publication and had to begin anew.",
			func(n *NodeSnapshot) uint64 { return n.Insufficient }),
		count("shoal_unsubscribes_total", "Subscriptions ended by the server.", func(n *NodeSnapshot) uint64 { return n.Unsubscribed }),
		count("shoal_signals_failed_total", "Joins and leaves that could not be told.", func(n *NodeSnapshot) uint64 { return n.SignalsFailed }),
		count("shoal_send_messages_dropped_total", "Messages of clients that no worker had time for.", func(n *NodeSnapshot) uint64 { return n.MessagesDropped }),
		count("shoal_renewals_postponed_total", "Renewals of ended credentials and subscriptions that no worker had time for.",
			func(n *NodeSnapshot) uint64 { return n.RenewalsPostponed }),
		now("shoal_workers_running", "Questions being asked: hooks, slow tokens.", func(n *NodeSnapshot) int { return n.Workers.Running }),
		now("shoal_workers_queued", "Questions waiting for a worker.", func(n *NodeSnapshot) int { return n.Workers.Queued }),
		count("shoal_workers_done_total", "Questions answered.", func(n *NodeSnapshot) uint64 { return n.Workers.Done }),
		count("shoal_workers_refused_total", "Questions refused because too many waited (error 111).", func(n *NodeSnapshot) uint64 { return n.Workers.Refused }),
		count("shoal_workers_panics_total", "Panics recovered on workers. Each is a bug.", func(n *NodeSnapshot) uint64 { return n.Workers.Panics }),
		now("shoal_history_streams", "Channels with a position.", func(n *NodeSnapshot) int { return n.History.Streams }),
		now("shoal_history_publications", "Publications kept.", func(n *NodeSnapshot) int { return n.History.Publications }),
		now("shoal_history_bytes", "Memory of streams and publications.", func(n *NodeSnapshot) int { return n.History.Bytes }),
		now("shoal_idempotency_keys", "Idempotency keys remembered.", func(n *NodeSnapshot) int { return n.History.IdempotencyKeys }),
		count("shoal_idempotency_keys_evicted_total", "Idempotency keys forgotten before their time, for lack of room.",
			func(n *NodeSnapshot) uint64 { return n.History.KeysEvicted }),
		by("shoal_tokens_verified_total", "result", "Tokens checked.", func(n *NodeSnapshot) []Labeled { return n.Tokens }),
	}
}

// recoveryFamilies are about sessions that come back, and what they missed.
func recoveryFamilies() []family {
	of := func(s *snapshot) *NodeSnapshot { return s.node }
	count := func(name, help string, value func(*NodeSnapshot) uint64) family {
		return one(name, counter, help, of, func(n *NodeSnapshot) float64 { return float64(value(n)) })
	}
	now := func(name, help string, value func(*NodeSnapshot) int) family {
		return one(name, gauge, help, of, func(n *NodeSnapshot) float64 { return float64(value(n)) })
	}
	by := func(name, label, help string, values func(*NodeSnapshot) []Labeled) family {
		return many(name, label, help, of, values)
	}
	return []family{
		by("shoal_recoveries_total", "result", "Subscriptions that asked for what they missed.", func(n *NodeSnapshot) []Labeled { return n.Recoveries }),
		count("shoal_recovered_publications_total", "Publications sent to recover.", func(n *NodeSnapshot) uint64 { return n.RecoveredPublications }),
		now("shoal_recoveries_waiting", "Recoveries and history commands that wait for their turn.", func(n *NodeSnapshot) int { return n.RecoveriesWaiting }),
		now("shoal_recovery_backlog_bytes", "Bytes of recoveries and history answers that wait for their clients to read them.", func(n *NodeSnapshot) int { return int(n.RecoveryBacklog) }),
		count("shoal_recoveries_postponed_total", "Recoveries and history commands that had to wait for their turn.", func(n *NodeSnapshot) uint64 { return n.RecoveriesPostponed }),
		count("shoal_recoveries_refused_total", "Recoveries and history commands that waited too long: error 111.", func(n *NodeSnapshot) uint64 { return n.RecoveriesRefused }),
		by("shoal_resumes_total", "result", "Resume tokens that clients sent.", func(n *NodeSnapshot) []Labeled { return n.Resumes }),
		count("shoal_resume_tokens_total", "Resume tokens given.", func(n *NodeSnapshot) uint64 { return n.ResumeTokens }),
		count("shoal_acknowledged_total", "Positions that clients acknowledged.", func(n *NodeSnapshot) uint64 { return n.Acknowledged }),
		by("shoal_redeliveries_total", "result", "Subscriptions that began at the position their user had acknowledged.",
			func(n *NodeSnapshot) []Labeled { return n.Redeliveries }),
		now("shoal_cursors", "Acknowledged positions kept.", func(n *NodeSnapshot) int { return n.Cursors }),
		now("shoal_cursors_bytes", "Memory of acknowledged positions.", func(n *NodeSnapshot) int { return n.CursorBytes }),
		count("shoal_cursors_evicted_total", "Acknowledged positions forgotten before their time, for lack of room.",
			func(n *NodeSnapshot) uint64 { return n.CursorsEvicted }),
	}
}

// named reads one value for each of several things of the node that have names.
func named[T any](all func(*NodeSnapshot) []T, name func(*T) string, value func(*T) float64) func(s *snapshot, emit emit) {
	return func(s *snapshot, emit emit) {
		if s.node == nil {
			return
		}
		things := all(s.node)
		for i := range things {
			emit(name(&things[i]), value(&things[i]))
		}
	}
}

// tenantFamilies are about those who share the node; without tenants they have no values.
func tenantFamilies() []family {
	each := func(name string, k kind, help string, value func(*TenantSnapshot) float64) family {
		return family{name, k, "tenant", help, named(func(n *NodeSnapshot) []TenantSnapshot { return n.Tenants },
			func(t *TenantSnapshot) string { return t.Name }, value)}
	}
	return []family{
		each("shoal_tenant_connections", gauge, "Clients connected now.", func(t *TenantSnapshot) float64 { return float64(t.Connections) }),
		each("shoal_tenant_channels", gauge, "Channels with a subscriber.", func(t *TenantSnapshot) float64 { return float64(t.Channels) }),
		each("shoal_tenant_subscriptions", gauge, "Subscriptions of its sessions.", func(t *TenantSnapshot) float64 { return float64(t.Subscriptions) }),
		each("shoal_tenant_messages_total", counter, "Publications, rpc, send, history and presence commands of its sessions; publications of the API into its channels.",
			func(t *TenantSnapshot) float64 { return float64(t.Messages) }),
		each("shoal_tenant_bytes_total", counter, "Bytes of data in them.", func(t *TenantSnapshot) float64 { return float64(t.Bytes) }),
		each("shoal_tenant_hooks", gauge, "Questions for its sessions being asked.", func(t *TenantSnapshot) float64 { return float64(t.Asked) }),
		each("shoal_tenant_hooks_waiting", gauge, "Questions for its sessions that wait to be asked.", func(t *TenantSnapshot) float64 { return float64(t.Waiting) }),
		each("shoal_tenant_backlog_bytes", gauge, "Bytes waiting for its slow clients, as of the last look.", func(t *TenantSnapshot) float64 { return float64(t.Backlog) }),
		{
			"shoal_tenant_refused_total", counter, "tenant,limit", "What was refused because of a tenant's limits or borders.",
			func(s *snapshot, emit emit) {
				if s.node == nil {
					return
				}
				for i := range s.node.Tenants {
					for _, r := range s.node.Tenants[i].Refused {
						emit(s.node.Tenants[i].Name+","+r.Label, float64(r.Count))
					}
				}
			},
		},
	}
}

// hookFamilies are about the backend; the label names event and endpoint.
func hookFamilies() []family {
	each := func(name string, k kind, help string, value func(*HookSnapshot) float64) family {
		return family{name, k, "hook", help, named(func(n *NodeSnapshot) []HookSnapshot { return n.Hooks },
			func(h *HookSnapshot) string { return h.Name }, value)}
	}
	return []family{
		each("shoal_hook_calls_total", counter, "Questions to the backend.", func(h *HookSnapshot) float64 { return float64(h.Calls) }),
		each("shoal_hook_retries_total", counter, "Questions repeated.", func(h *HookSnapshot) float64 { return float64(h.Retries) }),
		each("shoal_hook_seconds_total", counter, "Time the backend took.", func(h *HookSnapshot) float64 { return h.Time.Seconds() }),
		each("shoal_hook_failures_total", counter, "Questions without a usable answer.", func(h *HookSnapshot) float64 {
			n := uint64(0)
			for _, e := range h.Errors {
				n += e.Count
			}
			return float64(n)
		}),
		each("shoal_hook_pending", gauge, "Channel-state events that wait for the backend.", func(h *HookSnapshot) float64 { return float64(h.Pending) }),
		each("shoal_hook_breaker_open", gauge, "1 while the backend is left alone after failures.", func(h *HookSnapshot) float64 {
			if h.Open {
				return 1
			}
			return 0
		}),
		many("shoal_hook_errors_total", "kind", "Questions without a usable answer, by what was wrong.", func(s *snapshot) *NodeSnapshot { return s.node },
			func(n *NodeSnapshot) []Labeled {
				var sum []Labeled
				for i := range n.Hooks {
					for j, e := range n.Hooks[i].Errors {
						if j == len(sum) {
							sum = append(sum, Labeled{Label: e.Label})
						}
						sum[j].Count += e.Count
					}
				}
				return sum
			}),
	}
}

func apiFamilies() []family {
	of := func(s *snapshot) *NodeSnapshot { return s.node }
	count := func(name, help string, value func(*NodeSnapshot) uint64) family {
		return one(name, counter, help, of, func(n *NodeSnapshot) float64 { return float64(value(n)) })
	}
	return []family{
		many("shoal_api_requests_total", "method", "Server API calls.", of, func(n *NodeSnapshot) []Labeled { return n.APIRequests }),
		many("shoal_api_errors_total", "code", "Server API calls answered with an error.", of,
			func(n *NodeSnapshot) []Labeled { return n.APIErrors }),
		count("shoal_api_unauthorized_total", "Server API calls with a wrong or missing key.",
			func(n *NodeSnapshot) uint64 { return n.APIRejections }),
		count("shoal_requests_handed_over_total", "Requests that left a loop for the HTTP server.",
			func(n *NodeSnapshot) uint64 { return n.HandedOver }),
	}
}

// overloadFamilies are about work that is left undone.
func overloadFamilies() []family {
	of := func(s *snapshot) *OverloadSnapshot { return s.overload }
	return []family{
		one("shoal_overload_level", gauge, "What is left undone: 0 nothing, 1 new connections, 2 and work of low priority, 3 and connections are closed.",
			of, func(o *OverloadSnapshot) float64 { return float64(o.Level) }),
		one("shoal_overload_admitted_ratio", gauge, "Part of the new connections that is let in: below 1 at any level and during the slow start.",
			of, func(o *OverloadSnapshot) float64 { return o.Share }),
		{
			"shoal_overload_signal", gauge, "signal", "What overload is judged by, as last measured: seconds, or parts of the whole.",
			func(s *snapshot, emit emit) {
				if s.overload != nil {
					for _, v := range s.overload.Signals {
						emit(v.Label, v.Value)
					}
				}
			},
		},
		many("shoal_overload_transitions_total", "from,to,reason", "Changes of the overload level.", of, func(o *OverloadSnapshot) []Labeled { return o.Transitions }),
		many("shoal_overload_closed_total", "reason", "Connections closed at overload level 3.", of, func(o *OverloadSnapshot) []Labeled { return o.Closed }),
		one("shoal_overload_signals_omitted_total", counter, "Joins and leaves not told at overload level 2 and above.",
			of, func(o *OverloadSnapshot) float64 { return float64(o.SignalsOmitted) }),
	}
}

func resourceFamilies() []family {
	memory := func(s *snapshot) *MemorySnapshot { return s.memory }
	return []family{
		{"shoal_build_info", gauge, "version", "Always 1; the label tells the version.", func(s *snapshot, emit emit) { emit(s.version, 1) }},
		one("shoal_buffers_borrowed", gauge, "Byte buffers in use.", memory, func(m *MemorySnapshot) float64 { return float64(m.Buffers) }),
		one("shoal_buffers_borrowed_bytes", gauge, "Bytes of the buffers in use.", memory, func(m *MemorySnapshot) float64 { return float64(m.BufferBytes) }),
		one("shoal_shared_bytes", gauge, "Encoded messages somebody still has to be sent.", memory,
			func(m *MemorySnapshot) float64 { return float64(m.SharedBytes) }),
		one("shoal_gc_percent", gauge, "Heap growth in percent that starts a collection; -1 = none does.", memory, func(m *MemorySnapshot) float64 { return float64(m.GCPercent) }),
		one("shoal_memory_limit_bytes", gauge, "Memory the Go runtime tries to stay below; 2^63-1 = no limit.", memory,
			func(m *MemorySnapshot) float64 { return float64(m.MemoryLimit) }),
		one("shoal_heap_live_bytes", gauge, "Go heap that the last collection found in use.", memory, func(m *MemorySnapshot) float64 { return float64(m.HeapLive) }),
		one("shoal_interned_strings", gauge, "Names of users and their infos held.", memory, func(m *MemorySnapshot) float64 { return float64(m.InternedStrings) }),
	}
}

// one is a family with a single value, of the part of a snapshot that of finds; without that part it has none.
func one[T any](name string, k kind, help string, of func(*snapshot) *T, value func(*T) float64) family {
	return family{name, k, "", help, func(s *snapshot, emit emit) {
		if part := of(s); part != nil {
			emit("", value(part))
		}
	}}
}

// distribution is a histogram: a value for each bound, labelled with it, then +Inf for all, then the sum, labelled sum.
func distribution[T any](name, help string, of func(*snapshot) *T, value func(*T) *Histogram) family {
	return family{name, histogram, "le", help, func(s *snapshot, emit emit) {
		part := of(s)
		if part == nil {
			return
		}
		h := value(part)
		for i, bound := range h.Bounds {
			emit(strconv.FormatFloat(bound, 'g', -1, 64), float64(h.Counts[i]))
		}
		emit("+Inf", float64(h.Count))
		emit("sum", h.Sum)
	}}
}

// many is a counter with a value for each label.
func many[T any](name, label, help string, of func(*snapshot) *T, values func(*T) []Labeled) family {
	return family{name, counter, label, help, func(s *snapshot, emit emit) {
		if part := of(s); part != nil {
			for _, v := range values(part) {
				emit(v.Label, float64(v.Count))
			}
		}
	}}
}
