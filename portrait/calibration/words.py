"""A report in words: for the command and the admin."""

from typing import Any


def percent(found: dict[str, Any]) -> str:
    """A rate with its interval."""
    return f"{100 * found['rate']:.4g} % ({100 * found['low']:.3g} to {100 * found['high']:.3g} %)"


def words(report: dict[str, Any]) -> list[str]:
    """One line a fact; of a refused calibration why."""
    if "refused" in report:
        return [report["refused"]]
    if "fmr" not in report:
        return []
    pairs, now = report["pairs"], report["now"]
    lines = [
        f"Measured: {report['people']['sampled']} of {report['people']['known']} known people, {pairs['genuine']} "
        f"pairs of portraits of one person (of {pairs['genuine_people']}), {pairs['impostor']} pairs of people, worth "
        f"{report['fmr']['worth']:.0f} independent ones.",
        f"Threshold {report['threshold']:.4f}: false matches {percent(report['fmr'])}, wanted "
        f"{100 * report['fmr']['wanted']:g} %; missed matches {percent(report['fnmr'])}.",
        f"Threshold now {now['threshold']:.4f}: false matches {percent(now['fmr'])}; missed {percent(now['fnmr'])}.",
    ]
    if report.get("identification"):
        share, perhaps = percent(report["identification"]), report["identification"].get("perhaps_one_person", 0)
        doubt = f" ({perhaps} of these look like the same person under two names)" if perhaps else ""
        lines.append(f"In the whole collection {share} of people have somebody else within the threshold{doubt}.")
    lines += [_group(row) for row in report["groups"]]
    return lines + [f"Note: {warning}" for warning in report["warnings"]]


def _group(row: dict[str, Any]) -> str:
    small = ", a small group: rough" if row["small"] else ""
    return (
        f"Group {row['group']!r} ({row['people']} people{small}): false matches within {percent(row['fmr_within'])}, "
        f"with others {percent(row['fmr_with_others'])}; missed {percent(row['fnmr'])}."
    )
