package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	kmaps "github.com/knadh/koanf/maps"
	"github.com/knadh/koanf/parsers/json"
	"github.com/knadh/koanf/parsers/toml/v2"
	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/rawbytes"
	"github.com/knadh/koanf/v2"
)

// fileBytesMax is far above any real file and far below what would hurt to parse.
const fileBytesMax = mib

// readFile reads and parses the file and warns when others can read secrets in it.
func (l *loader) readFile(path string) (*koanf.Koanf, error) {
	if _, err := parserFor(path); err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("config: there is no file %s; give an existing one with --config or SHOAL_CONFIG, "+
			"or leave it out to use the defaults", path)
	}
	if err != nil {
		return nil, fmt.Errorf("config: %w; make it readable for the user shoal runs as", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, fileBytesMax+1))
	if err != nil {
		return nil, fmt.Errorf("config: reading %s: %w; give a regular file", path, err)
	}
	k, err := parseFile(path, data)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err == nil && info.Mode().Perm()&0o004 != 0 && holdsSecret(configSchema(), k.All()) {
		l.warn(path, "", "the file holds a secret and every user of this machine can read it; chmod 640 it")
	}
	return k, nil
}

// parseFile parses data as the format path's extension names. Sections may be nested, dotted ("client.ping_interval:"),
// or both.
func parseFile(path string, data []byte) (*koanf.Koanf, error) {
	parser, err := parserFor(path)
	if err != nil {
		return nil, err
	}
	if len(data) > fileBytesMax {
		return nil, fmt.Errorf("config: %s is larger than %d bytes; is it a configuration file?", path, fileBytesMax)
	}
	k := koanf.New(".")
	if err := k.Load(rawbytes.Provider(data), dotted{parser}); err != nil {
		return nil, fmt.Errorf("config: %s does not parse: %w", path, err)
	}
	return k, nil
}

func parserFor(path string) (koanf.Parser, error) {
	switch ext := strings.ToLower(filepath.Ext(path)); ext {
	case ".yaml", ".yml":
		return yaml.Parser(), nil
	case ".json":
		return json.Parser(), nil
	case ".toml":
		return toml.Parser(), nil
	default:
		return nil, fmt.Errorf("config: cannot tell the format of %s from %q; name it .yaml, .yml, .json or .toml", path, ext)
	}
}

// dotted gives dotted keys the meaning of nested ones, and keeps parsers that panic on odd input from ending the process.
type dotted struct{ koanf.Parser }

// Unmarshal implements koanf.Parser.
func (d dotted) Unmarshal(b []byte) (m map[string]any, err error) {
	defer func() {
		if r := recover(); r != nil {
			m, err = nil, fmt.Errorf("the parser gave up: %v", r)
		}
	}()
	if m, err = d.Parser.Unmarshal(b); err != nil {
		return nil, err
	}
	kmaps.IntfaceKeysToStrings(m)
	return kmaps.Unflatten(flatten(m), "."), nil
}

// holdsSecret says whether one of the values, by key, is a secret that is set.
func holdsSecret(s *schema, values map[string]any) bool {
	for key, raw := range values {
		f, _, ok := s.place(key)
		switch {
		case !ok:
		case f.secret == hidden:
			if raw != nil && raw != "" {
				return true
			}
		case f.elem != nil:
			elements, _ := asElements(f, raw)
			for _, element := range elements {
				if m, ok := element.(map[string]any); ok && holdsSecret(f.elem, flatten(m)) {
					return true
				}
			}
		}
	}
	return false
}

func flatten(m map[string]any) map[string]any {
	flat, _ := kmaps.Flatten(m, nil, ".")
	return flat
}

// envFile names the configuration file; main reads it, so it is no key.
const envFile = EnvPrefix + "CONFIG"

// envVariable begins the names of variables that values refer to, as in "Bearer ${SHOAL_VAR_TOKEN}"; Centrifugo's own names
// for them do too.
const envVariable = EnvPrefix + "VAR_"

var variableReference = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`\$\{((?:SHOAL|CENTRIFUGO)_VAR_[^}]*)\}`)
})

// expand puts the values of variables in place of the references to them; missing is the first there is not.
func expand(environ []string, text string) (expanded, missing string) {
	expanded = variableReference().ReplaceAllStringFunc(text, func(reference string) string {
		name := strings.TrimSuffix(strings.TrimPrefix(reference, "${"), "}")
		for _, pair := range environ {
			if value, ok := strings.CutPrefix(pair, name+"="); ok {
				return value
			}
		}
		if missing == "" {
			missing = name
		}
		return reference
	})
	return expanded, missing
}

// envOptions maps SHOAL_… variables to keys. A variable no key has is reported and left out.
func (l *loader) envOptions(environ []string) env.Opt {
	return env.Opt{
		Prefix: EnvPrefix,
		EnvironFunc: func() []string {
			var pairs []string
			for _, pair := range environ {
				if strings.Contains(pair, "=") { // env.Provider expects a pair
					pairs = append(pairs, pair)
				}
			}
			return pairs
		},
		TransformFunc: func(name, value string) (string, any) {
			if i, ok := configSchema().byEnv[name]; ok {
				return configSchema().fields[i].key, value
			}
			if name != envFile && !strings.HasPrefix(name, envVariable) && !kubernetes(name, value) {
				l.warn("environment", name, unknownEnvText(name))
			}
			return "", nil
		},
	}
}

// kubernetes says whether a variable is one that Kubernetes adds to every pod for a Service whose name begins with "shoal".
func kubernetes(name, value string) bool {
	return kubernetesName().MatchString(name) || strings.HasSuffix(name, "_PORT") && strings.Contains(value, "://")
}

// kubernetesName matches those that are told by their names; SHOAL_PORT=tcp://10.0.0.1:80 is not: SHOAL_UNI_GRPC_PORT=11000 looks alike.
var kubernetesName = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`_(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)
})

// unknownEnvText is the warning for a variable that is no key.
func unknownEnvText(name string) string {
	for _, known := range foreignKeys() {
		if name == envName(known.key) || known.section && strings.HasPrefix(name, envName(known.key)+"_") {
			return name + " is not supported yet and has no effect" + known.because()
		}
	}
	for _, f := range configSchema().fields {
		if closeTo(name, envName(f.key)) {
			return "unknown variable " + shorten(name) + ", did you mean " + envName(f.key) + "?"
		}
	}
	return "unknown variable " + shorten(name) + ": it has no effect; shoal help config lists the names"
}
