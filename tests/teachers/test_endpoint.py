"""An endpoint on this machine that misbehaves as told: what passes is tried again, what does not is said in words."""

import base64
import gzip
import json
import time

import numpy as np
import pytest
import torch
from asking import CLASSES, examples_of
from serving import served, truth

from limbeck.data import Preprocess, key_examples
from limbeck.errors import DataError, RecipeError
from limbeck.files import digest
from limbeck.recipe import recipe_from_tree
from limbeck.teachers import Audience, EndpointTeacher, Logits, Picked, Probabilities, Votes, ask_all
from limbeck.teachers import wire as wire_module

EXAMPLES = examples_of(40)
AUDIENCE = Audience(EXAMPLES, Preprocess(scale=255.0))
TOKEN = "s3cret-token"


@pytest.fixture
def endpoint():
    with served() as (told, url):
        told.url = url
        yield told


def spec(endpoint, **options):
    settings = {"backoff": 0.0, "timeout": 10.0, "retries": 3, "request_size": 7, "concurrency": 3}
    return EndpointTeacher(url=endpoint.url, **{**settings, **options})


def expected(examples=EXAMPLES):
    return torch.from_numpy(truth(examples.inputs.numpy())).float()


def saying(status, body=b"{}", **headers):
    return lambda handler: handler.say(status, body, **headers)


# --- what is asked and answered --------------------------------------------------------------------------------------


def test_it_is_asked_about_stored_inputs_in_requests_of_a_few(endpoint):
    who = spec(endpoint).open(AUDIENCE)
    assert torch.equal(ask_all(who, EXAMPLES), expected())
    assert sorted(len(question["keys"]) for question in endpoint.questions) == [1, 5, 7, 7, 7, 7, 7]
    asked = {key for question in endpoint.questions for key in question["keys"]}
    assert asked == {bytes(key.tolist()).hex() for key in EXAMPLES.keys}
    first = endpoint.questions[0]
    assert first["format"] == 1
    assert first["inputs"]["shape"] == [1, 1, 4, 4]
    assert first["inputs"]["dtype"] == "uint8"
    assert base64.b64decode(first["inputs"]["data"]) == EXAMPLES.inputs[0].numpy().tobytes()
    assert "Authorization" not in endpoint.headers[0]


def test_rows_of_numbers_are_sent_as_float32(endpoint):
    generator = torch.Generator().manual_seed(0)
    rows = key_examples(torch.randn(9, 5, generator=generator), torch.arange(9) % 3, CLASSES)
    who = spec(endpoint).open(Audience(rows, Preprocess()))
    assert torch.equal(ask_all(who, rows), expected(rows))
    assert endpoint.questions[0]["inputs"]["dtype"] == "float32"


def test_answers_keep_the_order_of_the_examples_whatever_comes_first(endpoint):
    endpoint.pause = lambda number: 0.03 if number % 2 else 0.0
    who = spec(endpoint).open(AUDIENCE)
    assert torch.equal(ask_all(who, EXAMPLES), expected())
    assert 2 <= endpoint.most_at_once <= 3


@pytest.mark.parametrize(
    ("key", "gives", "make"),
    [
        ("logits", Logits(), lambda logits: logits),
        ("probabilities", Probabilities(), lambda logits: np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)),
        ("votes", Votes(), lambda logits: np.round(logits * 9 + 1)),
    ],
)
def test_the_key_of_its_numbers_says_what_they_are(endpoint, key, gives, make):
    endpoint.change = lambda answer: {key: make(np.array(answer["logits"])).tolist()}
    who = spec(endpoint).open(AUDIENCE)
    assert who.gives == gives
    numbers = torch.from_numpy(make(truth(EXAMPLES.inputs.numpy()))).float()
    torch.testing.assert_close(ask_all(who, EXAMPLES), gives.logits(numbers))


def test_its_classes_are_matched_by_name(endpoint):
    endpoint.beside = {"classes": ["c", "a", "b"]}
    who = spec(endpoint).open(AUDIENCE)
    assert isinstance(who, Picked)
    assert torch.equal(ask_all(who, EXAMPLES), expected()[:, [1, 2, 0]])
    assert torch.equal(ask_all(spec(endpoint, classes=CLASSES).open(AUDIENCE), EXAMPLES), expected())
    with pytest.raises(DataError, match="names 2 outputs, and the endpoint"):
        spec(endpoint, classes=("a", "b")).open(AUDIENCE)
    endpoint.beside = {"classes": ["a", "b", "x"]}
    with pytest.raises(DataError, match="lacks c"):
        spec(endpoint).open(AUDIENCE)


def test_a_token_is_sent_and_never_shown(endpoint, monkeypatch):
    monkeypatch.setenv("OUR_TOKEN", TOKEN)
    who = spec(endpoint, token_env="OUR_TOKEN").open(AUDIENCE)
    assert endpoint.headers[0]["Authorization"] == f"Bearer {TOKEN}"
    assert TOKEN not in json.dumps(who.identity()) + repr(who.wire) + repr(vars(spec(endpoint, token_env="OUR_TOKEN")))
    endpoint.script = [saying(401, f"{TOKEN} is not known".encode())]
    with pytest.raises(DataError, match=r"status 401: \*\*\* is not known") as caught:
        who.answer(EXAMPLES.inputs[:1], EXAMPLES.keys[:1])
    assert TOKEN not in str(caught.value)
    monkeypatch.delenv("OUR_TOKEN")
    with pytest.raises(RecipeError, match=r"teacher\.token_env is OUR_TOKEN, which is empty or not set"):
        spec(endpoint, token_env="OUR_TOKEN").open(AUDIENCE)
    monkeypatch.setenv("OUR_TOKEN", "two\r\nlines")
    with pytest.raises(RecipeError, match="which holds no token"):
        spec(endpoint, token_env="OUR_TOKEN").open(AUDIENCE)


# --- what passes -----------------------------------------------------------------------------------------------------


def cut(handler):
    """Less than was declared."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"logits": [[')
    handler.close_connection = True


def hung_up(handler):
    handler.close_connection = True
    handler.connection.close()


@pytest.mark.parametrize(
    "script",
    [
        [saying(500), saying(500)],
        [saying(502), saying(503), saying(504)],
        [saying(429, Retry_After="0")],
        [saying(408)],
        [hung_up],
        [cut, cut],
        [cut, saying(500), hung_up],
    ],
)
def test_what_may_pass_is_tried_again(endpoint, script):
    who = spec(endpoint, concurrency=1).open(AUDIENCE)
    endpoint.script = list(script)
    assert torch.equal(ask_all(who, EXAMPLES), expected())
    assert len(endpoint.questions) == 1 + len(script) + 6


def test_waits_double_and_are_what_the_endpoint_asks_for(endpoint, monkeypatch):
    waits = []
    monkeypatch.setattr(wire_module.time, "sleep", waits.append)
    who = spec(endpoint, backoff=0.5, retries=5, concurrency=1).open(AUDIENCE)
    endpoint.script = [*[saying(503)] * 3, saying(429, Retry_After="7"), saying(503, Retry_After="x")]
    who.answer(EXAMPLES.inputs[:1], EXAMPLES.keys[:1])
    assert [wait for wait in waits if wait] == [0.5, 1.0, 2.0, 7.0, 8.0]
    waits.clear()
    endpoint.script = [saying(503, Retry_After="86400")]
    who.answer(EXAMPLES.inputs[:1], EXAMPLES.keys[:1])
    assert [wait for wait in waits if wait] == [60.0]


@pytest.mark.parametrize(
    ("act", "words"), [(saying(503), "3 tries: status 503"), (hung_up, "3 tries"), (cut, "3 tries")]
)
def test_tries_end_in_words_that_say_how_far_it_came(endpoint, act, words):
    who = spec(endpoint, retries=2, concurrency=1, request_size=40).open(AUDIENCE)
    ask_all(who, EXAMPLES)
    endpoint.script = [act] * 3
    with pytest.raises(DataError, match=words) as caught:
        ask_all(who, EXAMPLES)
    assert endpoint.url in caught.value.came
    assert "(40 examples were answered before)" in caught.value.came
    assert "--resume" in caught.value.do


def test_an_endpoint_that_is_slow_is_given_up(endpoint):
    who = spec(endpoint, retries=0, timeout=0.05).open(AUDIENCE)
    endpoint.pause = lambda number: 0.3
    with pytest.raises(DataError, match="did not answer in 1 try"):
        ask_all(who, EXAMPLES)


def test_an_endpoint_that_answers_a_byte_at_a_time_is_given_up(endpoint):
    def drip(handler):
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        for _ in range(40):
            handler.wfile.write(b" ")
            handler.wfile.flush()
            time.sleep(0.01)

    who = spec(endpoint, retries=0, timeout=0.1).open(AUDIENCE)
    endpoint.script = [drip]
    with pytest.raises(DataError, match=r"not complete after 0\.1 s"):
        who.answer(EXAMPLES.inputs[:1], EXAMPLES.keys[:1])


def test_nobody_there_is_said_in_words():
    with served() as (_, url):
        pass
    with pytest.raises(DataError, match="did not answer in 2 tries"):
        EndpointTeacher(url=url, retries=1, backoff=0.0).open(AUDIENCE)


# --- what does not pass ----------------------------------------------------------------------------------------------


def body(value):
    return saying(200, value if isinstance(value, bytes) else json.dumps(value).encode())


ODD = {
    "wrong width": (body({"logits": [[1.0, 2.0]]}), "2 numbers for each example, where it was 3"),
    "too few rows": (body({"logits": []}), "0 rows of logits for 1 examples"),
    "too many rows": (body({"logits": [[1, 2, 3]] * 2}), "2 rows of logits for 1 examples"),
    "ragged": (body({"logits": [[]]}), "rows of 0 logits"),
    "no rows": (body({"logits": 3}), "one int of logits"),
    "texts": (body({"logits": [["1", "2", "3"]]}), "logits that are no numbers"),
    "truths": (body({"logits": [[True, False, True]]}), "logits that are no numbers"),
    "deep": (body({"logits": [[[1, 2, 3]]]}), "logits that are no numbers"),
    "NaN": (body(b'{"logits": [[NaN, 1, 2]]}'), "NaN is no number"),
    "Infinity": (body(b'{"logits": [[Infinity, 1, 2]]}'), "Infinity is no number"),
    "a float too large": (body(b'{"logits": [[1e999, 1, 2]]}'), "that float32 cannot hold"),
    "a float of 64 bits": (body(b'{"logits": [[1e300, 1, 2]]}'), "that float32 cannot hold"),
    "an integer too large": (body(b'{"logits": [[1' + b"0" * 400 + b", 1, 2]]}"), "that float32 cannot hold"),
    "an integer far too large": (body(b'{"logits": [[' + b"9" * 5000 + b"]]}"), "no JSON"),
    "nesting": (body(b"[" * 200_000), "no JSON"),
    "no JSON": (body(b"<html>"), "no JSON"),
    "no text": (body(b"\xff\xfe"), "no JSON"),
    "a list": (body([[1, 2, 3]]), "one list"),
    "no numbers": (body({"label": ["a"]}), "the keys label"),
    "two kinds": (body({"logits": [[1, 2, 3]], "votes": [[1, 2, 3]]}), "the keys logits, votes"),
    "another kind": (body({"votes": [[1, 2, 3]]}), "gives 'votes', where it was 'logits'"),
    "odd classes": (body({"logits": [[1, 2, 3]], "classes": ["a", "b"]}), "classes a, b"),
    "odd version": (body({"logits": [[1, 2, 3]], "version": 7}), "version 7"),
    "another type": (saying(200, b"{}", kind="text/html"), "the type 'text/html'"),
    "compressed": (
        saying(200, gzip.compress(bytes(50 * 2**20)), Content_Encoding="gzip"),
        "the encoding 'gzip'",
    ),
    "gigantic": (body(b" " * (5 * 2**20)), "more than 4,194,"),
    "not there": (saying(404, b"no such page"), "status 404: no such page"),
    "not allowed": (saying(403, b"\x1b[31mred\n" + b"x" * 10_000), "status 403: [31mred x"),
    "nothing": (saying(204), "status 204"),
    "elsewhere": (saying(307, Location="http://127.0.0.1:1/steal"), "redirects to 'http://127.0.0.1:1/steal'"),
    "elsewhere here": (saying(301, Location="/other"), "redirects to '/other'"),
}


@pytest.mark.parametrize("case", ODD)
def test_what_will_not_pass_is_not_tried_again(endpoint, case, monkeypatch):
    monkeypatch.setenv("OUR_TOKEN", TOKEN)
    act, words = ODD[case]
    who = spec(endpoint, token_env="OUR_TOKEN").open(AUDIENCE)
    endpoint.script = [act] * 4
    with pytest.raises(DataError) as caught:
        who.answer(EXAMPLES.inputs[:1], EXAMPLES.keys[:1])
    assert words in caught.value.came
    assert len(caught.value.came) < 1000
    assert endpoint.url in caught.value.came
    assert len(endpoint.questions) == 2
    assert set(endpoint.paths) == {"/ask"}


def test_a_body_without_an_end_is_cut_off(endpoint):
    sent = []

    def endless(handler):
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.end_headers()
        for _ in range(200):
            handler.wfile.write(b" " * 2**20)
            sent.append(1)

    endpoint.script = [endless]
    with pytest.raises(DataError, match="answered with more than 4,194,304 bytes"):
        spec(endpoint).open(AUDIENCE)
    assert len(sent) < 100


def test_a_query_is_not_shown(endpoint):
    endpoint.url += "?key=secret"
    endpoint.script = [saying(404)]
    with pytest.raises(DataError) as caught:
        spec(endpoint).open(AUDIENCE)
    assert "secret" not in str(caught.value)
    assert endpoint.paths == ["/ask?key=secret"]


# --- identity --------------------------------------------------------------------------------------------------------


def test_it_is_known_by_its_version(endpoint, open_store):
    first = open_store(spec(endpoint, version="7").open(AUDIENCE), EXAMPLES)
    asked = len(endpoint.questions)
    assert open_store(spec(endpoint, version="7").open(AUDIENCE), EXAMPLES).directory == first.directory
    assert len(endpoint.questions) < asked + 6  # but for the probes, the store answers
    assert open_store(spec(endpoint, version="8").open(AUDIENCE), EXAMPLES).directory != first.directory
    endpoint.beside = {"version": "7"}
    assert open_store(spec(endpoint).open(AUDIENCE), EXAMPLES).directory == first.directory
    with pytest.raises(DataError, match="version '7', where it was '8'"):
        spec(endpoint, version="8").open(AUDIENCE)


def test_a_version_that_changes_under_way_is_refused(endpoint):
    endpoint.beside = {"version": "7"}
    who = spec(endpoint).open(AUDIENCE)
    endpoint.beside = {"version": "8"}
    with pytest.raises(DataError, match="version '8', where it was '7'"):
        ask_all(who, EXAMPLES)


def test_classes_that_change_under_way_are_refused(endpoint):
    endpoint.beside = {"classes": list(CLASSES)}
    who = spec(endpoint).open(AUDIENCE)
    endpoint.beside = {"classes": ["b", "a", "c"]}
    with pytest.raises(DataError, match="classes b, a, c, where it was a, b, c"):
        ask_all(who, EXAMPLES)


def test_it_is_asked_twice_with_one_answer_and_one_identity(endpoint):
    who = spec(endpoint).open(AUDIENCE)
    identity = digest(who.identity())
    assert torch.equal(ask_all(who, EXAMPLES), ask_all(who, EXAMPLES))
    assert digest(who.identity()) == identity
    assert digest(spec(endpoint, version="1").open(AUDIENCE).identity()) != identity
    endpoint.beside = {"classes": list(CLASSES)}
    assert digest(spec(endpoint).open(AUDIENCE).identity()) != identity


def test_an_endpoint_that_changes_its_mind_is_found_out(endpoint, open_store):
    who = spec(endpoint).open(AUDIENCE)
    open_store(who, EXAMPLES)
    endpoint.change = lambda answer: {"logits": (np.array(answer["logits"]) + 1).tolist()}
    with pytest.raises(DataError, match="answers otherwise"):
        open_store(who, EXAMPLES)


def test_a_labelling_cut_short_goes_on_where_the_endpoint_failed(endpoint, open_store, monkeypatch):
    who = spec(endpoint, retries=0, concurrency=1).open(AUDIENCE)
    endpoint.script = [None, None, saying(500)]
    with pytest.raises(DataError, match="status 500"):
        open_store(who, EXAMPLES)
    endpoint.script = []
    store = open_store(who, EXAMPLES)
    assert store.manifest["distinct"] == 40


# --- recipes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"url": "ftp://host/x"}, "url must be http"),
        ({"url": "host/x"}, "url must be http"),
        ({"url": "file:///etc/passwd"}, "url must be http"),
        ({"url": "http:///x"}, "url must be http"),
        ({"url": "http://host/a b"}, "url must be http"),
        ({"url": "http://host/\r\nX: y"}, "url must be http"),
        ({"url": "http://host:99999/"}, "out of range"),
        ({"url": "http://me:hunter2@host/"}, "use token_env"),
        ({"timeout": 0.0}, "timeout must be above 0"),
        ({"backoff": -1.0}, "backoff at least 0"),
        ({"retries": -1}, "retries must be at least 0"),
        ({"concurrency": 0}, "concurrency and request_size at least 1"),
        ({"request_size": 0}, "concurrency and request_size at least 1"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(change, words):
    teacher = {"kind": "endpoint", "url": "http://host/ask", **change}
    tree = {"data": {"source": "digits"}, "student": {"model": {"name": "mlp"}}, "teacher": teacher}
    with pytest.raises(RecipeError, match=words) as caught:
        recipe_from_tree(tree, {}, where="here")
    assert "hunter2" not in str(caught.value)


def test_it_has_no_parts_to_tap():
    with pytest.raises(RecipeError, match="taps x were asked of the endpoint http://host/ask"):
        EndpointTeacher(url="http://host/ask?key=1").open(Audience(EXAMPLES, Preprocess(), taps=("x",)))
