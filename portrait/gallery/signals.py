"""The doors for apps above this one, which keep more of people than the gallery does.

The first two are sent before the transaction in which the row goes, so that what hangs on it in its thousands can be
removed by small transactions of its own. Whatever is still there in the end follows the row by Django's own signals. A
receiver that fails stops the deletion: it can be asked for again.

The others belong to the journal (`services.journal`) and are sent inside the transaction of an edit: a receiver that
fails takes the whole edit back.
"""

from django.dispatch import Signal

identity_going = Signal()
"""With `identity_id`."""
collection_going = Signal()
"""With `collection_id`."""

people_merging = Signal()
"""With `edit` (an open `journal.Edit`), `target` and `sources`: what hangs on the sources is to go to the target."""
change_made = Signal()
"""With `change`, a row that was just written, of an edit or of an undo. Work that has to follow is started here."""
change_undoing = Signal()
"""With `change`, before anything of it is taken back. A receiver refuses by a `ConflictError`."""
identity_held = Signal()
"""With `identity_id`, of somebody who was made by an edit that is being undone. Answers True where rows still hold them
that another piece of work will move: the row then stays, deleted, until `journal.remove_leftover`."""

duplicates_suspected = Signal()
"""With `identity`, of whom a portrait was just enrolled, and `alike`: (identity id, similarity) of others who look like
it. A receiver that fails stops nothing."""
