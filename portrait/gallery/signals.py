"""The doors for apps above this one, which keep more of people than the gallery does.

Both are sent before the transaction in which the row goes, so that what hangs on it in its thousands can be removed by
small transactions of its own. Whatever is still there in the end follows the row by Django's own signals. A receiver
that fails stops the deletion: it can be asked for again.
"""

from django.dispatch import Signal

identity_going = Signal()
"""With `identity_id`."""
collection_going = Signal()
"""With `collection_id`."""
