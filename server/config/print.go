package config

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Print writes the configuration as a YAML file. Secrets that are set appear as "***"; Load refuses them until they are put back.
func (c Config) Print(w io.Writer) error {
	out := bufio.NewWriter(w)
	printFields(out, configSchema(), reflect.ValueOf(c), "")
	return out.Flush()
}

// printFields writes the leaves of v, opening each section where its first key stands. indent goes before every line.
func printFields(out *bufio.Writer, s *schema, v reflect.Value, indent string) {
	var open []string
	for _, f := range s.fields {
		parts := strings.Split(f.key, ".")
		sections, name := parts[:len(parts)-1], parts[len(parts)-1]
		for i := range sections {
			if i < len(open) && slices.Equal(open[:i+1], sections[:i+1]) {
				continue
			}
			fmt.Fprintf(out, "%s%s%s:\n", indent, strings.Repeat("  ", i), sections[i])
		}
		open = sections
		pad := indent + strings.Repeat("  ", len(sections))
		printValue(out, pad, name, f, v.FieldByIndex(f.index))
	}
}

func printValue(out *bufio.Writer, pad, name string, f field, v reflect.Value) {
	switch {
	case f.elem != nil:
		if v.Len() == 0 {
			fmt.Fprintf(out, "%s%s: []\n", pad, name)
			return
		}
		fmt.Fprintf(out, "%s%s:\n", pad, name)
		for i := range v.Len() {
			fmt.Fprintf(out, "%s  -\n", pad)
			printFields(out, f.elem, v.Index(i), pad+"    ")
		}
	case v.Kind() == reflect.Map: // as pairs: a name may have dots in it
		pairs := v.Interface().(map[string]string)
		list := make([]string, 0, len(pairs))
		for _, key := range slices.Sorted(maps.Keys(pairs)) {
			list = append(list, "{key: "+strconv.QuoteToASCII(key)+", value: "+strconv.QuoteToASCII(f.show(pairs[key]))+"}")
		}
		fmt.Fprintf(out, "%s%s: [%s]\n", pad, name, strings.Join(list, ", "))
	case v.Kind() == reflect.Slice:
		var quoted []string
		for _, text := range v.Interface().([]string) {
			quoted = append(quoted, strconv.QuoteToASCII(text))
		}
		fmt.Fprintf(out, "%s%s: [%s]\n", pad, name, strings.Join(quoted, ", "))
	case v.Kind() == reflect.String:
		text := v.String()
		if text != "" {
			text = f.show(text)
		}
		fmt.Fprintf(out, "%s%s: %s\n", pad, name, strconv.QuoteToASCII(text))
	default:
		fmt.Fprintf(out, "%s%s: %s\n", pad, name, f.format(v))
	}
}

// format writes a value on one line, for help and errors; empty for an empty one.
func (f field) format(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case time.Duration:
		return formatDuration(x)
	case []string:
		return strings.Join(x, " ")
	case map[string]string:
		return strings.Join(slices.Sorted(maps.Keys(x)), " ")
	case string:
		if x == "" {
			return ""
		}
		return f.show(x)
	}
	if f.elem == nil {
		return fmt.Sprint(v.Interface())
	}
	names := make([]string, v.Len())
	for i := range names {
		names[i] = fmt.Sprint(i)
		if name := v.Index(i).FieldByName("Name"); name.IsValid() {
			names[i] = name.String()
		}
	}
	return strings.Join(names, " ")
}

// formatDuration is Duration.String without the zero parts: 10m, not 10m0s.
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
