package proxypb

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// TestTheSchemaIsThePublishedOne compares every method and every field's number, name and
// type with what Centrifugo publishes, written down in testdata/published.txt.
func TestTheSchemaIsThePublishedOne(t *testing.T) {
	published := read(t, "testdata/published.txt")
	own := schema(File_shoal_proxy_proto)
	for line := range own {
		if !published[line] {
			t.Errorf("%q is here and not published, or marked as not served", line)
		}
	}
	for line, served := range published {
		if served && !own[line] {
			t.Errorf("%q is published and not here", line)
		}
	}
	if len(published) < 140 {
		t.Errorf("%d lines in the list: it was not read whole", len(published))
	}
	if got := CentrifugoProxy_Connect_FullMethodName; got != "/centrifugal.centrifugo.proxy.CentrifugoProxy/Connect" {
		t.Errorf("path %q: existing backends do not serve it", got)
	}
}

// schema writes a file in the way of the list.
func schema(file protoreflect.FileDescriptor) map[string]bool {
	own := map[string]bool{}
	methods := file.Services().ByName("CentrifugoProxy").Methods()
	for i := range methods.Len() {
		m := methods.Get(i)
		own[fmt.Sprintf("rpc %s %s %s", m.Name(), m.Input().Name(), m.Output().Name())] = true
	}
	for i := range file.Messages().Len() {
		m := file.Messages().Get(i)
		for j := range m.Fields().Len() {
			f := m.Fields().Get(j)
			own[fmt.Sprintf("%s.%s %d %s", m.Name(), f.Name(), f.Number(), typeOf(f))] = true
		}
	}
	return own
}

func typeOf(f protoreflect.FieldDescriptor) string {
	switch {
	case f.IsMap():
		return "map<" + typeOf(f.MapKey()) + "," + typeOf(f.MapValue()) + ">"
	case f.IsList() && f.Message() == nil:
		return "repeated " + f.Kind().String()
	case f.IsList():
		return "repeated " + string(f.Message().Name())
	case f.Message() != nil:
		return string(f.Message().Name())
	}
	return f.Kind().String()
}

// read gives the lines of the list; true: it is served here.
func read(t *testing.T, name string) map[string]bool {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := map[string]bool{}
	for s := bufio.NewScanner(f); s.Scan(); {
		if line := s.Text(); line != "" && line[0] != '#' {
			rest, unserved := strings.CutPrefix(line, "- ")
			lines[rest] = !unserved
		}
	}
	return lines
}
