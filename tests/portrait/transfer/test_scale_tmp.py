"""100,000 entries: how long planning takes and how much memory."""
import io, tempfile, time, tracemalloc, resource
import pytest
from portrait.transfer.zip_writer import ZipWriter
from portrait.transfer.services.imports import start_import, feed
from portrait.transfer.services import planning
from portrait.transfer.models import *
from portrait.jobs.tasks import run_item
from portrait.transfer import selectors
pytestmark = pytest.mark.django_db
def test_scale(collection):
    with tempfile.TemporaryFile() as f:
        with ZipWriter(f) as z:
            rows=["folder,name,external_id\n"]
            for n in range(100_000):
                if n%20==0: rows.append(f"person {n//20},Name {n//20},E{n//20}\n")
                z.add(f"person {n//20}/{n}.jpg", b"x%d"%n)
            z.add("people.csv","".join(rows).encode())
        f.seek(0)
        t=time.time(); run=start_import(collection=collection,file=f,face="",force=False); print("start", time.time()-t)
    rss0=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tracemalloc.start()
    t=time.time(); run_item(run.job.items.get().id)
    print("plan", time.time()-t, "s; traced peak MB", tracemalloc.get_traced_memory()[1]/2**20, "rss max growth MB", (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss-rss0)/1024)
    tracemalloc.stop()
    print(run.parts.get().planned_at, run.job.items.count(), ImportChunk.objects.count(), ImportFile.objects.count())
    t=time.time(); p=selectors.progress_of(Import.objects.select_related("job").get()); print("progress", time.time()-t, p.total)
    item=run.job.items.filter(state="waiting").first()
    t=time.time(); run_item(item.id); print("a chunk of 16 refused", time.time()-t)
    from portrait.transfer.services.imports import settle
    t=time.time(); settle(run_id=run.id); print("settle", time.time()-t)
