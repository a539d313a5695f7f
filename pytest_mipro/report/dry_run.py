"""Render the estimate of a dry run: the most calls, tokens and money of a task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_mipro.escaping import escaped_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_mipro.optimize import Bound, Estimate, Fit


def render_dry_run(task: str, estimate: Estimate) -> str:
    """Return the estimate of ``task``: a line for each phase, and one for all together."""
    lines = [f"mipro: {task}: would {estimate.why}"]
    lines += [f"  {bound.phase:>9}: {_amounts([bound], estimate)}" for bound in estimate.bounds]
    lines.append(f"  {'together':>9}: {_amounts(estimate.bounds, estimate)}; {_basis(estimate)}")
    lines += [f"  {'fits':>9}: {_fit(fit, estimate)}" for fit in estimate.fits]
    if estimate.limits:
        lines.append(f"  limited to {', '.join(estimate.limits)}")
    return "\n".join(map(escaped_line, lines))


def _fit(fit: Fit, estimate: Estimate) -> str:
    if not fit.optimizer:
        return f"no compile: {fit.reason}"
    amounts = _amounts(fit.bounds, estimate) if fit.bounds else ""
    return "; ".join(filter(None, [f'optimizer="{fit.optimizer}" ({fit.reason})', amounts]))


def skip_reason(estimate: Estimate) -> str:
    """Return why a test is skipped in a dry run."""
    most = "about" if estimate.is_approximate else "at most"
    calls = _calls(estimate.bounds)
    amount = "an unknown number of" if calls is None else f"{most} {calls}"
    return f"--mipro-dry-run: would {estimate.why}; {amount} LM calls"


def _amounts(bounds: Sequence[Bound], estimate: Estimate) -> str:
    calls = _calls(bounds)
    if calls is None:
        return "unknown: nothing bounds the LM calls of this optimizer; limit them with a budget"
    if not calls:
        return "nothing"
    tokens = round(calls * (estimate.tokens.prompt + estimate.tokens.completion))
    most = "about" if estimate.is_approximate else "at most"
    return f"{most} {calls} LM calls, about {tokens} tokens, {_cost(bounds, estimate)}"


def _calls(bounds: Sequence[Bound]) -> int | None:
    """Return the LM calls of all phases; None if a phase has no bound."""
    calls = [bound.calls for bound in bounds]
    return None if None in calls else sum(filter(None, calls))


def _cost(bounds: Sequence[Bound], estimate: Estimate) -> str:
    prompt_tokens, completion_tokens = estimate.tokens.prompt, estimate.tokens.completion
    total = 0.0
    for bound in bounds:
        price = estimate.prices.get(bound.model)
        if bound.calls and price is None:
            return f"cost unknown (no price for {bound.model!r})"
        if price is not None:
            call = price.prompt * prompt_tokens + price.completion * completion_tokens
            total += (bound.calls or 0) * call / 1_000_000
    return f"about ${total:.4f}"


def _basis(estimate: Estimate) -> str:
    rows = estimate.tokens.rows
    return f"tokens as in {rows} stored rows" if rows else "tokens estimated from the prompts"
