from __future__ import annotations

import asyncio
import gc

import pytest

from pytest_mipro.evaluate.workers import ContextThreads, Workers, complete


class TestComplete:
    @pytest.mark.parametrize("fails", [False, True])
    def test_spares_the_garbage_collector_what_was_there(self, *, fails: bool) -> None:
        """What was there before is not searched for garbage meanwhile, but afterwards it is."""
        before = gc.get_freeze_count()
        meanwhile = []

        async def work() -> str:
            await asyncio.sleep(0)
            meanwhile.append(gc.get_freeze_count())
            if fails:
                message = "no luck"
                raise ValueError(message)
            return "done"

        workers = Workers(ContextThreads(1))
        if fails:
            with pytest.raises(ValueError, match="no luck"):
                complete(work(), workers)
        else:
            assert complete(work(), workers) == "done"
        assert meanwhile[0] > 1000 > gc.get_freeze_count()
        assert gc.get_freeze_count() <= before
