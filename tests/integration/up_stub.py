"""Stands in for ``python -m runtime.cli`` where only starting and stopping matters.

``collect``, ``serve`` and ``work`` answer 200 on the port they were given; ``migrate`` ends at once. The variable
``STUB_FAILS`` names a word that ends with exit code 2 instead.
"""

import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

PORTS = {"collect": "COLLECTOR_PORT", "serve": "API_PORT", "work": "WORKER_METRICS_PORT"}


class Ready(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = "\n".join(f"{k}={v}" for k, v in os.environ.items() if k.startswith("HEADWATER_")).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    word = sys.argv[1]
    if os.environ.get("STUB_FAILS") == word:
        print("HEADWATER_SOMETHING is wrong: change it", file=sys.stderr)
        sys.exit(2)
    if word != "migrate":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        HTTPServer(("127.0.0.1", int(os.environ["HEADWATER_" + PORTS[word]])), Ready).serve_forever()


main()
