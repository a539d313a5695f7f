from __future__ import annotations

import asyncio
import gc
import os
import signal
import time

import pytest

from pytest_mipro.evaluate import executor as workers_module
from pytest_mipro.evaluate.executor import ContextThreadPool, WorkerPool, run_to_completion


class TestComplete:
    def test_tells_where_things_stand_from_time_to_time(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Also while nothing is made, as when a model is asked again and again."""
        monkeypatch.setattr(workers_module, "_REMINDER", 0.01)
        told: list[int] = []
        workers = WorkerPool(ContextThreadPool(1))
        workers.on_record = lambda: told.append(workers.made)
        run_to_completion(asyncio.sleep(0.2), workers)
        assert told[:2] == [0, 0]
        count = len(told)
        time.sleep(0.05)
        assert len(told) == count

    def test_an_error_while_telling_is_raised(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is told may be the user's own function; its error is not swallowed."""
        monkeypatch.setattr(workers_module, "_REMINDER", 0.01)
        workers = WorkerPool(ContextThreadPool(1))

        def fail() -> None:
            message = "cannot be told"
            raise ValueError(message)

        workers.on_record = fail
        with pytest.raises(ValueError, match="cannot be told"):
            run_to_completion(asyncio.sleep(60), workers)

    @pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="no such signal")
    def test_a_timeout_of_the_callers_ends_the_work(self) -> None:
        """Whatever a signal raises where the result is waited for: nothing goes on behind it."""
        begun: list[int] = []

        class TimeoutOfTestError(BaseException):
            pass

        def fail(*_: object) -> None:
            raise TimeoutOfTestError

        async def work() -> None:
            while True:
                begun.append(1)
                if len(begun) == 3:
                    os.kill(os.getpid(), signal.SIGALRM)
                await asyncio.sleep(0.01)

        before = signal.signal(signal.SIGALRM, fail)
        try:
            with pytest.raises(TimeoutOfTestError):
                run_to_completion(work(), WorkerPool(ContextThreadPool(1)))
        finally:
            signal.signal(signal.SIGALRM, before)
        count = len(begun)
        time.sleep(0.2)
        assert len(begun) == count

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

        workers = WorkerPool(ContextThreadPool(1))
        if fails:
            with pytest.raises(ValueError, match="no luck"):
                run_to_completion(work(), workers)
        else:
            assert run_to_completion(work(), workers) == "done"
        assert meanwhile[0] > 1000 > gc.get_freeze_count()
        assert gc.get_freeze_count() <= before
