"""A map under way: its items, how many at once, and how many failures are borne."""

from typing import Any


class Items:
    """`inputs` are what the items' steps are given; `tolerate` is a count or "10%"."""

    def __init__(self, inputs: list[Any], at_once: int | None, tolerate: int | str) -> None:
        self.inputs = inputs
        self.at_once = at_once or max(len(inputs), 1)
        self.borne = (
            tolerate if isinstance(tolerate, int) else len(inputs) * float(tolerate.rstrip("%")) / 100
        )
        self.failures = [0] * len(inputs)
        self.ends: dict[int, tuple[str, Any]] = {}

    def under_way(self) -> list[int]:
        """The first that have not ended, in the order of the list."""
        if self.verdict():
            return []
        return [i for i in range(len(self.inputs)) if i not in self.ends][: self.at_once]

    def end(self, item: int, outcome: str, value: Any) -> None:
        self.ends[item] = (outcome, value)

    def again(self) -> None:
        """What has been done is done; the others are tried anew."""
        self.ends = {item: end for item, end in self.ends.items() if end[0] == "success"}
        self.failures = [0] * len(self.inputs)

    def failed(self) -> list[int]:
        return [i for i, (outcome, _) in sorted(self.ends.items()) if outcome == "error"]

    def verdict(self) -> str | None:
        """How the map ends now, if it does."""
        if len(self.failed()) > self.borne:
            return "error"
        return "success" if len(self.ends) == len(self.inputs) else None

    def result(self) -> tuple[str, Any]:
        """The outputs in the order of the list, with null for an item that failed and was borne."""
        if self.verdict() == "error":
            return "error", {"type": "MapFailed"}
        return "success", [
            self.ends[i][1] if self.ends[i][0] == "success" else None for i in range(len(self.inputs))
        ]
