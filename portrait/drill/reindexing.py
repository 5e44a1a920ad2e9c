"""A collection is re-indexed while the worker that does it is killed again and again, and PostgreSQL is restarted once:
it finishes, nothing is missing, nothing double, and whoever searches meanwhile is never told a wrong name."""

import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.db import InterfaceError, OperationalError, connection
from django.db.models import Count
from rich.console import Console

from portrait.demo import run as demo
from portrait.demo.client import ApiClient
from portrait.demo.photos import Photo, built_in
from portrait.drill.faults import Victims
from portrait.drill.ledger import asked
from portrait.drill.reindex_people import COLLECTION, MARK, gallery, newcomer
from portrait.drill.reindex_people import model as small_model
from portrait.gallery.models import Collection, Identity, Portrait, PortraitEmbedding
from portrait.gallery.services.enrolment import store_photo
from portrait.jobs.models import OPEN_STATES, ItemState, JobItem
from portrait.jobs.tasks import MAX_CRASHES
from portrait.reindex import gaps, tasks
from portrait.reindex.models import OPEN, Reindex, State
from portrait.reindex.services import starting

PORTRAITS, SHORT_PORTRAITS = 1500, 300
LEAST_MADE, RESTART_AFTER = 24, 2
PATIENCE_S = 900.0
ENROL_EVERY_S, ASK_EVERY_S = 1.0, 0.2


@dataclass(slots=True)
class Outcome:
    """What the drill gave. unanswered: searches from the restart to the first answer after it; they were asked again.
    At any other time every one has to be answered."""

    state: str = ""
    kills: int = 0
    postgres_restarts: int = 0
    portraits: int = 0
    enrolled_meanwhile: int = 0
    searches: int = 0
    unanswered: int = 0
    wrong: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    double: int = 0
    duration_s: float = 0.0
    problems: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        switched = self.state == State.SWITCHED and self.kills > RESTART_AFTER and self.postgres_restarts == 1
        return switched and self.searches > 0 and not (self.wrong or self.missing or self.double or self.problems)

    def as_json(self) -> dict[str, Any]:
        return {"passed": self.good} | asdict(self)


class ReindexDrill:
    """One drill on the running site."""

    def __init__(self, *, short: bool, console: Console, address: str) -> None:
        self._count = SHORT_PORTRAITS if short else PORTRAITS
        self._console, self._address = console, address
        self._victims, self._stop, self._outcome = Victims(), threading.Event(), Outcome()
        self._outage, self._is_back = threading.Event(), threading.Event()
        self._probes = [photo for photo in built_in().probes if photo.expected and "unknown" not in photo.expected]

    def run(self) -> Outcome:
        victims, outcome = self._victims, self._outcome
        victims.stop_reading()
        key = demo.api_key(settings.PORTRAIT.var)
        self._say(f"Enrolling {self._count} portraits ...")
        collection = gallery(self._count)
        names = _names(collection)
        model = small_model()
        victims.slow_worker_runs()
        begin = time.time()
        reindex = starting.start(collection=collection, model=model, from_pictures=True)
        tasks.enqueue(reindex)
        threads = [
            threading.Thread(target=self._search, args=(ApiClient(self._address, key),)),
            threading.Thread(target=self._enrol, args=(collection,)),
        ]
        for thread in threads:
            thread.start()
        try:
            self._strike(reindex)
            self._wait_for_the_end(reindex)
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()
        outcome.duration_s = round(time.time() - begin, 1)
        self._account(reindex, names)
        return outcome

    # --- while it runs --------------------------------------------------------------------------------------

    def _strike(self, reindex: Reindex) -> None:
        """Kill the worker whenever it made some vectors, until all are made; after the second time restart PostgreSQL.

        A worker takes seconds to start: one that is killed before it works proves nothing. An item with which a third
        worker vanishes before it got on is given up, as it should be: that is not what is tried here.
        """
        outcome, ends_at = self._outcome, time.monotonic() + PATIENCE_S
        made = 0
        while time.monotonic() < ends_at:
            if not asked(partial(_is_open, reindex)):
                return
            now = asked(partial(_made, reindex))
            if now < made + LEAST_MADE or asked(partial(_is_suspect, reindex)):
                time.sleep(0.1)
                continue
            self._say(f"{now} vectors are made: {self._victims.slow_worker_killed()}")
            outcome.kills += 1
            if outcome.kills == RESTART_AFTER:
                self._outage.set()
                self._say(f"Postgres {self._victims.postgres_restarted()}")
                self._is_back.set()
                outcome.postgres_restarts += 1
            made = asked(partial(_made, reindex))

    def _wait_for_the_end(self, reindex: Reindex) -> None:
        ends_at = time.monotonic() + PATIENCE_S
        while asked(partial(_is_open, reindex)):
            if time.monotonic() > ends_at:
                self._outcome.problems += ["the re-index did not end", *self._victims.problems()]
                return
            time.sleep(0.3)

    def _search(self, client: ApiClient) -> None:
        """Ask who is in the demo's pictures, all the time. Whatever is answered has to be right; what is not is asked
        again."""
        outcome = self._outcome
        while not self._stop.wait(ASK_EVERY_S):
            photo, is_back = self._probes[outcome.searches % len(self._probes)], self._is_back.is_set()
            try:
                faces = client.recognize(COLLECTION, photo.data)
            except CommandError as error:  # an error's answer, or none
                outcome.unanswered += 1
                if not self._outage.is_set():
                    outcome.problems.append(f"a search was not answered while Postgres ran: {error}")
                continue
            outcome.searches += 1
            if is_back:
                self._outage.clear()
            wrong = _wrong_names(photo, faces)
            if wrong:
                outcome.wrong.append(wrong)

    def _enrol(self, collection: Collection) -> None:
        """Somebody new every second: their vectors must not be missed."""
        try:
            while not self._stop.wait(ENROL_EVERY_S):
                name = f"newcomer {self._outcome.enrolled_meanwhile}"
                try:
                    identity = Identity.objects.create(collection=collection, name=name)
                    store_photo(identity=identity, photo=newcomer(self._outcome.enrolled_meanwhile))
                except (OperationalError, InterfaceError):
                    connection.close()
                else:
                    self._outcome.enrolled_meanwhile += 1
        finally:
            connection.close()

    # --- afterwards -----------------------------------------------------------------------------------------

    def _account(self, reindex: Reindex, names: dict[Any, str]) -> None:
        outcome, model = self._outcome, reindex.to_model
        reindex.refresh_from_db()
        collection = Collection.objects.select_related("active_model").get(pk=reindex.collection_id)
        outcome.state = reindex.state
        if self._outage.is_set():
            outcome.problems.append("no search was answered after Postgres was restarted")
        outcome.portraits = Portrait.objects.filter(identity__collection=collection).count()
        for each in (model, reindex.from_model):
            found = gaps.count_gaps(collection.pk, each, reindex.from_model)
            if not found.none:
                outcome.missing.append(f"{each}: {found}")
        rows = PortraitEmbedding.objects.filter(collection=collection).values("portrait", "model").order_by()
        outcome.double = rows.annotate(count=Count("pk")).filter(count__gt=1).count()
        total = PortraitEmbedding.objects.filter(collection=collection, model=model).count()
        if total != outcome.portraits:
            outcome.missing.append(f"{outcome.portraits} portraits, {total} vectors by {model}")
        if collection.active_model_id != model.pk:
            outcome.problems.append(f"the collection is searched by {collection.active_model}: {reindex.error}")
        if names != {key: name for key, name in _names(collection).items() if key in names}:
            outcome.problems.append("names changed")
        unfinished = JobItem.objects.filter(job__pk=str(reindex.job_id)).exclude(state=ItemState.DONE)
        outcome.problems += [f"item {each.index} is {each.state}: {each.error_message}" for each in unfinished[:10]]

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False)


def _is_suspect(reindex: Reindex) -> bool:
    """Whether one more worker that vanishes could make the job give up an item."""
    if reindex.job_id is None:
        return False
    rows = JobItem.objects.filter(job_id=reindex.job_id, state__in=OPEN_STATES)
    return rows.filter(crashes__gte=MAX_CRASHES - 1).exists()


def _is_open(reindex: Reindex) -> bool:
    return Reindex.objects.filter(pk=reindex.pk, state__in=[state for state in OPEN if state != State.READY]).exists()


def _made(reindex: Reindex) -> int:
    """The vectors that the worker made; newcomers bring their own."""
    rows = PortraitEmbedding.objects.filter(model=reindex.to_model, collection=reindex.collection_id)
    return rows.filter(portrait__detector=MARK).count()


def _names(collection: Collection) -> dict[Any, str]:
    return dict(Identity.objects.filter(collection=collection).values_list("pk", "name"))


def _wrong_names(photo: Photo, faces: Sequence[dict[str, Any]]) -> str:
    """What is wrong with an answer; empty: nothing."""
    found = [face["candidates"][0]["identity"]["name"] for face in faces if face["candidates"]]
    if sorted(found) == sorted(photo.expected or ()):
        return ""
    return f"{photo.name}: {found}, not {list(photo.expected or ())}"


def lines(outcome: Outcome) -> list[str]:
    """The verdict in words."""
    told = [
        f"The re-index is {outcome.state} after {outcome.duration_s:.0f} s: its worker was killed {outcome.kills} "
        f"times at work, Postgres was restarted {outcome.postgres_restarts} times.",
        f"{outcome.portraits} portraits, {outcome.enrolled_meanwhile} of them enrolled meanwhile; "
        f"{len(outcome.missing)} missing, {outcome.double} double.",
        f"{outcome.searches} searches answered meanwhile, {len(outcome.wrong)} wrong; {outcome.unanswered} not "
        "answered, and asked again.",
        *(f"  {each}" for each in [*outcome.wrong[:20], *outcome.missing]),
        *(f"Trouble: {problem}" for problem in outcome.problems[:20]),
    ]
    return [*told, "The drill is passed." if outcome.good else "THE DRILL IS NOT PASSED."]
