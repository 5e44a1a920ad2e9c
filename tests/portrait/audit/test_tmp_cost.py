import statistics, time, uuid, threading
import pytest
from django.db import connection
from portrait.audit import services
from portrait.audit.models import AuditEntry
from portrait.gallery.models import Collection
from portrait.gallery.services import recognition
from tests.api_clients import b64, MakeClient
from tests.portrait.sightings import seen
from portrait.core.models import Scope

@pytest.mark.django_db(transaction=True)
def test_cost(make_client, settings):
    settings.REST_FRAMEWORK = settings.REST_FRAMEWORK
    collection = Collection.objects.get(name="default")
    who = seen.enrol(collection, "Grace", "hopper")
    data = seen.pictures()["hopper"]
    by = services.system("bench")
    def ms(f, n):
        out = []
        for _ in range(n):
            t = time.perf_counter(); f(); out.append((time.perf_counter() - t) * 1000)
        return out
    rec = lambda: services.record(principal=by, action="recognize", collection_id=collection.pk, probe=data, details={"faces": 1}, identities=[who.pk])
    rec()
    a = ms(rec, 300)
    b = ms(lambda: recognition.recognise(collection=collection, data=data), 40)
    print("record p50 %.2f p95 %.2f ms" % (statistics.median(a), sorted(a)[285]))
    print("recognise p50 %.1f ms" % statistics.median(b))
    client = make_client(Scope.READ, [collection])
    body = {"image": b64(data)}
    def ask():
        assert client.post("/api/v1/recognize", body, format="json").status_code == 200
    ask()
    import portrait.gallery.api.faces as faces
    real = faces.record
    on, off = [], []
    for _ in range(60):
        faces.record = real; on += ms(ask, 1)
        faces.record = lambda **k: None; off += ms(ask, 1)
    faces.record = real
    print("POST /recognize with log p50 %.1f, without %.1f ms" % (statistics.median(on), statistics.median(off)))
    def many():
        try:
            for _ in range(200): rec()
        finally: connection.close()
    t = time.perf_counter(); th = [threading.Thread(target=many) for _ in range(8)]
    [x.start() for x in th]; [x.join() for x in th]
    print("8 callers: %.0f entries/s" % (1600 / (time.perf_counter() - t)))
    t = time.perf_counter(); n = services.seal(); print("seal %d in %.2f s" % (n, time.perf_counter() - t))
    from portrait.audit.selectors import verify
    t = time.perf_counter(); v = verify(); print("verify %d in %.2f s, intact %s" % (v.entries, time.perf_counter() - t, v.intact))
