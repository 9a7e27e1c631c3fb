package config

import (
	"reflect"
	"strings"
	"sync"
	"time"
)

// EnvPrefix begins the name of every environment variable the server reads.
const EnvPrefix = "SHOAL_"

// Key describes one configuration key, for flags, help and documentation.
type Key struct {
	Name    string // as in a file, sections joined by dots: "client.ping_interval"
	Env     string // "SHOAL_CLIENT_PING_INTERVAL"
	Type    string // "string", "int", "bool", "duration", "list" or "namespaces"
	Default string // as it would be written; empty when the default is empty
	Doc     string
	Secret  bool // the value is never shown
}

// field is a leaf of Config: its description and the way to it from a struct value.
type field struct {
	key    string
	doc    string
	secret bool
	index  []int // for reflect.Value.FieldByIndex
	typ    reflect.Type
}

// schema is the set of leaves below one struct type.
type schema struct {
	fields []field        // in declaration order
	byKey  map[string]int // index in fields
	byEnv  map[string]int
	heads  map[string]bool // every section name, "client" and "client.token"
}

// configSchema is computed once; the struct tags cannot change.
var configSchema = sync.OnceValue(func() *schema { return newSchema(reflect.TypeFor[Config]()) })

// namespaceSchema is the schema of one element of channel.namespaces.
var namespaceSchema = sync.OnceValue(func() *schema { return newSchema(reflect.TypeFor[Namespace]()) })

func newSchema(t reflect.Type) *schema {
	s := &schema{byKey: map[string]int{}, byEnv: map[string]int{}, heads: map[string]bool{}}
	s.add(t, "", nil)
	for i, f := range s.fields {
		s.byKey[f.key] = i
		s.byEnv[envName(f.key)] = i
		for head := parentKey(f.key); head != ""; head = parentKey(head) {
			s.heads[head] = true
		}
	}
	return s
}

// add appends the leaves of struct type t, whose own key is prefix and whose index path is index.
func (s *schema) add(t reflect.Type, prefix string, index []int) {
	for i := range t.NumField() {
		sf := t.Field(i)
		name, ok := sf.Tag.Lookup("key")
		if !ok {
			panic("config: field " + t.Name() + "." + sf.Name + " has no key tag: add key, and doc unless it is a section")
		}
		path := append(append([]int(nil), index...), i)
		key := joinKey(prefix, name)
		if sf.Type.Kind() == reflect.Struct {
			s.add(sf.Type, key, path)
			continue
		}
		s.fields = append(s.fields, field{
			key: key, doc: sf.Tag.Get("doc"), secret: sf.Tag.Get("secret") == "true", index: path, typ: sf.Type,
		})
	}
}

func (s *schema) find(key string) (field, bool) {
	i, ok := s.byKey[key]
	if !ok {
		return field{}, false
	}
	return s.fields[i], true
}

// below lists the leaves of a section, of which there is at least one.
func (s *schema) below(section string) []field {
	var list []field
	for _, f := range s.fields {
		if strings.HasPrefix(f.key, section+".") {
			list = append(list, f)
		}
	}
	return list
}

// Keys lists every configuration key in the order of Config's fields, with the defaults of Default.
func Keys() []Key {
	def := reflect.ValueOf(Default())
	s := configSchema()
	keys := make([]Key, 0, len(s.fields))
	for _, f := range s.fields {
		keys = append(keys, Key{
			Name: f.key, Env: envName(f.key), Type: typeName(f.typ), Doc: f.doc, Secret: f.secret,
			Default: formatValue(def.FieldByIndex(f.index)),
		})
	}
	return keys
}

func typeName(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return "duration"
	case t == reflect.TypeFor[[]Namespace]():
		return "namespaces"
	case t.Kind() == reflect.Slice:
		return "list"
	case t.Kind() == reflect.Bool:
		return "bool"
	case t.Kind() == reflect.String:
		return "string"
	default:
		return "int"
	}
}

// envName turns "client.ping_interval" into "SHOAL_CLIENT_PING_INTERVAL".
func envName(key string) string {
	return EnvPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

func joinKey(prefix, name string) string {
	switch {
	case prefix == "":
		return name
	case name == "":
		return prefix
	default:
		return prefix + "." + name
	}
}

// parentKey cuts the last part of a dotted key; "" for a top-level one.
func parentKey(key string) string {
	if i := strings.LastIndexByte(key, '.'); i >= 0 {
		return key[:i]
	}
	return ""
}
