"""The door to the outside: whoever delivers alerts connects here.

`alert_raised` is sent with `alert_id` once the alert is committed. A process may die between the two: who must not
miss one also reads the rows of `Alert` above the last id that was seen (`id` grows).
"""

from django.dispatch import Signal

alert_raised = Signal()
