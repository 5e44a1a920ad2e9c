"""Frames in a bucket: a process with the real settings, against moto's S3 server."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from django.db import connection

from portrait.cameras.models import Camera, Frame
from portrait.env import BASE_DIR

pytest.importorskip("storages.backends.s3", reason="the extra 's3' is not installed")
moto_server = pytest.importorskip("moto.server", reason="moto's server is not installed: no S3 to test against")

pytestmark = pytest.mark.django_db(transaction=True)

BUCKET = "frames-test"
SCRIPT = """
import json, sys
from datetime import timedelta
from django.utils import timezone
from portrait.cameras import disk
from portrait.cameras.incoming import IncomingFrame
from portrait.cameras.models import Camera, Frame, frame_storage
from portrait.cameras.services.accept import accept_frames
from portrait.cameras.services.audit import audit_camera
from portrait.cameras.services.cameras import delete_camera

data = bytes.fromhex(sys.stdin.read())
camera = Camera.objects.get()
said = {"storage": type(frame_storage()).__name__, "free_bytes": disk.free_bytes()}
times = [timezone.now() - timedelta(hours=hours) for hours in (0, 0, 3)]
accept_frames(camera=camera, incoming=[IncomingFrame(data, captured_at=time) for time in times])
with Frame.objects.first().picture.open("rb") as file:
    said["same_bytes"] = file.read() == data
said["sound"] = [audit_camera(camera=camera).lost(), audit_camera(camera=camera).orphan_count]
frame_storage().delete(Frame.objects.get(sequence=1).picture.name)
said["without_file"] = audit_camera(camera=camera).without_file_count
try:
    Frame.objects.get(sequence=1).picture.open("rb")
except FileNotFoundError:
    said["missing"] = "FileNotFoundError"
import botocore.exceptions
from unittest import mock
from storages.backends.s3 import S3File
frame = Frame.objects.get(sequence=0)
broken = botocore.exceptions.ResponseStreamingError(error="injected: the connection broke")
with mock.patch.object(S3File, "file", new_callable=mock.PropertyMock, side_effect=broken):
    try:
        frame.picture.open("rb")
    except OSError as error:
        said["broken"] = [type(error).__name__, "the connection broke" in str(error)]
with mock.patch("portrait.core.s3.MAX_BYTES", 10):
    try:
        frame_storage().open(frame.picture.name)
    except OSError as error:
        said["too_large"] = "larger" in str(error)
delete_camera(camera=camera)
said["left"] = frame_storage().listdir("frames")[0]
print(json.dumps(said))
"""


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    import boto3

    for name, value in _credentials().items():
        monkeypatch.setenv(name, value)
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    boto3.client("s3", endpoint_url=address).create_bucket(Bucket=BUCKET)
    yield address
    server.stop()


def _credentials() -> dict[str, str]:
    """moto takes any, boto3 wants some."""
    return {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


def _database_url() -> str:
    """The test database, for another process."""
    settings = connection.settings_dict
    host, user = quote(str(settings["HOST"]), safe=""), quote(str(settings["USER"]))
    password = f":{quote(str(settings['PASSWORD']))}" if settings["PASSWORD"] else ""
    port = f":{settings['PORT']}" if settings["PORT"] else ""
    return f"postgresql://{user}{password}@{host}{port}/{settings['NAME']}"


def test_accept_read_audit_and_delete_in_a_bucket(endpoint: str, camera: Camera, tmp_path: Path) -> None:
    from tests.portrait.cameras.conftest import picture

    settings = {
        "DATABASE_URL": _database_url(),
        "PORTRAIT_FRAMES_S3_BUCKET": BUCKET,
        "PORTRAIT_FRAMES_S3_ENDPOINT": endpoint,
        "DJANGO_SETTINGS_MODULE": "portrait.settings",
    }
    done = subprocess.run(
        [sys.executable, "-c", f"import django; django.setup()\n{SCRIPT}"],
        input=picture().hex(),
        env={**os.environ, **settings},
        cwd=BASE_DIR,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "storage": "S3FrameStorage",
        "free_bytes": None,
        "same_bytes": True,
        "sound": [0, 0],
        "without_file": 1,
        "missing": "FileNotFoundError",
        "broken": ["OSError", True],
        "too_large": True,
        "left": [],
    }
    assert not Frame.objects.exists()
