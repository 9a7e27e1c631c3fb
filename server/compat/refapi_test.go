package compat_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/centrifugal/centrifuge"

	"shoal/server/channel"
)

// This file is the server API of the reference server: what Centrifugo documents, on
// top of the library.

// apiRequest has the fields of every method.
type apiRequest struct {
	Channel        string            `json:"channel"`
	Channels       []string          `json:"channels"`
	Data           json.RawMessage   `json:"data"`
	B64Data        string            `json:"b64data"`
	SkipHistory    bool              `json:"skip_history"`
	Tags           map[string]string `json:"tags"`
	IdempotencyKey string            `json:"idempotency_key"`
	Delta          bool              `json:"delta"`
	Version        uint64            `json:"version"`
	VersionEpoch   string            `json:"version_epoch"`

	User         string          `json:"user"`
	Client       string          `json:"client"`
	Session      string          `json:"session"`
	Info         json.RawMessage `json:"info"`
	RecoverSince *position       `json:"recover_since"`
	ExpireAt     int64           `json:"expire_at"`
	Expired      bool            `json:"expired"`
	Override     *override       `json:"override"`
	Whitelist    []string        `json:"whitelist"`
	Disconnect   *struct {
		Code   uint32 `json:"code"`
		Reason string `json:"reason"`
	} `json:"disconnect"`

	Limit   int       `json:"limit"`
	Since   *position `json:"since"`
	Reverse bool      `json:"reverse"`
}

type position struct {
	Offset uint64 `json:"offset"`
	Epoch  string `json:"epoch"`
}

func (p *position) of() *centrifuge.StreamPosition {
	if p == nil {
		return nil
	}
	return &centrifuge.StreamPosition{Offset: p.Offset, Epoch: p.Epoch}
}

// serveAPI answers one API call.
func (r *reference) serveAPI(w http.ResponseWriter, q *http.Request) {
	var body apiRequest
	var result map[string]any
	err := json.NewDecoder(q.Body).Decode(&body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if body.B64Data != "" {
		if body.Data, err = base64.StdEncoding.DecodeString(body.B64Data); err != nil {
			err = centrifuge.ErrorBadRequest
		}
	}
	if err == nil {
		result, err = r.api(q.PathValue("method"), &body)
	}
	answer := map[string]any{"result": result}
	if err != nil {
		e := centrifuge.ErrorInternal
		if !errors.As(err, &e) {
			e = centrifuge.ErrorInternal
		}
		answer = map[string]any{"error": map[string]any{"code": e.Code, "message": e.Message}}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}

func (r *reference) api(method string, q *apiRequest) (map[string]any, error) {
	empty := map[string]any{}
	switch method {
	case "publish":
		return r.apiPublish(q.Channel, q)
	case "broadcast":
		if len(q.Channels) == 0 {
			return nil, centrifuge.ErrorBadRequest
		}
		responses := []any{}
		for _, name := range q.Channels {
			result, err := r.apiPublish(name, q)
			if e := (*centrifuge.Error)(nil); errors.As(err, &e) {
				responses = append(responses, map[string]any{"error": map[string]any{"code": e.Code, "message": e.Message}})
				continue
			}
			responses = append(responses, map[string]any{"result": result})
		}
		return map[string]any{"responses": responses}, nil
	case "subscribe":
		return empty, r.apiSubscribe(q)
	case "unsubscribe":
		if o, _ := r.options(q.Channel); o == nil && q.Channel != "" {
			return nil, centrifuge.ErrorUnknownChannel
		}
		return empty, r.node.Unsubscribe(q.User, q.Channel, centrifuge.WithUnsubscribeClient(q.Client), centrifuge.WithUnsubscribeSession(q.Session))
	case "disconnect":
		d := centrifuge.DisconnectForceNoReconnect
		if q.Disconnect != nil {
			d = centrifuge.Disconnect{Code: q.Disconnect.Code, Reason: q.Disconnect.Reason}
		}
		return empty, r.node.Disconnect(q.User, centrifuge.WithCustomDisconnect(d), centrifuge.WithDisconnectClient(q.Client),
			centrifuge.WithDisconnectSession(q.Session), centrifuge.WithDisconnectClientWhitelist(q.Whitelist))
	case "refresh":
		return empty, r.node.Refresh(q.User, centrifuge.WithRefreshClient(q.Client), centrifuge.WithRefreshSession(q.Session),
			centrifuge.WithRefreshExpired(q.Expired), centrifuge.WithRefreshExpireAt(q.ExpireAt), centrifuge.WithRefreshInfo(q.Info))
	case "presence", "presence_stats":
		return r.apiPresence(method, q.Channel)
	case "history":
		return r.apiHistory(q)
	case "history_remove":
		if _, err := r.kept(q.Channel); err != nil {
			return nil, err
		}
		return empty, r.node.RemoveHistory(q.Channel)
	}
	return nil, centrifuge.ErrorMethodNotFound
}

// known finds the options of a channel that the API names.
func (r *reference) known(name string) (*channel.Options, error) {
	if name == "" {
		return nil, centrifuge.ErrorBadRequest
	}
	o, _ := r.options(name)
	if o == nil {
		return nil, centrifuge.ErrorUnknownChannel
	}
	return o, nil
}

// kept finds those of a channel that must have history.
func (r *reference) kept(name string) (*channel.Options, error) {
	o, err := r.known(name)
	if err == nil && !o.History() {
		err = centrifuge.ErrorNotAvailable
	}
	return o, err
}

func (r *reference) apiPublish(name string, q *apiRequest) (map[string]any, error) {
	o, err := r.known(name)
	if err != nil {
		return nil, err
	}
	if !validData(o, q.Data) {
		return nil, centrifuge.ErrorBadRequest
	}
	size, ttl := o.HistorySize, o.HistoryTTL
	if q.SkipHistory {
		size, ttl = 0, 0
	}
	result, err := r.node.Publish(name, q.Data, centrifuge.WithHistory(size, ttl, metaTTL(o)), centrifuge.WithTags(q.Tags),
		centrifuge.WithIdempotencyKey(q.IdempotencyKey), centrifuge.WithDelta(q.Delta || o.DeltaPublish),
		centrifuge.WithVersion(q.Version, q.VersionEpoch))
	out := map[string]any{}
	if result.Offset > 0 {
		out["offset"] = result.Offset
	}
	if result.Epoch != "" {
		out["epoch"] = result.Epoch
	}
	return out, err
}

func (r *reference) apiSubscribe(q *apiRequest) error {
	o, err := r.known(q.Channel)
	if err != nil {
		return err
	}
	s := subscribeOptions(o)
	q.Override.apply(&s)
	err = r.node.Subscribe(q.User, q.Channel, centrifuge.WithSubscribeData(q.Data), centrifuge.WithSubscribeClient(q.Client),
		centrifuge.WithSubscribeSession(q.Session), centrifuge.WithChannelInfo(q.Info), centrifuge.WithExpireAt(q.ExpireAt),
		centrifuge.WithEmitJoinLeave(s.EmitJoinLeave), centrifuge.WithPushJoinLeave(s.PushJoinLeave),
		centrifuge.WithRecovery(s.EnableRecovery), centrifuge.WithPositioning(s.EnablePositioning),
		centrifuge.WithEmitPresence(s.EmitPresence), centrifuge.WithRecoverSince(q.RecoverSince.of()),
		centrifuge.WithSubscribeHistoryMetaTTL(o.HistoryMetaTTL))
	if err != nil {
		return centrifuge.ErrorInternal // whatever it is
	}
	return nil
}

func (r *reference) apiPresence(method, name string) (map[string]any, error) {
	o, err := r.known(name)
	switch {
	case err != nil:
		return nil, err
	case !o.Presence:
		return nil, centrifuge.ErrorNotAvailable
	case method == "presence_stats":
		stats, err := r.node.PresenceStats(name)
		return map[string]any{"num_clients": stats.NumClients, "num_users": stats.NumUsers}, err
	}
	result, err := r.node.Presence(name)
	presence := map[string]any{}
	for id, info := range result.Presence {
		presence[id] = infoOf(info)
	}
	return map[string]any{"presence": presence}, err
}

// infoOf is a client info as the API writes it.
func infoOf(i *centrifuge.ClientInfo) map[string]any {
	out := map[string]any{"client": i.ClientID, "user": i.UserID}
	if len(i.ConnInfo) > 0 {
		out["conn_info"] = json.RawMessage(i.ConnInfo)
	}
	if len(i.ChanInfo) > 0 {
		out["chan_info"] = json.RawMessage(i.ChanInfo)
	}
	return out
}

func (r *reference) apiHistory(q *apiRequest) (map[string]any, error) {
	o, err := r.kept(q.Channel)
	if err != nil {
		return nil, err
	}
	h, err := r.node.History(q.Channel, centrifuge.WithHistoryMetaTTL(o.HistoryMetaTTL), centrifuge.WithLimit(q.Limit),
		centrifuge.WithSince(q.Since.of()), centrifuge.WithReverse(q.Reverse))
	if err != nil {
		return nil, err
	}
	pubs := []any{}
	for _, p := range h.Publications {
		pub := map[string]any{"data": json.RawMessage(p.Data), "offset": p.Offset}
		if p.Info != nil {
			pub["info"] = infoOf(p.Info)
		}
		if len(p.Tags) > 0 {
			pub["tags"] = p.Tags
		}
		pubs = append(pubs, pub)
	}
	return map[string]any{"publications": pubs, "offset": h.Offset, "epoch": h.Epoch}, nil
}
