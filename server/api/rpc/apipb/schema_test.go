package apipb

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// ownNumber is the first field number of what Shoal adds.
const ownNumber = 1000

// TestTheSchemaIsThePublishedOne compares every field number, name and type, and every
// method, with those of Centrifugo v6.9.1, written down in testdata/published.txt. A line
// with a minus is published and not served: its number and name must stay unused here.
func TestTheSchemaIsThePublishedOne(t *testing.T) {
	file := File_shoal_api_proto
	if file.Package() != "centrifugal.centrifugo.api" {
		t.Errorf("package %q: existing clients call another service", file.Package())
	}
	own := map[string]bool{} // what there is here
	for i := range file.Messages().Len() {
		fields(file.Messages().Get(i), func(line string, number protoreflect.FieldNumber) {
			if number < ownNumber {
				own[line] = true
			}
		})
	}
	service := file.Services().ByName("CentrifugoApi")
	for i := range service.Methods().Len() {
		m := service.Methods().Get(i)
		own[fmt.Sprintf("rpc %s %s %s", m.Name(), m.Input().Name(), m.Output().Name())] = true
		if m.IsStreamingClient() || m.IsStreamingServer() {
			t.Errorf("%s streams", m.Name())
		}
	}
	published := read(t, "testdata/published.txt")
	for line := range own {
		if _, ok := published[line]; !ok {
			t.Errorf("%q is here and not published under this number, name and type; additions take numbers from %d on", line, ownNumber)
		}
	}
	for line, served := range published {
		if served && !own[line] {
			t.Errorf("%q is published and not here", line)
		} else if !served && own[line] {
			t.Errorf("%q is here: take its minus away", line)
		}
	}
	if len(published) < 150 {
		t.Errorf("%d lines in the list: it was not read whole", len(published))
	}
}

// fields calls f for every field of a message and of those inside it: "PublishRequest.data 2 bytes".
func fields(m protoreflect.MessageDescriptor, f func(line string, number protoreflect.FieldNumber)) {
	name := strings.TrimPrefix(string(m.FullName()), "centrifugal.centrifugo.api.")
	for i := range m.Fields().Len() {
		d := m.Fields().Get(i)
		typ := d.Kind().String()
		if d.Kind() == protoreflect.MessageKind {
			typ = strings.TrimPrefix(string(d.Message().FullName()), "centrifugal.centrifugo.api.")
		}
		if d.Cardinality() == protoreflect.Repeated {
			typ = "repeated " + typ
		}
		f(fmt.Sprintf("%s.%s %d %s", name, d.Name(), d.Number(), typ), d.Number())
	}
	for i := range m.Messages().Len() {
		fields(m.Messages().Get(i), f)
	}
}

func read(t *testing.T, name string) map[string]bool {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := map[string]bool{}
	for s := bufio.NewScanner(f); s.Scan(); {
		line := s.Text()
		if line == "" || line[0] == '#' {
			continue
		}
		rest, unserved := strings.CutPrefix(line, "- ")
		lines[rest] = !unserved
	}
	return lines
}
