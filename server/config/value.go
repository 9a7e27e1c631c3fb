package config

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// ValueError is one wrong value: which key, what was given, why it cannot be, and what to change.
type ValueError struct {
	Key    string
	Value  string // as given; "***" for a secret
	Why    string
	Change string
}

// Error gives the one line a person reads: `client.pong_timeout = "30s": why; what to change`.
func (e *ValueError) Error() string {
	return fmt.Sprintf("%s = %q: %s; %s", e.Key, e.Value, e.Why, e.Change)
}

const masked = "***"

// setValue parses raw, as a parser or the environment gave it, into dst. It fails with a *ValueError.
func setValue(f field, raw any, dst reflect.Value) error {
	if text, _ := raw.(string); f.secret == hidden && text == masked || f.secret == masksPassword && strings.Contains(text, ":"+masked+"@") {
		return f.masked()
	}
	var err error
	switch p := dst.Addr().Interface().(type) {
	case *time.Duration:
		*p, err = asDuration(f, raw)
	case *[]string:
		*p, err = asList(f, raw)
	case *string:
		*p, err = asString(f, raw)
	case *bool:
		*p, err = asBool(f, raw)
	case *int:
		var n int64
		n, err = asInt(f, raw)
		*p = int(n)
	case *int64:
		*p, err = asInt(f, raw)
	default:
		panic("config: no parser for the type of " + f.key + ": add one in setValue")
	}
	return err
}

func (f field) wrong(raw any, why, change string) error {
	return &ValueError{Key: f.key, Value: shorten(f.show(fmt.Sprint(raw))), Why: why, Change: change}
}

// masked refuses what stands in place of a secret: it would be a secret that everybody knows.
func (f field) masked() error {
	return f.wrong(masked, "this is what Print puts in place of a secret", "write the secret itself")
}

// show gives what may be seen of a value that is not empty.
func (f field) show(text string) string {
	switch f.secret {
	case hidden:
		return masked
	case masksPassword:
		return urlPassword().ReplaceAllString(text, "${1}"+masked+"@")
	}
	return text
}

// urlPassword finds the password in scheme://user:password@host, however odd the rest.
var urlPassword = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(://[^/@]*?:)[^/]*@`) })

// shorten keeps an error on one readable line whatever the file holds.
func shorten(s string) string {
	const maxBytes = 80
	if len(s) <= maxBytes {
		return s
	}
	return strings.ToValidUTF8(s[:maxBytes], "") + "…"
}

func asDuration(f field, raw any) (time.Duration, error) {
	s, ok := raw.(string)
	if !ok {
		if n, err := asInt(f, raw); err == nil && n == 0 {
			return 0, nil
		}
		return 0, f.wrong(raw, "a duration needs a unit", `write it as text, such as "25s", "100ms" or "10m"`)
	}
	d, err := time.ParseDuration(strings.TrimSpace(s))
	if err != nil {
		return 0, f.wrong(raw, "not a duration", `write a number and a unit, such as "25s", "100ms" or "10m"`)
	}
	return d, nil
}

func asInt(f field, raw any) (int64, error) {
	const change = "write a whole number without unit"
	switch v := raw.(type) {
	case int:
		return int64(v), nil
	case int64:
		return v, nil
	case uint64:
		if v <= math.MaxInt64 {
			return int64(v), nil
		}
	case float64: // every JSON number
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return int64(v), nil
		}
	case string:
		n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
		if err == nil {
			return n, nil
		}
		if strings.HasPrefix(v, "tcp://") { // Kubernetes describes a Service in variables of this form
			return 0, f.wrong(raw, "Kubernetes set this for a Service whose name begins like this key",
				"set enableServiceLinks: false in the pod, or rename the Service")
		}
	}
	return 0, f.wrong(raw, "not a whole number", change)
}

func asBool(f field, raw any) (bool, error) {
	switch v := raw.(type) {
	case bool:
		return v, nil
	case string:
		if b, err := strconv.ParseBool(strings.TrimSpace(v)); err == nil {
			return b, nil
		}
	}
	return false, f.wrong(raw, "not a yes/no value", "write true or false")
}

func asString(f field, raw any) (string, error) {
	switch v := raw.(type) {
	case string:
		return v, nil
	case bool, int, int64, uint64:
		return fmt.Sprint(v), nil
	case float64: // a JSON number; beyond 2^53 its digits are no longer those in the file
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return strconv.FormatInt(int64(v), 10), nil
		}
	}
	return "", f.wrong(raw, "not a text", "put it in quotes")
}

// asList accepts a list of texts, or one text with elements separated by spaces or commas (environment and flags).
func asList(f field, raw any) ([]string, error) {
	switch v := raw.(type) {
	case string:
		return strings.FieldsFunc(v, func(r rune) bool { return r == ' ' || r == ',' || r == '\t' || r == '\n' }), nil
	case []any:
		list := make([]string, 0, len(v))
		for _, e := range v {
			s, err := asString(f, e)
			if err != nil {
				return nil, err
			}
			list = append(list, s)
		}
		return list, nil
	}
	return nil, f.wrong(raw, "not a list", `write ["a", "b"], or in the environment "a b"`)
}

// asMap accepts pairs as {name: value}, as a list of {key: name, value: …}, or as the JSON text of either (environment and flags).
func asMap(f field, raw any) (map[string]string, error) {
	const change = `write {"name": "value"} or [{"key": "name", "value": "value"}]`
	if text, ok := raw.(string); ok {
		if strings.TrimSpace(text) == "" {
			return nil, nil
		}
		if err := json.Unmarshal([]byte(text), &raw); err != nil {
			return nil, f.wrong(text, "neither pairs nor their JSON text", change)
		}
	}
	pairs := map[string]string{}
	switch v := raw.(type) {
	case map[string]any:
		for key, value := range v {
			text, err := asString(f, value)
			if err != nil {
				return nil, err
			}
			pairs[key] = text
		}
		return pairs, nil
	case []any, []map[string]any:
		elements, _ := asElements(f, raw)
		for _, element := range elements {
			m, _ := element.(map[string]any)
			key, isText := m["key"].(string)
			value, err := asString(f, m["value"])
			_, twice := pairs[key]
			if !isText || err != nil || len(m) != 2 || twice {
				return nil, f.wrong(raw, "an element is no pair of key and value, or its key is there twice", change)
			}
			pairs[key] = value
		}
		return pairs, nil
	}
	return nil, f.wrong(raw, "not pairs", change)
}

// asElements gives the elements of a list of sections, or of their JSON text from the environment.
func asElements(f field, raw any) ([]any, error) {
	switch v := raw.(type) {
	case []any:
		return v, nil
	case []map[string]any: // TOML's [[channel.namespaces]]
		list := make([]any, len(v))
		for i := range v {
			list[i] = v[i]
		}
		return list, nil
	case string:
		if strings.TrimSpace(v) == "" {
			return nil, nil
		}
		var list []any
		if err := json.Unmarshal([]byte(v), &list); err == nil {
			return list, nil
		}
	}
	_, name := cutLast(f.key)
	return nil, f.wrong(raw, "not a list of "+name, `write a list of sections: [{"`+f.elem.fields[0].key+`": …}, …]`)
}
