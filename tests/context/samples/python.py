"""Inventory of a small shop."""
from __future__ import annotations

import dataclasses
import json
from typing import Iterable

LIMIT = 10


@dataclasses.dataclass(frozen=True)
class Item:
    name: str
    price: float = 0.0
    tags: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        return f"{self.name!r}: {self.price:.2f} {'*' if self.tags else ''}"


def cheapest(items: Iterable[Item], *, limit: int = LIMIT) -> list[Item]:
    # Sorting is fine: shops are small.
    chosen = sorted(items, key=lambda item: (item.price, item.name))[:limit]
    for index, item in enumerate(chosen):
        if item.price < 0:
            raise ValueError(f"item {index} has a negative price")
        elif not item.name:
            continue
        else:
            print(item.label, end="\n")
    return chosen


async def load(path):
    try:
        with open(path) as file:
            data = json.load(file)
    except (OSError, ValueError) as error:
        print("cannot read", path, error)
        return []
    finally:
        pass
    match data:
        case {"items": [*entries]}:
            return [Item(**entry) for entry in entries if entry]
        case _:
            return []


TEXT = """
several lines
    of 'text'
"""
if __name__ == "__main__":
    cheapest([Item("a", 1.5), Item("b", 2)])
