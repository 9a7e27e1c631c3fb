package tuning

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// goodHost is a tree on which apply.sh finds something to do.
func goodHost(t *testing.T) string {
	t.Helper()
	return readStory(t, "testdata/bare-vm.txt").host(t)
}

func TestScriptRefusesNonsense(t *testing.T) {
	root := goodHost(t)
	before := snapshot(t, root)
	for _, c := range []struct {
		args string
		says string
	}{
		{"", "say what to do"},
		{"--aply", "unknown argument --aply"},
		{"apply", "unknown argument apply"},
		{"--check --apply", "--check and --apply: give one"},
		{"--apply --apply", "give one"},
		{"--apply --connections", "--connections needs a value"},
		{"--apply --connections 0", "whole number"},
		{"--apply --connections 010", "whole number"},
		{"--apply --connections -5", "whole number"},
		{"--apply --connections 1e6", "whole number"},
		{"--apply --connections=", "whole number"},
		{"--apply --connections 100000001", "from 1 to 100000000"},
		{"--apply --connections 99999999999999999999999", "from 1 to 100000000"},
		{"--apply --processes 0", "--processes 0"},
		{"--apply --target proxy", "--target proxy"},
		{"--apply --user -rf", "no name of a user"},
		{"--apply --user a/b", "no name of a user"},
		{"--apply --root /none", "no such directory"},
	} {
		out, code := runScript(t, root, strings.Fields(c.args)...)
		if code != 2 || !strings.Contains(out, c.says) || !strings.Contains(out, "usage:") {
			t.Errorf("apply.sh %s: code %d, want 2 and %q:\n%s", c.args, code, c.says, out)
		}
	}
	if !sameFiles(before, snapshot(t, root)) {
		t.Error("a wrong command line changed something")
	}
	if out, code := runScript(t, t.TempDir(), "--check"); code != 1 || !strings.Contains(out, "mount proc") {
		t.Errorf("without /proc/sys: code %d, %s", code, out)
	}
	if out, code := runScript(t, root, "--help"); code != 0 || !strings.Contains(out, "--rollback    put the old values back") {
		t.Errorf("--help: code %d, %s", code, out)
	}
}

func TestScriptNeedsRootForTheRealHost(t *testing.T) {
	if os.Geteuid() == 0 {
		if _, err := exec.LookPath("setpriv"); err != nil {
			t.Skip("this is root and there is no setpriv to be somebody else")
		}
	}
	for _, action := range []string{"--apply", "--rollback"} {
		line := []string{"sh", "-s", "--", action}
		if os.Geteuid() == 0 {
			line = append([]string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"}, line...)
		}
		cmd := exec.Command(line[0], line[1:]...)
		cmd.Dir, cmd.Stdin = "/", strings.NewReader(File("apply.sh"))
		out, err := cmd.CombinedOutput()
		if strings.HasPrefix(string(out), "setpriv:") {
			t.Skipf("this root may not become somebody else: %s", out)
		}
		if err == nil || !strings.Contains(string(out), "must be root") {
			t.Errorf("%s: %v %s", action, err, out)
		}
	}
}

func TestScriptLowersOnlyWhenAsked(t *testing.T) {
	root := goodHost(t)
	file := filepath.Join(root, "proc/sys/net/ipv4/tcp_rmem")
	read := func() string {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(strings.Fields(string(text)), " ")
	}
	if err := os.WriteFile(file, []byte("4096\t87380\t33554432\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, code := runScript(t, root, "--apply"); code != 0 || read() != "4096 87380 33554432" || !strings.Contains(out, "HIGH  net.ipv4.tcp_rmem") {
		t.Errorf("not asked: code %d, %s\n%s", code, read(), out)
	}
	if out, code := runScript(t, root, "--apply", "--lower"); code != 0 || read() != "4096 87380 6291456" {
		t.Errorf("asked: code %d, %s\n%s", code, read(), out)
	}
	if out, code := runScript(t, root, "--apply", "--connections=1000"); code != 0 || !strings.Contains(out, "nothing to change") {
		t.Errorf("for fewer connections: code %d\n%s", code, out)
	}
	if out, code := runScript(t, root, "--rollback"); code != 0 || read() != "4096 87380 33554432" {
		t.Errorf("rollback goes back to before the first time: code %d, %s\n%s", code, read(), out)
	}
}

func TestScriptKeepsWhatOthersDid(t *testing.T) {
	root := goodHost(t)
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const sysctls, limits = "etc/sysctl.d/90-shoal.conf", "etc/security/limits.d/90-shoal.conf"
	write(sysctls, "net.core.somaxconn = 9\n") // an admin's own file of that name
	before := snapshot(t, root)
	if out, code := runScript(t, root, "--apply", "--user=push"); code != 0 {
		t.Fatalf("code %d\n%s", code, out)
	}
	after := snapshot(t, root)
	if !strings.Contains(after[sysctls], "\n-net.netfilter.nf_conntrack_max = 1065984\n") || !strings.Contains(after[sysctls], "\nnet.core.somaxconn = 31744\n") || strings.Contains(after[sysctls], "fs.file-max") || !strings.Contains(after[limits], "push - nofile 1048576\n") {
		t.Errorf("written:\n%s\n%s", after[sysctls], after[limits])
	}
	write("proc/sys/net/core/somaxconn", "50000\n") // somebody knows better
	write(limits, "push - nofile 5\n")
	out, code := runScript(t, root, "--rollback")
	left := snapshot(t, root)
	if code != 1 || left["proc/sys/net/core/somaxconn"] != "50000\n" || left[limits] != "push - nofile 5\n" || strings.Count(out, "left ") != 2 {
		t.Errorf("what others changed since is not kept: code %d\n%s", code, out)
	}
	if left[sysctls] != before[sysctls] || left["var/lib/shoal-tuning/values"] == "" {
		t.Errorf("the rest is not as before, or the old values are gone:\n%s\n%s", left[sysctls], out)
	}
	write("proc/sys/net/core/somaxconn", before["proc/sys/net/core/somaxconn"])
	if err := os.Remove(filepath.Join(root, limits)); err != nil {
		t.Fatal(err)
	}
	if out, code := runScript(t, root, "--rollback"); code != 0 || !sameFiles(before, snapshot(t, root)) {
		t.Errorf("once that is settled: code %d\n%s", code, out)
	}
}

// TestScriptOnARealKernel runs apply.sh in a network namespace of its own on a /proc of its own, where net.* of a container is
// writable and everything of the host is not.
func TestScriptOnARealKernel(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to make a network namespace")
	}
	root := t.TempDir()
	// The kernel's own sysctls appear below root/proc; those of the host are made read-only before anything is run, and that is checked.
	const scene = `
set -eu
mkdir -p "$1/proc"
mount -t proc proc "$1/proc"
mount --bind "$1/proc/sys/fs" "$1/proc/sys/fs"
mount -o remount,bind,ro "$1/proc/sys/fs"
for f in fs/file-max net/core/netdev_max_backlog net/ipv4/tcp_mem; do
	[ ! -w "$1/proc/sys/$f" ] || { echo "SKIP $f of the host could be written"; exit 0; }
done
[ -w "$1/proc/sys/net/core/somaxconn" ] || { echo 'SKIP the sandbox lets nobody write sysctls'; exit 0; }
all() { cat "$1"/proc/sys/net/core/somaxconn "$1"/proc/sys/net/ipv4/tcp_max_syn_backlog "$1"/proc/sys/net/ipv4/ip_local_port_range "$1"/proc/sys/net/ipv4/tcp_tw_reuse; }
echo 100 >"$1/proc/sys/net/core/somaxconn"
all "$1" >"$1/before"
sh "$2" --root "$1" --check --target both && { echo 'FAIL --check finds nothing'; exit 1; }
sh "$2" --root "$1" --apply --target both || echo "apply: $?"
echo "is $(cat "$1/proc/sys/net/core/somaxconn") $(cat "$1/proc/sys/net/ipv4/tcp_max_syn_backlog") $(cat "$1/proc/sys/net/ipv4/ip_local_port_range") $(cat "$1/proc/sys/net/ipv4/tcp_tw_reuse")"
sh "$2" --root "$1" --rollback
all "$1" | cmp - "$1/before" && echo BACK
echo 18446744073709551615 >"$1/proc/sys/net/core/somaxconn" 2>/dev/null || echo REFUSED
`
	script, err := filepath.Abs("apply.sh")
	if err != nil {
		t.Fatal(err)
	}
	host, _ := os.ReadFile("/proc/sys/net/core/somaxconn")
	raw, err := exec.Command("unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", scene, "sh", root, script).CombinedOutput()
	out := string(raw)
	if _, reason, skip := strings.Cut(out, "SKIP "); skip {
		t.Skip(reason)
	}
	if err != nil && (strings.HasPrefix(out, "unshare:") || strings.Contains(out, "mount:") || strings.Contains(err.Error(), "not found")) {
		t.Skipf("no namespaces here: %v %s", err, out)
	}
	if err != nil {
		t.Errorf("%v", err)
	}
	for _, want := range []string{"set   net.core.somaxconn                   31744 (was 100)", "is 31744 62464 10240\t65535 1\n", "BACK\n", "REFUSED\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not said in:\n%s", want, out)
		}
	}
	if now, _ := os.ReadFile("/proc/sys/net/core/somaxconn"); string(now) != string(host) {
		t.Errorf("the host's own somaxconn changed from %s to %s", host, now)
	}
}

// TestScriptInASealedContainer: everything there is is read-only.
func TestScriptInASealedContainer(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to mount something read-only")
	}
	root := goodHost(t)
	const scene = `mount --bind "$1/proc" "$1/proc" && mount -o remount,bind,ro "$1/proc" || exit 9
sh "$2" --root "$1" --apply`
	script, err := filepath.Abs("apply.sh")
	if err != nil {
		t.Fatal(err)
	}
	before := snapshot(t, root)
	raw, err := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c", scene, "sh", root, script).CombinedOutput()
	out := string(raw)
	if err == nil || strings.HasPrefix(out, "unshare:") || strings.Contains(out, "mount:") {
		t.Skipf("no namespaces here: %v %s", err, out)
	}
	if !strings.Contains(out, "set them on its host") || !strings.Contains(out, "--sysctl net.core.somaxconn='31744'") || !sameFiles(before, snapshot(t, root)) {
		t.Errorf("a container with read-only sysctls: %v\n%s", err, out)
	}
}

func TestScriptIsCleanShell(t *testing.T) {
	if _, err := exec.LookPath("shellcheck"); err != nil {
		t.Skip("shellcheck is not installed: apt-get install shellcheck")
	}
	if out, err := exec.Command("shellcheck", "apply.sh").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestScriptRunsInEveryShell(t *testing.T) {
	ran := 0
	for _, shell := range [][]string{{"dash"}, {"bash", "--posix"}, {"busybox", "sh"}} {
		if _, err := exec.LookPath(shell[0]); err != nil {
			continue
		}
		ran++
		out, err := exec.Command(shell[0], append(shell[1:], "apply.sh", "--root", goodHost(t), "--apply")...).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "set   net.netfilter.nf_conntrack_max       1065984 (was 65536)") {
			t.Errorf("%q: %v\n%s", shell, err, out)
		}
	}
	if ran == 0 {
		t.Skip("there is no dash, bash or busybox")
	}
}

func TestSystemdTakesTheUnit(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("there is no systemd-analyze")
	}
	unit := filepath.Join(t.TempDir(), "shoal.service") // with a program that is there
	text := strings.ReplaceAll(File("unit"), "/usr/local/bin/shoal", "/bin/true")
	if err := os.WriteFile(unit, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("systemd-analyze", "verify", "--man=no", unit).CombinedOutput(); err != nil || strings.Contains(string(out), "shoal.service:") {
		t.Errorf("verify: %v\n%s", err, out)
	}
	out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--threshold=25", unit).CombinedOutput()
	if err != nil && strings.Contains(string(out), "unrecognized option") {
		t.Skip("this systemd-analyze is too old to judge a unit that is not installed")
	}
	if err != nil { // 25 = an exposure of 2.5 of 10
		t.Errorf("security: %v\n%s", err, out)
	}
}
