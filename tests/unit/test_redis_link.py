"""Large commands to Redis are packed otherwise than redis-py does it, to the same bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Connection

from streams.redis_link import LargeCommandConnection

arguments = st.lists(
    st.binary(max_size=40)
    | st.binary(min_size=6_500, max_size=6_600)
    | st.text(max_size=20)
    | st.integers()
    | st.floats(allow_nan=False)
)


@given(name=st.sampled_from(["EVALSHA", "MGET", "SET", "SCRIPT LOAD", "HGETALL"]), args=arguments)
def test_every_command_is_sent_as_redis_py_would_send_it(
    name: str, args: list[bytes | str | int | float]
) -> None:
    expected = b"".join(Connection().pack_command(name, *args))
    assert b"".join(LargeCommandConnection().pack_command(name, *args)) == expected
