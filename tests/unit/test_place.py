"""What a data folder remembers, and who may hold it."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from attribution.errors import Misconfigured
from runtime.place import Place


def test_one_process_holds_a_folder(tmp_path: Path) -> None:
    with Place(tmp_path), pytest.raises(Misconfigured, match=r"already runs .* \(pid \d+\)"):
        Place(tmp_path)
    Place(tmp_path).release()


def test_ports_and_secrets_are_the_same_the_next_time(tmp_path: Path) -> None:
    with Place(tmp_path) as place:
        first = (place.port("a"), place.port("b"), place.secret("key", lambda: "one"))
    assert first[0] != first[1]
    with Place(tmp_path) as place:
        assert (place.port("a"), place.port("b"), place.secret("key", lambda: "two")) == first


def test_a_taken_port_is_replaced(tmp_path: Path) -> None:
    with Place(tmp_path) as place, socket.socket() as other:
        kept = place.port("a")
        other.bind(("127.0.0.1", kept))
        other.listen()
        assert place.port("a") != kept


def test_the_usual_port_is_preferred_if_free(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        usual = probe.getsockname()[1]
    with Place(tmp_path) as place:
        assert place.port("a", preferred=usual) == usual
        assert place.port("b", preferred=usual) != usual


def test_files_with_keys_are_for_their_owner_only(tmp_path: Path) -> None:
    with Place(tmp_path) as place:
        place.secret("key", lambda: "one")
        place.announce({"site_key": "x"})
        for name in ("state.json", "run.json"):
            assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
        place.withdraw()
        place.withdraw()
        assert not (tmp_path / "run.json").exists()


def test_what_was_settled_stays(tmp_path: Path) -> None:
    with Place(tmp_path) as place:
        assert place.settle("partitions", 4) == 4
        assert place.settle("partitions", 8) == 4


@pytest.mark.parametrize("content", ["{", "[]", ""])
def test_a_damaged_state_is_not_overwritten(tmp_path: Path, content: str) -> None:
    (tmp_path / "state.json").write_text(content)
    with pytest.raises(Misconfigured, match=r"state\.json"):
        Place(tmp_path)
    assert (tmp_path / "state.json").read_text() == content


def test_a_place_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Misconfigured, match="--data-dir"):
        Place(tmp_path / "file" / "below")


def test_the_state_is_plain_json(tmp_path: Path) -> None:
    with Place(tmp_path) as place:
        port = place.port("a")
    assert json.loads((tmp_path / "state.json").read_text()) == {"ports": {"a": port}}
