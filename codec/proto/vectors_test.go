package proto

import (
	"bytes"
	"encoding/hex"
	"flag"
	"os"
	"strings"
	"testing"

	pb "google.golang.org/protobuf/proto"
)

var rewrite = flag.Bool("rewrite", false, "write the test vectors anew")

type vector struct {
	name string
	json string
	also []string
	wire []byte
}

func readVectors(t testing.TB, path string) []vector {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []vector
	for _, line := range strings.Split(string(text), "\n") {
		kind, rest, _ := strings.Cut(line, " ")
		switch last := len(all) - 1; kind {
		case "==":
			all = append(all, vector{name: rest})
		case "json":
			all[last].json = rest
		case "also":
			all[last].also = append(all[last].also, rest)
		case "wire":
			if all[last].wire, err = hex.DecodeString(rest); err != nil {
				t.Fatalf("%s: %s: %v", path, all[last].name, err)
			}
		}
	}
	return all
}

// rewritten returns the text of the vectors with json and wire as the encoders write them.
func rewritten(t *testing.T, path string, encode func(json string, enc Encoding) []byte) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines, from := strings.Split(string(text), "\n"), ""
	for i, line := range lines {
		switch kind, rest, _ := strings.Cut(line, " "); kind {
		case "json":
			from = rest
			lines[i] = "json " + string(encode(from, JSON))
		case "wire":
			lines[i] = "wire " + hex.EncodeToString(encode(from, Protobuf))
		}
	}
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestCommandVectors(t *testing.T) {
	const path = "testdata/commands.txt"
	encode := func(text string, enc Encoding) []byte {
		b, err := AppendCommand(nil, enc, oneCommand(t, []byte(text), JSON))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if *rewrite {
		rewritten(t, path, encode)
	}
	for _, v := range readVectors(t, path) {
		t.Run(v.name, func(t *testing.T) {
			want := oneCommand(t, []byte(v.json), JSON)
			mustSame(t, "wire", oneCommand(t, v.wire, Protobuf), want)
			for _, also := range v.also {
				mustSame(t, also, oneCommand(t, []byte(also), JSON), want)
			}
			mustEncode(t, v, encode)
			if cmd := pb.Clone(want).(*Command); pb.Equal(cmd, withoutTypes(cmd)) {
				checkCommand(t, cmd)
			}
		})
	}
}

func TestReplyVectors(t *testing.T) {
	const path = "testdata/replies.txt"
	encode := func(text string, enc Encoding) []byte {
		b, err := AppendReply(nil, enc, oneReply(t, []byte(text), JSON))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if *rewrite {
		rewritten(t, path, encode)
	}
	for _, v := range readVectors(t, path) {
		t.Run(v.name, func(t *testing.T) {
			want := oneReply(t, []byte(v.json), JSON)
			mustSame(t, "wire", oneReply(t, v.wire, Protobuf), want)
			mustEncode(t, v, encode)
			all := pb.Clone(want).(*Reply)
			if stockOnly(all.ProtoReflect()); pb.Equal(all, want) {
				checkReply(t, all)
			}
		})
	}
}

func mustEncode(t *testing.T, v vector, encode func(string, Encoding) []byte) {
	t.Helper()
	if got := encode(v.json, JSON); string(got) != v.json {
		t.Errorf("json\n got %s\nwant %s", got, v.json)
	}
	if got := encode(v.json, Protobuf); !bytes.Equal(got, v.wire) {
		t.Errorf("wire\n got %x\nwant %x", got, v.wire)
	}
}
