package config

import (
	"reflect"
	"slices"
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
	Type    string // "string", "int", "bool", "duration", "list", "map" or "sections" (a list of them)
	Default string // as it would be written; empty when the default is empty
	Doc     string
	Secret  bool // the value is never shown
}

// secrecy says what of a value may be shown.
type secrecy uint8

const (
	visible       secrecy = iota
	masksPassword         // all but the password of a URL (tag secret:"url")
	hidden                // nothing (tag secret:"true")
)

// field is a leaf of Config: its description and the way to it from a struct value.
type field struct {
	key    string
	doc    string
	secret secrecy
	index  []int // for reflect.Value.FieldByIndex
	typ    reflect.Type
	elem   *schema // of one element, when the value is a list of sections; else nil
}

// schema is the set of leaves below one struct type.
type schema struct {
	fields []field        // in declaration order
	byKey  map[string]int // index in fields
	byEnv  map[string]int
	heads  map[string]bool // every section name, "client" and "client.token"
	like   string          // the section that has the same options, for an element of a list; "" for none
}

// configSchema is computed once; the struct tags cannot change.
var configSchema = sync.OnceValue(func() *schema { return newSchema(reflect.TypeFor[Config](), "") })

func newSchema(t reflect.Type, like string) *schema {
	s := &schema{byKey: map[string]int{}, byEnv: map[string]int{}, heads: map[string]bool{}, like: like}
	s.add(t, "", nil, nil)
	for i, f := range s.fields {
		s.byKey[f.key] = i
		s.byEnv[envName(f.key)] = i
		for head := parentKey(f.key); head != ""; head = parentKey(head) {
			s.heads[head] = true
		}
	}
	return s
}

// add appends the leaves of struct type t, whose own key is prefix and whose index path is index, but for the omitted ones.
//
// The tags are key, the name (empty for a section whose keys stand among those of the one around it), doc, secret, like (on
// a list of sections: which section has the same options) and omit (on a section: keys it does not have).
func (s *schema) add(t reflect.Type, prefix string, index []int, omit []string) {
	for i := range t.NumField() {
		sf := t.Field(i)
		name, ok := sf.Tag.Lookup("key")
		if !ok {
			panic("config: field " + t.Name() + "." + sf.Name + " has no key tag: add key, and doc unless it is a section")
		}
		if slices.Contains(omit, name) {
			continue
		}
		path := append(append([]int(nil), index...), i)
		key := joinKey(prefix, name)
		if sf.Type.Kind() == reflect.Struct {
			s.add(sf.Type, key, path, strings.Fields(sf.Tag.Get("omit")))
			continue
		}
		f := field{key: key, doc: sf.Tag.Get("doc"), index: path, typ: sf.Type}
		switch sf.Tag.Get("secret") {
		case "true":
			f.secret = hidden
		case "url":
			f.secret = masksPassword
		}
		if isSections(sf.Type) {
			f.elem = newSchema(sf.Type.Elem(), sf.Tag.Get("like"))
		}
		s.fields = append(s.fields, f)
	}
}

func isSections(t reflect.Type) bool {
	return t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct
}

func (s *schema) find(key string) (field, bool) {
	i, ok := s.byKey[key]
	if !ok {
		return field{}, false
	}
	return s.fields[i], true
}

// place finds the leaf a key belongs to: the leaf of that name, or the map whose entry rest names.
func (s *schema) place(key string) (f field, rest string, ok bool) {
	if f, ok = s.find(key); ok {
		return f, "", true
	}
	for head := parentKey(key); head != ""; head = parentKey(head) {
		if f, ok = s.find(head); ok && f.typ.Kind() == reflect.Map {
			return f, key[len(head)+1:], true
		}
	}
	return field{}, "", false
}

// holdsSecret says whether a value below may be one.
func (s *schema) holdsSecret() bool {
	return slices.ContainsFunc(s.fields, func(f field) bool {
		return f.secret != visible || f.elem != nil && f.elem.holdsSecret()
	})
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
			Name: f.key, Env: envName(f.key), Type: typeName(f.typ), Doc: f.doc, Secret: f.secret == hidden,
			Default: f.format(def.FieldByIndex(f.index)),
		})
	}
	return keys
}

func typeName(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return "duration"
	case isSections(t):
		return "sections"
	case t.Kind() == reflect.Map:
		return "map"
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
