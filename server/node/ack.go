package node

import (
	"bytes"
	"encoding/base64"
	"math"
	"strconv"
	"strings"
	"time"

	"shoal/codec/proto"
	"shoal/codec/proto/jsontext"
	"shoal/server/channel"
	"shoal/server/hub"
	"shoal/server/node/cursor"
	"shoal/server/node/track"
	"shoal/server/session"
)

// Methods of rpc that the node answers by itself, before any backend.
const (
	methodAck    = "shoal.ack"    // {"channel","offset","epoch"}: the user has it up to there
	methodResume = "shoal.resume" // a newer resume token
)

const (
	cursorsMax       = 1 << 20 // that are kept where it is not configured
	cursorsOfUserMax = 256     // of one user, or twice the subscriptions of a session if those are more
)

func (n *Node) initCursors() {
	kept, subscriptions := n.cfg.CursorsMax, n.cfg.Session.ChannelsMax
	if kept <= 0 {
		kept = cursorsMax
	}
	if subscriptions == 0 {
		subscriptions = math.MaxUint16
	}
	n.cursors = cursor.NewSet(kept, max(cursorsOfUserMax, 2*subscriptions))
}

// cursorSeconds is how long a cursor is kept that nobody uses.
func cursorSeconds(o *channel.Options) uint32 { return uint32(max(o.HistoryMetaTTL/time.Second, 1)) }

// tendSlice is the number of cursors of each table looked at in a second.
const tendSlice = 256

// TendCursors drops cursors whose time has passed, some at a time. To be called about once
// a second, on any goroutine but a loop's.
func (n *Node) TendCursors(now time.Time) {
	n.cursors.Each(func(t *cursor.Table) { t.Expire(tendSlice, now.Unix()) })
}

// Cursors is the number of places that users have acknowledged, those that made room for
// others before their time, and the memory held for them.
func (n *Node) Cursors() (count int, evicted uint64, heldBytes int) {
	n.cursors.Each(func(t *cursor.Table) {
		count += t.Len()
		evicted += t.Evicted()
		heldBytes += t.HeldBytes()
	})
	return count, evicted, heldBytes
}

// redeliver has a subscription begin where its user acknowledged the channel, unless the
// client says that it is further.
func (s *Shard) redeliver(ses *session.Session, a *admission, flags uint16) {
	if !a.opts.Acknowledge || ses.User == 0 || flags&flagPositioned == 0 {
		return
	}
	a.acknowledges = true
	at, ok := s.node.cursors.Get(a.name, s.user(ses), s.l.Clock().Unix())
	if !ok {
		return
	}
	a.cursor, a.hasCursor = at, true
	if own := track.Epoch(s.node.seed, a.since.Epoch) == at.Epoch; a.recover && (!own || a.since.Offset >= at.Offset) {
		return
	}
	a.redelivers, a.recover, a.recovers = true, true, true
	a.since = channel.Position{Offset: at.Offset}
}

// acknowledged finds out whether a subscription got all that its user has not
// acknowledged, and starts the cursor of one that has none, or none that is any good.
func (s *Shard) acknowledged(ses *session.Session, a *admission, top channel.Position, recovered bool) bool {
	to := cursor.Place{Offset: top.Offset, Epoch: track.Epoch(s.node.seed, top.Epoch)}
	known := a.hasCursor && a.cursor.Epoch == to.Epoch
	if a.redelivers {
		if recovered = recovered && known; recovered {
			s.node.stats.Redelivered.Add(1)
		} else {
			s.node.stats.RedeliveryLost.Add(1)
		}
	}
	switch {
	case known && (recovered || !a.recover):
		return recovered
	case recovered:
		to.Offset = a.since.Offset
	}
	s.node.cursors.Move(a.name, s.user(ses), to, cursorSeconds(a.opts), s.l.Clock().Unix())
	return recovered
}

// ack is what a client says with [methodAck].
type ack struct {
	channel []byte
	epoch   []byte
	offset  uint64
}

// readAck reads the data of an ack; what it returns aliases it, unless there are escapes.
func readAck(data []byte) (a ack, ok bool) {
	whole := eachField(data, func(key, value []byte) bool {
		var good bool
		switch string(key) {
		case "channel":
			a.channel, good = stringValue(value)
		case "epoch":
			a.epoch, good = stringValue(value)
		case "offset":
			var err error
			a.offset, err = strconv.ParseUint(stringOf(value), 10, 64)
			good = err == nil
		default:
			good = true
		}
		return good
	})
	return a, whole && len(a.channel) > 0
}

// acknowledge moves the cursor of the session's user.
func (s *Shard) acknowledge(ses *session.Session, a *ack) (at uint64, e *channel.Error) {
	name := stringOf(a.channel)
	opts, e := s.node.cfg.Session.Rules.ResolveStream(name)
	switch {
	case e != nil:
		return 0, e
	case !opts.Acknowledge:
		return 0, channel.ErrNotAvailable.Err()
	}
	sub := s.hub.Find(hub.List(ses.Subs), a.channel)
	if sub == 0 || ses.User == 0 || s.waits[sub] != nil {
		return 0, channel.ErrPermissionDenied.Err()
	}
	top, ok := s.tracks.At(s.hub.ChannelOf(sub))
	epoch := track.Epoch(s.node.seed, stringOf(a.epoch))
	if m := s.hub.At(sub); m.Flags&flagBehind != 0 { // it has read the stream by itself
		if floor := s.extras.At(m.Extra).floor; floor.Epoch == epoch && (top.Epoch != epoch || floor.Offset > top.Offset) {
			top = floor
		}
	}
	switch {
	case !ok:
		return 0, channel.ErrNotAvailable.Err()
	case epoch != top.Epoch:
		return 0, channel.ErrUnrecoverablePosition.Err()
	case a.offset > top.Offset:
		return 0, channel.ErrBadRequest.Err()
	}
	s.node.stats.Acknowledged.Add(1)
	to := cursor.Place{Offset: a.offset, Epoch: epoch}
	return s.node.cursors.Move(name, s.user(ses), to, cursorSeconds(opts), s.l.Clock().Unix()).Offset, nil
}

// ownRPC answers a method of the node's own; false when it is not one.
func (s *Shard) ownRPC(slot uint32, ses *session.Session, id uint32, r *proto.RPCRequest) bool {
	var e *channel.Error
	s.ownData = s.ownData[:0]
	switch r.Method {
	case methodAck:
		a, ok := readAck(r.Data)
		if !ok {
			e = channel.ErrBadRequest.Err()
			break
		}
		var at uint64
		if at, e = s.acknowledge(ses, &a); e == nil {
			s.ownData = strconv.AppendUint(append(s.ownData, `{"offset":`...), at, 10)
			s.ownData = append(jsontext.AppendQuoted(append(s.ownData, `,"epoch":`...), stringOf(a.epoch)), '}')
		}
	case methodResume:
		if s.resumption(slot) == nil {
			e = channel.ErrNotAvailable.Err()
		} else if token := s.resumeToken(slot, ses); token == "" {
			e = channel.ErrLimitExceeded.Err()
		} else {
			s.ownData = jsontext.AppendQuoted(append(s.ownData, `{"resume":`...), token)
			s.ownData = strconv.AppendInt(append(s.ownData, `,"window":`...), s.node.tokens.Window/1e6, 10)
			s.ownData = append(s.ownData, '}')
		}
	default:
		return false
	}
	s.reply.rpc.Reset()
	s.reply.rpc.Data = s.ownData
	s.reply.answer.rpc = &s.reply.rpc
	s.answered(id, channel.Refusal{Err: e})
	return true
}

// eachField calls f with the fields of a JSON object, keys with escapes left out; false
// when the text is not one, or f says so.
func eachField(text []byte, f func(key, value []byte) bool) bool {
	i := jsontext.SkipSpace(text, 0)
	if !jsontext.Valid(text) || text[i] != '{' {
		return false
	}
	for i = jsontext.SkipSpace(text, i+1); text[i] != '}'; i = jsontext.SkipSpace(text, i) {
		if text[i] == ',' {
			i = jsontext.SkipSpace(text, i+1)
		}
		end, plain, _ := jsontext.String(text, i+1)
		key := text[i+1 : end-1]
		i = jsontext.SkipSpace(text, jsontext.SkipSpace(text, end)+1) // behind the colon
		from := i
		i, _ = jsontext.Value(text, i)
		if plain && !f(key, text[from:i]) {
			return false
		}
	}
	return true
}

// stringValue is the content of a JSON string; false for another value.
func stringValue(value []byte) ([]byte, bool) {
	if value[0] != '"' {
		return nil, false
	}
	end, plain, _ := jsontext.String(value, 1)
	if content := value[1 : end-1]; plain {
		return content, true
	}
	return jsontext.AppendUnescaped(nil, value[1:end-1]), true
}

// otherName says whether a connection token has another name in a claim, as far as can be
// seen without verifying it: then the client has changed users since its resume token.
func otherName(token, claim, name string) bool {
	_, rest, _ := strings.Cut(token, ".")
	payload, _, _ := strings.Cut(rest, ".")
	text, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil || len(bytes.TrimSpace(text)) == 0 {
		return false
	}
	named, readable := "", true
	whole := eachField(text, func(key, value []byte) bool {
		if string(key) == claim {
			var of []byte
			of, readable = stringValue(value)
			named = string(of)
		}
		return readable
	})
	return whole && named != name
}
