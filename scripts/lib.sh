# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# What scripts/up, scripts/test and .ci/run share: installing packages, building, and saying why
# something cannot be. Sourced, never run; the caller has `top`, the project's root.
# shellcheck disable=SC2034,SC2154

BUILD_PACKAGES="build-essential pkg-config meson ninja-build libfuse3-dev fuse3 libarchive-dev
	libssl-dev liblmdb-dev libjansson-dev libseccomp-dev zlib1g-dev libbz2-dev liblzma-dev
	libzstd-dev liblz4-dev"
TEST_PACKAGES="libcriterion-dev python3 libarchive-tools mtree-netbsd rsync curl vim-tiny busybox
	cpio zip zstd lz4 xz-utils bzip2 lmdb-utils"
CLANG_PACKAGES="clang llvm libclang-rt-14-dev"

say() {
	printf '\n==> %s\n' "$*"
}

die() {
	printf '%s: %s\n' "$(basename "$0")" "$*" >&2
	exit 1
}

as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		die "this needs root: $* (run me as root, or install sudo)"
	fi
}

is_installed() {
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# install_packages NAME...: installs those that are missing; does nothing when none is.
install_packages() {
	local missing="" name
	command -v dpkg-query >/dev/null || die "this is made for Debian 12: there is no dpkg here"
	for name in "$@"; do
		# Any vim will do, and vim-tiny would come on top of another.
		[ "$name" = vim-tiny ] && is_installed vim && continue
		is_installed "$name" || missing="$missing $name"
	done
	[ -n "$missing" ] || return 0
	say "Installing:$missing"
	as_root env DEBIAN_FRONTEND=noninteractive apt-get update -q ||
		die "apt-get update failed: is there a network, and are the sources in /etc/apt right?"
	# shellcheck disable=SC2086
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
		$missing </dev/null || die "apt-get could not install:$missing"
}

# build_into DIRECTORY [MESON_OPTION...]: configures once, then builds what changed.
build_into() {
	local directory=$1
	shift
	if [ -f "$directory/build.ninja" ]; then
		meson configure "$directory" "$@" >/dev/null || return
	else
		meson setup "$directory" "$top" "$@" || return
	fi
	ninja -C "$directory"
}

has_cap_sys_admin() {
	local mask
	mask=$(sed -n 's/^CapEff:[[:space:]]*//p' /proc/self/status)
	[ $((0x$mask >> 21 & 1)) = 1 ]
}

# Prints why nothing can be mounted here; prints nothing when it can.
why_no_fuse() {
	if [ ! -e /dev/fuse ]; then
		echo "there is no /dev/fuse on this machine: load the module (modprobe fuse), or start the" \
			"container with --device /dev/fuse --cap-add SYS_ADMIN"
	elif ! (exec 3<>/dev/fuse) 2>/dev/null; then
		echo "/dev/fuse cannot be opened here: the container needs --device /dev/fuse" \
			"--cap-add SYS_ADMIN"
	elif [ "$(id -u)" = 0 ] && ! has_cap_sys_admin; then
		echo "root may not mount in this container: it needs --cap-add SYS_ADMIN"
	fi
}

# Totals over several test runs, each of which ends with "N passed, N failed, N skipped".
passed=0 failed=0 skipped=0

# add_totals FILE: adds the last such line of a run's output; a run without one counts as failed.
add_totals() {
	local line
	line=$(grep -E '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$1" | tail -n 1)
	if [ -z "$line" ]; then
		failed=$((failed + 1))
		return
	fi
	# shellcheck disable=SC2086
	set -- $line
	passed=$((passed + $1)) failed=$((failed + $3)) skipped=$((skipped + $5))
}

print_totals() {
	echo "$passed passed, $failed failed, $skipped skipped"
}

# run_unit_tests DIRECTORY: the Criterion tests of a build; counts each program's tests.
run_unit_tests() {
	local status=0
	rm -f "$1/meson-logs/testlog.json"
	# Below this level Criterion does not tell which tests were skipped, and why.
	CRITERION_VERBOSITY_LEVEL=1 meson test -C "$1" --no-rebuild --print-errorlogs --timeout-multiplier "${TIMEOUT_FACTOR:-2}" ||
		status=$?
	python3 "$top/scripts/unit-totals.py" "$1/meson-logs/testlog.json"
	return "$status"
}
