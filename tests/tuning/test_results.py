import json

from limbeck.tuning.results import TrialResult


def test_a_result_becomes_plain_json():
    result = TrialResult(
        number=7,
        state="pruned",
        origin="searched",
        setting={"temperature": 3.85, "objective": "dkd"},
        value=0.91,
        curve=((52, 0.8), (157, 0.91)),
        steps=157,
        seconds=1.5,
        student="mlp(hidden 32)",
    )
    assert json.loads(json.dumps(result.as_dict())) == {
        "number": 7,
        "state": "pruned",
        "origin": "searched",
        "setting": {"temperature": 3.85, "objective": "dkd"},
        "value": 0.91,
        "curve": [[52, 0.8], [157, 0.91]],
        "steps": 157,
        "seconds": 1.5,
        "student": "mlp(hidden 32)",
        "reason": None,
    }
