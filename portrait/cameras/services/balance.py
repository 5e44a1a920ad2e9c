"""One camera's account of its frames, and what in it is a loss.

`Camera.accepted` counts the rows that were ever made, in the transaction that makes them; `Camera.pruned` those that
retention took away, likewise. So

    accepted = waiting + done + failed + expired + pruned

holds at every moment, and a row that is missing in it is lost, wherever its sequence lay.

Beside that, sequences run from the lowest to below `next_sequence`. One without a row (a gap) that no lost row explains
never came: where Portrait reads the source it counted a frame there and could not store it, which is a loss too; where
frames are pushed, the client counts as it likes.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Gap:
    """Sequences without a row, the first and the last of them."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class CameraAudit:
    """One camera's account. `gaps`, `without_file` and `orphans` list the first hundred; counts are of all."""

    camera_id: str
    camera: str
    collection: str
    source_read: bool
    """Portrait reads its source; else its frames are pushed."""
    captured: int
    """Sequences there were, those excepted that retention took away."""
    accepted: int
    """Frames it has had, each counted once."""
    pruned: int
    """Of those, rows that retention took away."""
    waiting: int
    done: int
    failed: int
    expired: int
    not_taken: int
    """Frames that the reader took from the source and could not store, by its own count."""
    gaps: tuple[Gap, ...]
    without_file: tuple[int, ...]
    """Ids of frames that wait, are done or failed, and whose picture is not in the store."""
    without_file_count: int
    orphans: tuple[str, ...]
    """Files that no frame names."""
    orphan_count: int

    @property
    def kept(self) -> int:
        """Rows that are here."""
        return self.waiting + self.done + self.failed + self.expired

    @property
    def lost_rows(self) -> int:
        """Accepted frames whose row vanished. Below 0: rows that nobody accepted."""
        return self.accepted - self.kept - self.pruned

    @property
    def missing(self) -> int:
        """Sequences without a row."""
        return self.captured - self.kept

    @property
    def never_received(self) -> int:
        """Sequences without a row that no lost row explains."""
        return max(0, self.missing - max(0, self.lost_rows))

    @property
    def balanced(self) -> bool:
        return self.lost_rows == 0

    def lost(self, *, gaps: bool | None = None) -> int:
        """How many frames are lost: rows, pictures, and sequences that were never received.

        gaps: whether to count the last. None: where Portrait reads the source, as it counted them itself.
        """
        counted = self.source_read if gaps is None else gaps
        return self.without_file_count + max(0, self.lost_rows) + (self.never_received if counted else 0)
