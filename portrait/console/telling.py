"""The journal in words: one sentence a change."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from portrait.gallery.models import Change, Identity

SENTENCES = {
    "rename": "renamed",
    "edit": "edited",
    "hide": "hidden",
    "show": "shown again",
    "merge": "merged",
    "split": "split",
    "move": "portraits moved",
    "reject": "not this person",
    "reject_face": "not this person",
    "distinct": "are two people",
    "delete": "deleted",
    "delete_portrait": "portrait deleted",
    "reassign": "sightings re-labelled",
}
"""Other actions are told by their own word."""


@dataclass(frozen=True, slots=True)
class Told:
    """A change as a row of a list shows it. undoable: a button makes sense; whether it still can, the journal says.
    rights: what somebody needs to undo it."""

    change: Change
    sentence: str
    people: list[tuple[UUID, str]]
    more: int
    details: list[str]
    undoable: bool
    button: str
    rights: list[str]


PEOPLE_NAMED = 4
CHANGE = "gallery.change_identity"


def rights_to_undo(change: Change) -> list[str]:
    """An undo that deletes, or takes a deletion back, needs the right that this needs by itself."""
    gone = {step["model"] for step in change.steps if step.get("field") == "deleted_at"}
    return [CHANGE, *(f"gallery.delete_{model}" for model in ("identity", "portrait") if model in gone)]


def tell(changes: Iterable[Change]) -> list[Told]:
    """The changes of a page, read with `undone_by`: one more query, for the names of all of them."""
    changes = list(changes)
    wanted = {key for change in changes for key in change.identities[:PEOPLE_NAMED]}
    names = dict(Identity.objects.filter(pk__in=wanted).values_list("pk", "name"))
    return [_told(change, names) for change in changes]


def _told(change: Change, names: dict[UUID, str]) -> Told:
    named = change.identities[:PEOPLE_NAMED]
    undone = hasattr(change, "undone_by")
    return Told(
        change=change,
        sentence=_sentence(change),
        people=[(key, names.get(key, "somebody erased")) for key in named],
        more=len(change.identities) - len(named),
        details=_details(change),
        undoable=not undone and not change.details.get("erased"),
        button="Do again" if change.undoes_id and change.action == "undo" else "Undo",
        rights=rights_to_undo(change),
    )


def _sentence(change: Change) -> str:
    if change.action in ("undo", "redo"):
        what = SENTENCES.get(change.details.get("of", ""), change.details.get("of", "a change"))
        return f"undone: {what}" if change.action == "undo" else f"done again: {what}"
    return SENTENCES.get(change.action, change.action.replace("_", " "))


def _details(change: Change) -> list[str]:
    """Old and new values of people's own fields, and how many portraits went where."""
    told, portraits = [], 0
    for step in change.steps:
        if step.get("model") == "portrait" and step.get("field") == "identity":
            portraits += 1
        elif step.get("model") == "identity" and step.get("op") == "set" and _is_worth_telling(step):
            told.append(f"{step['field'].replace('_', ' ')}: {_short(step['before'])} → {_short(step['after'])}")
    if portraits:
        told.append(f"{portraits} portrait{'' if portraits == 1 else 's'} moved")
    return told[:PEOPLE_NAMED]


def _is_worth_telling(step: dict[str, Any]) -> bool:
    return step.get("field") in ("name", "external_id", "action", "consent", "keep_until", "kind") and "before" in step


def _short(value: Any) -> str:
    text = "–" if value in (None, "") else str(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
