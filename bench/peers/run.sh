#!/bin/sh
# The classic MNIST pair in limbeck, in Keras's Distiller on each of its backends, and in a textbook loop.
#
#   bench/peers/run.sh DIR [REPEATS]      DIR holds the four IDX files of MNIST; each peer runs REPEATS times (1), in turns
#
# PYTHON     the Python of limbeck's environment (.venv/bin/python)
# PEERS      where the peers' environments, the teacher and the results are kept (a new temporary folder)
# EPOCHS     of the student (10);  PEER_EPOCHS of Keras and of the textbook loop, where 10 take too long: the table
#            extrapolates and says so
# THREADS    of each peer (all cores)
# BACKENDS   of Keras ("tensorflow jax torch")
set -eu
unset OMP_NUM_THREADS
data=$(cd "$1" && pwd)
repeats=${2:-1}
cd "$(dirname "$0")/../.."
python=${PYTHON:-.venv/bin/python}
peers=${PEERS:-$(mktemp -d)}
epochs=${EPOCHS:-10}
peer_epochs=${PEER_EPOCHS:-$epochs}
threads=${THREADS:-$(nproc)}
backends=${BACKENDS:-tensorflow jax torch}
echo "environments, teacher and results: $peers" >&2

if [ ! -f "$peers/classic/teacher/manifest.json" ]; then
    "$python" -m limbeck distill examples/mnist-classic.yaml --overwrite --set "data.path=$data" \
        --set "out=$peers/classic" --set 'proof.seeds=[0]' --set 'proof.arms=[scratch]' --set fit.epochs=1 >&2
fi
for name in textbook $(for b in $backends; do echo "keras-$b"; done); do
    if [ ! -f "$peers/$name/installed" ]; then
        "$python" -m venv "$peers/$name"
        "$peers/$name/bin/python" -m pip install --quiet --disable-pip-version-check \
            -r "bench/peers/requirements-$name.txt" >&2
        touch "$peers/$name/installed"
    fi
done

teacher=$peers/classic/teacher
results=$peers/results.jsonl
: > "$results"
turn=1
while [ "$turn" -le "$repeats" ]; do
    echo "turn $turn of $repeats, load $(cut -d' ' -f1 /proc/loadavg 2>/dev/null || echo unknown)" >&2
    "$python" bench/peers/limbeck_peer.py "$data" "$teacher" --epochs "$epochs" --threads "$threads" >> "$results"
    "$peers/textbook/bin/python" bench/peers/textbook_peer.py "$data" "$teacher" \
        --epochs "$peer_epochs" --threads "$threads" >> "$results"
    for b in $backends; do
        KERAS_BACKEND=$b TF_CPP_MIN_LOG_LEVEL=3 "$peers/keras-$b/bin/python" bench/peers/keras_peer.py \
            "$data" "$teacher" --epochs "$peer_epochs" --threads "$threads" >> "$results"
    done
    turn=$((turn + 1))
done
"$python" bench/peers/table.py "$results" --epochs "$epochs"
