"""The executors that the fixture ``mipro_executor`` gives, each wrapped once for all tests."""

from __future__ import annotations

from pytest_mipro.task import ExecutorSource


class Executors:
    """Knows what the fixture has returned, and shuts down what the plugin made of it."""

    def __init__(self) -> None:
        self._sources: list[tuple[object, ExecutorSource]] = []

    def source_of(self, value: object) -> ExecutorSource | None:
        """Return the source of what the fixture returned; None for None.

        Raises:
            DeclarationError: It is neither an executor nor a function that makes one.
        """
        for earlier, source in self._sources:
            if earlier is value:
                return source
        source_of_value = ExecutorSource.of(value)
        if source_of_value is not None:
            self._sources.append((value, source_of_value))
        return source_of_value

    def close(self) -> None:
        """Shut down the executors that functions of the user have made."""
        for _, source in self._sources:
            source.close()
