package plan

import (
	"fmt"
	"strconv"
	"time"

	"github.com/goccy/go-yaml"
)

// YAML writes the plan so that Read gives it again. What is at its zero value is left out, and so are tokens and secrets, which
// do not belong into a file that is passed around.
func (p Plan) YAML() ([]byte, error) {
	return yaml.MarshalWithOptions(tree(p.fields()), yaml.Indent(2), yaml.IndentSequence(true))
}

// tree is what YAML is made of, in the order of the table.
func tree(fields []field) yaml.MapSlice {
	var out yaml.MapSlice
	for _, f := range fields {
		if f.zero() || f.secret {
			continue
		}
		item := yaml.MapItem{Key: f.key}
		switch v := f.value.(type) {
		case *Connections:
			if item.Value = tree(v.fields()); len(tree(v.fields())) == 0 {
				continue
			}
		case *[]Phase:
			list := make([]yaml.MapSlice, len(*v))
			for i := range *v {
				list[i] = tree((*v)[i].fields())
			}
			item.Value = list
		case *float64:
			item.Value = *v
			if *v == float64(int64(*v)) {
				item.Value = int64(*v)
			}
		case *time.Duration:
			item.Value = span(*v)
		case *Scenario:
			item.Value = string(*v)
		case *string:
			item.Value = *v
		case *int:
			item.Value = *v
		case *bool:
			item.Value = *v
		default:
			panic(fmt.Sprintf("plan: a field of type %T cannot be written", v)) // our bug
		}
		out = append(out, item)
	}
	return out
}

// text is the value for a person.
func (f *field) text() string {
	switch v := f.value.(type) {
	case *float64:
		return number(*v)
	case *time.Duration:
		return span(*v)
	case *int:
		return strconv.Itoa(*v)
	case *string:
		return *v
	}
	return ""
}

// span writes a duration without the zeros of time.Duration.String: 1m30s, 5m, 1h.
func span(d time.Duration) string {
	s := d.String()
	if d%time.Minute == 0 && d != 0 {
		s = s[:len(s)-len("0s")]
	}
	if d%time.Hour == 0 && d != 0 {
		s = s[:len(s)-len("0m")]
	}
	return s
}
