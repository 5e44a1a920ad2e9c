"""What confirming a suggestion does. Pure."""

from enum import StrEnum

from portrait.curation.models import OF_PEOPLE, Kind, Suggestion


class Action(StrEnum):
    """`note`: nothing but that it was seen."""

    MOVE = "move"
    SPLIT = "split"
    DELETE = "delete"
    NOTE = "note"
    MERGE = "merge"


FOR_PORTRAITS = (Action.MOVE, Action.SPLIT, Action.DELETE)


def proposed_action(suggestion: Suggestion) -> Action:
    """What confirming does unless another action is named."""
    if suggestion.kind in OF_PEOPLE:
        return Action.MERGE
    if suggestion.kind == Kind.WEAK:
        return Action.NOTE if suggestion.details.get("reason") == "only_weak" else Action.DELETE
    return Action.MOVE if len(suggestion.identities) > 1 else Action.SPLIT
