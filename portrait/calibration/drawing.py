"""The picture of a calibration: both curves with the threshold, and the two errors over the distance."""

import io
from typing import Any

import numpy as np

from portrait.calibration.measuring import Floats, Measured

GENUINE, IMPOSTOR, CHOSEN, NOW = "#1f77b4", "#d62728", "#2ca02c", "#7f7f7f"
SIZE_IN, DPI = (9.0, 6.5), 110
BINS = 90


def draw(measured: Measured, report: dict[str, Any], *, title: str) -> bytes:
    """A PNG. Nobody can be told from it: it shows how many pairs are how far apart."""
    # Here: matplotlib takes a second to load, and nothing else needs it. No pyplot: its state is of the process.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE_IN, dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True)
    genuine, impostors = measured.genuine.distances, measured.impostors.distances
    _curves(upper, genuine, impostors)
    _errors(lower, genuine, impostors, report["fmr"]["wanted"])
    for axes in (upper, lower):
        axes.axvline(report["now"]["threshold"], color=NOW, linestyle=":", label="threshold now")
        axes.axvline(report["threshold"], color=CHOSEN, label=f"threshold {report['threshold']:.3f}")
        axes.legend(loc="upper left", fontsize=8)
    figure.suptitle(title, fontsize=10)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _curves(axes: Any, genuine: Floats, impostors: Floats) -> None:
    edges = np.linspace(0, max(float(genuine.max()), float(impostors.max())) * 1.02, BINS)
    for distances, colour, name in ((genuine, GENUINE, "same person"), (impostors, IMPOSTOR, "two people")):
        heights, _ = np.histogram(distances, bins=edges, density=True)
        label = f"{name} ({len(distances)} pairs)"
        axes.plot((edges[1:] + edges[:-1]) / 2, heights, color=colour, linewidth=2, label=label)
        axes.fill_between((edges[1:] + edges[:-1]) / 2, heights, color=colour, alpha=0.15)
    axes.set_ylabel("share of pairs at this distance")


def _errors(axes: Any, genuine: Floats, impostors: Floats, wanted: float) -> None:
    at = np.linspace(0, max(float(genuine.max()), float(impostors.max())), 400)
    false_matches = np.searchsorted(np.sort(impostors), at, side="right") / len(impostors)
    missed = 1 - np.searchsorted(np.sort(genuine), at, side="right") / len(genuine)
    axes.plot(at, np.where(false_matches > 0, false_matches, np.nan), color=IMPOSTOR, label="false matches")
    axes.plot(at, np.where(missed > 0, missed, np.nan), color=GENUINE, label="missed matches")
    axes.axhline(wanted, color=NOW, linewidth=0.8)
    axes.set_yscale("log")
    axes.set_ylabel("rate if the threshold were here")
    axes.set_xlabel("distance of two faces")
