package config

import (
	"bufio"
	"fmt"
	"io"
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
	switch x := v.Interface().(type) {
	case []Namespace:
		if len(x) == 0 {
			fmt.Fprintf(out, "%s%s: []\n", pad, name)
			return
		}
		fmt.Fprintf(out, "%s%s:\n", pad, name)
		for i := range x {
			fmt.Fprintf(out, "%s  -\n", pad)
			printFields(out, namespaceSchema(), reflect.ValueOf(x[i]), pad+"    ")
		}
	case []string:
		quoted := make([]string, len(x))
		for i := range x {
			quoted[i] = strconv.Quote(x[i])
		}
		fmt.Fprintf(out, "%s%s: [%s]\n", pad, name, strings.Join(quoted, ", "))
	case time.Duration:
		fmt.Fprintf(out, "%s%s: %s\n", pad, name, formatDuration(x))
	case string:
		if f.secret && x != "" {
			x = masked
		}
		fmt.Fprintf(out, "%s%s: %s\n", pad, name, strconv.QuoteToASCII(x))
	default:
		fmt.Fprintf(out, "%s%s: %v\n", pad, name, x)
	}
}
