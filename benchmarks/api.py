"""What does an answer of `/recognize` cost, beside the bare pipeline? Requests/s and p50/p95 at 1 and 8 clients.

    python -m benchmarks.api

The whole site runs (web server, PostgreSQL with 10,000 enrolled people, Redis, Triton) on this machine, and so do the
clients. The bare side is decode + detect + align + embed in this process: the same ONNX files, one thread a core.
"""

import base64
import os
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import urllib3

from benchmarks._measure import Ratio, compare, cycle, median_ms, own_environment, rate, report
from benchmarks.faces import CORES, pipeline
from inference.codec import decode
from inference.local import LocalClient
from portrait.demo.photos import built_in
from portrait.embedded import site
from portrait.env import BASE_DIR

PEOPLE, PORTRAITS = 10_000, 2
SECONDS = 5.0
SEED = f"""
import uuid
import numpy as np
from portrait.gallery.models import Identity, Portrait, PortraitEmbedding
from portrait.gallery.selectors import Collection
collection = Collection.objects.select_related("active_model").get(name="default")
random = np.random.default_rng(1)
directions = np.linalg.qr(random.normal(size=(128, 24)))[0].T
centres = random.normal(scale=0.11, size=({PEOPLE}, 24)) @ directions
people = Identity.objects.bulk_create(Identity(collection=collection, name=f"p{{n}}") for n in range({PEOPLE}))
portraits = Portrait.objects.bulk_create(
    [Portrait(identity=person, image="none", thumbnail="none", width=1, height=1, box=[0, 0, 1, 1], detector="bench",
              score=1, quality={{}}, sha256=uuid.uuid4().hex * 2) for person in people for _ in range({PORTRAITS})],
    batch_size=2000)
PortraitEmbedding.objects.bulk_create(
    [PortraitEmbedding(portrait=portrait, model=collection.active_model, collection=collection,
                       identity_id=portrait.identity_id,
                       vector=centres[n // {PORTRAITS}] + random.normal(scale=0.03, size=128))
     for n, portrait in enumerate(portraits)], batch_size=2000)
"""


def manage(*arguments: str, text: str | None = None) -> str:
    command = [sys.executable, str(BASE_DIR / "manage.py"), *arguments]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout.strip()


class Caller:
    """A client of `/recognize`; remembers every latency in ms."""

    def __init__(self, address: str, key: str) -> None:
        self._url = f"{address}/api/v1/recognize"
        self._http = urllib3.PoolManager(maxsize=16, headers={"Authorization": f"Api-Key {key}"}, retries=False)
        self.take = cycle([base64.b64encode(photo.data).decode() for photo in built_in().probes])
        self.latencies_ms: list[float] = []

    def __call__(self) -> int:
        started = time.perf_counter()
        answer = self._http.request("POST", self._url, json={"image": self.take()}, timeout=60)
        if answer.status != 200:
            raise RuntimeError(f"/recognize answers {answer.status}: {answer.data!r}")
        self.latencies_ms.append(1000 * (time.perf_counter() - started))
        return 1

    def percentiles(self) -> dict[str, float]:
        p50, p95 = np.percentile(self.latencies_ms, [50, 95])
        return {"p50_ms": round(float(p50), 1), "p95_ms": round(float(p95), 1), "requests": len(self.latencies_ms)}


def against_bare(address: str, key: str, bare: Callable[[], int], clients: int) -> tuple[Ratio, dict[str, float]]:
    caller = Caller(address, key)
    threads = min(clients, CORES)
    ratio = compare(
        f"/recognize requests/s, {clients} client(s) / bare photos/s of {threads} thread(s)",
        lambda: rate(caller, callers=clients, seconds=SECONDS),
        lambda: rate(bare, callers=threads, seconds=SECONDS),
        rounds=5,
    )
    return ratio, caller.percentiles()


def profile(address: str, key: str) -> dict[str, object]:
    """Where the time of one request goes, one client, one face: medians in ms. Run while the site runs."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "portrait.settings"
    import django

    django.setup()  # only now: settings read the addresses that the site has left
    from django.conf import settings

    from portrait.core.pipelines import face_pipeline
    from portrait.gallery.models import Collection
    from portrait.gallery.selectors import nearest_identities

    collection = Collection.objects.select_related("active_model").get(name="default")
    data = next(photo.data for photo in built_in().probes if photo.name == "flipped")
    local = pipeline(LocalClient(settings.PORTRAIT.models_dir))
    vector = local.analyse([decode(data)])[0].faces[0].embedding.vector
    caller = Caller(address, key)
    caller.take = lambda: base64.b64encode(data).decode()
    return {
        "one request, ms": {
            "whole": median_ms(caller),
            "of it: decode + networks through Triton": median_ms(lambda: face_pipeline().analyse([decode(data)])),
            "of it: nearest people in PostgreSQL": median_ms(lambda: nearest_identities(collection, vector)),
            "beside it: decode + networks bare": median_ms(lambda: local.analyse([decode(data)])),
        }
    }


def main() -> None:
    os.environ["PORTRAIT_THROTTLE_READ"] = "1000000/min"
    with own_environment() as environment, site.running(environment=environment, say=lambda text: None) as running:
        manage("shell", text=SEED)
        key = manage("apikey", "create", "bench")
        faces, take = pipeline(LocalClient(environment.models_dir)), cycle([p.data for p in built_in().probes])

        def bare() -> int:
            faces.analyse([decode(take())])
            return 1

        found = [against_bare(running.address, key, bare, clients) for clients in (1, 8)]
        gallery = {"people": PEOPLE, "portraits": PEOPLE * PORTRAITS}
        one, eight = (latencies for _, latencies in found)
        more = {"gallery": gallery, "1 client": one, "8 clients": eight} | profile(running.address, key)
        report("api", [ratio for ratio, _ in found], more)


if __name__ == "__main__":
    main()
