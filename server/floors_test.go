package server_test

// The one guard of the house: floors, sole importers, banned calls, sizes, package documentation. Every refusal gives the
// reason and what to do instead. The rules are the tables; TestTheGuardRefuses shows that each of them bites.

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "shoal"

// floors gives each package its height; the longest matching path counts, and a package may import only lower ones.
var floors = map[string]int{
	"pool": 0, "tuning": 0,
	"codec":         10,
	"codec/msgpack": 11, // a form of codec/proto's messages
	"loop/poll":     20, "loop/wheel": 20, "loop/tls": 20, "loop/lag": 20, "loop/relief": 20, "loop/index": 20,
	"loop": 21, "loop/sim": 22,
	"server/channel": 30, // the nouns: all of floor 3 may use them
	"server/session": 31, "server/hub": 31, "server/history": 31, "server/presence": 31, "server/auth": 31, "server/broker": 31,
	"server/backend": 31, "server/filter": 31, "server/rate": 31, "server/entry": 32, "server/tenant": 32,
	"server/overload": 31, "server/steer": 31, "server/node/evict": 39, "server/watch": 40,
	"server/broker/memory": 40, "server/broker/redis": 40, "server/broker/nats": 40,
	"server/node/wire": 38, "server/node/track": 38, // parts of the node's parts
	"server/node/pace": 39, "server/node/fan": 39, "server/node/route": 39, "server/node/seal": 39, "server/node/cursor": 39, "server/node/recovery": 39, "server/node/clientid": 39, "server/node/occupancy": 39, // parts of the node that know no shard
	"server/node": 40, "server/transport": 40, "server/api": 40, "server/admin": 40, "server/metrics": 40, "server/config": 40,
	"server/api/rpc": 41, "server/api/rpc/apipb": 40, "server/api/hooks/proxypb": 39, // rpc is a second front of api
	"loadtest/engine/message": 38, "loadtest/engine/wire": 38, "loadtest/engine/answer": 38, "loadtest/engine/layout": 38, "loadtest/engine/pace": 38,
	"loadtest/engine/retry": 38, "loadtest/engine/mint": 38, "loadtest/engine/narrow": 38, "loadtest/engine/tally": 38,
	"loadtest/engine/books": 39, "loadtest/engine/poster": 39, // parts of the engine that know no order
	"loadtest/units": 39, "loadtest/plan": 39, "loadtest/engine": 40, "loadtest/timeline": 40, "loadtest/observe": 41, "loadtest/watch": 42, "loadtest/report": 42, "loadtest/fleet": 41, "loadtest/fleet/share": 40,
	"loadtest": 43, "loadtest/chart": 44, "loadtest/page": 45,
	"server": 50, "server/command": 51, "server/compat": 52, "server/examples": 52,
	"": 60, // main
}

// home says who may use something; "x/..." means x and everything below it.
type home struct {
	what    string // import path, with everything below it; or package.Name of a call
	homes   []string
	instead string
}

var soleImporters = []home{
	{"github.com/panjf2000/gnet", []string{"loop/..."}, "sockets and pollers belong to the loop; use loop.Loop"},
	{"github.com/gobwas/ws", []string{"codec/...", "loadtest/..."}, "frames are parsed and appended by codec/ws"},
	{"github.com/valyala/bytebufferpool", []string{"pool/buffer"}, "borrow from pool/buffer, which counts what is out"},
	{"github.com/VictoriaMetrics/metrics", []string{"server/metrics"}, "count in a Stats struct; server/metrics names it"},
	{"github.com/knadh/koanf", []string{"server/config"}, "take a Config; server/config fills it"},
	{"github.com/goccy/go-yaml", []string{"loadtest/plan"}, "plans of load tests are read by loadtest/plan; configuration by server/config"},
	{"github.com/alecthomas/kong", []string{"server/command"}, "only server/command reads the command line"},
	{"github.com/golang-jwt", []string{"server/auth", "loadtest/engine/mint"}, "tokens are verified by server/auth, and made for a load test by loadtest/engine/mint"},
	{"github.com/klauspost/compress", []string{"codec/deflate"}, "compress with codec/deflate, which bounds its pools"},
	{"google.golang.org/protobuf", []string{"codec/proto", "codec/msgpack", "server/api/rpc/...", "server/api/hooks/..."}, "the wire format belongs to codec/proto; gRPC messages to api/rpc and api/hooks"},
	{"google.golang.org/grpc", []string{"server/api/rpc/...", "server/api/hooks/..."}, "gRPC is spoken by the API's second front and by the hooks"},
	{"github.com/planetscale/vtprotobuf", []string{"codec/proto"}, "the wire format belongs to codec/proto"},
	{"github.com/centrifugal", nil, "the reference implementation is a test oracle; import it only in _test.go files"},
	{"github.com/gorilla/websocket", nil, "it is a test client; import it only in _test.go files"},
	{
		"net/http", []string{"", "server", "server/api/...", "server/admin/...", "server/transport/door", "server/transport/wt"},
		"WebSocket requests stay on the loop (codec/handshake); all others reach api and admin through the front door",
	},
	{"log", nil, "take a *slog.Logger in your Config"},
	{"flag", nil, "take the value in your Config; server/config makes every key a flag"},
	{"syscall", []string{"", "loop/...", "tuning"}, "system calls belong to the loop"},
	{"golang.org/x/sys", []string{"loop/...", "tuning"}, "system calls belong to the loop"},
}

// pure packages know no clock, no socket, no lock and no file.
var pure = []home{
	{"server/session", nil, ""}, {"server/hub", nil, ""}, {"server/history", nil, ""}, {"server/presence", nil, ""},
	{"server/channel", nil, ""}, {"server/filter", nil, ""}, {"server/rate", nil, ""}, {"server/overload", nil, ""}, {"server/steer", nil, ""}, {"server/node/track", nil, ""},
	{"loadtest/plan", nil, ""},
	{"codec/delta", nil, ""}, {"codec/msgpack", nil, ""}, {"codec/handshake", nil, ""}, {"codec/ws", nil, ""}, {"codec/proto", nil, ""}, {"codec/mt", nil, ""},
}

// testSupport packages are test code that several packages share: free like tests, and for tests only.
var testSupport = []string{"codec/ws/conform", "loop/sim", "server/broker/brokertest", "server/admin/chromium"}

var impureImports = []string{"net", "net/http", "os", "os/exec", "sync", "syscall", "log/slog"}

const timerInstead = "deadlines belong to the loop's wheel (Loop.Arm); elsewhere time is a parameter"

var bannedCalls = []home{
	{"time.Now", []string{"", "loop/..."}, "time is a parameter: take a Tick or a clock func in your Config"},
	{"time.Since", []string{"", "loop/..."}, "time is a parameter: take a Tick or a clock func in your Config"},
	{"time.Until", []string{"", "loop/..."}, "time is a parameter: take a Tick or a clock func in your Config"},
	{"time.Sleep", nil, timerInstead},
	{"time.After", nil, timerInstead},
	{"time.Tick", nil, timerInstead},
	{"time.AfterFunc", nil, timerInstead},
	{"time.NewTimer", []string{"loop/...", "pool/worker", "server/broker/..."}, timerInstead},
	{"time.NewTicker", []string{"server", "server/broker/...", "loadtest/..."}, timerInstead},
	{"os.Getenv", []string{"server/command", "server/config"}, "take the value in your Config; server/config reads the environment"},
	{"os.LookupEnv", []string{"", "server/config"}, "take the value in your Config; server/config reads the environment"},
	{"os.Environ", []string{"", "server/config"}, "take the value in your Config; server/config reads the environment"},
	{"os.Exit", []string{""}, "return an error; main chooses the exit code"},
	{"os.Stdout", []string{""}, "take an io.Writer"},
	{"os.Stderr", []string{""}, "take an io.Writer or a *slog.Logger"},
	{"os.Args", []string{""}, "only main reads the command line"},
	{"fmt.Print", nil, "take an io.Writer"},
	{"fmt.Println", nil, "take an io.Writer"},
	{"fmt.Printf", nil, "take an io.Writer"},
	{"slog.Debug", nil, "use the *slog.Logger of your Config"},
	{"slog.Info", nil, "use the *slog.Logger of your Config"},
	{"slog.Warn", nil, "use the *slog.Logger of your Config"},
	{"slog.Error", nil, "use the *slog.Logger of your Config"},
	{"slog.Default", nil, "use the *slog.Logger of your Config"},
	{"slog.SetDefault", nil, "use the *slog.Logger of your Config"},
}

var goHomes = home{"go", []string{"", "loop/...", "pool/worker", "server/broker/...", "loadtest", "loadtest/fleet/...", "loadtest/watch"},
	"goroutines are started by the loop, by pool/worker and by main; submit a worker.Job, or let Program run it in its errgroup"}

// Hard limits; the goals (file 80–350 lines, function p95 ≤ 50) are in style.md.
const (
	fileLinesMax     = 600
	testLinesMax     = 1000
	funcLinesMax     = 70
	testFuncLinesMax = 120
	packageFilesMax  = 12 // without tests, doc.go and generated files
	packageLinesMax  = 2500
)

// exceptions lifts a package limit; raising one needs a sentence.
var exceptions = map[string]struct {
	files, lines int
	why          string
}{
	"codec/proto": {12, 2800, "two wire forms in both directions over one schema; apart they would share every type"},
	"loop":        {13, 2720, "all that a loop does is done to the same slots by the same owner; histograms, victims, timers and descriptors have packages of their own below"},
	"server/node": {24, 5200, "one shard performs all effects of its sessions; what knows no shard has packages of its own below"},
}

// pkg is one package as go list and the parser see it.
type pkg struct {
	Path  string   `json:"ImportPath"`
	Dir   string   `json:"Dir"`
	Deps  []string `json:"Deps"`
	name  string   // path below the module, "" for main
	files []*source
}

// source is one parsed file.
type source struct {
	name      string
	set       *token.FileSet
	ast       *ast.File
	lines     int
	test, gen bool
}

func TestTheHouseStands(t *testing.T) {
	pkgs := listPackages(t)
	for _, p := range pkgs {
		for _, refusal := range p.check() {
			t.Error(refusal)
		}
	}
	if len(pkgs) < 10 {
		t.Errorf("only %d packages seen: go list does not look at the whole module", len(pkgs))
	}
}

// listPackages loads every package of the module with all its files, whatever system they are for.
func listPackages(t *testing.T) []*pkg {
	t.Helper()
	list := exec.Command("go", "list", "-e", "-json=ImportPath,Dir,Deps", module+"/...")
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var pkgs []*pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); dec.More(); {
		p := &pkg{}
		if err := dec.Decode(p); err != nil {
			t.Fatal(err)
		}
		p.name = strings.TrimPrefix(strings.TrimPrefix(p.Path, module), "/")
		names, err := filepath.Glob(filepath.Join(p.Dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			p.files = append(p.files, parse(t, name, nil))
		}
		pkgs = append(pkgs, p)
	}
	return pkgs
}

func parse(t *testing.T, name string, text any) *source {
	t.Helper()
	set := token.NewFileSet()
	f, err := parser.ParseFile(set, name, text, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	return &source{
		name: name, set: set, ast: f, lines: set.File(f.FileStart).LineCount(),
		test: strings.HasSuffix(name, "_test.go"), gen: ast.IsGenerated(f),
	}
}

// check gives every refusal of one package.
func (p *pkg) check() []string {
	refusals := p.checkPackage()
	vars := p.packageVars()
	for _, f := range p.files {
		refusals = append(refusals, p.checkSize(f)...)
		if f.test || slices.Contains(testSupport, p.name) || within(p.name, "server/examples") {
			continue // tests may import anything and use any clock; examples are programs like main
		}
		refusals = append(refusals, p.checkImports(f)...)
		if !f.gen {
			refusals = append(refusals, p.checkCalls(f, vars)...)
		}
	}
	return refusals
}

// checkPackage judges the package as a whole.
func (p *pkg) checkPackage() (refusals []string) {
	files, lines, documented := 0, 0, false
	for _, f := range p.files {
		doc := filepath.Base(f.name) == "doc.go" || p.name == "" && filepath.Base(f.name) == "main.go"
		documented = documented || doc && f.ast.Doc != nil
		if !f.test && !f.gen && !doc {
			files++
			lines += f.lines
		}
	}
	filesMax, linesMax := packageFilesMax, packageLinesMax
	if e, ok := exceptions[p.name]; ok {
		filesMax, linesMax = e.files, e.lines
	}
	say := func(format string, args ...any) {
		refusals = append(refusals, p.Path+": "+fmt.Sprintf(format, args...))
	}
	if files > 0 && !documented {
		say("no doc.go with a package comment: say what the package is, who owns its values and what it must not know")
	}
	if files > filesMax {
		say("%d files, at most %d: split the package where the thought splits, or add an exception with its reason", files, filesMax)
	}
	if lines > linesMax {
		say("%d lines, at most %d: split the package where the thought splits, or add an exception with its reason", lines, linesMax)
	}
	if _, known := p.floor(); !known {
		say("it has no floor: put the package into one of the folders of house.md, or its floor into floors_test.go")
	}
	if p.name == "loadtest" && slices.ContainsFunc(p.Deps, func(d string) bool { return within(d, module+"/server") }) {
		say("it reaches %s/server: the load test must not share code with what it tests; use codec and loop", module)
	}
	return refusals
}

// floor is the height of the longest matching path.
func (p *pkg) floor() (int, bool) { return floorOf(p.name) }

func floorOf(name string) (int, bool) {
	for path := name; path != "."; path = filepath.Dir(path) {
		if f, ok := floors[path]; ok && (path != "" || name == "") {
			return f, path != "server" || name == "server" // below server only listed folders
		}
	}
	return 0, false
}

func (p *pkg) checkImports(f *source) (refusals []string) {
	here, _ := p.floor()
	say := func(spec *ast.ImportSpec, format string, args ...any) {
		refusals = append(refusals, fmt.Sprintf("%s: %s", f.set.Position(spec.Pos()), fmt.Sprintf(format, args...)))
	}
	for _, spec := range f.ast.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			panic(err)
		}
		if within(path, module) {
			name := strings.TrimPrefix(strings.TrimPrefix(path, module), "/")
			if slices.Contains(testSupport, name) {
				say(spec, "%s is test support: import it only in _test.go files", path)
			}
			own := p.name != "" && within(name, p.name) // what lies below its own folder is its own
			if there, _ := floorOf(name); there >= here && !own {
				say(spec, "%s (floor %d) imports %s (floor %d): import only downward; declare the interface you need here, "+
					"or move the shared noun down", p.Path, here, path, there)
			}
		}
		for _, rule := range soleImporters {
			matches := within(path, rule.what) && path != "log/slog" // log is another matter
			if matches && !p.livesIn(rule.homes) {
				say(spec, "%s is not for %s: %s", path, p.Path, rule.instead)
			}
		}
		isPure := slices.ContainsFunc(pure, func(h home) bool { return within(p.name, h.what) })
		if isPure && slices.Contains(impureImports, path) && !f.gen {
			say(spec, "%s is pure and imports %s: it knows no clock, socket, lock or file; let the floor above do it", p.Path, path)
		}
	}
	return refusals
}

// livesIn says whether the package is one of homes.
func (p *pkg) livesIn(homes []string) bool {
	return slices.ContainsFunc(homes, func(h string) bool {
		if tree, ok := strings.CutSuffix(h, "/..."); ok {
			return within(p.name, tree)
		}
		return p.name == h
	})
}

// within says whether path is tree or below it.
func within(path, tree string) bool { return path == tree || strings.HasPrefix(path, tree+"/") }

func (p *pkg) checkCalls(f *source, vars map[string]bool) (refusals []string) {
	say := func(n ast.Node, format string, args ...any) {
		refusals = append(refusals, fmt.Sprintf("%s: %s", f.set.Position(n.Pos()), fmt.Sprintf(format, args...)))
	}
	imported := importNames(f.ast)
	global := func(e ast.Expr) string {
		id := root(e)
		if id == nil || !vars[id.Name] || id.Obj != nil && id.Obj.Kind == ast.Var && !isTopLevel(f.ast, id.Obj) {
			return ""
		}
		return id.Name
	}
	const noState = "is changed at run time: package variables are constants here; keep the state in a value that New returns"
	ast.Inspect(f.ast, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			if !p.livesIn(goHomes.homes) {
				say(n, "go statement in %s: %s", p.Path, goHomes.instead)
			}
		case *ast.SelectorExpr:
			id, ok := n.X.(*ast.Ident)
			if !ok || id.Obj != nil || imported[id.Name] == "" {
				return true
			}
			call := imported[id.Name] + "." + n.Sel.Name
			for _, rule := range bannedCalls {
				if call == rule.what && !p.livesIn(rule.homes) {
					say(n, "%s in %s: %s", call, p.Path, rule.instead)
				}
			}
		case *ast.FuncDecl:
			if n.Name.Name == "init" && n.Recv == nil {
				say(n, "func init in %s: do it in New, where an error can be returned", p.Path)
			}
		case *ast.AssignStmt:
			for _, target := range n.Lhs {
				if name := global(target); n.Tok != token.DEFINE && name != "" {
					say(n, "package variable %s %s", name, noState)
				}
			}
		case *ast.IncDecStmt:
			if name := global(n.X); name != "" {
				say(n, "package variable %s %s", name, noState)
			}
		}
		return true
	})
	return refusals
}

// importNames maps the name a package has in the file to the last part of its path.
func importNames(f *ast.File) map[string]string {
	names := map[string]string{}
	for _, spec := range f.Imports {
		path, _ := strconv.Unquote(spec.Path.Value)
		last := path[strings.LastIndexByte(path, '/')+1:]
		if name := last; spec.Name == nil {
			names[name] = last
		} else if within(path, "time") || path == "os" || path == "fmt" || path == "log/slog" {
			names[spec.Name.Name] = last
		}
	}
	return names
}

// packageVars lists the package-level variables.
func (p *pkg) packageVars() map[string]bool {
	vars := map[string]bool{}
	for _, f := range p.files {
		for _, d := range f.ast.Decls {
			if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.VAR && !f.test {
				for _, s := range g.Specs {
					for _, name := range s.(*ast.ValueSpec).Names {
						vars[name.Name] = name.Name != "_"
					}
				}
			}
		}
	}
	return vars
}

// root is the identifier an assignment goes to: x of x[i].f.
func root(e ast.Expr) *ast.Ident {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x
		case *ast.IndexExpr:
			e = x.X
		case *ast.SelectorExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		default:
			return nil
		}
	}
}

func isTopLevel(f *ast.File, o *ast.Object) bool {
	return f.Scope != nil && f.Scope.Lookup(o.Name) == o
}

func (p *pkg) checkSize(f *source) (refusals []string) {
	if f.gen {
		return nil
	}
	fileMax, funcMax := fileLinesMax, funcLinesMax
	if f.test {
		fileMax, funcMax = testLinesMax, testFuncLinesMax
	}
	if f.lines > fileMax {
		refusals = append(refusals, fmt.Sprintf("%s: %d lines, at most %d: split it by noun", f.name, f.lines, fileMax))
	}
	for _, d := range f.ast.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		lines := f.set.Position(fn.End()).Line - f.set.Position(fn.Pos()).Line + 1
		if lines > funcMax {
			refusals = append(refusals, fmt.Sprintf("%s: func %s has %d lines, at most %d: name its parts and call them",
				f.set.Position(fn.Pos()), fn.Name.Name, lines, funcMax))
		}
	}
	return refusals
}

func TestTheGuardRefuses(t *testing.T) {
	const doc = "// Package x is documented.\npackage x\n"
	long := "package x\nfunc f() {\n" + strings.Repeat("\n", funcLinesMax) + "}\n"
	for _, c := range []struct{ name, pkg, file, text, want string }{
		{"upward import", "codec/ws", "a.go", `package x; import _ "shoal/loop"`, "import only downward"},
		{"sideways import", "server/hub", "a.go", `package x; import _ "shoal/server/session"`, "import only downward"},
		{"own folder", "codec/proto", "a.go", `package x; import _ "shoal/codec/proto/text"`, ""},
		{"parent of an own folder", "codec/proto/text", "a.go", `package x; import _ "shoal/codec/proto"`, "import only downward"},
		{"nouns", "server/hub", "a.go", `package x; import _ "shoal/server/channel"`, ""},
		{"downward import", "loop", "a.go", `package x; import _ "shoal/loop/poll"`, ""},
		{"unknown folder", "server/util", "a.go", `package x`, "it has no floor"},
		{"gnet", "server/node", "a.go", `package x; import _ "github.com/panjf2000/gnet/v2"`, "use loop.Loop"},
		{"gnet at home", "loop/poll", "a.go", `package x; import _ "github.com/panjf2000/gnet/v2/pkg/netpoll"`, ""},
		{"http", "server/session", "a.go", `package x; import _ "net/http"`, "front door"},
		{"oracle", "codec/proto", "a.go", `package x; import _ "github.com/centrifugal/protocol"`, "test oracle"},
		{"test support", "server/node", "a.go", `package x; import _ "shoal/codec/ws/conform"`, "is test support"},
		{"test support itself", "codec/ws/conform", "a.go", `package x; import _ "net/http"`, ""},
		{"structured log", "server/node", "a.go", `package x; import _ "log/slog"`, ""},
		{"oracle in a test", "codec/proto", "a_test.go", `package x; import _ "github.com/centrifugal/protocol"`, ""},
		{"log", "server/node", "a.go", `package x; import _ "log"`, "*slog.Logger"},
		{"lock in a pure package", "server/session", "a.go", `package x; import _ "sync"`, "is pure"},
		{"clock", "server/node", "a.go", `package x; import "time"; var _ = func() { time.Now() }`, "time is a parameter"},
		{"clock renamed", "server/node", "a.go", `package x; import t "time"; var _ = func() { t.Now() }`, "time is a parameter"},
		{"clock as a value", "server/node", "a.go", `package x; import "time"; var _ = time.Now`, "time is a parameter"},
		{"clock at home", "loop", "a.go", `package x; import "time"; var _ = time.Now`, ""},
		{"not the clock", "server/node", "a.go", "package x\nvar _ = func(time struct{ Now func() }) { time.Now() }", ""},
		{"go statement", "server/node", "a.go", "package x\nfunc f() { go f() }", "go statement"},
		{"go at home", "pool/worker", "a.go", "package x\nfunc f() { go f() }", ""},
		{"environment", "loop", "a.go", `package x; import "os"; var _ = os.Getenv`, "server/config reads"},
		{"flags", "loop", "a.go", `package x; import _ "flag"`, "take the value in your Config"},
		{"global logger", "loop", "a.go", `package x; import "log/slog"; func f() { slog.Info("") }`, "of your Config"},
		{"stdout", "loadtest", "a.go", `package x; import "fmt"; func f() { fmt.Println() }`, "take an io.Writer"},
		{"init", "loop", "a.go", "package x\nfunc init() {}", "do it in New"},
		{"global state", "loop", "a.go", "package x\nvar n int\nfunc f() { n = 1 }", "package variable n"},
		{"global state inside", "loop", "a.go", "package x\nvar m struct{ a [2]int }\nfunc f() { m.a[1]++ }", "package variable m"},
		{"local of that name", "loop", "a.go", "package x\nvar n int\nfunc f() { n := 0; n = 1; _ = n }", ""},
		{"parameter of that name", "loop", "a.go", "package x\nvar n int\nfunc f(n int) { n++ }", ""},
		{"long function", "loop", "a.go", long, "name its parts"},
		{"long file", "loop", "a.go", "package x\n" + strings.Repeat("\n", fileLinesMax), "split it by noun"},
		{"longer test", "loop", "a_test.go", "package x\n" + strings.Repeat("\n", fileLinesMax), ""},
		{"generated file", "loop", "a.go", "// Code generated by x. DO NOT EDIT.\npackage x\n" + strings.Repeat("\n", fileLinesMax), ""},
	} {
		p := &pkg{Path: module + "/" + c.pkg, name: c.pkg, files: []*source{parse(t, "doc.go", doc), parse(t, c.file, c.text)}}
		got := strings.Join(p.check(), "\n")
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: got %q, want a refusal with %q (empty = none)", c.name, got, c.want)
		}
	}
	undocumented := &pkg{Path: "shoal/loop", name: "loop", files: []*source{parse(t, "a.go", "package x")}}
	if got := strings.Join(undocumented.check(), "\n"); !strings.Contains(got, "no doc.go") {
		t.Errorf("a package without doc.go: got %q", got)
	}
	reaching := &pkg{Path: "shoal/loadtest", name: "loadtest", Deps: []string{"shoal/server/auth"}}
	if got := strings.Join(reaching.check(), "\n"); !strings.Contains(got, "must not share code") {
		t.Errorf("a load test that reaches the server: got %q", got)
	}
}
