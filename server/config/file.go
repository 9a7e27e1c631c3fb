package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	kmaps "github.com/knadh/koanf/maps"
	"github.com/knadh/koanf/parsers/json"
	"github.com/knadh/koanf/parsers/toml/v2"
	"github.com/knadh/koanf/parsers/yaml"
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
	if info, err := f.Stat(); err == nil && info.Mode().Perm()&0o004 != 0 && holdsSecret(k) {
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
	flat, _ := kmaps.Flatten(m, nil, ".")
	return kmaps.Unflatten(flat, "."), nil
}

func holdsSecret(k *koanf.Koanf) bool {
	for _, f := range configSchema().fields {
		if f.secret && k.String(f.key) != "" {
			return true
		}
	}
	return false
}
