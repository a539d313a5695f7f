from __future__ import annotations

import json

from pytest_mipro.store import Response


def test_round_trip() -> None:
    """A response is read back from JSON text as it was."""
    response = Response("k", {"outputs": ["\ud800", None, 0.1], "usage": {}})
    text = json.dumps(response.to_dict(), allow_nan=False)
    assert Response.from_dict(json.loads(text)) == response
