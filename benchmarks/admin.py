"""How many queries and how many milliseconds does a page of the admin take, with a thousand people and with 100,000
(and a million portraits)?

    python -m benchmarks.admin [--people 100000] [--keep]

A page as Django's test client gets it, the template included; the median of several. `growth`: how much longer it
takes with the many. Beside it what Django's own list would do: rows by OFFSET in the middle, and an exact count. The
data is made by SQL (`_admin_gallery`), a thousand people first, then the others.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table

from benchmarks._measure import RESULTS, machine
from benchmarks._search_site import running

FEW = 1_000
ROUNDS = 7


@dataclass(frozen=True, slots=True)
class Figure:
    """A page: its queries, and the median of its time."""

    queries: int
    ms: float


def figures() -> dict[str, Figure]:
    """Every page, once to warm up, once for its queries, then by time."""
    from django.test import Client

    from benchmarks._admin_gallery import superuser
    from benchmarks._admin_pages import addresses

    client = Client()
    client.force_login(superuser())
    found = {}
    for name, address in addresses().items():

        def get(address: str = address) -> None:
            answer = client.get(address)
            if answer.status_code != 200:
                raise RuntimeError(f"{address}: {answer.status_code}")

        found[name] = Figure(queries_of(get), median_ms(get))
    return found | django_itself()


def django_itself() -> dict[str, Figure]:
    """What a list by OFFSET costs: the page in the middle, and the count beside it."""
    from portrait.gallery.models import Identity

    people = Identity.objects.order_by("-created_at", "-id")
    middle = people.count() // 2
    return {
        "(by OFFSET: the middle)": Figure(1, median_ms(lambda: list(people[middle : middle + 48]))),
        "(an exact count)": Figure(1, median_ms(people.count)),
    }


def queries_of(get: Callable[[], object]) -> int:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    get()
    with CaptureQueriesContext(connection) as captured:
        get()
    return len(captured)


def median_ms(get: Callable[[], object]) -> float:
    taken = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        get()
        taken.append(1000 * (time.perf_counter() - started))
    return round(statistics.median(taken), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=100_000)
    parser.add_argument("--keep", action="store_true", help="write results/admin.json")
    asked = parser.parse_args()
    with running():
        from django.conf import settings

        from benchmarks._admin_gallery import fill

        settings.ALLOWED_HOSTS = ["testserver"]
        sides = {}
        for people in (FEW, asked.people):
            filled = fill(people)
            sides[people] = figures()
            print(f"{filled.people:,} people, {filled.portraits:,} portraits: measured")
    show(sides)
    if asked.keep:
        body = {str(people): {name: asdict(each) for name, each in side.items()} for people, side in sides.items()}
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "admin.json").write_text(json.dumps({"machine": machine(), "pages": body}, indent=2) + "\n")


def show(sides: dict[int, dict[str, Figure]]) -> None:
    few, many = sides.values()
    table = Table(title=f"admin: {min(sides):,} and {max(sides):,} people", title_justify="left")
    for column in ("page", "queries", "ms", "queries", "ms", "growth"):
        table.add_column(column, justify="left" if column == "page" else "right")
    for name, one in few.items():
        other = many[name]
        row = (
            name,
            str(one.queries),
            f"{one.ms:.1f}",
            str(other.queries),
            f"{other.ms:.1f}",
            f"{other.ms / one.ms:.2f}",
        )
        table.add_row(*row)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
