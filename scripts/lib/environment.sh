# Sourced by the scripts: makes .venv at the repository's root and keeps it in step with requirements/.
#
#   ensure_environment base|dev    base runs a mesh; dev also tests it. Costs a few milliseconds when nothing is to do.
#   fail "message"                 one line on stderr, exit 1
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
venv=$root/.venv

fail() {
    echo "${0##*/}: $*" >&2
    exit 1
}

ensure_environment() {
    local requirements=$root/requirements/$1.txt
    _is_current "$1" && return
    mkdir -p "$root/build"
    if command -v flock >/dev/null && [[ -z ${WEFT_ENVIRONMENT_LOCKED:-} ]]; then
        # A mesh started beside this one waits here for the same environment.
        exec 9>"$root/build/environment.lock"
        flock 9
        _is_current "$1" && { exec 9>&-; return; }
    fi

    local started=$SECONDS
    [[ -x $venv/bin/python ]] && "$venv/bin/python" -c '' 2>/dev/null || _make_venv
    echo "installing $(grep -c == "$requirements") packages into .venv (only when they change; the first time takes a minute)"
    # Wheels only: a platform without one gets a line that names the package, not a compiler's output.
    if ! "$venv/bin/python" -m pip install --disable-pip-version-check --no-input --progress-bar off --only-binary :all: \
        --require-hashes --requirement "$requirements" >"$root/build/pip.log" 2>&1; then
        grep -v '^Requirement already satisfied' "$root/build/pip.log" | tail -n 20 >&2
        fail "cannot install $(grep -m1 -o 'No matching distribution found for .*' "$root/build/pip.log" | sed 's/.* for //' \
            | grep . || echo "requirements/$1.txt"); the lines above are the end of build/pip.log"
    fi
    _install_project
    _stamp "$1" >"$venv/installed-$1.txt"
    [[ $1 == base ]] || _stamp base >"$venv/installed-base.txt"
    { exec 9>&-; } 2>/dev/null
    echo "environment ready after $((SECONDS - started)) s"
}

# What the environment was made from. The path counts: an environment that was moved does not work.
_stamp() {
    echo "# $root"
    cat "$root/requirements/$1.txt"
}

_is_current() {
    [[ -x $venv/bin/weft ]] && _stamp "$1" | cmp -s - "$venv/installed-$1.txt"
}

_make_venv() {
    local python candidate
    for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            python=$candidate
            break
        fi
    done
    [[ -n ${python:-} ]] || fail "Python 3.11 or newer is needed, and ${PYTHON:-python3} is not (set PYTHON=/path/to/python3.11)"
    "$python" -m venv --clear "$venv" >"$root/build/venv.log" 2>&1 \
        || fail "$python -m venv does not work here; on Debian: apt-get install python3-venv (see build/venv.log)"
}

# The project runs in place: its packages and the generated ones are importable from any directory, and `weft` is a command.
# A .pth file does that without a build backend, and -P keeps the caller's directory from shadowing modules.
_install_project() {
    local site
    site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    printf '%s\n' "$root" "$root/gen" >"$site/weft.pth"
    printf '#!/bin/sh\nexec "%s/bin/python" -P -m weft.cli "$@"\n' "$venv" >"$venv/bin/weft"
    chmod +x "$venv/bin/weft"
    "$venv/bin/python" -m compileall -qq "$root/weft" "$root/services" "$root/gen" || true
}
