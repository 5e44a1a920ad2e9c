"""What a reader's process prints: FFmpeg writes addresses with their passwords, past Python's logging."""

import os
import re
import threading

from portrait.cameras import addresses

# "[OPENCV:FFMPEG:16] text", "[rtsp @ 0x55d0] text"
_FFMPEG = re.compile(r"^\[(?:OPENCV:FFMPEG:\d+|[^\]\s]+ @ 0x[0-9a-f]+)\] (.*)")


class Output:
    """Standard output and error of this process from here on: masked, line by line; FFmpeg's last words are kept."""

    def __init__(self) -> None:
        self._last = ""
        self._real = os.dup(2)
        reader, writer = os.pipe()
        for descriptor in (1, 2):
            os.dup2(writer, descriptor)
        os.close(writer)
        threading.Thread(target=self._pass_on, args=(reader,), name="output", daemon=True).start()

    def reason(self) -> str:
        """What FFmpeg said since the last call, as the end of a message."""
        said, self._last = self._last, ""
        return f": {said}" if said else ""

    def close(self) -> None:
        """What was printed last is written past the thread, which may not come to it any more."""
        os.dup2(self._real, 1)
        os.dup2(self._real, 2)

    def _pass_on(self, reader: int) -> None:
        with os.fdopen(reader, "r", errors="replace", newline="\n") as lines:
            for line in lines:
                text = addresses.masked(line)
                if found := _FFMPEG.match(text):
                    self._last = found[1].strip()
                os.write(self._real, text.encode(errors="replace"))
