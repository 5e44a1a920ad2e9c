"""What the tests of capture read (videos, MJPEG over HTTP, JPEG over RTSP), and the processes that read it."""

import http.server
import os
import re
import signal
import socket
import socketserver
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from django.conf import settings
from django.db import connection
from numpy.typing import NDArray

from portrait.env import BASE_DIR


def picture(number: int, size: tuple[int, int] = (160, 120)) -> NDArray[np.uint8]:
    """A picture that can be told from its neighbours, BGR."""
    image = np.full((size[1], size[0], 3), (number * 7) % 200, np.uint8)
    cv2.putText(image, str(number), (10, size[1] // 2), cv2.FONT_HERSHEY_SIMPLEX, 1.0, (255, 255, 255), 2)
    return image


def jpeg(number: int) -> bytes:
    return bytes(cv2.imencode(".jpg", picture(number))[1].tobytes())


def write_video(path: Path, frames: int, *, fps: float = 25.0, first: int = 0) -> Path:
    codec = "mp4v" if path.suffix == ".mp4" else "MJPG"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), fps, (160, 120))
    assert writer.isOpened()
    for number in range(frames):
        writer.write(picture(first + number))
    writer.release()
    return path


class MjpegServer:
    """Streams multipart/x-mixed-replace over HTTP, about 50 frames a second; `broken` ends and refuses connections."""

    def __init__(self) -> None:
        self.broken = threading.Event()
        self.connections = 0
        self.playlist = b""
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *args: Any) -> None: ...

            def do_GET(self) -> None:
                if self.path.endswith(".m3u8"):
                    self.send_response(200)
                    self.send_header("Content-Type", "application/vnd.apple.mpegurl")
                    self.end_headers()
                    self.wfile.write(outer.playlist)
                    return
                if outer.broken.is_set():
                    self.send_error(503)
                    return
                outer.connections += 1
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                number = 0
                while not outer.broken.is_set():
                    data = jpeg(number)
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                    try:
                        self.wfile.write(head.encode() + data + b"\r\n")
                    except OSError:
                        return
                    number += 1
                    time.sleep(0.02)

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def url(self, path: str = "video") -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/{path}"

    def stop(self) -> None:
        self.broken.set()
        self._server.shutdown()
        self._server.server_close()


class RtspServer:
    """A camera that speaks RTSP: one JPEG track (RFC 2435), RTP inside the RTSP connection (RFC 2326, 10.12).

    It asks for a user and a password (Basic), counts connections, and can be `broken`.
    """

    def __init__(self, authorization: str = "Basic YWRtaW46Z2VoZWlt") -> None:  # admin:geheim
        self.broken = threading.Event()
        self.connections = 0
        self.authorization = authorization
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                if outer.broken.is_set():
                    return
                while request := self._read():
                    method, headers = request
                    if headers.get("authorization") != outer.authorization:
                        self._answer(headers, "401 Unauthorized", {"WWW-Authenticate": 'Basic realm="camera"'})
                        continue
                    self._answer(headers, "200 OK", *self._content(method))
                    if method == "PLAY":
                        outer.connections += 1
                        outer._play(self.connection)
                        return

            def _read(self) -> tuple[str, dict[str, str]] | None:
                lines = []
                while line := self.rfile.readline().decode().strip():
                    lines.append(line)
                if not lines:
                    return None
                pairs = (line.partition(":") for line in lines[1:])
                return lines[0].split()[0], {name.lower(): value.strip() for name, _, value in pairs}

            def _content(self, method: str) -> tuple[dict[str, str], str]:
                if method == "DESCRIBE":
                    lines = (
                        "v=0",
                        "o=- 0 0 IN IP4 127.0.0.1",
                        "s=test",
                        "t=0 0",
                        "m=video 0 RTP/AVP 26",
                        "a=control:track",
                    )
                    return {"Content-Type": "application/sdp"}, "".join(f"{line}\r\n" for line in lines)
                extra = {
                    "SETUP": {"Transport": "RTP/AVP/TCP;unicast;interleaved=0-1", "Session": "1"},
                    "PLAY": {"Session": "1"},
                    "OPTIONS": {"Public": "OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN"},
                }
                return extra.get(method, {}), ""

            def _answer(self, headers: dict[str, str], status: str, extra: dict[str, str], body: str = "") -> None:
                extra = {"CSeq": headers.get("cseq", "0"), **extra, "Content-Length": str(len(body))}
                head = "".join(f"{name}: {value}\r\n" for name, value in extra.items())
                self.wfile.write(f"RTSP/1.0 {status}\r\n{head}\r\n{body}".encode())

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True

        self._server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def url(self, user: str = "admin:geheim@") -> str:
        return f"rtsp://{user}127.0.0.1:{self._server.server_address[1]}/stream"

    def stop(self) -> None:
        self.broken.set()
        self._server.shutdown()
        self._server.server_close()

    def _play(self, connection: socket.socket) -> None:
        sequence, number = 0, 0
        while not self.broken.is_set():
            for payload, last in _rtp_jpeg(jpeg(number)):
                head = struct.pack(">BBHII", 0x80, 26 | (0x80 if last else 0), sequence & 0xFFFF, number * 3600, 1)
                packet = head + payload
                try:
                    connection.sendall(struct.pack(">cBH", b"$", 0, len(packet)) + packet)
                except OSError:
                    return
                sequence += 1
            number += 1
            time.sleep(0.04)


def _rtp_jpeg(data: bytes) -> "list[tuple[bytes, bool]]":
    """A baseline JPEG with the standard Huffman tables as RTP payloads, each with whether it is the frame's last."""
    tables, position, width, height, sampling = b"", 2, 0, 0, 0
    while True:
        marker, length = data[position + 1], struct.unpack(">H", data[position + 2 : position + 4])[0]
        segment = data[position + 4 : position + 2 + length]
        position += 2 + length
        if marker == 0xDB:
            while segment:
                tables, segment = tables + segment[1:65], segment[65:]
        elif marker == 0xC0:
            height, width = struct.unpack(">HH", segment[1:5])
            sampling = segment[7]
        elif marker == 0xDA:
            break
    scan = data[position:-2]
    kind = {0x22: 1, 0x21: 0}[sampling]
    payloads, offset = [], 0
    while offset < len(scan):
        part = scan[offset : offset + 1200]
        head = struct.pack(">II", offset & 0xFFFFFF, (kind << 24) | (255 << 16) | (width // 8 << 8) | height // 8)
        quantization = struct.pack(">BBH", 0, 0, len(tables)) + tables if offset == 0 else b""
        offset += len(part)
        payloads.append((head + quantization + part, offset >= len(scan)))
    return payloads


class Watching:
    """`manage.py watch_cameras` on the test's database, and the processes below it."""

    def __init__(self, folder: Path, *arguments: str, **variables: str) -> None:
        name = connection.settings_dict["NAME"]
        self.log_path = folder / "watch.log"
        environment = {
            **os.environ,
            "DATABASE_URL": settings.PORTRAIT.database_url.rsplit("/", 1)[0] + f"/{name}",
            "REDIS_URL": settings.PORTRAIT.redis_url,
            "PORTRAIT_VAR": str(folder / "var"),
            "PORTRAIT_SOURCE_DIRS": str(folder / "sources"),
            "PORTRAIT_MIN_FREE_MB": "1",
            **variables,
        }
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(BASE_DIR / "manage.py"), "watch_cameras", *arguments],
                env=environment,
                cwd=BASE_DIR,
                stdout=log,
                stderr=log,
            )

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def readers(self) -> list[int]:
        """The processes that read a camera for this parent."""
        return [
            pid
            for pid, command in _commands()
            if f"--parent {self.process.pid}" in command and "setpriv" not in command
        ]

    def kill_readers(self) -> None:
        for pid in self.readers():
            os.kill(pid, signal.SIGKILL)

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(60)


def _commands() -> "list[tuple[int, str]]":
    found = []
    for path in Path("/proc").iterdir():
        if re.fullmatch(r"\d+", path.name):
            try:
                found.append((int(path.name), (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()))
            except OSError:
                continue
    return found
