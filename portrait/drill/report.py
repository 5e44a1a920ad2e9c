"""How the drill is told: a table and a verdict, or JSON."""

from typing import Any

from rich.console import Console
from rich.table import Table

from portrait.drill.play import Outcome
from portrait.drill.recovery import STOPPED_S, Recovery

LISTED = 20


def show(outcome: Outcome, console: Console) -> None:
    """Print the table of the faults, then the account line by line."""
    table = Table(title="What died, and how long it took", title_justify="left")
    table.add_column("fault")
    for column in ("at", "no frame done for", "most waiting", "earlier rate", "at it again after", "all done after"):
        table.add_column(column, justify="right")
    for each in outcome.recoveries:
        table.add_row(
            f"{each.name}\n[dim]{each.what}[/dim]",
            f"{each.after_s:.1f} s",
            _stopped(each),
            str(each.most_waiting),
            f"{each.rate_before:.1f}/s",
            _seconds(each.rate_s),
            _seconds(each.all_s),
        )
    table.caption = (
        "at it again: frames are done at the earlier rate; all done: those that were accepted before the fault"
    )
    console.print(table)
    for line in lines(outcome):
        console.print(line, highlight=False, markup=False)


def _stopped(each: Recovery) -> str:
    return f"{each.stopped_s:.1f} s" if each.stopped_s >= STOPPED_S else "not noticed"


def _seconds(value: float | None) -> str:
    return "not seen" if value is None else f"{value:.1f} s"


def lines(outcome: Outcome) -> list[str]:
    """The verdict in words, with whatever is wrong."""
    found = outcome.account
    cameras = ", ".join(f"{name} {count}" for name, count in outcome.frames_by_camera.items())
    again = ", ".join(f"{count} times {problem}" for problem, count in sorted(outcome.pushed_again.items())) or "none"
    checks: list[tuple[str, Any]] = [
        (f"{len(found.lost)} lost", found.lost),
        (f"{len(found.double)} double (faces of {found.compared} frames looked for once more)", found.double),
        (f"{len(found.stuck)} stuck", found.stuck),
        (f"{len(found.failed)} failed", found.failed),
        (
            f"{len(outcome.comparison.differences)} of {outcome.comparison.sightings} sightings differ from those of "
            "an undisturbed pass",
            outcome.comparison.differences,
        ),
    ]
    told = [
        f"{found.captured} frames captured ({cameras}) in {outcome.duration_s:.0f} s, {found.done} done, "
        f"{found.detections} faces.",
        f"{outcome.delivered_twice} tasks delivered twice, {outcome.delivered_after_done} of them after the frame was "
        f"done. Pushes that had to be sent again: {again}.",
    ]
    for text, wrong in checks:
        told += [text, *(f"  {each}" for each in list(wrong)[:LISTED])]
    told += [f"Trouble: {problem}" for problem in outcome.problems]
    return [*told, "The drill is passed." if outcome.good else "THE DRILL IS NOT PASSED."]


def as_json(outcome: Outcome) -> dict[str, Any]:
    found = outcome.account
    return {
        "passed": outcome.good,
        "captured": found.captured,
        "done": found.done,
        "faces": found.detections,
        "compared_again": found.compared,
        "frames": outcome.frames_by_camera,
        "duration_s": round(outcome.duration_s, 1),
        "lost": found.lost,
        "double": found.double,
        "stuck": found.stuck,
        "failed": found.failed,
        "sightings": outcome.comparison.sightings,
        "sightings_that_differ": list(outcome.comparison.differences),
        "delivered_twice": outcome.delivered_twice,
        "delivered_after_done": outcome.delivered_after_done,
        "pushed_again": outcome.pushed_again,
        "faults": [each.as_json() for each in outcome.recoveries],
        "problems": outcome.problems,
    }
