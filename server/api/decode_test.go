package api

import (
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
)

// handSeeds are bodies around everything the hand looks at.
var handSeeds = []string{
	``, `{}`, `null`, ` { } `, `{"channel":"c","data":{"a":1}}`, `{"channel":"c","data": [1, 2] ,"tags":{"a":"b","c":"d"}}`,
	`{"channel":"c","channel":"d","data":1}`, `{"CHANNEL":"c","data":1}`, `{"channel":"c","Channel":"d"}`, `{"ch\u0061nnel":"c"}`, `{"channel":null,"data":null}`,
	`{"channel":"\u00e9\ud83d\ude00\ud800\n"}`, "{\"channel\":\"\xff\"}", "{\"data\":\"\xff\"}", `{"channel":1}`, `{"data":1,}`, `{"data"}`, `{"data":}`, `{,}`,
	`{"b64data":"aGk=","skip_history":true,"delta":false,"idempotency_key":"k","version":18446744073709551615,"version_epoch":"e","exclude_client":"x"}`,
	`{"version":9999999999999999999}`, `{"version":01}`, `{"version":-0}`, `{"version":1e2}`, `{"version":0}`, `{"version": 5 }`, `{"version":}`, `{"version":5x}`,
	`{"skip_history":tru}`, `{"skip_history":1}`, `{"skip_history":null}`, `{"tags":{}}`, `{"tags":null}`, `{"tags":{"a":null}}`, `{"tags":{"a":"1","a":"2"}}`, `{"tags":{"a":"1"},"tags":{"b":"2"}}`,
	`{"channels":["a","b"],"data":1}`, `{"channels":[]}`, `{"channels":null}`, `{"channels":["a",null]}`, `{"channels":["a",]}`, `{"channels":["a"],"channels":[null]}`, `{"channels":[1]}`,
	`{"commands":[{"publish":{"channel":"a","data":1}},{"publish":{"channel":"a","data":2}}]}`, `{"commands":[{"publish":{}}],"parallel":true}`, `{"commands":null}`,
	`{"commands":[null,{},{"publish":null},{"publish":{},"history":{}},{"history":{"limit":3}},{"x":1},{"Publish":{"channel":"c"}},{"publish":{"data":1},"publish":{"channel":"c"}}]}`,
	`{"commands":[{"publish":{"channel":"a"}}],"commands":[{"publish":{"data":1}}]}`, `{"commands":[{"history":{"limit":"x"}}]}`, `{"commands":[{"batch":{"commands":[{}]}}]}`,
	`{"commands":[{"publish":{"channel":"c","data":1}`, `{"commands":[{"publish":{"channel":"c","data":1}}`, `{"commands":[]}x`, `{"data":` + strings.Repeat("[", 1100) + strings.Repeat("]", 1100) + `}`,
	`{"data":1}{}`, `{"data":1} x`, `[]`, `"x"`, `{"data":1:2}`, `{"channel":"c" "data":1}`, "{\"channel\":\"c\",\r\n\t\"data\" : \"x\" }\n", `{"unknown":[],"channel":"c","data":1}`,
}

// naive is what the hand must agree with.
func naive[T any](body []byte) (T, error) {
	var r T
	err := json.Unmarshal(body, &r)
	return r, err
}

func compare[T any](t *testing.T, kind string, body []byte, got T, err error) {
	t.Helper()
	want, wantErr := naive[T](body)
	if (err == nil) != (wantErr == nil) || err == nil && !reflect.DeepEqual(got, want) {
		t.Errorf("%s %q: got %+v, %v; encoding/json has %+v, %v", kind, body, got, err, want, wantErr)
	}
}

// checkHand decodes a body as everything, by the hand and by encoding/json.
func checkHand(t *testing.T, body []byte) {
	t.Helper()
	kept := string(body)
	p, err := decodePublish(body)
	compare(t, "publish", body, p, err)
	b, err := decodeBroadcast(body)
	compare(t, "broadcast", body, b, err)
	batch, err := decodeBatch(body)
	r := BatchRequest{Parallel: batch.parallel}
	if batch.commands != nil {
		r.Commands = make([]*Command, len(batch.commands))
	}
	for i, cmd := range batch.commands {
		r.Commands[i] = cmd.command()
	}
	want, wantErr := naive[BatchRequest](body)
	if len(want.Commands) == 0 { // none and null are the same to a batch
		want.Commands, r.Commands = nil, nil
	}
	if (err == nil) != (wantErr == nil) || err == nil && !reflect.DeepEqual(r, want) {
		t.Errorf("batch %q: got %+v, %v; encoding/json has %+v, %v", body, r, err, want, wantErr)
	}
	if kept != string(body) {
		t.Errorf("the body was changed to %q", body)
	}
}

func TestHandAgreesWithEncodingJSON(t *testing.T) {
	for _, seed := range handSeeds {
		checkHand(t, []byte(seed))
		for i := range min(len(seed), 200) { // cut and damaged everywhere
			checkHand(t, []byte(seed[:i]))
			for _, c := range []byte(`"{}[],:\0 nt` + "\x00\xff") {
				damaged := []byte(seed)
				damaged[i] = c
				checkHand(t, damaged)
			}
		}
	}
}

func FuzzHand(f *testing.F) {
	for _, seed := range handSeeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(checkHand)
}

// TestHandTakesTheOrdinary: these must not need encoding/json.
func TestHandTakesTheOrdinary(t *testing.T) {
	for _, body := range []string{
		`{"channel":"c","data":{"a":1}}`, `{"channel": "c\n", "data": null, "tags": {"a": "b"}, "version": 3, "delta": true}` + "\n", `{}`,
		`{"b64data":"aGk=","skip_history":true,"idempotency_key":"k","version_epoch":"e","exclude_client":"x"}`,
	} {
		h := hand{b: []byte(body)}
		if _, ok := h.message(false); !ok || !h.end() {
			t.Errorf("%s was left to encoding/json", body)
		}
	}
	h := hand{b: []byte(`{"channels":["a","b"],"data":1}`)}
	if _, ok := h.message(true); !ok {
		t.Error("a broadcast was left to encoding/json")
	}
	h = hand{b: []byte(`{"commands":[{"publish":{"channel":"a","data":1}},{"history":{"channel":"a"}},null],"parallel":false}`)}
	b, ok := h.batch()
	if !ok || len(b.commands) != 3 || b.commands[0].publish == nil || b.commands[1].other.History == nil || b.commands[2].command() != nil {
		t.Errorf("a batch was left to encoding/json, or is %+v", b)
	}
}

func TestDecodingAllocatesWhatIsKept(t *testing.T) {
	one := []byte(`{"channel":"news","data":{"title":"Hello"}}`)
	if got := testing.AllocsPerRun(100, func() { _, _ = decodePublish(one) }); got > 2 { // name and data
		t.Errorf("%v allocations for a publication, want at most 2", got)
	}
	body := batchBody(1000, "news")
	if got := testing.AllocsPerRun(10, func() { _, _ = decodeBatch(body) }); got > 1100 { // data; a chunk for 32 requests
		t.Errorf("%v allocations for a batch of 1,000, want at most 1,100", got)
	}
}

func batchBody(n int, name string) []byte {
	var b strings.Builder
	b.WriteString(`{"commands":[`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`{"publish":{"channel":"` + name + `","data":{"title":"Hello","n":12345}}}`)
	}
	b.WriteString(`]}`)
	return []byte(b.String())
}

// TestAppendedAnswersAreThoseOfEncodingJSON but for escapes that mean the same.
func TestAppendedAnswersAreThoseOfEncodingJSON(t *testing.T) {
	for _, r := range []PublishResult{{}, {Offset: 1}, {Epoch: "e"}, {Offset: math.MaxUint64, Epoch: "<\"\\\n\u2028é\xff>"}} {
		want, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if got := appendPublishResult(nil, r); string(got) != string(want) {
			t.Errorf("got %s, want %s", got, want)
		}
		e := &Error{Code: 107, Message: "bad request: " + r.Epoch}
		for _, b := range []BroadcastResult{{Responses: []PublishResponse{{Result: &r}}}, {Responses: []PublishResponse{{Error: e}, {Result: &r}}}} {
			if want, err = json.Marshal(b); err != nil {
				t.Fatal(err)
			}
			if got := appendBroadcastResult(nil, &b); string(got) != string(want) {
				t.Errorf("got %s, want %s", got, want)
			}
		}
		if want, err = json.Marshal(e); err != nil {
			t.Fatal(err)
		}
		if got := appendError(nil, e.Code, e.Message); string(got) != string(want) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
