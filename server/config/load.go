package config

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/v2"
)

// LoadOptions says where configuration comes from. The zero value reads the process environment and no file.
type LoadOptions struct {
	File    string         // path of a .yaml, .yml, .json or .toml file; empty = none
	Environ []string       // "NAME=value" as os.Environ gives; nil = the process environment
	Flags   map[string]any // by key, values as text or typed; only those a person actually gave
}

// Warning is one thing in the configuration that has no effect or deserves a look. It never stops the server.
type Warning struct {
	Source string // file name, "environment", "flags", or "configuration" for what they add up to
	Key    string // as it stands in the source
	Text   string // the whole line for a person, without source
}

// String is the line to log.
func (w Warning) String() string { return w.Source + ": " + w.Text }

// warningsMax bounds what a hostile or generated file can make us print.
const warningsMax = 1000

// layer is one source, read but not yet applied.
type layer struct {
	source string
	koanf  *koanf.Koanf
}

// Load reads every source, applies them by precedence and validates the result. Every wrong value is in the error (joined
// *ValueError), not only the first. The warnings are complete even when it fails.
func Load(opts LoadOptions) (Config, []Warning, error) {
	cfg := Default()
	l := &loader{cfg: &cfg}
	layers, err := l.read(opts)
	if err != nil {
		return cfg, l.warnings, err
	}
	for _, layer := range layers {
		l.apply(layer)
	}
	l.degrade()
	if len(l.errs) > 0 {
		return cfg, l.warnings, errors.Join(l.errs...)
	}
	return cfg, l.warnings, cfg.Validate()
}

// loader collects what one Load finds.
type loader struct {
	cfg      *Config
	environ  []string
	warnings []Warning
	dropped  int // warnings beyond warningsMax
	errs     []error
}

// read gives the layers, weakest first.
func (l *loader) read(opts LoadOptions) ([]layer, error) {
	var layers []layer
	l.environ = opts.Environ
	if l.environ == nil {
		l.environ = os.Environ()
	}
	if opts.File != "" {
		k, err := l.readFile(opts.File)
		if err != nil {
			return nil, err
		}
		layers = append(layers, layer{opts.File, k})
	}
	environment := koanf.New(".")
	if err := environment.Load(env.Provider(".", l.envOptions(l.environ)), nil); err != nil {
		return nil, fmt.Errorf("config: reading the environment: %w", err)
	}
	flags, err := fromMap(opts.Flags)
	if err != nil {
		return nil, fmt.Errorf("config: reading the flags: %w", err)
	}
	layers = append(layers, layer{"environment", environment}, layer{"flags", flags})
	if !wantsDev(layers) {
		return layers, nil
	}
	profile, err := fromMap(DevProfile())
	if err != nil {
		return nil, fmt.Errorf("config: the development profile: %w", err)
	}
	return append([]layer{{"dev profile", profile}}, layers...), nil
}

func fromMap(m map[string]any) (*koanf.Koanf, error) {
	k := koanf.New(".")
	return k, k.Load(confmap.Provider(m, "."), nil)
}

// wantsDev asks the strongest layer that says anything about dev. A value that is no bool is reported when applied.
func wantsDev(layers []layer) bool {
	f, _ := configSchema().find("dev")
	for _, layer := range slices.Backward(layers) {
		if raw := layer.koanf.Get("dev"); raw != nil {
			on, err := asBool(f, raw)
			return on && err == nil
		}
	}
	return false
}

// apply sets every value of a layer, in key order so that messages are stable.
func (l *loader) apply(layer layer) {
	flat := layer.koanf.All()
	for _, key := range slices.Sorted(maps.Keys(flat)) {
		l.set(layer.source, configSchema(), reflect.ValueOf(l.cfg).Elem(), key, key, flat[key])
	}
	if l.dropped > 0 {
		l.warnings = append(l.warnings, Warning{layer.source, "", "and " + strconv.Itoa(l.dropped) + " more keys without effect"})
		l.dropped = 0
	}
}

// set puts one raw value where key says, below dst. shown is the key as a person would name it.
func (l *loader) set(source string, s *schema, dst reflect.Value, key, shown string, raw any) {
	if raw == nil {
		return // "key:" with nothing after it
	}
	f, entry, ok := s.place(key)
	if !ok {
		l.unplaced(source, s, key, shown, raw)
		return
	}
	f.key = shown
	v := dst.FieldByIndex(f.index)
	if text, ok := raw.(string); ok && text == "" && v.Kind() != reflect.String && entry == "" {
		return // an empty variable is an unset one
	}
	switch {
	case f.elem != nil:
		l.setSections(source, f, v, raw)
	case v.Kind() == reflect.Map:
		l.setMap(source, f, v, entry, raw)
	default:
		if err := setValue(f, raw, v); err != nil {
			l.fail(source, err)
		}
	}
}

// unplaced judges a key that is no leaf: an empty section, a section given a value, or a key that means nothing here.
func (l *loader) unplaced(source string, s *schema, key, shown string, raw any) {
	if !s.heads[key] {
		l.warn(source, shown, unknownText(s, key, shown))
		return
	}
	if m, ok := raw.(map[string]any); ok && len(m) == 0 {
		return
	}
	below := s.below(key)
	f := field{key: shown}
	if slices.ContainsFunc(below, func(f field) bool { return f.secret != visible || f.elem != nil && f.elem.holdsSecret() }) {
		f.secret = hidden
	}
	l.fail(source, f.wrong(raw, "this is a section, not a value", "write its keys below it, such as "+below[0].key))
}

// setSections replaces a list of sections. What an element does not say has its default.
func (l *loader) setSections(source string, f field, dst reflect.Value, raw any) {
	if f.elem.holdsSecret() {
		f.secret = hidden
	}
	elements, err := asElements(f, raw)
	if err != nil {
		l.fail(source, err)
		return
	}
	list := reflect.MakeSlice(dst.Type(), len(elements), len(elements))
	for i, element := range elements {
		m, ok := element.(map[string]any)
		if !ok {
			l.fail(source, f.wrong(element, "not a section", "write {"+f.elem.fields[0].key+": …} with what belongs to it"))
			continue
		}
		label := fmt.Sprintf("%s[%d]", f.key, i)
		if name, ok := m["name"].(string); ok && name != "" {
			label = fmt.Sprintf("%s[%s]", f.key, shorten(name))
		}
		list.Index(i).Set(defaultElement(dst.Type().Elem()))
		flat := flatten(m)
		for _, key := range slices.Sorted(maps.Keys(flat)) {
			l.set(source, f.elem, list.Index(i), key, label+"."+key, flat[key])
		}
	}
	dst.Set(list)
}

// setMap replaces a map of texts, or sets one entry of it when that is what the source has.
func (l *loader) setMap(source string, f field, dst reflect.Value, entry string, raw any) {
	pairs := map[string]string{}
	if entry == "" {
		var err error
		if pairs, err = asMap(f, raw); err != nil {
			l.fail(source, err)
			return
		}
		dst.SetZero()
	} else {
		text, err := asString(f, raw)
		if err != nil {
			l.fail(source, err)
			return
		}
		pairs[entry] = text
	}
	for _, key := range slices.Sorted(maps.Keys(pairs)) {
		value, missing := expand(l.environ, pairs[key])
		switch {
		case missing != "":
			l.fail(source, f.wrong(value, "it refers to the variable "+shorten(missing)+", which is not set", "set the variable, or write the value itself"))
			continue
		case f.secret == hidden && value == masked:
			l.fail(source, f.masked())
			continue
		}
		if dst.IsNil() {
			dst.Set(reflect.MakeMap(dst.Type()))
		}
		dst.SetMapIndex(reflect.ValueOf(key), reflect.ValueOf(value))
	}
}

// degrade deals with values that Centrifugo knows and Shoal cannot serve yet, with a warning: it takes the one it can serve, or
// leaves the feature without effect where that allows less.
func (l *loader) degrade() {
	if l.cfg.Engine.Type != "" && l.cfg.Engine.Type != "memory" {
		l.warn(joint, "engine.type", fmt.Sprintf("engine.type = %q is not supported yet; "+
			"the memory engine is used: one node, nothing survives a restart", shorten(l.cfg.Engine.Type)))
	}
	l.cfg.Engine.Type = "memory"
	if t := l.cfg.Client.SubscriptionToken; t.Enabled && !t.HasKey() {
		l.warn(joint, "client.subscription_token.enabled", "client.subscription_token.enabled is on and there is no key to verify "+
			"subscription tokens with: all are refused; set client.subscription_token.hmac_secret_key, or switch it off to use client.token")
	}
	for _, text := range l.cfg.Channel.Idle() {
		key, _, _ := strings.Cut(text, " ")
		l.warn(joint, key, text)
	}
}

// joint is the source of a warning that comes from several of them together.
const joint = "configuration"

func (l *loader) warn(source, key, text string) {
	if len(l.warnings) >= warningsMax {
		l.dropped++
		return
	}
	l.warnings = append(l.warnings, Warning{source, key, text})
}

func (l *loader) fail(source string, err error) {
	if len(l.errs) < warningsMax {
		l.errs = append(l.errs, fmt.Errorf("%s: %w", source, err))
	}
}
