"""The progress of a compile, as it is reported to its caller."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_mipro.records import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_mipro.evaluate import WorkerPool
    from pytest_mipro.optimize.mipro.bootstrap import PendingDemoSet

logger = logging.getLogger(__name__)


class ProgressReporter:
    """Reports the progress of a compile, with its usage so far.

    Attributes:
        demo_sets: The demo sets that are being made; the reporter counts those
            that are done.
    """

    def __init__(
        self, workers: WorkerPool, on_progress: Callable[[Progress], None], *, verbose: bool
    ) -> None:
        """Report to ``on_progress``, also after each record of ``workers``.

        Args:
            workers: Run the work of the compile, and know its usage.
            on_progress: Called with each report.
            verbose: Log each step of the progress, too.
        """
        self.demo_sets: Sequence[PendingDemoSet] = ()
        self._workers = workers
        self._on_progress = on_progress
        self._verbose = verbose
        self._progress = Progress("bootstrap", 0)
        workers.on_record = self._report_usage

    def report(self, progress: Progress) -> None:
        """Report a step of the compile."""
        self._progress = progress
        if self._verbose:
            logger.info("%s", replace(progress, usage=self._workers.usage))
        self._report_usage()

    def _report_usage(self) -> None:
        """Report the last step with the present usage."""
        progress, workers = self._progress, self._workers
        if progress.phase == "bootstrap":
            done = sum(demo_set.demos.done() for demo_set in self.demo_sets)
            progress = replace(progress, done=done)
        self._on_progress(
            replace(progress, usage=workers.usage, provider_error=workers.provider_error)
        )
