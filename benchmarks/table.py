"""The rows of a benchmark: something measured, something it is measured against, and a target."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

from torch.profiler import ProfilerActivity, profile

__all__ = ["Row", "race", "seconds_in"]


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        what: is compared.
        value: of ours, in `unit`.
        against: the floor's, the peer's, or None where the target is a value by itself.
        unit: of both.
        target: the largest quotient (or value) that is good.
        note: what a reader must know.
    """

    what: str
    value: float
    against: float | None
    unit: str
    target: float
    note: str = ""

    @property
    def result(self) -> float:
        """What the target is for: the quotient, or the value where there is nothing beside it."""
        return self.value if self.against is None else self.value / self.against

    @property
    def met(self) -> bool:
        return self.result <= self.target


def race(
    runners: Mapping[str, Callable[[], object]], rounds: int, calls: int = 1
) -> dict[str, float]:
    """The median processor seconds of a call of each runner, one after the other in every round.

    Machines that are shared, and processors that change their clock, slow all of them alike.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    for runner in runners.values():
        runner()  # allocates, compiles, fills caches
    for _ in range(rounds):
        for name, runner in runners.items():
            since = time.process_time()
            for _ in range(calls):
                runner()
            seconds[name].append((time.process_time() - since) / calls)
    return {name: median(values) for name, values in seconds.items()}


def seconds_in(operator: str, runner: Callable[[], object], calls: int) -> float:
    """Processor seconds that a call spends in PyTorch's operators so named, as profiled."""
    with profile(activities=[ProfilerActivity.CPU]) as events:
        for _ in range(calls):
            runner()
    own = (event for event in events.key_averages() if operator in event.key)
    microseconds: float = sum(event.self_cpu_time_total for event in own)
    return microseconds / calls / 1e6
