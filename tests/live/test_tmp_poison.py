import os, subprocess, sys, time
import pytest, redis
from django.conf import settings
from django.db import connection
from portrait.env import BASE_DIR
from portrait.jobs.services import create_job
from portrait.jobs.tasks import enqueue_job
pytestmark = pytest.mark.django_db(transaction=True)
def test_poison(tmp_path):
    env={**os.environ,"DATABASE_URL": settings.PORTRAIT.database_url.rsplit("/",1)[0]+f"/{connection.settings_dict['NAME']}","REDIS_URL":settings.PORTRAIT.redis_url,"TRITON_URL":",".join(settings.PORTRAIT.triton_urls),"PORTRAIT_JOB_LEASE_S":"2","PYTHONPATH":"/tmp/w"}
    job=create_job(kind="poison",queue="ingest",uploads=[b"x"]*6,collection_id=None,parameters={})
    enqueue_job(job)
    starts=0; end=time.monotonic()+150
    w=None
    while time.monotonic()<end:
        if w is None or w.poll() is not None:
            w=subprocess.Popen([sys.executable,"-m","celery","-A","poison_app","worker","--beat","--loglevel=WARNING","--schedule",str(tmp_path/"beat")],env=env,cwd=BASE_DIR); starts+=1
        job.refresh_from_db()
        if job.finished_at: break
        time.sleep(.2)
    w.terminate(); w.wait()
    print(starts,[(i.index,i.state,i.error_code,i.crashes,i.attempts) for i in job.items.all()])
    assert job.finished_at
