"""The ClickHouse engine inside this process (chDB): opens one folder, runs statements, from any thread.

Every statement gets a connection of its own, which takes a quarter of a millisecond. Connections of one
process share the folder and run at the same time (a slow SELECT does not hold up an INSERT), and what a
statement sets (``SET``, ``USE``, temporary tables, read-only mode) ends with it, as on a server without
sessions. Settings of an INSERT are part of its statement: a ``SET`` before it would be a statement more.
"""

from __future__ import annotations

import ctypes
import importlib.machinery
import importlib.util
import os
import re
import shutil
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from attribution.errors import Misconfigured
from runtime.embedded.engine_repair import forget_lost_blocks
from runtime.embedded.engine_sql import Statement
from runtime.embedded.engine_tuning import STATEMENT, open_config

_EXTENSION = "_chdb.abi3.so"
_RTLD_DEEPBIND = 0x00008
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
_SETTING_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_ERROR = re.compile(r"Code: (\d+)\. DB::Exception: (?:Code: \d+\. DB::Exception: )*(.*)", re.DOTALL)
_ERROR_NAME = re.compile(r"\s*(?:\(version [^()]*(?:\([^()]*\))?\)\.?)?\s*\(([A-Z][A-Z0-9_]*)\)\s*\Z")

LIKE_A_SERVER = {"implicit_select": "0"}
"""Settings that chDB, meant for interactive use, has otherwise than a ClickHouse server."""
ALWAYS = {"database_atomic_wait_for_drop_and_detach_synchronously": "0"}
"""Settings that no statement may change: waiting for the files of a dropped table would never end."""


class EngineError(Exception):
    """A statement failed. ``code`` and ``name`` are ClickHouse's, for example 60 and ``UNKNOWN_TABLE``."""

    def __init__(self, code: int, name: str, message: str) -> None:
        super().__init__(f"{name} ({code}): {message}")
        self.code = code
        self.name = name
        self.message = message


class Answer(NamedTuple):
    """What a statement gave."""

    body: bytes
    """The result in the format asked for."""
    rows: int
    """Rows of the result, or rows that an INSERT received."""
    read_rows: int
    """Rows read from storage."""
    seconds: float
    """Time in the engine."""


class Engine:
    """One open folder. ``run`` may be called from several threads; ``close`` waits for nothing, call it last."""

    def __init__(self, folder: Path) -> None:
        """Open or create the database in ``folder``. Raises ``EngineError``, ``Misconfigured`` (not
        installed).
        """
        folder.mkdir(parents=True, exist_ok=True)
        purge_dropped(folder)
        forget_lost_blocks(folder)
        self._module = _load_extension()
        # Our signal handlers decide how this process stops.
        self._module.set_signal_handlers_enabled(False)
        self._config = open_config()
        self._place = f"{folder.resolve()}?config-file=/proc/self/fd/{self._config}"
        self._opening = threading.Lock()
        self._anchor = self._connect()  # the engine lives while a connection does
        row = self.run(Statement("SELECT", b"SELECT version(), timezone()", b"", "", None), "TabSeparated")
        self.version, self.timezone = row.body.decode().strip().split("\t")

    def run(
        self,
        statement: Statement,
        output_format: str,
        settings: Mapping[str, str] | None = None,
        parameters: Mapping[str, str] | None = None,
        database: str = "",
    ) -> Answer:
        """Run one statement and wait. Raises ``EngineError``.

        ``parameters`` are values of ``{name:Type}`` in ClickHouse's escaped text form; the engine itself
        substitutes them. ``settings`` and ``database`` hold for this statement only.
        """
        connection = self._connect()
        try:
            if database:
                _query(connection, f"USE {_identifier(database)}".encode(), "Null")
            given = _assignments({**LIKE_A_SERVER, **STATEMENT, **(settings or {}), **ALWAYS})
            if statement.data is not None:
                return _insert(connection, statement, given, parameters)
            _query(connection, b"SET " + given, "Null")
            return _query(connection, statement.head, output_format, parameters)
        finally:
            connection.close()

    def close(self) -> None:
        """Close the folder. No statement may be running."""
        self._anchor.close()
        os.close(self._config)

    def _connect(self) -> Any:
        with self._opening:
            try:
                return self._module.connect(self._place)
            except RuntimeError as error:
                raise _parse_error(str(error)) from error


def purge_dropped(folder: Path) -> None:
    """Delete the files of dropped tables: a server does so while it runs, the embedded engine never does.

    For use before the engine opens ``folder``. A dropped table is a file ``database.table.uuid.sql``, its
    data a folder named after the uuid; the file goes last, so that an interrupted purge goes on at the next
    start.
    """
    for dropped in (folder / "metadata_dropped").glob("*.sql"):
        uuid = dropped.name.removesuffix(".sql").rpartition(".")[2]
        if _UUID.match(uuid):
            data = folder / "store" / uuid[:3] / uuid
            if data.exists():
                shutil.rmtree(data)
            dropped.unlink()


def _insert(
    connection: Any, statement: Statement, settings: bytes, parameters: Mapping[str, str] | None
) -> Answer:
    """Binary data reaches the engine as a file in memory: its SQL text would not survive every byte."""
    descriptor = os.memfd_create("headwater-insert", os.MFD_CLOEXEC)
    try:
        with memoryview(statement.data or b"") as rest:
            written = 0
            while written < len(rest):
                written += os.write(descriptor, rest[written:])
        sql = statement.insert_from(f"/proc/self/fd/{descriptor}", settings)
        return _query(connection, sql, "Null", parameters)
    finally:
        os.close(descriptor)


def _query(
    connection: Any, sql: bytes, output_format: str, parameters: Mapping[str, str] | None = None
) -> Answer:
    try:
        result = connection.query(sql, output_format, params=dict(parameters or {}))
    except RuntimeError as error:
        raise _parse_error(str(error)) from error
    except UnicodeDecodeError as error:  # the engine quotes bytes of the statement in its message
        raise _parse_error(error.object.decode(errors="replace")) from error
    if result.has_error():
        raise _parse_error(result.error_message())
    return Answer(result.bytes(), result.rows_read(), result.storage_rows_read(), result.elapsed())


def _assignments(settings: Mapping[str, str]) -> bytes:
    """``name = 'value', ...``, as after ``SET`` and ``SETTINGS``."""
    for name in settings:
        if not _SETTING_NAME.match(name):
            raise EngineError(115, "UNKNOWN_SETTING", f"Unknown setting '{name}'")
    pairs = (f"{name} = {_string(value)}" for name, value in settings.items())
    return ", ".join(pairs).encode()


def _string(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _identifier(name: str) -> str:
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def _parse_error(text: str) -> EngineError:
    """``Code: 60. DB::Exception: ... (UNKNOWN_TABLE)``, sometimes said twice, into its parts."""
    found = _ERROR.search(text)
    if found is None:
        return EngineError(1000, "UNKNOWN_EXCEPTION", text)
    code, message = int(found.group(1)), found.group(2)
    name = "UNKNOWN_EXCEPTION"
    while tail := _ERROR_NAME.search(message):
        name, message = tail.group(1), message[: tail.start()]
    return EngineError(code, name, message.strip())


def _load_extension() -> ModuleType:
    """The engine's extension module alone.

    ``import chdb`` would import pyarrow and pandas, 250 MB that only its data-frame functions need. The
    extension itself asks for neither. It is loaded by its path, with RTLD_DEEPBIND as the package does, so
    that it keeps its own memory allocator. Raises ``Misconfigured`` when it is not installed.
    """
    spec = importlib.util.find_spec("chdb")
    path = next((Path(p) / _EXTENSION for p in spec.submodule_search_locations or []), None) if spec else None
    if path is None or not path.is_file():
        raise Misconfigured(
            "The embedded ClickHouse engine is not installed.",
            'Install it with: pip install "headwater[embedded]"',
        )
    ctypes.CDLL(str(path), mode=sys.getdlopenflags() | _RTLD_DEEPBIND)
    loader = importlib.machinery.ExtensionFileLoader("_chdb", str(path))
    extension = importlib.util.spec_from_file_location("_chdb", path, loader=loader)
    assert extension is not None  # noqa: S101 - a loader was given
    module = importlib.util.module_from_spec(extension)
    loader.exec_module(module)
    return module
