"""Frames that are pushed: one, many, the same again, and what cannot be taken."""

import io
import json
import struct
import threading
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.utils import timezone
from rest_framework.test import APIClient

from inference.codec import probe
from portrait.cameras import disk
from portrait.cameras.api import frames as api
from portrait.cameras.incoming import MAX_SEQUENCE, IncomingFrame
from portrait.cameras.models import Camera, Frame, FrameState, frame_storage
from portrait.cameras.services.accept import Accepted, accept_frames
from portrait.cameras.services.cameras import create_camera
from portrait.core.models import Scope
from portrait.gallery.models import Collection
from tests.api_clients import MakeClient, b64
from tests.portrait.cameras.conftest import Broker, picture
from tests.portrait.cameras.test_api import bound

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def client(camera: Camera) -> APIClient:
    """A camera's own key."""
    return bound(camera)


@pytest.fixture
def url(camera: Camera) -> str:
    return f"/api/v1/cameras/{camera.pk}/frames"


def file(data: bytes, name: str = "frame.jpg") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, data, "image/jpeg")


def error_of(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def stored_files(camera: Camera) -> list[str]:
    def below(path: str) -> list[str]:
        folders, names = frame_storage().listdir(path)
        return [f"{path}/{name}" for name in names] + [name for each in folders for name in below(f"{path}/{each}")]

    root = f"frames/{camera.pk}"
    return below(root) if frame_storage().exists(root) else []


def test_json_with_base64_and_metadata(client: APIClient, url: str, camera: Camera, broker: Broker) -> None:
    data = picture()
    body = {
        "image": f"data:image/jpeg;base64,{b64(data)}",
        "captured_at": "2024-05-06T07:08:09.5+02:00",
        "sequence": 41,
        "metadata": {"gate": 3, "who": "Zoë"},
    }
    answer = client.post(url, body)
    assert answer.status_code == 202
    frame = Frame.objects.get()
    assert answer.json() == {"frame": frame.pk, "state": "waiting", "sequence": 41, "duplicate": False}
    assert frame.captured_at == datetime(2024, 5, 6, 5, 8, 9, 500000, UTC)
    assert frame.metadata == {"gate": 3, "who": "Zoë"}
    assert (frame.width, frame.height, frame.size_bytes) == (64, 48, len(data))
    with frame.picture.open("rb") as stored:
        assert stored.read() == data, "the very bytes"
    assert frame.picture.name.startswith(f"frames/{camera.pk}/2024/05/06/05/")
    assert len(broker) == 1


def test_multipart(client: APIClient, url: str) -> None:
    fields = {"image": file(picture()), "captured_at": "2024-05-06 07:08:09", "metadata": '{"a": 1}', "sequence": ""}
    answer = client.post(url, fields, format="multipart")
    assert (answer.status_code, answer.json()["sequence"]) == (202, 0)
    frame = Frame.objects.get()
    assert frame.metadata == {"a": 1}
    assert frame.captured_at == datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC), "without a zone: UTC"


def test_without_a_time_and_a_sequence_they_are_given(client: APIClient, url: str) -> None:
    before = timezone.now()
    told = [client.post(url, {"image": b64(picture())}).json()["sequence"] for _ in range(3)]
    assert told == [0, 1, 2]
    assert all(before <= frame.captured_at <= timezone.now() for frame in Frame.objects.all())
    assert client.post(url, {"image": b64(picture()), "sequence": 10}).status_code == 202
    assert client.post(url, {"image": b64(picture())}).json()["sequence"] == 11


def test_another_format_becomes_jpeg(client: APIClient, url: str) -> None:
    for kind in ("PNG", "BMP", "WEBP"):
        assert client.post(url, {"image": b64(picture(kind))}).status_code == 202
    for frame in Frame.objects.all():
        with frame.picture.open("rb") as stored:
            assert probe(stored.read()).format == "JPEG"


def test_the_same_again_is_the_same_frame_in_its_present_state(
    client: APIClient, url: str, camera: Camera, broker: Broker
) -> None:
    for kind in ("JPEG", "PNG"):
        body = {"image": b64(picture(kind)), "sequence": 7 if kind == "JPEG" else 8}
        first = client.post(url, body).json()
        Frame.objects.filter(pk=first["frame"]).update(state=FrameState.DONE)
        again = client.post(url, body)
        assert again.status_code == 202
        assert again.json() == first | {"state": "done", "duplicate": True}
    assert Frame.objects.count() == len(stored_files(camera)) == 2
    assert len(broker) == 2


def test_other_bytes_with_a_sequence_that_is_taken(client: APIClient, url: str, camera: Camera) -> None:
    first = client.post(url, {"image": b64(picture()), "sequence": 7}).json()
    answer = client.post(url, {"image": b64(picture()), "sequence": 7})
    assert error_of(answer) == (409, "sequence_taken")
    assert answer.json()["error"]["frame"] == first["frame"]
    assert len(stored_files(camera)) == 1


def test_the_same_frame_by_many_at_once_is_one_frame(client: APIClient, url: str, camera: Camera) -> None:
    body = {"image": b64(picture()), "sequence": 5}
    answers: list[Any] = []

    def push() -> None:
        answers.append(client.post(url, body))
        connection.close()

    threads = [threading.Thread(target=push) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} == {202}
    assert sum(not answer.json()["duplicate"] for answer in answers) == 1
    assert Frame.objects.count() == len(stored_files(camera)) == 1


def test_many_pushers_without_sequences_leave_no_gap(camera: Camera) -> None:
    def push() -> None:
        for _ in range(5):
            accept_frames(camera=camera, incoming=[IncomingFrame(picture()) for _ in range(3)])
        connection.close()

    threads = [threading.Thread(target=push) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(Frame.objects.values_list("sequence", flat=True)) == list(range(90))


def test_a_batch_as_json_where_one_bad_frame_stops_no_other(client: APIClient, url: str, camera: Camera) -> None:
    good, same = b64(picture()), b64(picture())
    frames = [
        {"image": good, "sequence": 1, "metadata": {"n": 1}},
        {"image": b64(b"no picture"), "sequence": 2},
        {"image": "%%%"},
        {"sequence": 4},
        "text",
        {"image": good, "sequence": -1},
        {"image": good, "captured_at": "yesterday"},
        {"image": same, "sequence": 8},
        {"image": same, "sequence": 8},
        {"image": good, "sequence": 8},
    ]
    answer = client.post(url, {"frames": frames})
    assert answer.status_code == 202
    results = answer.json()["results"]
    assert [result["index"] for result in results] == list(range(10))
    codes = [result["error"]["code"] if "error" in result else result["state"] for result in results]
    assert codes == [
        "waiting",
        "unsupported_image",
        "invalid",
        "invalid",
        "invalid",
        "invalid",
        "invalid",
        "waiting",
        "waiting",
        "sequence_taken",
    ]
    assert results[7]["frame"] == results[8]["frame"]
    assert (results[7]["duplicate"], results[8]["duplicate"]) == (False, True)
    assert Frame.objects.count() == len(stored_files(camera)) == 2


def test_a_batch_as_multipart(client: APIClient, url: str) -> None:
    images = [file(picture()), file(b"no picture"), file(picture())]
    said = [{"sequence": 3, "captured_at": "2024-01-01T00:00:00Z"}, {}, {"metadata": {"n": 3}}]
    answer = client.post(url, {"images": images, "frames": json.dumps(said)}, format="multipart")
    assert answer.status_code == 202
    assert ["error" in result for result in answer.json()["results"]] == [False, True, False]
    assert Frame.objects.get(sequence=3).captured_at.year == 2024
    assert Frame.objects.get(sequence=4).metadata == {"n": 3}
    plain = client.post(url, {"images": [file(picture()), file(picture())]}, format="multipart")
    assert [result["sequence"] for result in plain.json()["results"]] == [5, 6]


def test_a_batch_of_nothing_but_bad_frames(client: APIClient, url: str) -> None:
    answer = client.post(url, {"frames": [{"image": b64(b"a")}, {}]})
    assert error_of(answer) == (422, "nothing_accepted")
    assert [result["index"] for result in answer.json()["error"]["results"]] == [0, 1]


@pytest.mark.parametrize(
    "body",
    [
        {"frames": []},
        {"frames": "x"},
        {"frames": {"image": ""}},
        {"frames": [{}] * 101},
        {"frames": [{}], "sequence": 1},
        {"frames": [{}], "image": "x"},
        {"images": ["x"]},
        {},
        [],
        "text",
        None,
    ],
)
def test_a_body_that_is_no_request(client: APIClient, url: str, body: Any) -> None:
    assert error_of(client.post(url, body)) == (400, "invalid")


def test_forms_that_do_not_fit(client: APIClient, url: str) -> None:
    two = {"images": [file(picture()), file(picture())], "frames": "[{}]"}
    assert error_of(client.post(url, two, format="multipart")) == (400, "invalid")
    torn = {"images": [file(picture())], "frames": "[{"}
    assert error_of(client.post(url, torn, format="multipart")) == (400, "invalid")
    twice = {"image": [file(picture()), file(picture())]}
    assert error_of(client.post(url, twice, format="multipart")) == (400, "invalid")
    assert not Frame.objects.exists()


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"sequence": -1}, "sequence"),
        ({"sequence": MAX_SEQUENCE + 1}, "sequence"),
        ({"sequence": 1.5}, "sequence"),
        ({"sequence": True}, "sequence"),
        ({"captured_at": "nonsense"}, "captured_at"),
        ({"captured_at": "2024-13-45T00:00:00Z"}, "captured_at"),
        ({"captured_at": "0001-01-01T00:00:00+14:00"}, "captured_at"),
        ({"captured_at": "0001-01-02T00:00:00Z"}, "captured_at"),
        ({"captured_at": "9999-12-31T23:59:59Z"}, "captured_at"),
        ({"captured_at": (timezone.now() + timedelta(hours=2)).isoformat()}, "captured_at"),
        ({"metadata": [1]}, "metadata"),
        ({"metadata": "text"}, "metadata"),
        ({"metadata": {"a": "x" * 65 * 1024}}, "metadata"),
        ({"metadata": {"a": "\x00"}}, "metadata"),
    ],
)
def test_what_is_said_of_a_frame_is_checked(client: APIClient, url: str, said: dict[str, Any], field: str) -> None:
    answer = client.post(url, {"image": b64(picture())} | said)
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, field)
    assert not Frame.objects.exists()


def test_the_largest_sequence_leaves_room_to_count(client: APIClient, url: str) -> None:
    assert client.post(url, {"image": b64(picture()), "sequence": MAX_SEQUENCE}).status_code == 202


def test_a_camera_that_is_switched_off_takes_nothing(client: APIClient, url: str, camera: Camera) -> None:
    Camera.objects.update(enabled=False)
    assert error_of(client.post(url, {"image": b64(picture())})) == (409, "camera_disabled")
    assert error_of(client.post(url, {"frames": [{"image": b64(picture())}]})) == (409, "camera_disabled")
    assert stored_files(camera) == []


def test_a_full_disk_is_said_and_nothing_is_kept(
    client: APIClient, url: str, camera: Camera, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "free_bytes", lambda: 1000)
    answer = client.post(url, {"image": b64(picture())})
    assert error_of(answer) == (507, "storage_full")
    assert "PORTRAIT_MIN_FREE_MB" in answer.json()["error"]["message"]
    assert stored_files(camera) == []


def test_a_disk_that_fills_while_it_is_written_to(
    client: APIClient, url: str, camera: Camera, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("portrait.core.storage.os.fsync", full)
    assert error_of(client.post(url, {"image": b64(picture())})) == (507, "storage_full")
    monkeypatch.undo()
    assert stored_files(camera) == []
    assert not Frame.objects.exists()
    assert client.post(url, {"image": b64(picture())}).json()["sequence"] == 0, "no sequence was used up"


def test_a_json_body_has_a_limit(client: APIClient, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fits = json.dumps({"image": b64(picture()), "metadata": {}})
    room = api.MAX_JSON_BYTES - len(fits)
    body = fits[:-1] + " " * room + "}"
    assert client.post(url, body, content_type="application/json").status_code == 202
    answer = client.post(url, body + " ", content_type="application/json")
    assert error_of(answer) == (413, "request_too_large")
    assert "10 MB" in answer.json()["error"]["message"]


def test_a_multipart_picture_may_be_larger_than_json(client: APIClient, url: str) -> None:
    noise = b"\xff\xd9" + bytes(11 * 2**20)  # behind a JPEG's end
    assert client.post(url, {"image": file(picture() + noise)}, format="multipart").status_code == 202
    too_large = client.post(url, {"image": file(picture() + bytes(26 * 2**20))}, format="multipart")
    assert error_of(too_large) == (413, "image_too_large")


def bomb() -> bytes:
    """A PNG of some hundred bytes that says it has 30,000 x 30,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(100_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", (400, "empty_image")),
        (b"GIF, not really", (415, "unsupported_image")),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", (415, "unsupported_image")),
        (picture()[:30], (400, "corrupt_image")),
        (bomb(), (413, "image_too_large")),
    ],
)
def test_pictures_that_are_refused(
    client: APIClient, url: str, camera: Camera, data: bytes, expected: tuple[int, str]
) -> None:
    assert error_of(client.post(url, {"image": b64(data)})) == expected
    assert stored_files(camera) == []


@pytest.mark.parametrize("name", ["../../../etc/cron.d/x", "/etc/passwd", "a\\..\\b.jpg", "x" * 500 + ".jpg", ".jpg"])
def test_a_files_name_leads_nowhere(client: APIClient, url: str, camera: Camera, name: str) -> None:
    assert client.post(url, {"image": file(picture(), name)}, format="multipart").status_code == 202
    stored = Frame.objects.get().picture.name
    assert stored in stored_files(camera)
    assert "etc" not in stored


def test_other_kinds_of_body(client: APIClient, url: str) -> None:
    assert client.post(url, b"<a/>", content_type="text/xml").status_code == 415
    assert client.post(url, b"{", content_type="application/json").status_code == 400
    deep = b'{"metadata": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert client.post(url, deep, content_type="application/json").status_code == 400


def test_who_may_push(
    make_client: MakeClient, camera: Camera, other_camera: Camera, url: str, collection: Collection
) -> None:
    body = {"image": b64(picture())}
    assert APIClient().post(url, body).status_code == 401
    assert make_client(Scope.READ).post(url, body).status_code == 403
    assert bound(camera, scope=Scope.READ).post(url, body).status_code == 403
    foreign = f"/api/v1/cameras/{other_camera.pk}/frames"
    sister = create_camera(collection=collection, name="sister")
    for client, address in [
        (make_client(Scope.ADMIN, [collection]), foreign),
        (bound(camera), foreign),
        (bound(camera), f"/api/v1/cameras/{sister.pk}/frames"),
        (bound(camera), "/api/v1/cameras/none/frames"),
    ]:
        assert error_of(client.post(address, body)) == (404, "not_found")
    assert not Frame.objects.exists()
    for client in (bound(camera), make_client(Scope.ENROL, [collection]), make_client(Scope.ADMIN)):
        assert client.post(url, {"image": b64(picture())}).status_code == 202


def test_pushing_has_a_rate_of_its_own(
    client: APIClient, url: str, monkeypatch: pytest.MonkeyPatch, reader: APIClient
) -> None:
    monkeypatch.setattr("portrait.core.throttling.FrameThrottle.THROTTLE_RATES", {"frames": "3/day"})
    answers = [client.post(url, {"image": b64(picture())}) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [202, 202, 202, 429]
    assert 0 < int(answers[-1]["Retry-After"]) <= 86_401
    assert client.get("/api/v1/cameras").status_code == 200, "reading is counted apart"


def test_without_a_broker_frames_are_accepted(client: APIClient, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from kombu.exceptions import OperationalError

    def gone(*args: Any, **kwargs: Any) -> None:
        raise OperationalError("no broker")

    monkeypatch.setattr("portrait.cameras.queue.current_app.send_task", gone)
    assert client.post(url, {"image": b64(picture())}).status_code == 202
    assert Frame.objects.get().state == FrameState.WAITING


def test_a_row_that_cannot_be_written_leaves_no_file(camera: Camera, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("in between")

    with monkeypatch.context() as patch:
        patch.setattr(Frame.objects, "bulk_create", fails)
        with pytest.raises(RuntimeError):
            accept_frames(camera=camera, incoming=[IncomingFrame(picture()) for _ in range(3)])
    assert stored_files(camera) == []
    outcome = accept_frames(camera=camera, incoming=[IncomingFrame(picture())])[0]
    assert isinstance(outcome, Accepted)
    assert outcome.frame.sequence == 0


def test_a_time_with_a_zone_lies_in_its_hour_of_utc(camera: Camera) -> None:
    there = datetime.fromisoformat("2024-05-06T01:30:00+05:00")
    outcome = accept_frames(camera=camera, incoming=[IncomingFrame(picture(), captured_at=there)])[0]
    assert isinstance(outcome, Accepted)
    assert "/2024/05/05/20/" in outcome.frame.picture.name


def test_reading_back_is_the_picture(camera: Camera) -> None:
    data = picture()
    accept_frames(camera=camera, incoming=[IncomingFrame(data)])
    with Frame.objects.get().picture.open("rb") as stored:
        assert io.BytesIO(stored.read()).getvalue() == data


@pytest.mark.parametrize("sequence", [2**53 + 1, 2**63 - 1, 2**63, 10**40])
def test_a_sequence_near_the_end_of_all_counting_is_refused_and_the_camera_goes_on(
    client: APIClient, url: str, camera: Camera, sequence: int
) -> None:
    body = {"image": b64(picture()), "sequence": sequence}
    answer = client.post(url, body, format="json")
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "sequence")
    assert "2**53" in answer.json()["error"]["message"]
    batch = client.post(url, {"frames": [body, {"image": b64(picture())}]}, format="json").json()["results"]
    assert ("error" in batch[0], "error" in batch[1]) == (True, False)
    form = {"image": SimpleUploadedFile("p.jpg", picture()), "sequence": str(sequence)}
    assert client.post(url, form, format="multipart").status_code == 400
    images = [SimpleUploadedFile("p.jpg", picture()) for _ in range(2)]
    form = {"images": images, "frames": json.dumps([{"sequence": sequence}, {}])}
    results = client.post(url, form, format="multipart").json()["results"]
    assert ("error" in results[0], "error" in results[1]) == (True, False)
    assert client.post(url, {"image": b64(picture())}, format="json").status_code == 202
    camera.refresh_from_db()
    assert camera.next_sequence == 3


def test_frames_are_not_pushed_to_a_camera_that_portrait_reads(client: APIClient, url: str, camera: Camera) -> None:
    Camera.objects.filter(pk=camera.pk).update(source="rtsp://10.0.0.1/")
    for body in ({"image": b64(picture())}, {"frames": [{"image": b64(picture())}]}):
        answer = client.post(url, body)
        assert error_of(answer) == (409, "camera_is_read")
        assert "make a camera without a source" in answer.json()["error"]["message"]
    assert not Frame.objects.exists()


def test_a_cameras_key_learns_nothing_of_other_cameras_that_are_read(client: APIClient, other_camera: Camera) -> None:
    Camera.objects.filter(pk=other_camera.pk).update(source="rtsp://10.0.0.1/")
    answer = client.post(f"/api/v1/cameras/{other_camera.pk}/frames", {"image": b64(picture())})
    assert error_of(answer) == (404, "not_found")
