package command

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"github.com/alecthomas/kong"

	"shoal/server"
	"shoal/server/config"
	"shoal/tuning"
)

// serveCommand runs the server.
type serveCommand struct {
	Config string `short:"c" placeholder:"FILE" env:"SHOAL_CONFIG" help:"Configuration file (.yaml, .json or .toml)."`
	Print  bool   `name:"print-config" help:"Print the configuration in effect, secrets hidden, and end."`
	Check  bool   `name:"check-config" help:"Check the configuration and end."`

	kong.Plugins          // a flag for each configuration key
	keys         keyFlags `kong:"-"`
}

// Help is the text below the flags.
func (serveCommand) Help() string {
	return "Every configuration key is a flag (--client.ping_interval=20s), an environment variable " +
		"(SHOAL_CLIENT_PING_INTERVAL=20s) and a key of the file; flags win over the environment, the environment over the " +
		"file. «shoal help config» lists them all."
}

// Run loads the configuration and serves until ctx ends.
func (c *serveCommand) Run(ctx context.Context, to Process) error {
	cfg, warnings, err := config.Load(config.LoadOptions{File: c.Config, Flags: c.keys.given()})
	logger, closeLog, logErr := newLogger(cfg.Log, to.Err)
	if logErr != nil {
		return usageError{logErr}
	}
	defer closeLog()
	for _, w := range warnings {
		logger.Warn(w.String(), "component", "config")
	}
	if err != nil {
		return usageError{fmt.Errorf("the configuration is refused:\n%w", err)}
	}
	switch {
	case c.Print:
		return cfg.Print(to.Out)
	case c.Check:
		warnOfOpenDoors(cfg, logger)
		if err := server.Check(cfg, to.Clock, logger); err != nil {
			return usageError{fmt.Errorf("the configuration is refused:\n%w", err)}
		}
		_, err := fmt.Fprintln(to.Out, "the configuration is good")
		return err
	}
	return serve(ctx, cfg, logger, to)
}

// serve runs a program to its end.
func serve(ctx context.Context, cfg config.Config, logger *slog.Logger, to Process) error {
	host := tuning.ReadHost()
	setRuntime(&cfg, host)
	warnOfHost(host, cfg, logger)
	warnOfOpenDoors(cfg, logger)
	program, err := server.New(cfg, server.Options{
		Version: to.versionText(), Clock: to.Clock, Logger: logger, Random: randomKey(), UID: rand.Text(), SetGCPercent: steering(cfg.GC, os.Getenv("GOGC")),
	})
	if err != nil {
		return err
	}
	printNextSteps(to.Err, cfg, program.Addr().String())
	runErr := program.Run(ctx)
	if err := program.Close(); runErr == nil {
		return err
	}
	return runErr
}

// randomKey is what client ids are derived from; crypto/rand ends the process rather than give weak bytes.
func randomKey() (key [24]byte) {
	_, _ = rand.Read(key[:])
	return key
}

// setRuntime applies the settings that belong to the whole process: a processor more than there are loops, so that busy
// loops never keep Go's own network poller (API, metrics) waiting, and the collector's limits.
func setRuntime(cfg *config.Config, host tuning.Host) {
	processors := runtime.GOMAXPROCS(0) // follows the cgroup's limit, unlike NumCPU
	cfg.Loop.Loops = cfg.LoopCount(processors, host.TablesFor)
	if os.Getenv("GOMAXPROCS") == "" {
		busy := cfg.Loop.Loops
		if cfg.Loop.OwnDescriptors { // there are so many for the sake of descriptors
			busy = min(busy, processors)
		}
		runtime.GOMAXPROCS(busy + 1)
	}
	if cfg.GC.Percent != 0 {
		debug.SetGCPercent(cfg.GC.Percent)
	}
	if limit := memoryLimit(cfg.GC.MemoryLimit, os.Getenv("GOMEMLIMIT"), tuning.ReadMemory()); limit > 0 {
		debug.SetMemoryLimit(limit)
	}
}

// memoryLimit is what the Go runtime is to stay below; 0 = it knows that already, from the
// environment, or nobody does.
func memoryLimit(configured int, environment string, memory tuning.Memory) int64 {
	switch room, ok := memory.Smallest(); {
	case configured > 0:
		return int64(configured)
	case configured < 0:
		return math.MaxInt64
	case environment == "" && ok:
		return int64(min(room.Limit, math.MaxInt64) / 10 * 9)
	}
	return 0
}

// steering is what the server sets the collector's percentage with; nil when somebody has
// set one, here or in the environment.
func steering(gc config.GC, environment string) func(percent int) {
	if gc.Percent != 0 || gc.Headroom == 0 || environment != "" {
		return nil
	}
	return func(percent int) { debug.SetGCPercent(percent) }
}

// hostFindingsMax is how many findings about the host the log gets at start.
const hostFindingsMax = 5

// warnOfHost says what on the host is worst for the connections the server is meant to hold.
func warnOfHost(host tuning.Host, cfg config.Config, logger *slog.Logger) {
	if cfg.Dev {
		return // a page and a few tabs need nothing
	}
	want := tuning.Want{Conns: cfg.Client.ConnectionLimit, ListenBacklog: cfg.Loop.ListenBacklog}
	if cfg.Loop.OwnDescriptors {
		want.Tables = cfg.Loop.Loops
	}
	found := tuning.Check(host, want)
	found = slices.DeleteFunc(found, func(f tuning.Finding) bool { return f.Severity > tuning.Warns })
	for _, f := range found[:min(len(found), hostFindingsMax)] {
		logger.Warn(f.String(), "component", "tuning")
	}
	if more := len(found) - hostFindingsMax; more > 0 {
		logger.Warn("there is more: «shoal doctor» says all", "more", more, "component", "tuning")
	}
}

// warnOfOpenDoors is loud about settings that let everybody in.
func warnOfOpenDoors(cfg config.Config, logger *slog.Logger) {
	beyond := !loopback(cfg.HTTPServer.Address)
	for _, door := range []struct {
		open bool
		text string
	}{
		{beyond && cfg.Client.Insecure, "client.insecure is on and the server listens beyond this machine: everybody who reaches it may do everything; " + closeDoor},
		{apiBeyond(cfg) && cfg.HTTPAPI.Insecure, "http_api.insecure is on and the server listens beyond this machine: everybody who reaches it may do everything; " + closeDoor},
		{beyond && cfg.Dev, "dev is on and the server listens beyond this machine: everybody who reaches it may subscribe and publish; switch it off for production"},
		{beyond && slices.Contains(cfg.Client.AllowedOrigins, "*"), "client.allowed_origins has *: every web page there is may connect from its visitors' browsers; list the origins of yours"},
	} {
		if door.open {
			logger.Warn(door.text, "component", "security")
		}
	}
}

const closeDoor = "switch it off, or set http_server.address to 127.0.0.1"

// apiBeyond says whether the HTTP API listens beyond this machine, on the main port or the internal one.
func apiBeyond(cfg config.Config) bool {
	main, internal := cfg.HTTPServer.Address, cmp.Or(cfg.HTTPServer.InternalAddress, cfg.HTTPServer.Address)
	if cfg.HTTPServer.InternalPort == 0 {
		return !loopback(main)
	}
	return !loopback(internal) || cfg.HTTPAPI.External && !loopback(main)
}

func loopback(address string) bool {
	ip := net.ParseIP(address)
	return address == "localhost" || ip != nil && ip.IsLoopback()
}

// printNextSteps tells a newcomer what can be done with the server that now listens on address.
func printNextSteps(w io.Writer, cfg config.Config, address string) {
	base := "http://" + browsable(address)
	fmt.Fprintf(w, "\nshoal serves on %s (%s)\n", base, address)
	key := "$KEY"
	if cfg.Dev {
		key = cfg.HTTPAPI.Key
		fmt.Fprintf(w, "  open     %s/ in a browser, connect and subscribe to the channel news\n", base)
	}
	if !cfg.HTTPAPI.Disabled && cfg.HTTPServer.InternalPort == 0 {
		header := "-H 'X-API-Key: " + key + "' "
		if cfg.HTTPAPI.Insecure {
			header = ""
		}
		fmt.Fprintf(w, "  publish  curl %s-d '{\"channel\":\"news\",\"data\":{\"x\":1}}' %s%s/publish\n",
			header, base, strings.TrimSuffix(cfg.HTTPAPI.HandlerPrefix, "/"))
		if key == "$KEY" && cfg.HTTPAPI.Key == "" && !cfg.HTTPAPI.Insecure {
			fmt.Fprintf(w, "           refused until http_api.key is set\n")
		}
	}
	if nobodyCanConnect(&cfg.Client) {
		fmt.Fprintf(w, "  clients  none can connect yet: set client.token.hmac_secret_key, or try «shoal serve --dev»\n")
	}
	fmt.Fprintf(w, "  stop     Ctrl-C ends gracefully, twice at once\n\n")
}

// nobodyCanConnect says whether nothing could tell who a client is.
func nobodyCanConnect(c *config.Client) bool {
	return !c.Insecure && !c.AllowAnonymousConnect && c.UserIDHTTPHeader == "" && !c.Proxy.Connect.Enabled && !c.Token.HasKey()
}

// browsable turns a listener's address into one to type: [::]:8000 into localhost:8000.
func browsable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() || ip.IsLoopback() {
		host = "localhost"
	}
	if n, err := strconv.Atoi(port); err == nil && n == 80 {
		return host
	}
	return net.JoinHostPort(host, port)
}
