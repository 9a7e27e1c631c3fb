package plan

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

const (
	fileBytesMax = 1 << 20
	problemsMax  = 20 // that are told of one file
)

// Read reads a plan from YAML. It is as it was written, without defaults, and valid with them. name is that of the file, for the
// errors, which are lines of «file:line:column: where: what is wrong; what to write».
func Read(name string, text []byte) (Plan, error) {
	r := reader{file: name, at: map[string]token.Position{}}
	given, err := r.read(text)
	if err != nil {
		return Plan{}, err
	}
	p := given.WithDefaults()
	if len(r.problems) == 0 {
		r.zeros(&p)
		problems, _ := p.Validate().(Problems) //nolint:errorlint // Validate's own type, never wrapped
		for _, one := range problems {
			r.problems = append(r.problems, placed{r.position(one.Path), one})
		}
	}
	if len(r.problems) > 0 {
		return Plan{}, r.error()
	}
	return given, nil
}

// reader turns a tree of YAML into a plan and remembers where each value was.
type reader struct {
	file     string
	at       map[string]token.Position // by path
	zero     []string                  // paths of numbers that are 0
	problems []placed
}

type placed struct {
	token.Position
	Problem
}

func (r *reader) refuse(n ast.Node, path, format string, args ...any) {
	r.problems = append(r.problems, placed{*n.GetToken().Position, Problem{path, fmt.Sprintf(format, args...)}})
}

func (r *reader) read(text []byte) (p Plan, err error) {
	if len(text) > fileBytesMax {
		return p, fmt.Errorf("%s has %d bytes and a plan at most %d; is it the right file?", r.file, len(text), fileBytesMax)
	}
	file, err := parser.ParseBytes(text, 0)
	if err != nil {
		return p, r.syntax(err)
	}
	var top ast.Node
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		if top != nil {
			r.refuse(doc.Body, "", "a second document begins here; write one plan in one file")
			return p, r.error()
		}
		top = doc.Body
	}
	if top == nil {
		return p, fmt.Errorf("%s has no plan in it; begin with phases: (--preset load --print-plan writes one to start from)", r.file)
	}
	r.mapping(top, "", "a plan", p.fields())
	return p, nil
}

// syntax is what is no YAML at all.
func (r *reader) syntax(err error) error {
	var s *yaml.SyntaxError
	if !errors.As(err, &s) || s.GetToken() == nil {
		return fmt.Errorf("%s: it is no YAML: %w", r.file, err)
	}
	at, advice := s.GetToken().Position, "check the indentation, which is of spaces, and the quotes and brackets"
	if strings.Contains(s.GetMessage(), "already defined") {
		advice = "write it once"
	}
	return fmt.Errorf("%s:%d:%d: it is no YAML: %s; %s", r.file, at.Line, at.Column, s.GetMessage(), advice)
}

// error sorts what was found by the place in the file.
func (r *reader) error() error {
	slices.SortStableFunc(r.problems, func(a, b placed) int { return cmp.Or(a.Line-b.Line, a.Column-b.Column) })
	var lines []string
	for i, p := range r.problems {
		if i == problemsMax {
			lines = append(lines, fmt.Sprintf("%s: and %d more", r.file, len(r.problems)-i))
			break
		}
		lines = append(lines, fmt.Sprintf("%s:%d:%d: %s", r.file, p.Line, p.Column, p.Problem))
	}
	return errors.New(strings.Join(lines, "\n"))
}

// position is where a value is, or what it would be in.
func (r *reader) position(path string) token.Position {
	for {
		if at, ok := r.at[path]; ok {
			return at
		}
		end := max(strings.LastIndexByte(path, '.'), strings.LastIndexByte(path, '['))
		if end < 0 {
			return token.Position{Line: 1, Column: 1}
		}
		path = path[:end]
	}
}

// mapping reads keys and values into fields; what is what they are of, for a person.
func (r *reader) mapping(n ast.Node, path, what string, fields []field) {
	var values []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	default:
		r.refuse(n, path, "%s stands where %s should be; write keys and values, as in «%s: …»", shown(n), what, fields[0].key)
		return
	}
	for _, v := range values {
		key, ok := v.Key.(*ast.StringNode)
		if !ok {
			r.refuse(v.Key, path, "%s is no key of %s; there is %s", shown(v.Key), what, oneOf(keysOf(fields)))
			continue
		}
		i := slices.IndexFunc(fields, func(f field) bool { return f.key == key.Value })
		if i < 0 {
			r.refuse(v.Key, join(path, key.Value), "%s has no such key; %s", what, elsewhere(key.Value, keysOf(fields)))
			continue
		}
		at := join(path, key.Value)
		r.at[at] = *v.Key.GetToken().Position
		r.value(v.Value, at, fields[i].value)
	}
}

// elsewhere is the advice on a key that is none here: another one of here, or where it belongs.
func elsewhere(key string, here []string) string {
	var p Plan
	var f Phase
	for _, group := range []struct {
		name   string
		fields []field
	}{{"connections", p.Connections.fields()}, {"a phase", f.fields()}, {"the plan itself, beside phases", p.fields()}} {
		if slices.Contains(keysOf(group.fields), key) {
			return "it belongs to " + group.name
		}
	}
	return didYouMean(key, here)
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// value reads one value.
func (r *reader) value(n ast.Node, path string, into any) {
	switch into := into.(type) {
	case *Connections:
		r.mapping(n, path, "connections", into.fields())
		return
	case *[]Phase:
		r.list(n, path, into)
		return
	}
	r.at[path] = *n.GetToken().Position
	text, kind := scalar(n)
	switch {
	case kind == token.NullType:
		r.refuse(n, path, "it has no value; write one, or leave the key out")
		return
	case kind == token.UnknownType:
		r.refuse(n, path, "%s cannot be here; write %s", shown(n), wanted(into))
		return
	}
	if !set(into, text, kind) {
		r.refuse(n, path, "%s is not %s; write %s", shown(n), kindOf(into), wanted(into))
		return
	}
	if f := (field{value: into}); f.zero() && kind != token.BoolType {
		r.zero = append(r.zero, path)
	}
}

// scalar is the text of a simple value; token.UnknownType says that it is none.
func scalar(n ast.Node) (string, token.Type) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, token.StringType
	case *ast.IntegerNode, *ast.FloatNode:
		return n.GetToken().Value, token.IntegerType
	case *ast.BoolNode:
		return n.GetToken().Value, token.BoolType
	case *ast.NullNode:
		return "", token.NullType
	}
	return "", token.UnknownType
}

// set gives a field its value; false when it is another type.
func set(into any, text string, kind token.Type) bool {
	plain := strings.ReplaceAll(text, "_", "")
	switch into := into.(type) {
	case *string:
		*into = text
		return kind == token.StringType
	case *Scenario:
		*into = Scenario(text)
		return kind == token.StringType
	case *bool:
		*into = text == "true"
		return kind == token.BoolType
	case *time.Duration:
		d, err := time.ParseDuration(text)
		*into = d
		return err == nil && text != "0"
	case *int:
		v, err := strconv.ParseFloat(plain, 64)
		if err != nil || v != math.Trunc(v) || math.Abs(v) > 1<<53 {
			return false
		}
		*into = int(v)
		return true
	case *float64:
		v, err := strconv.ParseFloat(plain, 64)
		*into = v
		return err == nil && !math.IsNaN(v) && !math.IsInf(v, 0)
	}
	panic(fmt.Sprintf("plan: a field of type %T cannot be read", into)) // our bug
}

func kindOf(into any) string {
	switch into.(type) {
	case *bool:
		return "true or false"
	case *time.Duration:
		return "a duration"
	case *int:
		return "a whole number"
	case *float64:
		return "a number"
	}
	return "a text"
}

func wanted(into any) string {
	switch into.(type) {
	case *bool:
		return "true or false"
	case *time.Duration:
		return "a number with its unit, as in 30s, 5m or 250ms"
	case *int:
		return "a whole number, as in 1000"
	case *float64:
		return "a number, as in 1000 or 0.5"
	}
	return "a text, in quotes if it looks like something else"
}

// list reads phases.
func (r *reader) list(n ast.Node, path string, into *[]Phase) {
	s, ok := n.(*ast.SequenceNode)
	if !ok {
		r.refuse(n, path, "%s is no list of phases; write each with a dash, as in «- scenario: idle»", shown(n))
		return
	}
	*into = make([]Phase, len(s.Values))
	for i, v := range s.Values {
		at := fmt.Sprintf("%s[%d]", path, i)
		r.at[at] = *v.GetToken().Position
		if m, ok := v.(*ast.MappingNode); ok && len(m.Values) > 0 {
			r.at[at] = *m.Values[0].Key.GetToken().Position
		}
		r.mapping(v, at, "a phase", (*into)[i].fields())
	}
}

// zeros refuses a 0 where the default is something else: it would not be obeyed.
func (r *reader) zeros(p *Plan) {
	for _, path := range r.zero {
		if f, ok := p.find(path); ok && !f.zero() {
			r.problems = append(r.problems, placed{r.at[path], Problem{path, "0 cannot be; write something above it, or leave the key out for the default, " + f.text()}})
		}
	}
}

// find is the field at a path.
func (p *Plan) find(path string) (field, bool) {
	fields, list := p.fields(), []Phase(nil)
	for {
		key, rest, more := strings.Cut(path, ".")
		key, index, _ := strings.Cut(strings.TrimSuffix(key, "]"), "[")
		i := slices.IndexFunc(fields, func(f field) bool { return f.key == key })
		if i < 0 {
			return field{}, false
		}
		if !more {
			return fields[i], true
		}
		switch v := fields[i].value.(type) {
		case *Connections:
			fields = v.fields()
		case *[]Phase:
			n, err := strconv.Atoi(index)
			if list = *v; err != nil || n >= len(list) {
				return field{}, false
			}
			fields = list[n].fields()
		default:
			return field{}, false
		}
		path = rest
	}
}

// shown is a value as a person wrote it, short.
func shown(n ast.Node) string {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a group of keys"
	case *ast.SequenceNode:
		return "a list"
	case *ast.AnchorNode, *ast.AliasNode, *ast.MergeKeyNode, *ast.TagNode, *ast.MappingKeyNode:
		return "YAML's " + n.GetToken().Value
	case *ast.NullNode:
		return "nothing"
	}
	text := n.GetToken().Value
	if short := []rune(text); len(short) > 40 {
		text = string(short[:40]) + "…"
	}
	return strconv.Quote(text)
}
