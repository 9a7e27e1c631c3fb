package hooks

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"testing"

	"google.golang.org/grpc"

	"shoal/server/api/hooks/proxypb"
	"shoal/server/backend"
)

// nowhere is an HTTP backend without a network.
type nowhere struct{ body []byte }

func (n nowhere) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewReader(n.body))}, nil
}

// BenchmarkQuestion is what one question costs: in the hooks alone, and over loopback
// with the backend in the same process.
func BenchmarkQuestion(b *testing.B) {
	answer := []byte(`{"result":{"user":"56","expire_at":1,"info":{"name":"x"},"channels":["a"]}}`)
	w := newWeb(b, nil)
	w.Config.Handler = http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write(answer) })
	g := serve(b, &remote{connect: func(context.Context, *proxypb.ConnectRequest) (*proxypb.ConnectResponse, error) {
		return &proxypb.ConnectResponse{Result: &proxypb.ConnectResult{User: "56"}}, nil
	}}, grpc.NumStreamWorkers(2))
	for _, c := range []struct {
		name string
		e    Endpoint
	}{
		{"alone", Endpoint{URL: "http://x", RoundTripper: nowhere{answer}, BreakerFailures: 20}},
		{"http", Endpoint{URL: w.URL, BreakerFailures: 20}},
		{"grpc", Endpoint{URL: g, BreakerFailures: 20}},
	} {
		b.Run(c.name, func(b *testing.B) {
			r := newRig(b, everywhere(b, c.e))
			q := &backend.ConnectRequest{Client: who(), Data: []byte(`{"token":"x"}`), Name: "js"}
			b.ReportAllocs()
			for b.Loop() {
				if reply, err := r.Connect(context.Background(), q); err != nil || reply.User != "56" {
					b.Fatal(reply, err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N), "µs/question")
		})
	}
}

// FuzzAnswer: whatever a backend says, every event gives a reply that a client can be
// told, or a failure, and never panics.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{
		`{}`, `null`, `{"result":{"user":"1","subs":{"a":null,"b":{"override":{"presence":{}}}}}}`, `{"error":{"code":400}}`,
		`{"disconnect":{"code":4000,"reason":"` + "\u00e4" + `"}}`, `{"result":{"b64data":"x","b64info":"aGk="}}`, `{"result":{"data":[[[[]]]]}}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		r := newRig(t, everywhere(t, Endpoint{URL: "http://x", RoundTripper: nowhere{[]byte(body)}}))
		for event, reply := range askAll(t, r.Hooks, who()) {
			raw := func(p []byte) {
				// Without base64 in the answer what comes out of JSON is JSON.
				if len(p) > 0 && !bytes.Contains([]byte(body), []byte("64")) && !json.Valid(p) {
					t.Errorf("%v: %q is not JSON", event, p)
				}
			}
			switch v := reply.(type) {
			case error:
				kindOf(t, v)
			case *backend.ConnectReply:
				raw(v.Data)
				raw(v.Info)
				if v.Disconnect != nil && (len(v.Disconnect.Reason) > reasonBytesMax || !validDisconnectCode(v.Disconnect.Code)) {
					t.Errorf("%+v", v.Disconnect)
				}
			case *backend.PublishReply:
				raw(v.Data)
			case *backend.RPCReply:
				raw(v.Data)
			}
		}
	})
}
