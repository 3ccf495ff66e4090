"""One data folder: who holds it, what it remembers between starts (ports, keys), what it says while it runs."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from attribution.errors import Misconfigured
from runtime.embedded.probes import free_port, is_port_free
from runtime.installation import RUN_FILE

_STATE_FILE = "state.json"


class Place:
    """A data folder held by this process. Files that hold keys are readable by their owner only."""

    def __init__(self, data_dir: Path) -> None:
        """Create ``data_dir`` if need be and hold it. Raises ``Misconfigured`` if another process does."""
        self.data_dir = data_dir.resolve()
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True)
            self._lock = _hold(self.data_dir)
            self._state = _read(self.data_dir / _STATE_FILE)
        except OSError as error:
            raise Misconfigured(
                f"{self.data_dir}: {error.strerror}.", "Choose another --data-dir."
            ) from error

    @property
    def logs(self) -> Path:
        """Folder of the children's logs."""
        return self.data_dir / "logs"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        """Let others have the folder."""
        self._lock.close()

    def secret(self, name: str, make: Callable[[], str]) -> str:
        """The kept secret ``name``; made and kept the first time."""
        secrets_of_place = self._state.setdefault("secrets", {})
        if name not in secrets_of_place:
            secrets_of_place[name] = make()
            self._save()
        return str(secrets_of_place[name])

    def settle(self, name: str, value: int) -> int:
        """The value of ``name`` that this place began with; ``value`` if it begins now."""
        settled: dict[str, int] = self._state.setdefault("settled", {})
        if name not in settled:
            settled[name] = value
            self._save()
        return settled[name]

    def port(self, name: str, preferred: int | None = None) -> int:
        """A port of loopback for ``name``: the kept one, else ``preferred``, else any; the first that is
        free.

        A choice is kept, so that a restarted server is found where it was.
        """
        ports: dict[str, int] = self._state.setdefault("ports", {})
        taken = {port for other, port in ports.items() if other != name}
        kept = ports.get(name)
        wishes = [port for port in (kept, preferred) if port is not None and port not in taken]
        port = next((port for port in wishes if is_port_free(port)), None) or free_port(taken)
        if port != kept:
            ports[name] = port
            self._save()
        return port

    def announce(self, run: Mapping[str, Any]) -> None:
        """Write ``run.json`` (contract, section 1) in one step."""
        _write(self.data_dir / RUN_FILE, run)

    def withdraw(self) -> None:
        """Remove ``run.json``."""
        (self.data_dir / RUN_FILE).unlink(missing_ok=True)

    def _save(self) -> None:
        _write(self.data_dir / _STATE_FILE, self._state)


def _hold(data_dir: Path) -> IO[str]:
    lock = open(data_dir / "up.lock", "a+")  # noqa: SIM115 - held until released
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        pid = lock.read().strip() or "unknown"
        lock.close()
        raise Misconfigured(
            f"Headwater already runs in {data_dir} (pid {pid}).", "Stop it, or use another --data-dir."
        ) from None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def _read(path: Path) -> dict[str, Any]:
    try:
        state = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise Misconfigured(
            f"{path} is damaged: {error}.", "Restore it; it holds this place's keys."
        ) from error
    if not isinstance(state, dict):
        raise Misconfigured(f"{path} is no JSON object.", "Restore it; it holds this place's keys.")
    return state


def _write(path: Path, content: Mapping[str, Any]) -> None:
    """Replace ``path`` in one step, readable by the owner only, on disk before it is seen."""
    draft = path.with_name(f".{path.name}.new")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(content, file, indent=2, sort_keys=True)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)
