import os, resource, time, uuid
import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone
from django.contrib.auth.models import User
from portrait.cameras.models import Camera, Frame, frame_storage
from portrait.cameras.services.audit import audit_camera
from portrait.cameras.services.backlog import backlogs, with_backlog
from portrait.cameras.services.cameras import create_camera
from portrait.gallery.models import Collection
N = 1_000_000
@pytest.mark.django_db(transaction=True)
def test_scale():
    c = create_camera(collection=Collection.objects.get(name="default"), name="big")
    t=time.time()
    with connection.cursor() as cur:
        cur.execute("""insert into cameras_frame (camera_id, sequence, captured_at, accepted_at, state, picture, sha256, size_bytes, width, height, metadata, attempts, crashes, failures, waits_since, enqueued_at, error_code, error_message)
        select %s, i, d, now()-interval '1 hour', case when i %% 5 = 0 then 'waiting' else 'done' end,
          'frames/'||%s||to_char(d at time zone 'UTC','/YYYY/MM/DD/HH24/')||md5(i::text)||'.jpg', md5(i::text), 50000, 640,480,'{}',0,0,0,now(),now(),'',''
        from (select i, now() - interval '60 hours' + i*interval '0.2 s' as d from generate_series(0,%s) i) s""", [c.pk, str(c.pk), N-1])
        cur.execute("update cameras_camera set next_sequence=%s", [N])
        cur.execute("delete from cameras_frame where sequence %% 100000 = 7")
        cur.execute("vacuum analyze cameras_frame") 
    print("insert", time.time()-t)
    root = frame_storage().path("")
    t=time.time(); n=0; made=set()
    for name in Frame.objects.values_list("picture", flat=True).iterator(20000):
        p=os.path.join(root,name); d=os.path.dirname(p)
        if d not in made: os.makedirs(d, exist_ok=True); made.add(d)
        n+=1
        if n % 200000 != 3: os.close(os.open(p, os.O_CREAT|os.O_WRONLY))
    print("files", n, time.time()-t)
    m0=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    t=time.time(); a=audit_camera(camera=c); print("audit", time.time()-t, a.missing, a.gaps[:3], a.without_file_count, a.orphan_count, "rss", m0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    t=time.time(); b=backlogs([c]); print("backlog", time.time()-t, b)
    t=time.time(); print(list(with_backlog(Camera.objects.all()))[0].waiting_count, time.time()-t)
    User.objects.create_superuser("root", password="pw"); cl=Client(); cl.login(username="root", password="pw")
    for q in ("", f"?camera__id__exact={c.pk}", "?state__exact=waiting", "?state__exact=failed", f"?camera__id__exact={c.pk}&state__exact=failed", "?state__exact=expired"):
        t=time.time(); r=cl.get("/admin/cameras/frame/"+q); print("admin", q, r.status_code, time.time()-t)
