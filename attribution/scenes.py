"""Scenes: on which kind of device and in which country a hit was made, as one small number.

A number because a visitor's timeline keeps the scene of every hit: most visitors have one scene, of three bytes.
"""

from __future__ import annotations

from functools import lru_cache

from attribution.tables import read_rows

UNKNOWN_SCENE = 0
"""Nothing is known: what hits have that were stored before scenes were kept."""

DEVICES = ("", "desktop", "mobile", "tablet")
"""Part of the stored format: append, never change."""

_names = read_rows("countries.tsv")
COUNTRIES = frozenset(row[0] for row in _names)
"""Codes that a country may have: ISO 3166-1 alpha-2."""
_CODE_BY_NAME = {name.lower(): row[0] for row in _names for name in row}
_DEVICE_NUMBERS = {device: number for number, device in enumerate(DEVICES)}
_DEVICE_ROOM = 8
_LETTERS = 26
_MAX_NAME = 64


@lru_cache(maxsize=1024)
def country_of(text: str) -> str:
    """The code of the country that ``text`` names, by code or by English name; \"\" = it names none that we know."""
    return _CODE_BY_NAME.get(text.strip().lower(), "") if len(text) <= _MAX_NAME else ""


@lru_cache(maxsize=2048)
def scene_of(device: str, country: str) -> int:
    """The scene of a device (of ``DEVICES``) and a country (ISO 3166-1 alpha-2). What is unknown counts as \"\"."""
    number = 0
    if country in COUNTRIES:
        first, second = country.encode()
        number = (first - 65) * _LETTERS + second - 64
    return number * _DEVICE_ROOM + _DEVICE_NUMBERS.get(device, 0)


@lru_cache(maxsize=2048)
def scene_names(scene: int) -> tuple[str, str]:
    """Device and country. Raises ``ValueError`` for a number that is no scene."""
    number, device = divmod(scene, _DEVICE_ROOM)
    if not 0 <= number <= _LETTERS * _LETTERS or device >= len(DEVICES):
        raise ValueError(f"no scene has the number {scene}")
    if not number:
        return DEVICES[device], ""
    first, second = divmod(number - 1, _LETTERS)
    return DEVICES[device], chr(first + 65) + chr(second + 65)
