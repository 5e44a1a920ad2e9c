"""The doors to the outside: whoever delivers alerts, or does more with frames, connects here.

`alert_raised` is sent with `alert_id` once the alert is committed. A process may die between the two: who must not
miss one also reads the rows of `Alert` above the last id that was seen (`id` grows).
"""

from django.dispatch import Signal

alert_raised = Signal()
frames_done = Signal()
"""With `camera` and `frames`: those that were just processed. Sent inside the transaction that ends them as done, so
that what a receiver notes is noted exactly when they are. A receiver that fails stops nothing: only what it wrote is
taken back."""
