"""A zip beyond the limit of all other requests, over a real connection to the web server."""

import http.client
import io
import json
import os
import zipfile
from pathlib import Path

import pytest
from django.conf import settings

from portrait.core.models import Scope
from portrait.core.services import create_api_key
from portrait.gallery.models import Collection
from portrait.transfer.models import ImportPart
from portrait.transfer.zip_writer import ZipWriter
from tests.live.conftest import PATIENCE_S
from tests.live.test_web_limits import port  # noqa: F401  (a fixture)

pytestmark = pytest.mark.django_db(transaction=True)

BOUNDARY = b"----portrait"


def test_a_zip_above_the_limit_comes_in_and_a_collection_goes_out(
    collection: Collection,
    port: int,  # noqa: F811
    tmp_path: Path,
) -> None:
    _, key = create_api_key(name="test", scope=Scope.ADMIN)
    spool = Path(settings.FILE_UPLOAD_TEMP_DIR)
    others = set(spool.iterdir()) if spool.exists() else set()
    with (tmp_path / "body").open("w+b") as body:
        body.write(b"--" + BOUNDARY + b'\r\nContent-Disposition: form-data; name="collection"\r\n\r\n')
        body.write(collection.name.encode() + b"\r\n--" + BOUNDARY + b"\r\nContent-Type: application/zip\r\n")
        body.write(b'Content-Disposition: form-data; name="file"; filename="large.zip"\r\n\r\n')
        before = body.tell()
        with ZipWriter(body) as zipped:
            for number in range(settings.MAX_BODY_BYTES // 2**20 + 2):
                zipped.add(f"somebody/{number}.jpg", os.urandom(2**20))
        size = body.tell() - before
        body.write(b"\r\n--" + BOUNDARY + b"--\r\n")
        length = body.tell()
        body.seek(0)
        headers = {
            "Authorization": f"Api-Key {key}",
            "Content-Type": f"multipart/form-data; boundary={BOUNDARY.decode()}",
            "Content-Length": str(length),
        }
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        connection.request("POST", "/api/v1/imports", body, headers)
        answer = connection.getresponse()
        told = json.loads(answer.read())
    assert answer.status == 202, told
    part = ImportPart.objects.get(run=told["id"])
    assert part.file.size == size > settings.MAX_BODY_BYTES
    left = set(Path(settings.FILE_UPLOAD_TEMP_DIR).iterdir()) - others
    assert left == set(), "nothing of it is left but what the storage keeps"
    connection.request(
        "GET", f"/api/v1/collections/{collection.name}/export", headers={"Authorization": f"Api-Key {key}"}
    )
    answer = connection.getresponse()
    with zipfile.ZipFile(io.BytesIO(answer.read())) as exported:
        assert exported.namelist() == ["people.csv", "portraits.csv"]
    connection.close()
