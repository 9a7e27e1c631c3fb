package command

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"shoal/server/config"
)

// keyFlags gives every configuration key a flag of the same name: --client.ping_interval=20s. Kong reads flags from struct
// fields, so the struct is built from the list of keys.
type keyFlags struct {
	keys   []config.Key
	values reflect.Value // struct with a *bool or *string for each key; nil = not given
}

// shortNames are further names for the flags people type most.
func shortNames() map[string]string {
	return map[string]string{
		"http_server.address": `short:"a" aliases:"address"`,
		"http_server.port":    `short:"p" aliases:"port"`,
		"echo.path":           `aliases:"echo"`,
		"log.level":           `aliases:"log-level"`,
		"loop.loops":          `aliases:"loops"`,
		"dev":                 ``,
		"client.insecure":     ``,
	}
}

// define builds the struct and returns a pointer to it, for kong to fill in.
func (k *keyFlags) define() any {
	k.keys = config.Keys()
	short := shortNames()
	fields := make([]reflect.StructField, len(k.keys))
	for i, key := range k.keys {
		tag := fmt.Sprintf(`name:%q help:%q`, key.Name, strings.ReplaceAll(key.Doc, "${", "$${"))
		extra, common := short[key.Name]
		if common {
			tag += " " + extra
		} else {
			tag += ` hidden:""`
		}
		typ := reflect.TypeFor[*string]()
		if key.Type == "bool" {
			typ = reflect.TypeFor[*bool]()
			tag += ` negatable:""`
		} else if key.Default != "" {
			tag += ` placeholder:` + strconv.Quote(key.Default)
		} else {
			tag += ` placeholder:` + strconv.Quote(key.Type)
		}
		fields[i] = reflect.StructField{Name: "Key" + strconv.Itoa(i), Type: typ, Tag: reflect.StructTag(tag)}
	}
	pointer := reflect.New(reflect.StructOf(fields))
	k.values = pointer.Elem()
	return pointer.Interface()
}

// given lists the flags a person gave, as config.LoadOptions takes them.
func (k *keyFlags) given() map[string]any {
	flags := map[string]any{}
	for i, key := range k.keys {
		if v := k.values.Field(i); !v.IsNil() {
			flags[key.Name] = v.Elem().Interface()
		}
	}
	return flags
}
