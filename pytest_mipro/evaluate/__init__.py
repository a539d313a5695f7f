"""Run programs on examples in parallel, score each pair once, and store its row before it is used.

A provider's error is retried, and then stops the run: it is never a score. An exception of the
program is a failed row.

What is between a request for rows and a call of a language model, from the outside in:

    RolloutEvaluator   asks for the rows of each rollout
    StoredRows         finds their keys, and predictions that another metric can score again
    StoredWork         takes the record of a key from the store, or has the work done once
    WorkerPool         does so much work at a time, and adds up its usage
    ThreadRunner       does it in this process, or ExecutorRunner on another machine
    Evaluator          runs the program on the example, then the metric, each of them with
    retry_lm_errors    which tries again while a call fails

Its public names are in ``__init__.pyi`` and are loaded on first use.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
