"""An import of 2,000 files with every kind of bad file among them, by a real worker that is killed in the middle."""

import io
import os
import random
import signal
import struct
import subprocess
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import pytest
from django.conf import settings
from django.core.files.storage import default_storage
from PIL import Image, ImageEnhance
from rest_framework.test import APIClient

from portrait.demo.photos import COLLINS, HOPPER, PhotoSet
from portrait.gallery.models import Collection, Identity, Portrait, PortraitEmbedding
from portrait.transfer.services.planning import CHUNK_FILES
from tests.api_clients import plain_jpeg
from tests.live.conftest import wait_for
from tests.live.test_jobs import start_worker  # noqa: F401  (a fixture)
from tests.portrait.jobs.conftest import files as stored_files

pytestmark = pytest.mark.django_db(transaction=True)

FILES = 2000
PEOPLE = 30
GOOD_EACH = 4
"""Pictures of a face; each of them costs the networks what it costs. The others are refused before, which is cheap."""
SIDE_PX = 200


def encoded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    made = io.BytesIO()
    image.save(made, kind, **options)
    return made.getvalue()


def faces(photos: PhotoSet) -> list[Image.Image]:
    """Two people, cut out around the face and small."""
    cuts = {COLLINS: (110, 0, 330, 220), HOPPER: (120, 40, 420, 340)}
    found = []
    for name, box in cuts.items():
        whole = Image.open(io.BytesIO(photos.people[name][0].data))
        found.append(whole.crop(box).resize((SIDE_PX, SIDE_PX)))
    return found


def large_png() -> bytes:
    """Some hundred bytes that say 60 million pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))

    header = struct.pack(">2L5B", 10_000, 6_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100)))


@dataclass
class Account:
    """What the zip holds, by name, and the result that each file must have: its status, and its code."""

    files: dict[str, bytes] = field(default_factory=dict)
    expected: dict[str, tuple[str, str]] = field(default_factory=dict)
    twins: list[tuple[str, str]] = field(default_factory=list)
    """The same picture twice: whichever comes first is accepted, as chunks are done side by side."""

    lines: int = 0
    """Of tables, which have results of their own."""

    def add(self, name: str, data: bytes, status: str, code: str = "", told: str | None = None) -> None:
        assert name not in self.files
        self.files[name] = data
        self.expected[told or name] = (status, code)


BAD: dict[str, tuple[str, str, str]] = {
    "truncated": (".jpg", "rejected", "corrupt_image"),
    "text": (".jpg", "rejected", "unsupported_image"),
    "empty": (".jpg", "rejected", "empty_image"),
    "pixels": (".png", "rejected", "image_too_large"),
    "heic": (".heic", "rejected", "unsupported_image"),
    "no face": (".jpg", "rejected", "no_face"),
    "one pixel": (".png", "rejected", "image_too_small"),
    "nested": (".zip", "rejected", "nested_zip"),
}


def bad_bytes(kind: str, number: int, good: bytes) -> bytes:
    tail = b"%d" % number
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as zipped:
        zipped.writestr("a.jpg", tail)
    return {
        "truncated": good[: 700 + number],
        "text": b"this is text, no picture " + tail,
        "empty": b"",
        "pixels": large_png() + tail,
        "heic": b"\0\0\0\x18ftypheic" + tail,
        "no face": plain_jpeg(64 + number % 7, 64) + tail,
        "one pixel": encoded(Image.new("RGB", (1, 1)), "PNG") + tail,
        "nested": inner.getvalue(),
    }[kind]


def make_account(photos: PhotoSet) -> Account:
    dice, account = random.Random(5), Account()
    people = faces(photos)
    good: list[bytes] = []
    for person in range(PEOPLE):
        for number in range(GOOD_EACH):
            face = ImageEnhance.Brightness(people[person % 2]).enhance(0.9 + 0.002 * (person * GOOD_EACH + number))
            kind = ("JPEG", "PNG", "GIF", "WEBP")[number]
            good.append(encoded(face, kind, **({"quality": 92} if kind in ("JPEG", "WEBP") else {})))
            account.add(f"person {person:02}/{number}.{kind.lower()}", good[-1], "accepted")
        account.add(f"person {person:02}/again.jpg", good[person * GOOD_EACH], "duplicate")
        account.twins.append((f"person {person:02}/0.jpeg", f"person {person:02}/again.jpg"))
    both = photos.probes[0].data
    for number in range(5):
        account.add(f"person 00/both {number}.jpg", both + b"%d" % number, "rejected", "several_faces")
        tiny = encoded(people[0].resize((40 + number, 40 + number)), "PNG")
        account.add(f"person 01/tiny {number}.png", tiny, "rejected", "poor_quality")
    for number in range(3):
        account.add(f"loose {number}.jpg", good[0], "rejected", "no_person_folder")
        account.add(f"person 02/deeper/{number}.jpg", good[0], "rejected", "nested_folder")
        account.add(f"../outside/{number}.jpg", good[0], "rejected", "unsafe_path")
        account.add(f"/absolute/{number}.jpg", good[0], "rejected", "unsafe_path")
        account.add(f"C:\\windows\\{number}.jpg", good[0], "rejected", "unsafe_path", f"C:/windows/{number}.jpg")
        account.add(f"__MACOSX/person 00/._{number}.jpg", b"junk", "skipped", "junk")
        account.add(f"person 0{number}/.DS_Store", b"junk", "skipped", "junk")
        account.add(f"person 0{number}/Thumbs.db", b"junk", "skipped", "junk")
        account.add(f"person 03/encrypted {number}.jpg", good[0], "rejected", "encrypted")
        account.add(f"person 03/crc {number}.jpg", good[0], "rejected", "damaged_entry")
        account.add(f"person 03/link {number}.jpg", b"/etc/passwd", "rejected", "symlink")
        account.add(f"person 03/bomb {number}.bmp", bytes(5 * 2**20), "rejected", "zip_bomb")
        account.add(f"person 03/large {number}.bmp", bytes(26 * 2**20), "rejected", "image_too_large")
    long = "person 04/" + "n" * 1200 + ".jpg"
    account.add(long, good[0], "rejected", "name_too_long", long[:100] + "…")
    add_tables(account)
    account.add("\0" + "n" * 1200, good[0], "rejected", "name_too_long", "\ufffd" + "n" * 99 + "…")
    number = 0
    while len(account.files) < FILES:
        kind = dice.choices(sorted(BAD), [1 if kind == "no face" else 10 for kind in sorted(BAD)])[0]
        suffix, status, code = BAD[kind]
        person = dice.randrange(PEOPLE)
        data = bad_bytes(kind, number, good[number % len(good)] if kind != "truncated" else good[0])
        account.add(f"person {person:02}/{kind} {number}{suffix}", data, status, code)
        number += 1
    return account


def add_tables(account: Account) -> None:
    """With lines that no database takes; nobody of them has photos."""
    bad = ['{""x"": ""\\ud800""}', '{""x"": 1e999}', '{""x"": NaN}', '{""x"": ""\\u0000""}']
    people = "name,metadata\n" + "".join(f'bad {number},"{each}"\n' for number, each in enumerate(bad))
    account.add("people.csv", people.encode(), "skipped", "table")
    sha = "0" * 64
    portraits = f"file,file_sha256,sha256,box\nperson 00/\0.jpg,{sha},{sha},1 2 3 4\n"
    account.add("portraits.csv", portraits.encode(), "skipped", "table")
    for number in range(len(bad)):
        account.expected[f"people.csv, line {number + 2}"] = ("rejected", "invalid_row")
        account.lines += 1


def make_zip(account: Account) -> bytes:
    made, dice = io.BytesIO(), random.Random(6)
    names = list(account.files)
    dice.shuffle(names)
    names.sort(key=lambda name: "again" in name)  # a duplicate comes after its original
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name in names:
            info = zipfile.ZipInfo(name)
            info.filename = name  # beyond a NUL too
            info.create_system, info.external_attr = 3, (0o120777 if "/link " in name else 0o100600) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            zipped.writestr(info, account.files[name])
        places = {info.filename: info.header_offset for info in zipped.infolist()}
    data = bytearray(made.getvalue())
    for name in names:
        line = data.index(name.encode(), data.index(b"PK\x01\x02", max(places.values()))) - 46
        if "/encrypted " in name:
            data[line + 8] |= 1
        if "/crc " in name:
            data[line + 16] ^= 0xFF
    return bytes(data)


@pytest.fixture(scope="module")
def account() -> Account:
    from portrait.demo.photos import built_in

    return make_account(built_in())


@pytest.fixture
def client(enroller: APIClient) -> APIClient:
    return enroller


def start(client: APIClient, collection: Collection, zipped: bytes) -> str:
    file = io.BytesIO(zipped)
    file.name = "people.zip"
    body = {"file": file, "collection": collection.name}
    answer = client.post("/api/v1/imports", body, format="multipart")
    assert answer.status_code == 202, answer.content
    return str(answer.json()["id"])


def told(client: APIClient, run: str) -> Any:
    """The report; whoever asks too often waits, as any client does."""
    while (answer := client.get(f"/api/v1/imports/{run}")).status_code == 429:
        time.sleep(float(answer["Retry-After"]))
    assert answer.status_code == 200, answer.content
    return answer.json()


def wait_until_finished(client: APIClient, run: str) -> None:
    """However slow the machine is: as long as it goes on, there is patience."""
    done = -1
    while not told(client, run)["finished_at"]:
        done = told(client, run)["progress"]["done"]
        wait_for(
            lambda before=done: (now := told(client, run))["finished_at"] or now["progress"]["done"] > before,
            f"the import's next step after {done} files",
        )


def results(client: APIClient, run: str) -> list[dict[str, Any]]:
    rows, page = [], f"/api/v1/imports/{run}/results?page_size=700"
    while page:
        answer = client.get(page).json()
        rows += answer["results"]
        page = answer["next"]
    return rows


def test_two_thousand_files_with_every_kind_of_bad_one(
    client: APIClient,
    collection: Collection,
    account: Account,
    start_worker: Callable[[], "subprocess.Popen[bytes]"],  # noqa: F811
) -> None:
    zipped = make_zip(account)
    run = start(client, collection, zipped)
    worker = start_worker()
    wait_for(lambda: told(client, run)["progress"]["accepted"] >= 20, "the first portraits")
    os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()
    assert told(client, run)["finished_at"] is None, "the worker was to be killed in the middle"
    start_worker()
    wait_until_finished(client, run)

    rows = results(client, run)
    found = {row["file"]: (row["status"], row["code"]) for row in rows}
    assert len(rows) == len(found) == len(account.files) + account.lines == FILES + account.lines, "each has one result"
    for twins in account.twins:
        assert sorted(found.pop(twin)[0] for twin in twins) == ["accepted", "duplicate"], twins
    wrong = {
        name: (found.get(name), expected)
        for name, expected in account.expected.items()
        if name not in chain(*account.twins)
        and (found.get(name, ("", ""))[0] != expected[0] or (expected[1] and found[name][1] != expected[1]))
    }
    assert not wrong, wrong
    progress = told(client, run)["progress"]
    counted = Counter(status for status, _ in account.expected.values())
    assert {status: progress[status] for status in counted} == dict(counted)
    assert progress["total"] == progress["done"] == FILES + account.lines
    assert Portrait.objects.filter(identity__collection=collection).count() == PEOPLE * GOOD_EACH
    assert PortraitEmbedding.objects.filter(collection=collection).count() == PEOPLE * GOOD_EACH
    assert Identity.objects.filter(collection=collection).count() == PEOPLE
    assert [name for name in stored_files("imports") if run in name] == [], "the zip is needed no more"
    kept = {str(name) for name in Portrait.objects.values_list("image", flat=True)}
    stored = {name for name in stored_files("portraits") if str(collection.pk) in name}
    assert kept <= stored
    # What the killed worker had written and not committed: the integrity check finds it, and removes it a day later.
    assert len(stored - kept) <= CHUNK_FILES * settings.CELERY_WORKER_CONCURRENCY
    assert all(default_storage.exists(name) for name in kept)

    again = start(client, collection, zipped)
    wait_until_finished(client, again)
    progress = told(client, again)["progress"]
    assert (progress["accepted"], progress["duplicate"]) == (0, counted["accepted"] + counted["duplicate"])
    assert progress["rejected"] == counted["rejected"]
    assert Portrait.objects.filter(identity__collection=collection).count() == PEOPLE * GOOD_EACH


def without_header(files: dict[str, bytes], name: str) -> bytes:
    """A zip in which no local header stands where the list says that this file's is."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as zipped:
        for each, data in files.items():
            zipped.writestr(each, data)
        at = zipped.getinfo(name).header_offset
    data = bytearray(made.getvalue())
    data[at : at + 4] = b"rot!"
    return bytes(data)


@pytest.mark.parametrize(
    "people",
    [None, b"name,metadata\n" + b"," * (2 * 2**20), b"name\n" + "🙂".encode() * 2**20],
    ids=["damaged", "cells", "cell"],
)
def test_a_zip_whose_table_cannot_be_read_is_refused_as_a_whole_at_once(
    client: APIClient,
    collection: Collection,
    start_worker: Callable[[], "subprocess.Popen[bytes]"],  # noqa: F811
    people: bytes | None,
) -> None:
    files = {"people.csv": people or b"name\nAda\n", "Ada/a.jpg": plain_jpeg()}
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as zipped:
        for name, data in files.items():
            zipped.writestr(name, data)
    run = start(client, collection, made.getvalue() if people else without_header(files, "people.csv"))
    start_worker()
    wait_until_finished(client, run)
    assert ("(the zip)", "rejected", "invalid_zip") in {
        (row["file"], row["status"], row["code"]) for row in results(client, run)
    }
    assert [name for name in stored_files("imports") if run in name] == [], "the zip is needed no more"
