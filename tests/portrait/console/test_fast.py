"""Pages stay fast however much there is: as many queries for many rows as for few, and plans that use indexes."""

import json
import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from benchmarks._admin_gallery import analyse, fill
from benchmarks._admin_pages import addresses
from portrait.console.finding import matching
from portrait.gallery.models import Identity

pytestmark = pytest.mark.django_db

TABLES = ("gallery_identity", "gallery_portrait", "gallery_change", "sightings_sighting", "curation_suggestion")


def queries(client: Client, address: str) -> list[str]:
    client.get(address)
    with CaptureQueriesContext(connection) as captured:
        assert client.get(address).status_code == 200, address
    return [each["sql"] for each in captured]


def test_as_many_queries_for_many_rows_as_for_few(root: Client) -> None:
    fill(600)
    few = {name: len(queries(root, address)) for name, address in addresses().items()}
    fill(1500)
    many = {name: len(queries(root, address)) for name, address in addresses().items()}
    # A list that fits on one page is not counted, and of a large table the statistics are read: that is all.
    assert {name: count - few[name] for name, count in many.items() if abs(count - few[name]) > 2} == {}
    fill(3000)
    more = {name: len(queries(root, address)) for name, address in addresses().items()}
    assert {name: count - many[name] for name, count in more.items() if abs(count - many[name]) > 2} == {}
    assert max(more.values()) <= 20


def scanned(plan: dict[str, object]) -> list[str]:
    """The tables that a plan reads from end to end."""
    below = [table for each in plan.get("Plans", []) for table in scanned(each)]  # type: ignore[attr-defined]
    return [*below, str(plan["Relation Name"])] if plan["Node Type"] == "Seq Scan" else below


def test_no_page_reads_a_table_from_end_to_end(root: Client) -> None:
    """Were it cheaper to do without an index on so few rows, the planner is told that it is not: what is left of the
    scans would be there with a million rows, too."""
    fill(400)
    analyse()
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
    found: dict[str, list[str]] = {}
    for name, address in addresses().items():
        for sql in queries(root, address):
            if not sql.startswith("SELECT") or not re.search("|".join(TABLES), sql) or "COUNT(" in sql:
                continue
            with connection.cursor() as cursor:
                cursor.execute("EXPLAIN (FORMAT JSON) " + sql.replace("%", "%%"), [])
                (answer,) = cursor.fetchone()
            plan = answer if isinstance(answer, list) else json.loads(answer)
            found.setdefault(name, []).extend(table for table in scanned(plan[0]["Plan"]) if table in TABLES)
    assert {name: tables for name, tables in found.items() if tables} == {}
    assert len(found) >= 18


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("?o=1", "identity_by_name"),
        ("?presence=hidden", "identity_hidden"),
        ("?portraits=weak", "portrait_weak"),
    ],
)
def test_lists_use_their_index(root: Client, query: str, index: str) -> None:
    fill(2000)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
    page = root.get(f"/admin/gallery/identity/{query}")
    changes = page.context["cl"]
    plan = changes.queryset.order_by(*(key.ordering for key in changes.keys))[:49].explain()
    assert index in plan, plan


@pytest.mark.parametrize("term", ["hopper tur", "1234", "emp-0000042"])
def test_a_search_looks_words_up(root: Client, term: str) -> None:
    fill(2000)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
    plan = matching(Identity.objects.all(), term).order_by().values("pk")[:1001].explain()
    assert "identity_words" in plan, plan
    assert "identity_external" in plan, plan
