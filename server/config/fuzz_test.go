package config

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// FuzzFile feeds the file loader. Whatever the bytes: no panic, bounded warnings, and what Load accepts can be printed,
// loaded again and is then the same.
func FuzzFile(f *testing.F) {
	formats := []string{"yaml", "json", "toml"}
	for i, ext := range formats {
		data, err := os.ReadFile("testdata/centrifugo_v6." + ext)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(i), data)
	}
	f.Fuzz(func(t *testing.T, format uint8, data []byte) {
		k, err := parseFile("fuzz."+formats[int(format)%len(formats)], data)
		if err != nil {
			return
		}
		cfg := Default()
		l := &loader{cfg: &cfg}
		l.apply(layer{"fuzz", k})
		l.degrade()
		if len(l.warnings) > warningsMax+1 || len(l.errs) > warningsMax {
			t.Fatalf("%d warnings, %d errors from %d bytes", len(l.warnings), len(l.errs), len(data))
		}
		if len(l.errs) > 0 || cfg.Validate() != nil {
			return
		}
		reload(t, cfg)
	})
}

// reload prints cfg without its secrets, loads the text and compares.
func reload(t *testing.T, cfg Config) {
	cfg.Client.SubscriptionToken.Enabled = false
	walk(configSchema(), reflect.ValueOf(&cfg).Elem(), func(f field, v reflect.Value) {
		if f.secret != visible {
			v.SetZero()
		}
	})
	var out bytes.Buffer
	if err := cfg.Print(&out); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	path := filepath.Join("printed.yaml")
	k, err := parseFile(path, out.Bytes())
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	again := Default()
	l := &loader{cfg: &again}
	l.apply(layer{path, k})
	if len(l.errs) > 0 || len(l.warnings) > 0 { // before degrade: what printing alone costs
		t.Fatalf("%v %v\n%s", l.errs, l.warnings, text)
	}
	if strings.ToValidUTF8(text, "") == text && !reflect.DeepEqual(normal(cfg), normal(again)) {
		t.Fatalf("printed and loaded again:\ngot  %+v\nwant %+v", again, cfg)
	}
}
