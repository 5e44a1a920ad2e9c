"""The one exception of the embedded servers."""


class EmbeddedError(Exception):
    """The servers cannot run. The message is for the user: what is wrong and what to do about it."""
