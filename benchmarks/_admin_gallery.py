"""A team's database of any size, made by SQL alone: people, portraits, sightings, the journal, questions, jobs.

No pictures and no vectors: the pages of the admin read neither. `fill` may be called again with more people; what is
there stays.
"""

from dataclasses import dataclass

from django.contrib.auth.models import User
from django.db import connection

from portrait.gallery.models import Collection, EmbeddingModel
from portrait.gallery.services.identities import default_embedding_model

PORTRAITS_A_PERSON = 10
WORDS = "{ada,grace,alan,edsger,barbara,donald,margaret,dennis,radia,tim,lovelace,hopper,turing,liskov,knuth,perlman}"


@dataclass(frozen=True, slots=True)
class Filled:
    """How much there is."""

    people: int
    portraits: int


def fill(people: int) -> Filled:
    """Up to so many people, ten portraits each. 30 % unknown, 1 % hidden, 0.5 % deleted, half without consent; 0.1 %
    of the portraits are weak; two sightings a person, a change a person, a question for every twentieth."""
    model = default_embedding_model()
    small = _collection("small", model)
    large = _collection("large", model)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM gallery_identity")
        (there,) = cursor.fetchone()
        first, last = there + 1, people
        if last >= first:
            cursor.execute("SELECT setseed(0.5)")
            for statement in STATEMENTS:
                cursor.execute(statement, {"first": first, "last": last, "small": small.pk, "large": large.pk})
    analyse()
    return Filled(people, people * PORTRAITS_A_PERSON)


def analyse() -> None:
    """The planner's statistics, as autovacuum makes them."""
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def _collection(name: str, model: EmbeddingModel) -> Collection:
    return Collection.objects.get_or_create(name=name, defaults={"active_model": model})[0]


def superuser() -> User:
    return User.objects.filter(username="bench").first() or User.objects.create_superuser("bench", password="pw")


STATEMENTS = (
    f"""INSERT INTO gallery_identity (id, created_at, updated_at, collection_id, external_id, name, metadata, action,
            kind, hidden, deleted_at, consent)
        SELECT gen_random_uuid(), now() - n * interval '1 second', now(),
            CASE WHEN n %% 100 = 0 THEN %(small)s::uuid ELSE %(large)s::uuid END, 'emp-' || lpad(n::text, 7, '0'),
            initcap(('{WORDS}'::text[])[1 + n %% 16] || ' ' || ('{WORDS}'::text[])[1 + (n / 16) %% 16] || ' ') || n,
            '{{}}', '', CASE WHEN n %% 10 < 3 THEN 'unknown' ELSE 'known' END, n %% 100 = 7,
            CASE WHEN n %% 200 = 11 THEN now() END, CASE WHEN n %% 2 = 0 THEN 'signed' ELSE '' END
        FROM generate_series(%(first)s, %(last)s) AS n""",
    f"""INSERT INTO gallery_portrait (id, created_at, updated_at, identity_id, image, thumbnail, width, height, box,
            detector, score, quality, sha256)
        SELECT gen_random_uuid(), i.created_at + n * interval '1 millisecond', now(), i.id, 'none.jpg', 'none.jpg', 640,
            480, '{{10,10,100,100}}', 'bench', 0.99,
            jsonb_build_object('score', CASE WHEN random() < 0.001 THEN 0.2 ELSE 0.9 END, 'reasons', '[]'::jsonb),
            md5(i.id::text || n) || md5(n::text || i.id)
        FROM gallery_identity i, generate_series(1, {PORTRAITS_A_PERSON}) AS n
        WHERE NOT EXISTS (SELECT FROM gallery_portrait p WHERE p.identity_id = i.id)""",
    """INSERT INTO gallery_change (collection_id, action, actor, at, identities, steps, details)
        SELECT i.collection_id, 'rename', 'user bench', now(), ARRAY[i.id], jsonb_build_array(jsonb_build_object(
            'op', 'set', 'model', 'identity', 'pk', i.id, 'field', 'name', 'before', 'x', 'after', i.name)), '{}'
        FROM gallery_identity i
        WHERE NOT EXISTS (SELECT FROM gallery_change c WHERE c.identities @> ARRAY[i.id])""",
    """INSERT INTO cameras_camera (id, created_at, updated_at, collection_id, name, source, enabled, min_hits, window_s,
            gap_s, window_mode, keep_frames_h, keep_unnamed_h, next_sequence, accepted, pruned, pruned_below)
        SELECT gen_random_uuid(), now(), now(), %(large)s::uuid, 'bench', '', true, 4, 5, 10, 'hopping', 168, 720, 0, 0,
            0, 0
        WHERE NOT EXISTS (SELECT FROM cameras_camera WHERE name = 'bench')""",
    """INSERT INTO sightings_sighting (id, created_at, updated_at, collection_id, camera_id, identity_id, first_seen,
            last_seen, hits, best_quality, similarity, picture)
        SELECT gen_random_uuid(), now(), now(), i.collection_id, c.id, i.id, i.created_at - n * interval '1 hour',
            i.created_at - n * interval '1 hour' + interval '1 minute', 5, 0.9, 0.9, ''
        FROM gallery_identity i, cameras_camera c, generate_series(1, 2) AS n
        WHERE c.name = 'bench' AND NOT EXISTS (SELECT FROM sightings_sighting s WHERE s.identity_id = i.id)""",
    """INSERT INTO curation_suggestion (id, created_at, updated_at, collection_id, kind, state, fingerprint, identities,
            portraits, score, details, decided_by, changes)
        SELECT gen_random_uuid(), now(), now(), i.collection_id, 'same_person', 'open', md5(i.id::text),
            ARRAY[i.id, lag(i.id) OVER (ORDER BY i.id)], '{}', random(), '{}', '', '{}'
        FROM (SELECT * FROM gallery_identity ORDER BY id OFFSET 1) i
        WHERE right(i.external_id, 1) = '5' AND right(i.external_id, 2) < '50'
        ON CONFLICT DO NOTHING""",
    """DELETE FROM curation_suggestion WHERE array_position(identities, NULL) IS NOT NULL""",
    """INSERT INTO jobs_job (id, created_at, updated_at, kind, queue, parameters, finished_at)
        SELECT gen_random_uuid(), now() - n * interval '1 minute', now(), 'import', 'ingest', '{}', NULL
        FROM generate_series(1, greatest(1, (%(last)s::int - %(first)s::int) / 1000)) AS n""",
    """INSERT INTO jobs_jobitem (job_id, index, state, upload, attempts, crashes, failures, accepted_at, enqueued_at,
            error_code, error_message)
        SELECT j.id, n, CASE WHEN n %% 50 = 0 THEN 'failed' WHEN n < 900 THEN 'done' ELSE 'waiting' END, '', 1, 0, 0,
            now(), now(), CASE WHEN n %% 50 = 0 THEN 'no_face' ELSE '' END,
            CASE WHEN n %% 50 = 0 THEN 'No face was found.' ELSE '' END
        FROM jobs_job j, generate_series(0, 999) AS n
        WHERE NOT EXISTS (SELECT FROM jobs_jobitem x WHERE x.job_id = j.id)""",
)
