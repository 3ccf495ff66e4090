"""``docs/settings.md`` from the settings themselves: ``python -m runtime.settings_page > docs/settings.md``."""

from __future__ import annotations

from pydantic import SecretStr

from runtime.settings import Settings

_HEAD = """# Settings

Every setting is an environment variable, read once when a process starts. `headwater up` sets the addresses of its
own servers and passes everything else on. Written by `python -m runtime.settings_page`; do not edit.

A minimal production environment:

```sh
HEADWATER_KAFKA=kafka:9092
HEADWATER_REDIS=redis://valkey:6379/0
HEADWATER_CLICKHOUSE=http://headwater:secret@clickhouse:8123
HEADWATER_PARTITIONS=12
HEADWATER_SITES=my-site
HEADWATER_READ_KEYS=a-long-random-secret
```

| variable | default | meaning |
|---|---|---|"""


def settings_page() -> str:
    """The page as Markdown."""
    lines = [_HEAD]
    for name, field in Settings.model_fields.items():
        default = field.default
        shown = default.get_secret_value() if isinstance(default, SecretStr) else str(default)
        lines.append(
            f"| `HEADWATER_{name.upper()}` | {f'`{shown}`' if shown else ''} | {field.description} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(settings_page(), end="")
