"""A teacher behind HTTP on this machine, which misbehaves as it is told."""

import base64
import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np


def truth(inputs):
    """Logits [B, 3] of stored inputs, by which an example is known again."""
    return inputs.reshape(len(inputs), -1)[:, :3].astype(np.float64) / 64


class Endpoint:
    """What a server is told to do, and what it was asked."""

    def __init__(self):
        self.questions, self.headers, self.paths = [], [], []
        self.script, self.lock, self.under_way, self.most_at_once = [], threading.Lock(), 0, 0
        self.gives, self.beside = "logits", {}
        self.change = lambda answer: answer
        self.pause = lambda number: 0.0

    def answer(self, question):
        raw = base64.b64decode(question["inputs"]["data"])
        kind = {"uint8": np.uint8, "float32": "<f4"}[question["inputs"]["dtype"]]
        values = truth(np.frombuffer(raw, kind).reshape(question["inputs"]["shape"]))
        return self.change({self.gives: values.tolist(), **self.beside})


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        """Not on the screen."""

    def do_POST(self):
        endpoint = self.server.endpoint
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with endpoint.lock:
            endpoint.under_way += 1
            endpoint.most_at_once = max(endpoint.most_at_once, endpoint.under_way)
            number = len(endpoint.questions)
            endpoint.questions.append(json.loads(body))
            endpoint.headers.append(dict(self.headers))
            endpoint.paths.append(self.path)
            act = endpoint.script.pop(0) if endpoint.script else None
        try:
            time.sleep(endpoint.pause(number))
            if act is None:
                self.say(200, json.dumps(endpoint.answer(json.loads(body))).encode())
            else:
                act(self)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            with endpoint.lock:
                endpoint.under_way -= 1

    def say(self, status, body=b"", kind="application/json", **headers):
        self.send_response(status)
        headers = {"Content-Type": kind, "Content-Length": str(len(body))} | headers
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def served():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads, server.endpoint = True, Endpoint()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.005})
    thread.start()
    try:
        yield server.endpoint, f"http://127.0.0.1:{server.server_address[1]}/ask"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
