"""The door for apps above this one that keep something of a frame's picture."""

from django.dispatch import Signal

pictures_going = Signal()
"""With `frame_ids`: frames whose pictures are taken away, by rule or because somebody in them was erased. Sent inside
the transaction that does it, with the frames' rows locked: what tells what these pictures show goes in it too."""
