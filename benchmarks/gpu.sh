#!/bin/sh
# Measure the project on a machine with one CUDA GPU, in 9 minutes at most, the most valuable first:
#
#     sh benchmarks/gpu.sh [FOLDER]        (or OUT=FOLDER; default gpu-results)
#
# Settings from the environment:
#     PYTHON    its torch is used, none is ever installed; default: the first of .venv/bin/python, python3, python whose torch has CUDA
#     DEVICE    cuda (default), cuda:1, or cpu to try the script out
#     SMALL=1   small sizes: everything in some minutes
#     SECONDS_AT_MOST=540
#     PARTS     of: facts tests methods flow profile networks training
# Small packages that are missing go into a folder for temporary files, if pip finds them; PIP_NO_INDEX=1 PIP_FIND_LINKS=WHEELS
# takes them from a folder. What still cannot be imported is skipped, and said so.
# It can be stopped at any moment: every result is written when it is known. FOLDER/summary.md is for reading, the JSON beside it for more.
set -u
out=${1:-${OUT:-gpu-results}}
mkdir -p "$out" && out=$(cd "$out" && pwd) || exit 2
cd "$(dirname "$0")/.." || exit 2
DEVICE=${DEVICE:-cuda}
end=$(($(date +%s) + ${SECONDS_AT_MOST:-540} - 10)) # the summary's
later=0
child=

limit_of() { # seconds; a part also gets what those before it have left over
  case $1 in
    facts) echo 20 ;; tests) echo 60 ;; methods) echo 150 ;; flow) echo 100 ;; profile) echo 40 ;;
    networks) echo 110 ;; *) echo 50 ;;
  esac
}

finish() {
  "$PYTHON" benchmarks/gpu.py summary --out "$out"
  rm -rf "$site"
  exit "$1"
}

stop() { # the part marks its file as stopped
  trap '' TERM INT
  [ -z "$child" ] || { kill -TERM "$child" 2>/dev/null; wait "$child"; }
  finish 143
}

sees_gpu() { timeout 60 "$1" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2>/dev/null; }

run_part() { # PART [--resume]; its exit status
  left=$((end - $(date +%s) - later))
  [ "$left" -gt 5 ] || return 124
  timeout -k 5 "$left" "$PYTHON" benchmarks/gpu.py "$1" --device "$DEVICE" --out "$out" ${SMALL:+--small} ${2:-} >>"$out/log.txt" 2>&1 &
  child=$!
  wait "$child"
  code=$?
  child=
  return "$code"
}

if [ -z "${PYTHON:-}" ]; then
  for PYTHON in .venv/bin/python python3 python; do sees_gpu "$PYTHON" && break; done
  sees_gpu "$PYTHON" || PYTHON=$(for some in .venv/bin/python python3; do "$some" -c 'import torch' 2>/dev/null && echo "$some" && break; done)
  [ -n "$PYTHON" ] || { echo "No Python here has torch: name one (PYTHON=...)."; exit 2; }
fi
site=$(mktemp -d)
trap stop TERM INT
for part in facts tests methods flow profile networks training; do rm -f "$out/$part.json"; done
rm -f "$out/tests.txt" "$out/summary.md" "$out/log.txt"

missing=$("$PYTHON" -c '
from importlib.util import find_spec
names = {"numpy": "", "astropy": "", "erfa": "pyerfa", "astropy_iers_data": "astropy-iers-data", "yaml": "PyYAML", "packaging": "",
         "platformdirs": "", "psutil": "", "safetensors": "", "pytest": "", "pluggy": "", "iniconfig": "", "pygments": "", "hypothesis": "",
         "sortedcontainers": ""}
print(*(wheel or name for name, wheel in names.items() if find_spec(name) is None))') || { echo "$PYTHON does not run."; exit 2; }
if [ -n "$missing" ]; then
  # shellcheck disable=SC2086 # words are wanted
  timeout 60 "$PYTHON" -m pip install --quiet --disable-pip-version-check --retries 0 --timeout 5 --no-deps --target "$site" $missing \
    >>"$out/log.txt" 2>&1 || echo "These packages are missing and could not be installed: $missing"
fi
export PYTHONPATH="$PWD/src:$site${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1

parts=${PARTS:-facts tests methods flow profile networks training}
for part in $parts; do later=$((later + $(limit_of "$part"))); done
for part in $parts; do
  later=$((later - $(limit_of "$part")))
  echo "$part ..."
  run_part "$part"
  code=$?
  # A GPU that no longer answers, or a crash: a new process goes on after the case that did it.
  for _ in 1 2 3; do
    case $code in 0 | 1 | 2 | 124 | 137 | 143) break ;; esac
    run_part "$part" --resume
    code=$?
  done
  if [ "$part" = facts ] && [ "$DEVICE" != cpu ] && ! sees_gpu "$PYTHON"; then
    echo "The torch of $PYTHON sees no CUDA GPU: name another Python (PYTHON=...), or try the script out with DEVICE=cpu SMALL=1."
    finish 2
  fi
done
finish 0
