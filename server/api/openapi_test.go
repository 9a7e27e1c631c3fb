package api

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/knadh/koanf/parsers/yaml"
)

// document is the OpenAPI document, and which of its schemas a test has come by.
type document struct {
	t       *testing.T
	schemas map[string]any
	seen    map[string]bool
}

func parsed(t *testing.T) (root map[string]any, d *document) {
	t.Helper()
	root, err := yaml.Parser().Unmarshal(openAPI)
	if err != nil {
		t.Fatal(err)
	}
	return root, &document{t: t, schemas: at(root, "components", "schemas"), seen: map[string]bool{}}
}

// at walks down maps; nil when there is none.
func at(m map[string]any, path ...string) map[string]any {
	for _, key := range path {
		m, _ = m[key].(map[string]any)
	}
	return m
}

// resolve follows a reference, by itself or in an allOf.
func (d *document) resolve(schema map[string]any) map[string]any {
	if all, ok := schema["allOf"].([]any); ok && len(all) == 1 {
		schema = all[0].(map[string]any)
	}
	ref, ok := schema["$ref"].(string)
	if !ok {
		return schema
	}
	name := strings.TrimPrefix(ref, "#/components/schemas/")
	d.seen[name] = true
	found := at(d.schemas, name)
	if found == nil {
		d.t.Fatalf("there is no schema %s", ref)
	}
	return found
}

// compare checks that a schema describes a Go type, all the way down.
func (d *document) compare(where string, schema map[string]any, typ reflect.Type) {
	schema = d.resolve(schema)
	if typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	if typ == reflect.TypeFor[json.RawMessage]() {
		if schema["type"] != nil {
			d.t.Errorf("%s takes any JSON, described as %v", where, schema)
		}
		return
	}
	want := map[reflect.Kind]string{
		reflect.String: "string", reflect.Bool: "boolean", reflect.Int32: "integer", reflect.Int64: "integer", reflect.Int: "integer",
		reflect.Uint32: "integer", reflect.Uint64: "integer", reflect.Float64: "number", reflect.Slice: "array", reflect.Map: "object", reflect.Struct: "object",
	}[typ.Kind()]
	if schema["type"] != want || want == "" {
		d.t.Errorf("%s is a %v, described as %v", where, typ, schema["type"])
		return
	}
	switch typ.Kind() {
	case reflect.Int32, reflect.Uint32, reflect.Uint64, reflect.Int64:
		if schema["format"] != typ.Kind().String() {
			d.t.Errorf("%s is a %v, described as %v", where, typ, schema["format"])
		}
	case reflect.Slice:
		d.compare(where+"[]", at(schema, "items"), typ.Elem())
	case reflect.Map:
		d.compare(where+"{}", at(schema, "additionalProperties"), typ.Elem())
	case reflect.Struct:
		d.compareFields(where, schema, typ)
	}
}

func (d *document) compareFields(where string, schema map[string]any, typ reflect.Type) {
	properties := at(schema, "properties")
	described := slices.Sorted(maps.Keys(properties))
	var fields []string
	for _, field := range reflect.VisibleFields(typ) {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "-" {
			continue
		}
		fields = append(fields, name)
		if at(properties, name) != nil {
			d.compare(where+"."+name, at(properties, name), field.Type)
		}
	}
	slices.Sort(fields)
	if !slices.Equal(fields, described) {
		d.t.Errorf("%s has the fields %v, described are %v", where, fields, described)
	}
	required, _ := schema["required"].([]any)
	for _, name := range required {
		if !slices.Contains(fields, name.(string)) {
			d.t.Errorf("%s: %v is required and not a field", where, name)
		}
	}
}

func TestOpenAPIDescribesEveryMethodWithItsFields(t *testing.T) {
	root, d := parsed(t)
	paths := at(root, "paths")
	for name, m := range methods() {
		if slices.Contains(absent[:], name) {
			if about, _ := at(root, "info")["description"].(string); !strings.Contains(about, "`"+name+"`") || at(paths, "/"+name) != nil {
				t.Errorf("%s must be among those that are not there", name)
			}
			continue
		}
		post := at(paths, "/"+name, "post")
		if post == nil || post["operationId"] != name || post["summary"] == "" {
			t.Errorf("%s is not described", name)
			continue
		}
		d.compare(name, at(post, "requestBody", "content", "application/json", "schema"), m.request)
		response := d.resolve(at(post, "responses", "200", "content", "application/json", "schema"))
		d.compare(name+" error", at(response, "properties", "error"), reflect.TypeFor[Error]())
		if m.wrapped {
			d.compare(name+" result", at(response, "properties", "result"), m.result)
		} else {
			result := map[string]any{"type": "object", "properties": maps.Clone(at(response, "properties"))}
			delete(result["properties"].(map[string]any), "error")
			d.compare(name+" result", result, m.result)
		}
	}
	for path := range paths {
		if _, ok := methods()[strings.TrimPrefix(path, "/")]; !ok && path != "/" {
			t.Errorf("%s is described and not there", path)
		}
	}
}

func TestOpenAPIReferencesLeadSomewhere(t *testing.T) {
	root, d := parsed(t)
	used := map[string]bool{}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok {
				used[ref] = true
				if at(root, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...) == nil {
					t.Errorf("%s leads nowhere", ref)
				}
			}
			for _, inner := range v {
				walk(inner)
			}
		case []any:
			for _, inner := range v {
				walk(inner)
			}
		}
	}
	walk(root)
	for name := range d.schemas {
		if !used["#/components/schemas/"+name] {
			t.Errorf("nothing uses the schema %s", name)
		}
	}
}

// TestOpenAPIExamplesAreTrue sends the examples of requests, and decodes those of answers strictly.
func TestOpenAPIExamplesAreTrue(t *testing.T) {
	root, _ := parsed(t)
	for path, m := range methods() {
		post := at(root, "paths", "/"+path, "post")
		if post == nil {
			continue
		}
		r := newRig(t, nil)
		request, err := json.Marshal(at(post, "requestBody", "content", "application/json")["example"])
		if err != nil {
			t.Fatal(err)
		}
		if w := r.post("/"+path, string(request)); w.Code != 200 || strings.Contains(w.Body.String(), `"error"`) {
			t.Errorf("%s with %s: answered %d %s", path, request, w.Code, w.Body)
		}
		example := at(post, "responses", "200", "content", "application/json")["example"].(map[string]any)
		if m.wrapped {
			example = at(example, "result")
		}
		answer, err := json.Marshal(example)
		if err != nil {
			t.Fatal(err)
		}
		dec := json.NewDecoder(strings.NewReader(string(answer)))
		dec.DisallowUnknownFields()
		into := reflect.New(m.result).Interface()
		if err := dec.Decode(into); err != nil {
			t.Errorf("%s: the example %s is no %v: %v", path, answer, m.result, err)
		}
	}
}

func TestOpenAPIIsServed(t *testing.T) {
	for method, want := range map[string]int{http.MethodGet: 200, http.MethodHead: 200, http.MethodPost: 405} {
		w := httptest.NewRecorder()
		OpenAPI().ServeHTTP(w, httptest.NewRequest(method, "/openapi.yaml", nil))
		if w.Code != want || (method == http.MethodGet) != (w.Body.Len() == len(openAPI)) {
			t.Errorf("%s answered %d with %d bytes", method, w.Code, w.Body.Len())
		}
	}
}
