"""A block that was logged but not stored when the engine was killed must be stored when it is sent again."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client
from conftest import ServerThread

from runtime.embedded.engine_repair import forget_lost_blocks
from runtime.embedded.servers import ENGINE, EmbeddedServers
from sinks.client import connect

LINE = "1\t{part}\tall_{block}_1\n"


def insert(client: Client, number: int) -> None:
    client.raw_insert(
        "t",
        ["x"],
        f"[{number}]",
        fmt="JSONCompactEachRow",
        settings={"insert_deduplication_token": f"k{number}"},
    )


def kill(servers: EmbeddedServers) -> None:
    """Kill the engine and wait until it is another process that answers."""
    pid = servers.pids[ENGINE]
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while servers.pids.get(ENGINE) in (pid, None):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_block_killed_between_log_and_rename_is_stored_when_it_is_sent_again(tmp_path: Path) -> None:
    """The moment itself lasts 0.1 ms, so it is made by hand: the log has the block, its part is gone."""
    with ServerThread(tmp_path, ENGINE) as servers:
        client = connect(servers.clickhouse, "default")
        client.command(
            "CREATE TABLE t (x UInt64) ENGINE = MergeTree ORDER BY x"
            " SETTINGS non_replicated_deduplication_window = 100, fsync_after_insert = 1"
        )
        for number in range(4):
            insert(client, number)
        client.command("OPTIMIZE TABLE t FINAL")
        insert(client, 4)
        query = "SELECT name, path FROM system.parts WHERE table = 't' AND active"
        paths = dict(client.query(query).result_rows)
        assert set(paths) == {"all_1_4_1", "all_5_5_0"}
        shutil.move(paths["all_5_5_0"], Path(paths["all_5_5_0"]).parent / "tmp_insert_all_5_5_0")
        kill(servers)
        client = connect(servers.clickhouse, "default")
        for number in range(5):
            insert(client, number)
        assert client.query("SELECT groupArray(x) FROM (SELECT x FROM t ORDER BY x)").result_rows == [
            ([0, 1, 2, 3, 4],)
        ]


@pytest.mark.parametrize(
    ("part", "stored", "is_kept"),
    [
        ("all_7_7_0", ["all_7_7_0"], True),
        ("all_7_7_0", ["all_1_9_2"], True),
        ("all_7_7_0", ["all_1_9_2_11"], True),
        ("all_7_7_0", ["all_1_6_2", "all_8_9_1"], False),
        ("all_7_7_0", ["all_1_20_3", "all_2_3_1"], True),
        ("all_7_7_0", ["tmp_insert_all_7_7_0", "detached"], False),
        ("all_7_7_0", ["tmp_merge_all_1_9_1"], False),
        ("all_7_7_0", ["20260101_7_7_0"], False),
        ("20260101_7_7_0", ["20260101_1_9_1"], True),
        ("all_7_7_0", [], False),
    ],
)
def test_a_logged_block_counts_as_stored_only_if_a_finished_part_has_it(
    tmp_path: Path, part: str, stored: list[str], is_kept: bool
) -> None:
    """Merged and mutated parts hold their blocks; drafts hold nothing."""
    table = tmp_path / "store" / "abc" / "abc-1"
    log = table / "deduplication_logs" / "deduplication_log_1.txt"
    log.parent.mkdir(parents=True)
    log.write_text(LINE.format(part=part, block=7))
    for name in stored:
        (table / name).mkdir()
    assert forget_lost_blocks(tmp_path) == (0 if is_kept else 1)
    assert log.read_text() == (LINE.format(part=part, block=7) if is_kept else "")


def test_other_lines_stay_as_they_are(tmp_path: Path) -> None:
    """Withdrawals, blocks of stored parts, and a line that a power cut has torn."""
    table = tmp_path / "store" / "abc" / "abc-1"
    log = table / "deduplication_logs" / "deduplication_log_2.txt"
    log.parent.mkdir(parents=True)
    (table / "all_1_1_0").mkdir()
    good = ["1\tall_1_1_0\tall_9_9\n", "2\tall_2_2_0\tall_8_8\n"]
    log.write_text("".join([*good, "1\tall_3_3_0\tall_5_5\n", "1\tall_"]))
    assert forget_lost_blocks(tmp_path) == 1
    assert log.read_text() == "".join([*good, "1\tall_"])
    assert not list(log.parent.glob("*.new"))
