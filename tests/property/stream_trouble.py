"""What may befall the owners of any stage between two turns."""

from __future__ import annotations

from stream_house import House


async def trouble(house: House, turn: int, sets_back: float, topic: str, partition: int) -> None:
    """Valkey is copied and set back, the owner of a partition falls asleep, another wakes: as chance has it.

    ``sets_back``: how likely Valkey is set back in a turn; 0 = never.
    """
    rng = house.rng
    if sets_back and turn % 3 == 0:
        await house.copy()
    if rng.random() < sets_back:
        await house.set_back(rng.choice(house.copies))
    if rng.random() < 0.05:
        house.fall_asleep(topic, partition)
    if house.zombies and rng.random() < 0.3:
        await house.wake()


def lose_broker(house: House, number: int) -> None:
    """The broker dies with its log; what was sent to it is sent again to the next one, its ``number``th."""
    for topic, record in house.forget_broker(number):
        house.append(topic, record.key, record.value)
