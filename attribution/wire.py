"""The wire form that topics share: a Kafka value is one JSON object, or an array of objects of one partition."""

from __future__ import annotations

from collections.abc import Iterable
from types import GenericAlias
from typing import Generic, TypeVar

import msgspec

from attribution.errors import Rejected

T = TypeVar("T")
_encode = msgspec.json.Encoder().encode


class Wire(Generic[T]):
    """Encodes and decodes what a topic holds."""

    def __init__(self, kind: type[T]) -> None:
        """``kind`` is the struct of one object."""
        self._decode_one = msgspec.json.Decoder(kind).decode
        many: msgspec.json.Decoder[list[T]] = msgspec.json.Decoder(GenericAlias(list, (kind,)))
        self._decode_many = many.decode

    def encode_one(self, one: T) -> bytes:
        """A JSON object."""
        return _encode(one)

    def encode_many(self, objects: Iterable[T]) -> bytes:
        """One Kafka value for ``objects`` of the same partition (an envelope)."""
        return _encode(list(objects))

    def decode(self, value: bytes) -> list[T]:
        """The objects of one Kafka value. Raises ``Rejected('malformed')`` when any of it does not fit."""
        try:
            return self._decode_many(value) if value[:1] == b"[" else [self._decode_one(value)]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Rejected("malformed", str(error)) from error
