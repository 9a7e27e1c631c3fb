package rpc

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"math/big"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"shoal/pool/worker"
	"shoal/server/api"
	"shoal/server/api/rpc/apipb"
	"shoal/server/channel"
)

var yes, no = &apipb.BoolValue{Value: true}, &apipb.BoolValue{}

// stories has every method: a command with every field set, what the service is asked, and
// the result.
func stories() []story {
	b64 := base64.StdEncoding.EncodeToString([]byte{0xff, 0})
	return []story{
		{
			&apipb.Command{Publish: &apipb.PublishRequest{
				Channel: "news", Data: []byte{0xff, 1}, SkipHistory: true, Tags: map[string]string{"k": "v"}, IdempotencyKey: "once",
				Delta: true, Version: 9, VersionEpoch: "ve", ExcludeClient: "me",
			}},
			[]string{`publish news "\xff\x01" exclude=me tags=map[k:v] {SkipHistory:true IdempotencyKey:once Delta:true Version:9 VersionEpoch:ve}`},
			&apipb.Reply{Publish: &apipb.PublishResult{Offset: 7, Epoch: "ep"}},
		}, {
			&apipb.Command{Broadcast: &apipb.BroadcastRequest{
				Channels: []string{"news", "unknown:x", ""}, B64Data: b64, SkipHistory: true, Tags: map[string]string{"k": "v"}, IdempotencyKey: "once",
				Delta: true, Version: 9, VersionEpoch: "ve", ExcludeClient: "me",
			}},
			[]string{`publish news "\xff\x00" exclude=me tags=map[k:v] {SkipHistory:true IdempotencyKey:once Delta:true Version:9 VersionEpoch:ve}`},
			&apipb.Reply{Broadcast: &apipb.BroadcastResult{Responses: []*apipb.PublishResponse{
				{Result: &apipb.PublishResult{Offset: 7, Epoch: "ep"}}, {Error: &apipb.Error{Code: 102, Message: "unknown channel"}},
				{Error: &apipb.Error{Code: 107, Message: "bad request: channels[2] is empty"}},
			}}},
		}, {
			&apipb.Command{Subscribe: &apipb.SubscribeRequest{
				User: "u", Channel: "news", ExpireAt: 99, Info: []byte("i"), B64Data: b64, Client: "c", Session: "s",
				RecoverSince: &apipb.StreamPosition{Offset: 5, Epoch: "ep"},
				Override:     &apipb.SubscribeOptionOverride{Presence: yes, ForcePushJoinLeave: no, ForceRecovery: yes},
			}},
			[]string{`subscribe {User:u Client:c Session:s Whitelist:[]} news info="i" data="\xff\x00" since=&{5 ep} expire=99 override=1-0-1`},
			&apipb.Reply{Subscribe: &apipb.SubscribeResult{}},
		}, {
			&apipb.Command{Unsubscribe: &apipb.UnsubscribeRequest{User: "u", Channel: "news", Client: "c", Session: "s"}},
			[]string{`unsubscribe {User:u Client:c Session:s Whitelist:[]} news`},
			&apipb.Reply{Unsubscribe: &apipb.UnsubscribeResult{}},
		}, {
			&apipb.Command{Disconnect: &apipb.DisconnectRequest{
				User: "u", Client: "c", Session: "s", Whitelist: []string{"w"}, Disconnect: &apipb.Disconnect{Code: 4000, Reason: "go away"},
			}},
			[]string{`disconnect {User:u Client:c Session:s Whitelist:[w]} 4000 go away`},
			&apipb.Reply{Disconnect: &apipb.DisconnectResult{}},
		}, {
			&apipb.Command{Disconnect: &apipb.DisconnectRequest{Channel: "news"}},
			[]string{
				`connections {User: Client: Channel:news After: Limit:1000}`,
				`disconnect {User:ann Client:c1 Session: Whitelist:[]} 3503 force disconnect`,
			},
			&apipb.Reply{Disconnect: &apipb.DisconnectResult{}},
		}, {
			&apipb.Command{Refresh: &apipb.RefreshRequest{User: "u", Client: "c", Session: "s", Expired: true, ExpireAt: 99, Info: []byte("i")}},
			[]string{`refresh {User:u Client:c Session:s Whitelist:[]} true 99 "i"`},
			&apipb.Reply{Refresh: &apipb.RefreshResult{}},
		}, {
			&apipb.Command{Presence: &apipb.PresenceRequest{Channel: "news"}},
			[]string{`presence news`},
			&apipb.Reply{Presence: &apipb.PresenceResult{Presence: map[string]*apipb.ClientInfo{
				"c1": {User: "ann", Client: "c1", ConnInfo: []byte("conn"), ChanInfo: []byte("chan")}, "c2": {Client: "c2"},
			}}},
		}, {
			&apipb.Command{PresenceStats: &apipb.PresenceStatsRequest{Channel: "news"}},
			[]string{`presence_stats news`},
			&apipb.Reply{PresenceStats: &apipb.PresenceStatsResult{NumClients: 1_000_000, NumUsers: 999_999}},
		}, {
			&apipb.Command{History: &apipb.HistoryRequest{Channel: "news", Limit: -1, Since: &apipb.StreamPosition{Offset: 2, Epoch: "ep"}, Reverse: true}},
			[]string{`history news since=&{2 ep} limit=-1 reverse=true`},
			&apipb.Reply{History: &apipb.HistoryResult{Epoch: "ep", Offset: 4, Publications: []*apipb.Publication{
				{Data: []byte("d3"), Offset: 3, Tags: map[string]string{"k": "v"}},
				{Data: []byte{0xff, 0}, Offset: 4, Info: &apipb.ClientInfo{User: "ann", Client: "c1"}},
			}}},
		}, {
			&apipb.Command{HistoryRemove: &apipb.HistoryRemoveRequest{Channel: "news"}},
			[]string{`history_remove news`},
			&apipb.Reply{HistoryRemove: &apipb.HistoryRemoveResult{}},
		}, {
			&apipb.Command{Channels: &apipb.ChannelsRequest{Pattern: "chat:*", Limit: 1}},
			[]string{`channels`},
			&apipb.Reply{Channels: &apipb.ChannelsResult{Channels: map[string]*apipb.ChannelInfo{"chat:1": {NumClients: 1}}, NextCursor: "chat:1"}},
		}, {
			&apipb.Command{Connections: &apipb.ConnectionsRequest{User: "u", Client: "c", Channel: "news", Limit: 10, Cursor: "after"}},
			[]string{`connections {User:u Client:c Channel:news After:after Limit:11}`},
			&apipb.Reply{Connections: &apipb.ConnectionsResult{Connections: map[string]*apipb.ConnectionInfo{"c1": {
				User: "ann", Transport: "websocket", Protocol: "json", Remote: "10.0.0.1:5", Status: "ready", Info: []byte("info"), BacklogBytes: 12,
				State: &apipb.ConnectionState{Channels: map[string]*apipb.ChannelContext{"news": {}, "chat:1": {}}},
			}}}},
		}, {
			&apipb.Command{Info: &apipb.InfoRequest{}},
			[]string{`info`},
			&apipb.Reply{Info: &apipb.InfoResult{Nodes: []*apipb.NodeResult{{
				Uid: "uid", Name: "node", Version: "1.0", NumClients: 1, NumUsers: 2, NumSubs: 3, NumChannels: 4, Uptime: 5,
				Process: &apipb.Process{Cpu: 1.5, Rss: 1 << 33},
			}}}},
		}, {
			&apipb.Command{Rpc: &apipb.RPCRequest{Method: "sum", Params: []byte{1, 0xff}}},
			[]string{`rpc sum "\x01\xff"`},
			&apipb.Reply{Rpc: &apipb.RPCResult{Data: []byte("answer to sum")}},
		},
	}
}

type story struct {
	command *apipb.Command
	asked   []string
	reply   *apipb.Reply
}

// single makes a command's call by the method of its own and wraps what it gives as a
// batch would have.
func (r *rig) single(t *testing.T, c *apipb.Command) *apipb.Reply {
	t.Helper()
	command := c.ProtoReflect()
	for i := range command.Descriptor().Fields().Len() {
		field := command.Descriptor().Fields().Get(i)
		if !command.Has(field) {
			continue
		}
		methods := apipb.File_shoal_api_proto.Services().Get(0).Methods()
		for k := range methods.Len() {
			m := methods.Get(k)
			if m.Input() != field.Message() {
				continue
			}
			reply := (&apipb.Reply{}).ProtoReflect()
			out := reply.Descriptor().Fields().ByName(field.Name())
			response := responses[string(m.Name())]()
			err := r.conn.Invoke(authorized(t), "/centrifugal.centrifugo.api.CentrifugoApi/"+string(m.Name()), command.Get(field).Message().Interface(), response)
			if err != nil {
				t.Fatalf("%s: %v", m.Name(), err)
			}
			fields := response.ProtoReflect().Descriptor().Fields()
			if e := fields.ByName("error"); response.ProtoReflect().Has(e) {
				t.Fatalf("%s: %v", m.Name(), response)
			}
			reply.Set(out, response.ProtoReflect().Get(fields.ByName("result")))
			return reply.Interface().(*apipb.Reply)
		}
	}
	t.Fatal("the command has no method")
	return nil
}

var responses = map[string]func() proto.Message{
	"Publish":       func() proto.Message { return &apipb.PublishResponse{} },
	"Broadcast":     func() proto.Message { return &apipb.BroadcastResponse{} },
	"Subscribe":     func() proto.Message { return &apipb.SubscribeResponse{} },
	"Unsubscribe":   func() proto.Message { return &apipb.UnsubscribeResponse{} },
	"Disconnect":    func() proto.Message { return &apipb.DisconnectResponse{} },
	"Refresh":       func() proto.Message { return &apipb.RefreshResponse{} },
	"Presence":      func() proto.Message { return &apipb.PresenceResponse{} },
	"PresenceStats": func() proto.Message { return &apipb.PresenceStatsResponse{} },
	"History":       func() proto.Message { return &apipb.HistoryResponse{} },
	"HistoryRemove": func() proto.Message { return &apipb.HistoryRemoveResponse{} },
	"Channels":      func() proto.Message { return &apipb.ChannelsResponse{} },
	"Connections":   func() proto.Message { return &apipb.ConnectionsResponse{} },
	"Info":          func() proto.Message { return &apipb.InfoResponse{} },
	"RPC":           func() proto.Message { return &apipb.RPCResponse{} },
}

func TestEveryMethodAloneAndInABatch(t *testing.T) {
	r := newRig(t, nil)
	var all []*apipb.Command
	var replies []*apipb.Reply
	var asked []string
	for _, s := range stories() {
		got := r.single(t, s.command)
		if !proto.Equal(got, s.reply) {
			t.Errorf("got  %v\nwant %v", got, s.reply)
		}
		if notes := r.fake.taken(); !slices.Equal(notes, s.asked) {
			t.Errorf("asked %q\nwant  %q", notes, s.asked)
		}
		all, replies, asked = append(all, s.command), append(replies, s.reply), append(asked, s.asked...)
	}
	const once = "broadcast 0×1 channels 0×1 connections 0×1 disconnect 0×2 history 0×1 history_remove 0×1 info 0×1 presence 0×1 " +
		"presence_stats 0×1 publish 0×1 refresh 0×1 rpc 0×1 subscribe 0×1 unsubscribe 0×1"
	if got := r.counted(); got != once {
		t.Errorf("counted %q", got)
	}
	batch, err := r.client.Batch(authorized(t), &apipb.BatchRequest{Commands: all})
	if err != nil || len(batch.GetReplies()) != len(all) {
		t.Fatalf("%d replies of %d: %v", len(batch.GetReplies()), len(all), err)
	}
	for i, got := range batch.GetReplies() {
		if !proto.Equal(got, replies[i]) {
			t.Errorf("in a batch: got  %v\nwant %v", got, replies[i])
		}
	}
	if notes := r.fake.taken(); !slices.Equal(notes, asked) {
		t.Errorf("the batch asked %q", notes)
	}
	if got := r.counted(); got != "batch 0×1 "+once {
		t.Errorf("counted %q", got)
	}
	methods := apipb.File_shoal_api_proto.Services().Get(0).Methods()
	if methods.Len() != len(responses)+1 {
		t.Errorf("%d methods, of which %d are tested", methods.Len(), len(responses)+1)
	}
}

func TestABatchAnswersEachCommand(t *testing.T) {
	r := newRig(t, nil)
	unserved := func(number protowire.Number) *apipb.Command {
		c := &apipb.Command{}
		c.ProtoReflect().SetUnknown(protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), nil))
		return c
	}
	publish := &apipb.PublishRequest{Channel: "news", Data: []byte("{}")}
	got, err := r.client.Batch(authorized(t), &apipb.BatchRequest{Commands: []*apipb.Command{
		{Publish: publish},
		{Publish: &apipb.PublishRequest{}},
		{Unsubscribe: &apipb.UnsubscribeRequest{User: "u", Channel: "news", AllUsers: true}},
		{},
		unserved(36), unserved(42), unserved(21),
		{Publish: publish, Info: &apipb.InfoRequest{}},
		{Info: &apipb.InfoRequest{}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, reply := range got.GetReplies() {
		lines = append(lines, fmt.Sprint(reply.GetError().GetCode(), " ", reply.GetError().GetMessage()))
	}
	want := []string{
		"0 ", "107 bad request: channel is required", "108 not available: all_users: name the user, client or session that is meant",
		"104 not found: a command without a method", "108 not available: map_publish: there are no map and shared-poll channels here",
		"108 not available: shared_poll_publish: there are no map and shared-poll channels here", "104 not found: there is no method with number 21",
		"107 bad request: a command with 2 methods, publish being one: put each into a command of its own", "0 ",
	}
	if !slices.Equal(lines, want) {
		t.Errorf("got %q\nwant %q", lines, want)
	}
	if got, want := r.counted(), "batch 0×1 info 0×1 publish 0×1 publish 107×2 unknown 104×2 unknown 108×2 unsubscribe 108×1"; got != want {
		t.Errorf("counted %q\nwant    %q", got, want)
	}
}

func TestABatchOverTheLimitIsRefusedWhole(t *testing.T) {
	r := newRig(t, func(_ *Config, c *api.Calls) { c.BatchMax = 2 })
	info := &apipb.Command{Info: &apipb.InfoRequest{}}
	if _, err := r.client.Batch(authorized(t), &apipb.BatchRequest{Commands: []*apipb.Command{info, info, info}}); status.Code(err) != codes.InvalidArgument || codeIn(err) != 107 {
		t.Errorf("got %v", err)
	}
	if got, err := r.client.Batch(authorized(t), &apipb.BatchRequest{}); err != nil || len(got.GetReplies()) != 0 {
		t.Errorf("an empty batch: %v, %v", got, err)
	}
	if notes := r.fake.taken(); len(notes) != 0 {
		t.Errorf("asked %q", notes)
	}
	if got := r.counted(); got != "batch 0×1 batch 107×1" {
		t.Errorf("counted %q", got)
	}
}

// The four commands wait for each other inside the service: one after the other they would
// never come back.
func TestAParallelBatchRunsSideBySide(t *testing.T) {
	pool := worker.New(worker.Config{})
	t.Cleanup(func() { _ = pool.Close(context.Background()) })
	r := newRig(t, func(_ *Config, c *api.Calls) { c.Workers = pool })
	together := &apipb.Command{Publish: &apipb.PublishRequest{Channel: "together", Data: []byte("{}")}}
	got, err := r.client.Batch(authorized(t), &apipb.BatchRequest{Commands: []*apipb.Command{together, together, together, together}, Parallel: true})
	if err != nil || len(got.GetReplies()) != 4 {
		t.Fatalf("%v, %v", got, err)
	}
	for _, reply := range got.GetReplies() {
		if reply.GetPublish().GetOffset() != 7 {
			t.Errorf("got %v", reply)
		}
	}
}

func TestNamesThatAreNoUTF8DoNotFailTheAnswer(t *testing.T) {
	const bad, mended = "a\xffb", "a\uFFFDb"
	channels := channelsResult(&api.ChannelsResult{Channels: map[string]api.ChannelInfo{bad: {NumClients: 1}}, NextCursor: bad})
	presence := presenceResult(&api.PresenceResult{Presence: map[string]api.ClientInfo{"c": {User: bad}}})
	history := historyResult(&api.HistoryResult{Publications: []api.Publication{{Tags: map[string]string{bad: bad}}}})
	conns := connectionsResult(&api.ConnectionsResult{Connections: map[string]api.ConnectionInfo{"c": {State: api.ConnectionState{Channels: map[string]api.Empty{bad: {}}}}}})
	for _, m := range []proto.Message{channels, presence, history, conns, failure(&channel.Error{Code: 400, Message: bad})} {
		out, err := proto.Marshal(m)
		if err != nil || !strings.Contains(string(out), mended) {
			t.Errorf("%v: %v", m, err)
		}
	}
}

func TestTLSAndCompressionWork(t *testing.T) {
	cert, roots := certificate(t)
	secure := grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: roots, ServerName: "shoal.test"}))
	r := newRig(t, func(c *Config, _ *api.Calls) { c.TLS = &tls.Config{Certificates: []tls.Certificate{cert}} }, secure)
	data := []byte(strings.Repeat("long ", 10_000))
	if _, err := r.client.Publish(authorized(t), &apipb.PublishRequest{Channel: "news", Data: data}, grpc.UseCompressor(gzip.Name)); err != nil {
		t.Fatal(err)
	}
	if notes := r.fake.taken(); len(notes) != 1 || !strings.Contains(notes[0], string(data)) {
		t.Errorf("asked %.100q", notes)
	}
}

func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"shoal.test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}, roots
}

func TestLabelsAreThoseOfTheHTTPAPI(t *testing.T) {
	for name, want := range map[string]string{"Publish": "publish", "PresenceStats": "presence_stats", "HistoryRemove": "history_remove", "RPC": "rpc", "/x.Y/Info": "info"} {
		if got := labelOf(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
