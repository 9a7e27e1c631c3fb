#!/bin/sh
# Sets the sysctls a server of many connections needs, now and for the next boot, and takes them back. Nothing restarts,
# nothing needs a reboot. README.md explains every setting; the table below is generated from settings.go.
#
#   apply.sh --check       what is too low now; exit code 1 if anything is
#   apply.sh --dry-run     what --apply would do
#   apply.sh --apply       do it; the old values are kept in /var/lib/shoal-tuning
#   apply.sh --rollback    put the old values back
#
#   --connections N        to be held by this host (default 1000000)
#   --processes P          they are spread over (default 1)
#   --target T             serve (default), loadtest, or both on this host
#   --lower                also lower what should be low (tcp_rmem, tcp_wmem, keepalive); without it nothing is lowered
#   --user NAME            who runs the server, for limits.d (default shoal)
#   --root DIR             work on the tree below DIR, for trying things out: DIR/proc/sys, DIR/etc, DIR/var
#
# Exit codes: 0 good, 1 something is low, or failed; 2 wrong command line. Run twice it changes nothing the second time.
set -eu
umask 022

# name|who has it: ours = each container, host = the host alone|for: 1 serve, 2 loadtest, 3 both|numbers
# number: bound:basis:floor:per1000:plus:round:ceiling:memory per cent   (setting.go says what they mean)
settings() {
	cat <<'END'
# >>> settings
fs.nr_open|host|3|least:process:1048576:1000:256:1024:1073741816:0
fs.file-max|host|3|least:ends:262144:1000:16384:1024:0:0
fs.epoll.max_user_watches|host|3|least:ends:262144:1000:4096:1024:0:0
net.core.somaxconn|ours|1|least:conns:4096:31:0:1024:65535:0
net.ipv4.tcp_max_syn_backlog|ours|1|least:conns:4096:62:0:1024:262144:0
net.ipv4.tcp_syncookies|ours|1|least:-:1:0:0:0:1:0
net.core.netdev_max_backlog|host|3|least:conns:4096:16:0:1024:65536:0
net.ipv4.tcp_mem|host|3|least:ends:0:750:0:0:0:12 least:ends:0:1000:0:0:0:17 least:ends:0:1500:0:0:0:25
net.ipv4.tcp_rmem|ours|3|leave:-:4096:0:0:0:0:0 leave:-:131072:0:0:0:0:0 most:-:6291456:0:0:0:6291456:0
net.ipv4.tcp_wmem|ours|3|leave:-:4096:0:0:0:0:0 leave:-:16384:0:0:0:0:0 most:-:4194304:0:0:0:4194304:0
net.ipv4.tcp_keepalive_time|ours|3|most:-:7200:0:0:0:7200:0
net.ipv4.ip_local_port_range|ours|3|start:-:10240:0:0:0:10240:0 least:-:65535:0:0:0:65535:0
net.ipv4.tcp_tw_reuse|ours|2|same:-:1:0:0:0:1:0
net.netfilter.nf_conntrack_max|host|3|least:conns:262144:1000:65536:1024:0:0
net.netfilter.nf_conntrack_buckets|host|3|least:conns:65536:250:16384:1024:0:0
# <<< settings
END
}

readonly MARK='# Written by shoal tuning/apply.sh: --rollback removes it.'
action='' connections=1000000 processes=1 target=serve lower=no user=shoal root=''
low=0 failed=0 changed=0 blocked=0 flags=''

usage() {
	echo "apply.sh: $*" >&2
	echo 'usage: apply.sh --check|--dry-run|--apply|--rollback [--connections N] [--processes P]' >&2
	echo '                [--target serve|loadtest|both] [--lower] [--user NAME] [--root DIR]' >&2
	exit 2
}

refuse() {
	echo "apply.sh: $*" >&2
	exit 1
}

# count VALUE NAME MOST: a whole number from 1 to MOST.
count() {
	case $1 in
	'' | *[!0-9]* | 0*) usage "$2 $1: give a whole number from 1 to $3" ;;
	esac
	if [ ${#1} -gt ${#3} ] || [ "$1" -gt "$3" ]; then usage "$2 $1: give a whole number from 1 to $3"; fi
}

arguments() {
	while [ $# -gt 0 ]; do
		case $1 in
		--*=*) # --name=value is --name value
			pair=$1
			shift
			set -- "${pair%%=*}" "${pair#*=}" "$@"
			;;
		esac
		case $1 in
		--check | --dry-run | --apply | --rollback)
			[ -z "$action" ] || usage "$action and $1: give one of them"
			action=$1
			;;
		--lower) lower=yes ;;
		-h | --help)
			sed -n '2,/^set -eu/{/^#/s/^# \{0,1\}//p;}' "$0"
			exit 0
			;;
		--connections | --processes | --target | --user | --root)
			[ $# -gt 1 ] || usage "$1 needs a value"
			case $1 in
			--connections) count "$2" "$1" 100000000 && connections=$2 ;;
			--processes) count "$2" "$1" 100000 && processes=$2 ;;
			--target) target=$2 ;;
			--user) user=$2 ;;
			--root)
				[ -d "$2" ] || usage "--root $2: there is no such directory"
				root=${2%/}
				;;
			esac
			shift
			;;
		*) usage "unknown argument $1" ;;
		esac
		shift
	done
	[ -n "$action" ] || usage 'say what to do'
	case $target in
	serve) targets=1 ends=$connections ;;
	loadtest) targets=2 ends=$connections ;;
	both) targets=3 ends=$((connections * 2)) ;;
	*) usage "--target $target: give serve, loadtest or both" ;;
	esac
	case $user in '' | -* | *[!A-Za-z0-9_.@-]*) usage "--user $user: that is no name of a user" ;; esac
	perprocess=$(((connections + processes - 1) / processes))
}

# surroundings refuses where nothing can come of it.
surroundings() {
	sys=$root/proc/sys state=$root/var/lib/shoal-tuning
	[ "$(uname -s)" = Linux ] || [ -n "$root" ] || refuse 'only Linux has these settings'
	[ -d "$sys" ] || refuse "there is no $sys: mount proc first"
	case $action in --apply | --rollback)
		[ -n "$root" ] || [ "$(id -u)" = 0 ] || refuse "$action must be root: sudo $0 $action …"
		;;
	esac
	pages=0
	kb=$(sed -n 's/^MemTotal: *\([0-9][0-9]*\) kB$/\1/p' "$root/proc/meminfo" 2>/dev/null) || kb=''
	page=$(sed -n '/^KernelPageSize: *\([0-9][0-9]*\) kB$/{s//\1/p;q;}' "$root/proc/self/smaps" 2>/dev/null) || page=''
	[ -z "$kb" ] || pages=$((kb / ${page:-4}))
}

# number SPEC NOW LOWER prints what a number should be, given what it is.
number() {
	now=$2 lowering=$3 old_ifs=$IFS
	IFS=:
	# shellcheck disable=SC2086 # the fields of the number are wanted apart
	set -- $1
	IFS=$old_ifs
	bound=$1 basis=$2 floor=$3 per1000=$4 plus=$5 round=$6 ceiling=$7 memory=$8
	case $basis in
	conns) want=$((plus + (connections * per1000 + 999) / 1000)) ;;
	ends) want=$((plus + (ends * per1000 + 999) / 1000)) ;;
	process) want=$((plus + (perprocess * per1000 + 999) / 1000)) ;;
	*) want=$floor ;;
	esac
	[ "$round" = 0 ] || want=$(((want + round - 1) / round * round))
	[ "$want" -ge "$floor" ] || want=$floor
	if [ "$memory" != 0 ] && [ "$pages" != 0 ]; then
		most=$((pages * memory / 100))
		[ "$most" -ge "$floor" ] || most=$floor
		[ "$want" -le "$most" ] || want=$most
	fi
	[ "$ceiling" = 0 ] || [ "$want" -le "$ceiling" ] || want=$ceiling
	compare=$now
	[ ${#now} -lt 19 ] || compare=999999999999999999 # «no limit», which not every shell can count to
	case $bound in
	least) [ "$compare" -lt "$want" ] || want=$now ;;
	start) [ "$compare" -gt "$want" ] || want=$now ;;
	most) [ "$compare" -gt "$want" ] && [ "$lowering" = yes ] || want=$now ;;
	leave) want=$now ;;
	esac
	echo "$want"
}

# value NUMBERS NOW LOWER prints the whole value.
value() {
	specs=$1 values=$2 lowers=$3 out=''
	# shellcheck disable=SC2086 # the numbers are wanted apart
	set -- $values
	for spec in $specs; do
		out="$out $(number "$spec" "$1" "$lowers")"
		shift
	done
	echo "${out# }"
}

# current FILE prints a sysctl's value with single spaces; it fails when that is no list of numbers.
current() {
	# shellcheck disable=SC2046 # tabs become spaces
	set -- $(cat "$1" 2>/dev/null)
	case "$*" in '' | *[!0-9\ ]*) return 1 ;; esac
	echo "$*"
}

# recorded NAME FIELD prints what is kept of a setting: 2 = its old value, 3 = what it was set to.
recorded() {
	[ ! -f "$state/values" ] || awk -F '|' -v name="$1" -v field="$2" '$1 == name { print $field }' "$state/values"
}

# record NAME OLD NEW is called before anything is written, so that nothing is changed that cannot be taken back.
record() {
	mkdir -p "$state"
	[ -f "$state/values" ] || : >"$state/values"
	awk -F '|' -v name="$1" '$1 != name' "$state/values" >"$state/values.new"
	echo "$1|$2|$3" >>"$state/values.new"
	mv "$state/values.new" "$state/values"
}

# put FILE VALUE writes a sysctl and looks whether the kernel took it.
put() {
	(echo "$2" >"$1") 2>/dev/null && [ "$(current "$1")" = "$2" ]
}

say() { printf '%-5s %-36s %s\n' "$1" "$2" "$3"; }

# setting NAME WHOSE NUMBERS does to one setting what is to be done.
setting() {
	file=$sys/$(echo "$1" | tr . /)
	if [ ! -e "$file" ]; then
		say - "$1" 'not here: not loaded, or the host'\''s'
		return
	fi
	if ! is=$(current "$file"); then
		failed=$((failed + 1))
		say ODD "$1" "$file cannot be read, or is not in its known form"
		return
	fi
	# shellcheck disable=SC2086 # numbers are counted
	if [ "$(set -- $is && echo $#)" -lt "$(set -- $3 && echo $#)" ]; then
		failed=$((failed + 1))
		say ODD "$1" "$is: fewer numbers than there should be"
		return
	fi
	becomes=$(value "$3" "$is" "$lower")
	if [ "$becomes" = "$is" ]; then
		ideal=$(value "$3" "$is" yes)
		if [ "$ideal" = "$is" ]; then say ok "$1" "$is"; else say HIGH "$1" "$is: kept; --lower makes it $ideal"; fi
		return
	fi
	low=$((low + 1))
	case $action in
	--check) say LOW "$1" "$is, needs $becomes" ;;
	*) change "$1" "$2" "$becomes" ;;
	esac
}

# change NAME WHOSE VALUE sets one, or says that it would, or why it cannot.
change() {
	if [ ! -w "$file" ] && { [ -n "$root" ] || [ "$(id -u)" = 0 ]; }; then
		blocked=$((blocked + 1))
		say FIXED "$1" "$is, needs $3: read-only here"
		[ "$2" != ours ] || flags="$flags --sysctl $1='$3'"
		return
	fi
	if [ "$action" = --dry-run ]; then
		say would "$1" "sysctl -w $1=\"$3\"   # now $is"
		return
	fi
	before=$(recorded "$1" 2)
	record "$1" "${before:-$is}" "$3"
	if put "$file" "$3"; then
		changed=$((changed + 1))
		say set "$1" "$3 (was $is)"
	else
		failed=$((failed + 1))
		say FAIL "$1" "$3 was not taken, it is $(current "$file" || echo unreadable)"
	fi
}

# sysctls_file prints what the next boot is to set: what was changed, nothing else.
sysctls_file() {
	echo "$MARK"
	awk -F '|' '{ print ($1 ~ /^net\.netfilter\./ ? "-" : "") $1 " = " $3 }' "$state/values" # «-»: the module may come later
}

limits_file() {
	nofile=$(settings | awk -F '|' '$1 == "fs.nr_open" { print $4 }')
	nofile=$(number "$nofile" 0 no)
	echo "$MARK"
	echo "# For logins (PAM). A systemd unit has LimitNOFILE= instead, a container --ulimit."
	echo "$user - nofile $nofile"
}

# files writes what the next boot and the next login read. Where every sysctl is blocked nothing is left behind.
files() {
	case $action in
	--dry-run)
		[ "$low" = "$blocked" ] || say would "$root/etc/sysctl.d/90-shoal.conf" 'written, for the next boot'
		limits_file >/dev/null
		say would "$root/etc/security/limits.d/90-shoal.conf" "written, for the next login: nofile $nofile"
		;;
	--apply)
		[ ! -f "$state/values" ] || install_file /etc/sysctl.d/90-shoal.conf sysctls_file
		if [ "$blocked" = 0 ] || [ "$changed" != 0 ]; then install_file /etc/security/limits.d/90-shoal.conf limits_file; fi
		;;
	esac
}

# install_file PATH COMMAND keeps what was there and writes what the command prints, unless it is there already.
install_file() {
	path=$root$1 name=$(basename "$(dirname "$1")")
	mkdir -p "$(dirname "$path")" "$state"
	"$2" >"$state/$name.ours.new"
	if [ -f "$path" ] && cmp -s "$path" "$state/$name.ours.new"; then
		mv "$state/$name.ours.new" "$state/$name.ours"
		return
	fi
	if [ -f "$path" ] && [ ! -f "$state/$name.ours" ]; then
		cp -p "$path" "$state/$name.before"
	fi
	cp "$state/$name.ours.new" "$path.new" && mv "$path.new" "$path"
	mv "$state/$name.ours.new" "$state/$name.ours"
	changed=$((changed + 1))
	say wrote "$path" 'for the next boot or login'
}

# remove_file PATH puts back what was there before install_file.
remove_file() {
	path=$root$1 name=$(basename "$(dirname "$1")")
	[ -f "$state/$name.ours" ] || return 0
	if [ -f "$path" ] && [ -f "$state/$name.before" ] && cmp -s "$path" "$state/$name.before"; then
		say ok "$path" 'as before'
	elif [ -f "$path" ] && ! cmp -s "$path" "$state/$name.ours"; then
		failed=$((failed + 1))
		say left "$path" 'somebody changed it since; look at it and remove it'
	elif [ -f "$state/$name.before" ]; then
		cp -p "$state/$name.before" "$path"
		say back "$path" 'as it was before'
	elif [ -f "$path" ]; then
		rm "$path"
		say back "$path" removed
	fi
}

rollback() {
	if [ ! -d "$state" ]; then
		echo "nothing to roll back: there is no $state"
		return
	fi
	[ -f "$state/values" ] || : >"$state/values"
	while IFS='|' read -r name old new; do
		file=$sys/$(echo "$name" | tr . /)
		is=$(current "$file") || is=gone
		case $is in
		"$old") say ok "$name" "$is, as before" ;;
		"$new")
			if put "$file" "$old"; then
				say back "$name" "$old (was $new)"
			else
				failed=$((failed + 1))
				say FAIL "$name" "$old was not taken, it is $is"
			fi
			;;
		*)
			say left "$name" "$is: neither $old from before nor $new from here; not touched"
			failed=$((failed + 1))
			;;
		esac
	done <"$state/values"
	remove_file /etc/sysctl.d/90-shoal.conf
	remove_file /etc/security/limits.d/90-shoal.conf
	[ "$failed" = 0 ] || refuse "$failed could not be put back; the old values are in $state/values"
	rm -r "$state"
}

main() {
	arguments "$@"
	surroundings
	if [ "$action" = --rollback ]; then
		rollback
		exit 0
	fi
	while IFS='|' read -r name whose for numbers; do
		case $name in '' | '#'*) continue ;; esac
		[ $((for & targets)) = 0 ] || setting "$name" "$whose" "$numbers"
	done <<-END
		$(settings)
	END
	files
	if [ "$blocked" != 0 ]; then
		echo "$blocked cannot be set from here (a container?): set them on its host" >&2
		[ -z "$flags" ] || echo "or, of these, start the container with:$flags" >&2
		exit 1
	fi
	[ "$failed" = 0 ] || refuse "$failed of the settings could not be read or set: see above"
	case $action in
	--check) [ "$low" = 0 ] || refuse "$low too low for $connections connections; --apply sets them" ;;
	--apply) [ "$changed" != 0 ] || echo 'nothing to change' ;;
	esac
}

main "$@"
