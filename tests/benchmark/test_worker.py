"""The process that answers, and those that are started of it."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from limbeck.benchmark.fresh import cold, fresh
from limbeck.benchmark.worker import serve
from limbeck.errors import MissingError


class Server:
    """A process in which an answer takes as long as it is told; looking at the clock takes a moment."""

    def __init__(self, service: float, look: float = 1e-5) -> None:
        self.now, self.service, self.look = 0.0, service, look

    def clock(self) -> float:
        self.now += self.look
        return self.now

    def run(self, payload) -> None:
        self.now += self.service


def serve_by(server: Server, phases, **settings):
    runs = [server.run] * len(phases)
    return serve(
        runs, [0, 1], phases, **{"period": 0.1, "seconds": 2.0, "patience": 0.05, **settings}, clock=server.clock
    )


def test_who_has_time_answers_at_once():
    served = serve_by(Server(0.01), [0.02, 0.06])
    assert served.asked == len(served.took) == 40
    assert served.took == pytest.approx([0.01] * 40, abs=1e-4)


def test_waiting_counts_from_when_a_request_came():
    """Three that come together: the second waits for one, the third for two."""
    served = serve_by(Server(0.01), [0.02, 0.02, 0.02])
    assert sorted(served.took)[:: len(served.took) // 3][:3] == pytest.approx([0.01, 0.02, 0.03], abs=1e-3)


def test_who_has_no_time_leaves_requests_waiting():
    served = serve_by(Server(0.06), [0.02, 0.07])
    assert served.asked == 40
    assert len(served.took) < 40
    # 0.12 s of work come every 0.1 s: after 2 s it is 0.4 s behind, of which 0.05 s are waited for.
    assert max(served.took) == pytest.approx(0.4, abs=0.07)
    assert 4 <= served.asked - len(served.took) <= 7


def test_those_that_came_last_are_answered_after_the_end():
    served = serve_by(Server(0.03), [0.07], seconds=0.2)
    assert served.asked == len(served.took) == 2


@given(st.integers(1, 6), st.floats(0.001, 0.05), st.floats(0.3, 2.0))
def test_every_request_is_answered_or_left(sessions, service, seconds):
    phases = sorted((number * 0.017) % 0.1 for number in range(sessions))
    served = serve_by(Server(service), phases, seconds=seconds)
    expected = sum(int(np.ceil(round((seconds - phase) / 0.1, 9))) for phase in phases)
    assert abs(served.asked - expected) <= sessions  # a request at the very end is there or not
    assert len(served.took) <= served.asked
    assert all(took >= service for took in served.took)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A network in a file, and examples for it."""
    place = tmp_path_factory.mktemp("network")
    (into, out) = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", size]) for name, size in (("x", 4), ("y", 3))
    )
    weights = numpy_helper.from_array(np.ones((4, 3), dtype=np.float32), "w")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [into], [out], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    (place / "model.onnx").write_bytes(model.SerializeToString())
    np.save(place / "inputs.npy", np.ones((8, 4), dtype=np.float32))
    return place


def test_a_fresh_process_tells_what_a_start_costs(place):
    found = cold("onnx", place / "model.onnx", place / "inputs.npy")
    assert 0 < found["seconds"] < 60
    assert 10 * 2**20 < found["bare_bytes"] <= found["peak_bytes"] < 2**34


def test_a_fresh_process_serves_as_many_sessions_as_it_is_asked_for(place):
    with fresh(1) as (process,):
        process.ask("begin", kind="onnx", path=str(place / "model.onnx"), inputs=str(place / "inputs.npy"))
        process.answer()
        process.ask("sessions", count=3)
        assert process.answer()["bytes"] > 0
        process.ask("serve", phases=[0.001, 0.002, 0.003], period=0.01, seconds=0.1, patience=0.05)
        assert process.answer()["asked"] == 30


def test_a_process_that_cannot_is_no_traceback(place):
    with fresh(1) as (process,):
        process.ask("begin", kind="onnx", path=str(place / "nothing"), inputs=str(place / "inputs.npy"))
        with pytest.raises(MissingError, match=r"has ended: .*nothing"):
            process.answer()


def test_a_worker_does_not_hold_torch_before_it_needs_it():
    code = "import sys, limbeck.benchmark.worker; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
