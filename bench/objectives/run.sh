#!/bin/sh
# Each objective's time and peak memory beside torchdistill's and the published code's, on one thread and on two.
#
#   bench/objectives/run.sh [PUBLISHED]      PUBLISHED holds checkouts as PUBLISHED/owner/name; those missing are left out
#
# `git clone https://github.com/$repo PUBLISHED/$repo` for each repo of `python bench/objectives/speed.py --list`.
#
# PYTHON     the Python of limbeck's environment (.venv/bin/python)
# PEERS      where torchdistill and the results are kept (a new temporary folder)
# THREADS    the numbers of threads ("1 2")
# ARGUMENTS  further ones for speed.py, such as "--turns 21 --only dkd"
set -eu
published=${1:+$(cd "$1" && pwd)}
cd "$(dirname "$0")/../.."
python=${PYTHON:-.venv/bin/python}
peers=${PEERS:-$(mktemp -d)}
echo "torchdistill and results: $peers" >&2

if [ ! -f "$peers/torchdistill/installed" ]; then
    "$python" -m pip install --quiet --disable-pip-version-check --no-deps --target "$peers/torchdistill" \
        -r bench/objectives/requirements-torchdistill.txt >&2
    touch "$peers/torchdistill/installed"
fi

for threads in ${THREADS:-1 2}; do
    echo "threads $threads, load $(cut -d' ' -f1 /proc/loadavg 2>/dev/null || echo unknown)" >&2
    # shellcheck disable=SC2086
    OMP_NUM_THREADS=$threads PYTHONPATH="$peers/torchdistill" "$python" bench/objectives/speed.py \
        ${published:+--published "$published"} --json "$peers/speed-$threads.json" ${ARGUMENTS:-}
done
