from __future__ import annotations

import asyncio

import pytest

from pytest_mipro.evaluate.async_tasks import gather


class TestGather:
    def test_results_are_in_the_order_of_the_work(self) -> None:
        """The order in which coroutines finish has no influence."""

        async def work(number: int) -> int:
            await asyncio.sleep(0.01 * (5 - number))
            return number

        async def run() -> list[int]:
            return await gather([work(number) for number in range(5)])

        assert asyncio.run(run()) == list(range(5))

    def test_an_error_cancels_the_rest(self) -> None:
        """After an error no other coroutine goes on."""
        finished: list[int] = []

        async def work(number: int) -> None:
            if number == 1:
                raise KeyError(number)
            await asyncio.sleep(0.01 * number)
            finished.append(number)

        async def run() -> None:
            with pytest.raises(KeyError):
                await gather([work(number) for number in range(4)])
            await asyncio.sleep(0.05)

        asyncio.run(run())
        assert finished == [0]
