package api

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"

	"shoal/pool/worker"
	"shoal/server/channel"
)

func TestBatchAnswersEveryCommandInOrder(t *testing.T) {
	body := `{"commands":[
		{"publish":{"channel":"c","data":{"a":1}}}, {"publish":{"data":1}}, {"publish":{"channel":"bad","data":1}},
		{"broadcast":{"channels":["x"],"data":2}}, {"subscribe":{"user":"u","channel":"c"}}, {"unsubscribe":{"user":"u"}}, {"disconnect":{"user":"u"}},
		{"presence_stats":{"channel":"c"}}, {"history_remove":{"channel":"c"}}, {"rpc":{"method":"m"}}, {"refresh":{"user":"u"}},
		{"channels":{}}, {"connections":{}}, null, {}, {"batch":{"commands":[]}}, {"launch":{}}, {"map_publish":{"channel":"c"}},
		{"publish":{"channel":"c","data":1},"history":{"channel":"c"}}, {"publish":null}, {"PUBLISH":{"channel":"folded","data":1}}, {"info":{},"extra":1}]%s}`
	want := []string{
		`{"publish":{"offset":7}}`, `{"error":{"code":107,"message":"bad request: channel is required"}}`, `{"error":{"code":102,"message":"unknown channel"}}`,
		`{"broadcast":{"responses":[{"result":{"offset":7}}]}}`, `{"subscribe":{}}`, `{"unsubscribe":{}}`, `{"disconnect":{}}`,
		`{"presence_stats":{"num_clients":3,"num_users":2}}`, `{"history_remove":{}}`, `{"rpc":{}}`, `{"refresh":{}}`,
		`{"channels":{"channels":{"a":{"num_clients":2}}}}`, `{"connections":{"connections":{}}}`,
		`{"error":{"code":107,"message":"bad request: a command is null"}}`, `{"error":{"code":104,"message":"not found: a command without a method"}}`,
		`{"error":{"code":104,"message":"not found: a batch inside a batch"}}`, `{"error":{"code":104,"message":"not found: there is no method launch"}}`,
		`{"error":{"code":108,"message":"not available: map_publish: there are no map and shared-poll channels here"}}`,
		`{"error":{"code":107,"message":"bad request: a command with 2 methods, publish being one: put each into a command of its own"}}`,
		`{"error":{"code":104,"message":"not found: a command without a method"}}`, `{"publish":{"offset":7}}`,
		`{"info":{"nodes":[{"uid":"u","name":"n","version":"","num_clients":3,"num_users":0,"num_subs":0,"num_channels":0,"uptime":0}]}}`,
	}
	pool := worker.New(worker.Config{Workers: 4})
	defer func() { _ = pool.Close(context.Background()) }()
	for name, c := range map[string]struct {
		end  string
		pool *worker.Pool
	}{"in order": {``, pool}, "parallel": {`,"parallel":true`, pool}, "parallel without workers": {`,"parallel":true`, nil}} {
		r := newRig(t, func(cfg *Config) { cfg.Workers = c.pool })
		r.s.pos = channel.Position{Offset: 7}
		r.s.publish = func(string) {}
		r.s.err = nil
		service := failing{r.s}
		r.h.calls.Service = service
		w := r.post("/batch", fmt.Sprintf(body, c.end), "X-Centrifugo-Error-Mode", "transport")
		var answer struct{ Replies []json.RawMessage }
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != 200 || len(answer.Replies) != len(want) {
			t.Fatalf("%s: answered %d %s", name, w.Code, w.Body)
		}
		for i := range want {
			if string(answer.Replies[i]) != want[i] {
				t.Errorf("%s: reply %d is\n%s, want\n%s", name, i, answer.Replies[i], want[i])
			}
		}
		if counted := strings.Join(r.counted, " "); !strings.HasSuffix(counted, "batch:0") || !strings.Contains(counted, "publish:102") ||
			!strings.Contains(counted, "unknown:104") || strings.Contains(counted, "launch") || len(r.counted) != len(want)+1 {
			t.Errorf("%s: counted %s", name, counted)
		}
	}
}

// failing answers 102 for bad channels only.
type failing struct{ *fake }

func (f failing) Publish(ctx context.Context, name string, pub *channel.Publication, o PublishOptions) (channel.Position, *channel.Error) {
	if strings.HasPrefix(name, "bad") {
		return channel.Position{}, channel.ErrUnknownChannel.Err()
	}
	return f.fake.Publish(ctx, name, pub, o)
}

func TestBatchesOfNothing(t *testing.T) {
	r := newRig(t, nil)
	for _, body := range []string{`{}`, `{"commands":[]}`, `null`, `{"commands":null,"parallel":true}`, `{"commands":[],"parallel":true}`} {
		if w := r.post("/batch", body); w.Code != 200 || w.Body.String() != `{}` {
			t.Errorf("%s answered %d %s", body, w.Code, w.Body)
		}
	}
}

func TestBatchKeepsItsOrder(t *testing.T) {
	r := newRig(t, func(c *Config) { c.BatchMax = 500 })
	var body, want strings.Builder
	body.WriteString(`{"commands":[`)
	for i := range 500 {
		if i > 0 {
			body.WriteByte(',')
			want.WriteByte('\n')
		}
		if i%7 == 3 {
			fmt.Fprintf(&body, `{"history_remove":{"channel":"c%d"}}`, i)
			fmt.Fprintf(&want, "history_remove c%d", i)
			continue
		}
		fmt.Fprintf(&body, `{"publish":{"channel":"c%d","data":%d}}`, i%3, i)
		fmt.Fprintf(&want, "publish c%d %d", i%3, i)
	}
	body.WriteString(`]}`)
	if w := r.post("/batch", body.String()); w.Code != 200 || r.s.transcript() != want.String() {
		t.Errorf("answered %d, or the order changed", w.Code)
	}
}

// TestParallelCallsRunSideBySide: as many as there are workers, and the caller, wait for each other.
func TestParallelCallsRunSideBySide(t *testing.T) {
	pool := worker.New(worker.Config{Workers: 7})
	defer func() { _ = pool.Close(context.Background()) }()
	bodies := map[string]string{
		"/batch":     `{"parallel":true,"commands":[` + strings.Repeat(`{"publish":{"channel":"c","data":1}},`, 7) + `{"publish":{"channel":"c","data":1}}]}`,
		"/broadcast": `{"channels":["a","b","c","d","e","f","g","h"],"data":1}`,
	}
	for path, body := range bodies {
		r := newRig(t, func(c *Config) { c.Workers, c.Spread = pool, true })
		var here atomic.Int32
		all := make(chan struct{})
		r.s.publish = func(string) {
			if here.Add(1) == 8 {
				close(all)
			}
			<-all // for ever, if they did not run side by side
		}
		if w := r.post(path, body); w.Code != 200 || strings.Contains(w.Body.String(), "error") {
			t.Errorf("%s answered %d %s", path, w.Code, w.Body)
		}
	}
}

// TestParallelBatchNeedsNoFreeWorker: the caller does the work itself when all are busy, and does not wait for helpers that never start.
func TestParallelBatchNeedsNoFreeWorker(t *testing.T) {
	pool := worker.New(worker.Config{Workers: 1})
	release := make(chan struct{})
	if err := pool.Submit(context.Background(), waiting(release)); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, func(c *Config) { c.Workers = pool })
	body := `{"parallel":true,"commands":[` + strings.Repeat(`{"publish":{"channel":"c","data":1}},`, 99) + `{"info":{}}]}`
	if w := r.post("/batch", body); w.Code != 200 || strings.Count(w.Body.String(), `"publish"`) != 99 {
		t.Errorf("answered %d %s", w.Code, w.Body)
	}
	close(release)
	if err := pool.Close(context.Background()); err != nil {
		t.Error(err)
	}
	if w := r.post("/batch", body); w.Code != 200 || strings.Count(w.Body.String(), `"publish"`) != 99 {
		t.Errorf("with the pool closed: answered %d %s", w.Code, w.Body)
	}
}

type waiting chan struct{}

func (w waiting) Run(context.Context) { <-w }

// TestPanicOnAWorkerFailsItsCommandOnly: the others are done, the caller does not hang, and the panic is reported by the pool.
func TestPanicOnAWorkerFailsItsCommandOnly(t *testing.T) {
	var reported atomic.Int32
	pool := worker.New(worker.Config{Workers: 8, OnPanic: func(any, []byte) { reported.Add(1) }})
	r := newRig(t, func(c *Config) { c.Workers = pool })
	caller := make(chan struct{})
	r.s.publish = func(name string) {
		switch name {
		case "bug":
			close(caller)
			panic("a bug")
		case "first": // the caller or a helper is held until a helper has met the bug
			<-caller
		}
	}
	body := `{"parallel":true,"commands":[{"publish":{"channel":"first","data":1}},{"publish":{"channel":"bug","data":1}},{"publish":{"channel":"c","data":1}}]}`
	var answer string
	func() {
		defer func() {
			if recover() != nil {
				answer = "the caller met the bug itself" // net/http would close the conn
			}
		}()
		answer = r.post("/batch", body).Body.String()
	}()
	_ = pool.Close(context.Background()) // the caller may have its answer before the pool reports
	if answer == "the caller met the bug itself" {
		return
	}
	if !strings.Contains(answer, `{"error":{"code":100,"message":"internal server error"}},{"publish":{}}]`) || reported.Load() != 1 {
		t.Errorf("answered %s, %d panics reported", answer, reported.Load())
	}
}

// TestCommandAndReplyHaveTheSameMethods guards the lists that must agree: the fields, Method, Do and the method table.
func TestCommandAndReplyHaveTheSameMethods(t *testing.T) {
	table := methods()
	c := &Calls{Service: &fake{}, JSON: true}
	command := reflect.TypeFor[Command]()
	for i := range command.NumField() {
		field := command.Field(i)
		name := field.Tag.Get("json")
		if name == "-" {
			continue
		}
		reply, ok := reflect.TypeFor[Reply]().FieldByName(field.Name)
		if !ok || reply.Tag.Get("json") != name+",omitempty" || table[name].request != field.Type.Elem() || table[name].result != reply.Type.Elem() {
			t.Errorf("%s: reply %v, table %v", name, reply, table[name])
		}
		cmd := &Command{}
		request := reflect.New(field.Type.Elem())
		for _, key := range []string{"User", "Channel", "Method"} {
			if f := request.Elem().FieldByName(key); f.IsValid() {
				f.SetString("x")
			}
		}
		if f := request.Elem().FieldByName("Channels"); f.IsValid() {
			f.Set(reflect.ValueOf([]string{"x"}))
		}
		if f := request.Elem().FieldByName("Data"); f.IsValid() {
			f.SetBytes([]byte("1"))
		}
		reflect.ValueOf(cmd).Elem().Field(i).Set(request)
		if cmd.Method() != name {
			t.Errorf("%s is called %s", name, cmd.Method())
		}
		if r := c.Do(context.Background(), cmd); r.Error != nil || reflect.ValueOf(r).FieldByName(field.Name).IsNil() {
			t.Errorf("%s answered %+v", name, r)
		}
	}
	for name := range table {
		if name != "batch" && strings.TrimPrefix(name, "map_") == name && name != "shared_poll_publish" && !strings.Contains(commandNames(), " "+name+" ") {
			t.Errorf("%s cannot be in a batch", name)
		}
	}
}

func commandNames() string {
	names := " "
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Command]()) {
		names += f.Tag.Get("json") + " "
	}
	return names
}
