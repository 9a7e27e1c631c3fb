package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"shoal/server/config"
)

// shoal runs one command line in this process, with an environment that cannot disturb it.
func shoal(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, config.EnvPrefix) {
			t.Setenv(name, "")
			os.Unsetenv(name)
		}
	}
	var o, e bytes.Buffer
	code = Run(context.Background(), args, Process{In: strings.NewReader(""), Out: &o, Err: &e, Clock: time.Now, Version: "test"})
	return code, o.String(), e.String()
}

func TestCommandLine(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(bad, []byte("client: {ping_interval: soon}\nclinet: {}\nclients: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name      string
		args      []string
		code      int
		out, errs string // parts of what is written
	}{
		{"nothing", nil, ExitUsage, "", "expected one of"},
		{"unknown command", []string{"srve"}, ExitUsage, "", "unexpected argument srve"},
		{"unknown flag", []string{"serve", "--client.ping_intervall=1s"}, ExitUsage, "", "did you mean"},
		{"version", []string{"version"}, ExitOK, "shoal ", ""},
		{"help", []string{"help"}, ExitOK, "serve", ""},
		{"help on a command", []string{"help", "serve"}, ExitOK, "--http_server.port", ""},
		{"help on nothing", []string{"help", "nonsense"}, ExitUsage, "", `no help on "nonsense"`},
		{"keys", []string{"help", "config"}, ExitOK, "SHOAL_CLIENT_PING_INTERVAL", ""},
		{"metrics", []string{"help", "metrics"}, ExitOK, "websocket_messages_received_total", ""},
		{"every key is a flag", []string{"serve", "--print-config", "--channel.max_length=99"}, ExitOK, "max_length: 99", ""},
		{"short names", []string{"serve", "--print-config", "-p", "81", "--echo=/e"}, ExitOK, "port: 81", ""},
		{"switching off", []string{"serve", "--print-config", "--no-echo.compression"}, ExitOK, "compression: false", ""},
		{"good configuration", []string{"serve", "--check-config"}, ExitOK, "the configuration is good", ""},
		{"wrong value", []string{"serve", "-p", "99999"}, ExitUsage, "", `http_server.port = "99999"`},
		{"missing file", []string{"serve", "-c", "none.yaml"}, ExitUsage, "", "there is no file none.yaml"},
		{"bad file", []string{"serve", "-c", bad}, ExitUsage, "", `client.ping_interval = "soon"`},
		{"unknown key", []string{"serve", "-c", bad}, ExitUsage, "", "unknown key clients"},
		{"key set anybody could write", []string{"serve", "--check-config", "--client.token.jwks_public_endpoint=http://example.com/keys"},
			ExitUsage, "", "client.token: "},
		{"weak secret", []string{"serve", "--check-config", "--client.token.hmac_secret_key=short"}, ExitOK, "is good", "can be guessed"},
		{"log that cannot be", []string{"serve", "--check-config", "--log.file=/none/x"}, ExitUsage, "", "log.file"},
	} {
		code, out, errs := shoal(t, c.args...)
		if code != c.code || !strings.Contains(out, c.out) || !strings.Contains(errs, c.errs) {
			t.Errorf("%s: shoal %q\n got code %d\nout  %s\nerrs %s\nwant code %d, %q, %q", c.name, c.args, code, out, errs, c.code, c.out, c.errs)
		}
	}
}

func TestConfigurationFileComesFromTheEnvironmentToo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(path, []byte("channel.max_length: 77\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SHOAL_CONFIG", path)
	var out bytes.Buffer
	code := Run(context.Background(), []string{"serve", "--print-config"}, Process{Out: &out, Err: &out, Clock: time.Now})
	if code != ExitOK || !strings.Contains(out.String(), "max_length: 77") {
		t.Errorf("code %d, output %s", code, out.String())
	}
}

func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, ExitOK},
		{fmt.Errorf("run: %w", context.Canceled), ExitOK},
		{usageError{errors.New("wrong flag")}, ExitUsage},
		{errors.New("port in use"), ExitFailed},
	} {
		var out bytes.Buffer
		if got := report(c.err, Process{Out: &out, Err: &out}); got != c.want {
			t.Errorf("%v: code %d, want %d", c.err, got, c.want)
		}
	}
}

func TestNextStepsFitTheConfiguration(t *testing.T) {
	dev, _, err := config.Load(config.LoadOptions{Environ: []string{}, Flags: map[string]any{"dev": true}})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	printNextSteps(&out, dev, "127.0.0.1:8000")
	want := `curl -H 'X-API-Key: dev' -d '{"channel":"news","data":{"x":1}}' http://localhost:8000/api/publish`
	if !strings.Contains(out.String(), want) || !strings.Contains(out.String(), "http://localhost:8000/ in a browser") {
		t.Errorf("dev: %s", out.String())
	}
	out.Reset()
	printNextSteps(&out, config.Default(), "[::]:80")
	if s := out.String(); !strings.Contains(s, "none can connect yet") || !strings.Contains(s, "refused until http_api.key is set") {
		t.Errorf("default: %s", s)
	}
	for name, change := range map[string]func(*config.Client){
		"hook":    func(c *config.Client) { c.Proxy.Connect.Enabled = true },
		"key set": func(c *config.Client) { c.Token.JWKSPublicEndpoint = "https://example.com/keys" },
		"header":  func(c *config.Client) { c.UserIDHTTPHeader = "X-User" },
	} {
		cfg := config.Default()
		change(&cfg.Client)
		out.Reset()
		if printNextSteps(&out, cfg, "[::]:80"); strings.Contains(out.String(), "none can connect") {
			t.Errorf("%s: %s", name, out.String())
		}
	}
}

func TestOpenDoorsAreNamed(t *testing.T) {
	open := config.Default()
	open.Client.Insecure, open.HTTPAPI.Insecure, open.Dev, open.Client.AllowedOrigins = true, true, true, []string{"*"}
	for _, c := range []struct {
		address, internal string
		port              int
		want              int
	}{
		{"", "", 0, 4}, {"0.0.0.0", "", 9000, 4}, {"127.0.0.1", "", 0, 0}, {"localhost", "", 9000, 0},
		{"0.0.0.0", "127.0.0.1", 9000, 3}, // the API is inside
		{"127.0.0.1", "0.0.0.0", 9000, 1}, // the API alone is outside
	} {
		open.HTTPServer = config.HTTPServer{Address: c.address, InternalAddress: c.internal, InternalPort: c.port}
		var out bytes.Buffer
		warnOfOpenDoors(open, slog.New(slog.NewTextHandler(&out, nil)))
		if got := strings.Count(out.String(), "component=security"); got != c.want {
			t.Errorf("%+v: %d warnings:\n%s", c, got, out.String())
		}
	}
	var out bytes.Buffer
	if warnOfOpenDoors(config.Default(), slog.New(slog.NewTextHandler(&out, nil))); out.Len() > 0 {
		t.Errorf("the default configuration: %s", out.String())
	}
}

func TestLoggerWritesWhatItsLevelAllows(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	for _, c := range []struct {
		cfg  config.Log
		want string
	}{
		{config.Log{Level: "warn", Format: "text", File: path}, "level=WARN msg=b\n"},
		{config.Log{Level: "none", Format: "text", File: path}, ""},
		{config.Log{Level: "fatal", Format: "text", File: path}, ""},
		{config.Log{Level: "info", Format: "json", File: path}, `"msg":"a"`},
	} {
		os.Remove(path)
		logger, end, err := newLogger(c.cfg, os.Stderr)
		if err != nil {
			t.Fatal(err)
		}
		logger.Info("a")
		logger.Warn("b")
		end()
		text, _ := os.ReadFile(path)
		if !strings.Contains(string(text), c.want) || c.want == "" && len(text) > 0 {
			t.Errorf("%+v wrote %q, want %q", c.cfg, text, c.want)
		}
	}
}
