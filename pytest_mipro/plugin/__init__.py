"""Everything pytest: hooks, options, markers, fixtures.

This is the module pytest loads in every session. It imports the standard
library and pytest only; the rest is loaded once ``--mipro`` is on.
"""

from pytest_mipro.plugin.fixtures import (
    mipro,
    mipro_adapter,
    mipro_dataset,
    mipro_executor,
    mipro_lm,
    mipro_metric,
    mipro_metrics,
    mipro_optimizer,
    mipro_program,
    mipro_prompt_lm,
    mipro_teacher,
)
from pytest_mipro.plugin.hooks import (
    pytest_addhooks,
    pytest_addoption,
    pytest_collection_modifyitems,
    pytest_configure,
    pytest_load_initial_conftests,
    pytest_pycollect_makeitem,
    pytest_report_header,
    pytest_runtest_makereport,
    pytest_runtest_teardown,
    pytest_sessionfinish,
    pytest_unconfigure,
)

__all__ = [
    "mipro",
    "mipro_adapter",
    "mipro_dataset",
    "mipro_executor",
    "mipro_lm",
    "mipro_metric",
    "mipro_metrics",
    "mipro_optimizer",
    "mipro_program",
    "mipro_prompt_lm",
    "mipro_teacher",
    "pytest_addhooks",
    "pytest_addoption",
    "pytest_collection_modifyitems",
    "pytest_configure",
    "pytest_load_initial_conftests",
    "pytest_pycollect_makeitem",
    "pytest_report_header",
    "pytest_runtest_makereport",
    "pytest_runtest_teardown",
    "pytest_sessionfinish",
    "pytest_unconfigure",
]
