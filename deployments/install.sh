#!/bin/sh
# Installs Pointsman from the lock into .venv beside this checkout, and puts the `pointsman` command there.
# Usage: deployments/install.sh [EXTRA,EXTRA...]   (extras of pyproject.toml; none = what an ECS task needs)
# COMPILE=yes compiles all of it now, for an image whose user may not write beside the code. So does an environment in
# which Python keeps nothing that it compiled (PYTHONDONTWRITEBYTECODE): each process would take seconds to start.
# The lock is used as constraints, so that only the named extras are installed and always at the locked versions.
set -eu
root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
extras=${1:-}
venv=$root/.venv
target=$root${extras:+"[$extras]"}
python=${PYTHON:-python3}

"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || {
  echo "Pointsman needs Python 3.11 to 3.13; $python is $("$python" -V). Name another with PYTHON=python3.12." >&2
  exit 2
}
if command -v uv >/dev/null 2>&1; then
  [ -x "$venv/bin/python" ] || uv venv --quiet --python "$python" "$venv"
  uv pip install --quiet --python "$venv/bin/python" --constraint "$root/requirements.lock" --editable "$target"
else
  [ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile \
    --constraint "$root/requirements.lock" --editable "$target"
fi

# flows/, tasks/ and service/ are an application, not a library: they run from the checkout and are never put into
# site-packages, so the command is a launcher that knows where the checkout is.
cat > "$venv/bin/pointsman" <<EOF
#!$venv/bin/python
import sys
sys.path.insert(0, "$root")
from service.cli import run
run()
EOF
chmod +x "$venv/bin/pointsman"
# Some packages carry templates that are no Python yet; they are not imported either.
[ -z "${COMPILE:-}${PYTHONDONTWRITEBYTECODE:-}" ] || "$venv/bin/python" -m compileall -qq -j 0 "$root" || true
