"""What is kept no longer, by purpose and rule. By small steps, each safe to be done twice at once.

What cameras saw goes by the cameras' own rules (`sightings.services.retention`). Whoever goes by a rule here goes the
same way as somebody who asked for it: rows, vectors, files, journal, and a proof.
"""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from django.apps import apps
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.utils import timezone

from portrait.audit.models import Action, AuditEntry, AuditSubject
from portrait.audit.services import MIN_KEEP, AuditUnavailableError, purge, system
from portrait.core.errors import ConflictError
from portrait.gallery.models import Change, Collection, Identity, Portrait
from portrait.jobs.models import Job
from portrait.jobs.removal import delete_ended
from portrait.privacy.models import ErasureProof, Purpose, RetentionReport, RetentionRule, SubjectExport
from portrait.privacy.selectors import ends_of_merges
from portrait.privacy.services.erasing import erase, finish_cut_off
from portrait.privacy.services.exporting import remove_expired
from portrait.sightings.models import Sighting, Watch
from portrait.transfer.models import Import
from portrait.transfer.services.imports import delete_imports

logger = logging.getLogger(__name__)

BUDGET_S = 300.0
SHOWN = 20
CHUNK = 500
KEEP_REPORTS = timedelta(days=400)
ACTOR = system("retention")


@dataclass(frozen=True, slots=True)
class Removed:
    """How much one rule took away, or would take away. days: of the rule; None: a date that a person said. people: the
    first of whom it would take away; of those who are gone nothing is noted."""

    purpose: str
    collection: str | None
    days: int | None
    count: int
    why: str
    people: list[UUID] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Run:
    now: datetime
    until_s: float
    dry: bool
    due: list[UUID] = field(default_factory=list)
    """In a dry run: people of the rule that is followed at the moment, SHOWN of them at most."""

    def before(self, days: int) -> datetime:
        return self.now - timedelta(days=days)

    @property
    def time_is_up(self) -> bool:
        return time.monotonic() >= self.until_s


def run(*, dry_run: bool = False, now: datetime | None = None, budget_s: float = BUDGET_S) -> list[Removed]:
    """Remove what is due, and tell what that was; dry_run: only tell. What is not done in its time is for the next."""
    this = _Run(now or timezone.now(), time.monotonic() + budget_s, dry_run)
    report = None if dry_run else RetentionReport.objects.create()
    removed = []
    for step in _steps(this):
        this.due.clear()
        try:
            removed += [replace(each, people=list(this.due)) for each in step() if each.count]
        except Exception:  # one rule that fails does not stop the others
            logger.exception("a rule of retention could not be followed to its end")
    if report is not None:
        _close(report, removed)
    return removed


def _close(report: RetentionReport, removed: list[Removed]) -> None:
    """A run that removed nothing leaves no report."""
    RetentionReport.objects.filter(started_at__lt=timezone.now() - KEEP_REPORTS).delete()
    if removed:
        report.removed = [asdict(replace(each, people=[])) for each in removed]
        report.ended_at = timezone.now()
        report.save()
    else:
        report.delete()


def _steps(this: _Run) -> Iterator[Callable[[], list[Removed]]]:
    yield lambda: [_cut_off(this)]
    yield lambda: [_expired_people(this)]
    yield lambda: [_expired_exports(this)]
    yield lambda: [_pseudonyms(this)]
    for rule in rules():
        yield lambda rule=rule: [_follow(this, rule)]  # type: ignore[misc]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule, and where it counts: in one collection; where that is None, in all but those that have their own."""

    purpose: str
    days: int
    collection: Collection | None
    except_ids: frozenset[UUID] = frozenset()

    def within(self, field: str) -> Q:
        """Rows that it is about; field: the column with the collection's id."""
        if self.collection is not None:
            return Q(**{field: self.collection.pk})
        return ~Q(**{f"{field}__in": list(self.except_ids)})


def rules() -> list[Rule]:
    """All rules, the collections' own first."""
    rows = list(RetentionRule.objects.select_related("collection").order_by(F("collection").asc(nulls_last=True), "pk"))
    own: dict[str, set[UUID]] = {}
    for row in rows:
        if row.collection_id is not None:
            own.setdefault(row.purpose, set()).add(row.collection_id)
    return [Rule(row.purpose, row.days, row.collection, frozenset(own.get(row.purpose, ()))) for row in rows]


def _follow(this: _Run, rule: Rule) -> Removed:
    count = _FOLLOWED[rule.purpose](this, rule)
    name = rule.collection.name if rule.collection else None
    return Removed(rule.purpose, name, rule.days, count, f"kept for {rule.days} days: {Purpose(rule.purpose).label}")


def _cut_off(this: _Run) -> Removed:
    """Erasures that a crash ended before their proof was signed."""
    count = 0 if this.dry else finish_cut_off(going_on=lambda: not this.time_is_up)
    return Removed("erasures", None, None, count, "erasures that were cut off, and are done now")


def _expired_people(this: _Run) -> Removed:
    """Whom somebody wanted to be kept until a day."""
    over = Identity.objects.filter(keep_until__lt=this.now.date(), merged_into=None)
    count = _erase_all(this, over, "keep_until")
    return Removed("keep_until", None, None, count, "kept until a day that is over")


def _expired_exports(this: _Run) -> Removed:
    over = SubjectExport.objects.filter(expires_at__lte=this.now)
    count = over.count() if this.dry else remove_expired()
    return Removed("exports", None, 1, count, "zips of subject exports are kept for a day")


def _pseudonyms(this: _Run) -> Removed:
    """Of somebody who was recognised at the very moment of their erasure."""
    nobodys = AuditSubject.objects.filter(~Exists(Identity.objects.filter(pk=OuterRef("identity_id"))))
    count = nobodys.count() if this.dry else nobodys.delete()[0]
    return Removed("pseudonyms", None, None, count, "pseudonyms of the audit log whose person is erased")


Spared = Callable[[list[UUID]], set[UUID]]
"""Which of these people stay."""


def _erase_all(this: _Run, people: "QuerySet[Identity]", why: str, spared: Spared | None = None) -> int:
    """spared: what a query cannot tell, of some people at a time."""
    count = 0
    for keys in _by_turns(this, people):
        stay = spared(keys) if spared is not None else set()
        for key in keys:
            if this.time_is_up:
                return count
            if key in stay or not (this.dry or _erase(key, people, why)):
                continue
            count += 1
            if this.dry and len(this.due) < SHOWN:
                this.due.append(key)
    return count


def _by_turns(this: _Run, people: "QuerySet[Identity]") -> Iterator[list[UUID]]:
    """Their ids, some at a time, beginning with somebody else in each run: where the time is too short for all of them,
    nobody is always among those who are not reached."""
    start = uuid4()
    for part in (people.filter(pk__gte=start), people.filter(pk__lt=start)):
        rest = part
        while not this.time_is_up and (keys := list(rest.order_by("pk").values_list("pk", flat=True)[:CHUNK])):
            yield keys
            rest = part.filter(pk__gt=keys[-1])


def _erase(key: UUID, people: "QuerySet[Identity]", why: str) -> bool:
    identity = people.filter(pk=key).first()
    if identity is None:  # seen, or changed, meanwhile
        return False
    try:
        erase(identity=identity, principal=ACTOR, why=why)
    except (ConflictError, AuditUnavailableError) as error:
        logger.warning("the person %s stays until the next run: %s", identity.pk, error)
        return False
    return True


def _unused(rule: Rule, kind: str, before: datetime) -> "QuerySet[Identity]":
    """People of whom nothing happened since: not seen, no portrait added, nothing changed. Not those whom somebody
    looks for, and not those who are kept until a day that is to come."""
    mine = {"identity": OuterRef("pk")}
    people = Identity.objects.filter(rule.within("collection_id"), kind=kind, merged_into=None, updated_at__lt=before)
    return people.filter(
        ~Exists(Sighting.objects.filter(**mine, last_seen__gte=before)),
        ~Exists(Portrait.objects.filter(**mine, created_at__gte=before)),
        ~Exists(Watch.objects.filter(**mine, enabled=True)),
        keep_until=None,
    )


def _people(this: _Run, rule: Rule) -> int:
    """Known or unknown ones, whom nobody's question named since either."""
    before = this.before(rule.days)
    people = _unused(rule, rule.purpose, before)
    return _erase_all(this, people, rule.purpose, lambda keys: _asked_about(keys, before))


def _asked_about(keys: list[UUID], since: datetime) -> set[UUID]:
    """Whom of these a question named since then, or somebody who was merged into them: by a few queries."""
    ends = ends_of_merges(keys)
    entries = AuditEntry.objects.filter(
        action__in=[Action.RECOGNIZE, Action.SEARCH, Action.CAPTION],
        at__gte=since,
        subjects__contains=[OuterRef("pk")],
    )
    named = AuditSubject.objects.filter(Exists(entries), identity_id__in=list(ends))
    return {ends[each] for each in named.values_list("identity_id", flat=True)}


def _journal(this: _Run, rule: Rule) -> int:
    """What was changed is forgotten, that something was is not. Such a change cannot be undone any more."""
    old = Change.objects.filter(rule.within("collection_id"), at__lt=this.before(rule.days))
    old = old.exclude(details__contains={"expired": True})
    if this.dry:
        return old.count()
    return sum(_in_chunks(this, old, lambda some: some.update(steps=[], details={"erased": True, "expired": True})))


def _suggestions(this: _Run, rule: Rule) -> int:
    """Answers "no" are kept: they are what keeps a question from being asked again."""
    model = apps.get_model("curation.Suggestion")
    old = model._default_manager.filter(
        rule.within("collection_id"), state__in=["confirmed", "stale"], updated_at__lt=this.before(rule.days)
    )
    return old.count() if this.dry else sum(_in_chunks(this, old, lambda some: some.delete()[0]))


def _reports(this: _Run, rule: Rule) -> int:
    before = this.before(rule.days)
    ended = Job.objects.filter(rule.within("collection_id"), finished_at__lt=before)
    imports = Import.objects.filter(rule.within("collection_id"), finished_at__lt=before)
    if this.dry:
        return ended.count() + imports.count()
    return delete_ended(jobs=ended) + _delete_imports(this, imports)


def _delete_imports(this: _Run, imports: "QuerySet[Import]") -> int:
    """One after the other: each may have a million rows."""
    count = 0
    for run_id in list(imports.order_by("pk").values_list("pk", flat=True)):
        if this.time_is_up:
            break
        delete_imports(run_ids=[run_id])
        count += 1
    return count


def _audit(this: _Run, rule: Rule) -> int:
    before = this.before(rule.days)
    if this.dry:
        return AuditEntry.objects.filter(at__lt=min(before, this.now - MIN_KEEP)).count()
    return purge(before=before)


def _proofs(this: _Run, rule: Rule) -> int:
    old = ErasureProof.objects.filter(rule.within("collection_id"), finished_at__lt=this.before(rule.days))
    return old.count() if this.dry else sum(_in_chunks(this, old, lambda some: some.delete()[0]))


def _in_chunks(this: _Run, rows: "QuerySet", step: "Callable[[QuerySet], int]") -> Iterator[int]:  # type: ignore[type-arg]
    """Do a step with some rows after others, until there are none or the time is up; answers what each step does."""
    while not this.time_is_up:
        some = list(rows.order_by("pk").values_list("pk", flat=True)[:CHUNK])
        if not some:
            return
        yield step(rows.model._default_manager.filter(pk__in=some))


_FOLLOWED: dict[str, Callable[[_Run, Rule], int]] = {
    Purpose.KNOWN: _people,
    Purpose.UNKNOWN: _people,
    Purpose.JOURNAL: _journal,
    Purpose.SUGGESTIONS: _suggestions,
    Purpose.REPORTS: _reports,
    Purpose.AUDIT: _audit,
    Purpose.PROOFS: _proofs,
}
