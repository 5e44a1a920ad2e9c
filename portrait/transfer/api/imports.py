"""`/api/v1/imports`: many people and photos at once, out of a zip."""

import csv
import io
from collections.abc import Iterator
from typing import Any

from django.db.models import QuerySet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import generics, serializers
from rest_framework.pagination import CursorPagination
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from portrait.core.auth import principal_of
from portrait.core.database import release_connection
from portrait.core.models import Scope
from portrait.core.pagination import NewestFirstPagination
from portrait.core.strict import StrictFilterSerializer, StrictSerializer
from portrait.gallery.face_choice import LARGEST
from portrait.gallery.selectors import find_collection
from portrait.transfer import selectors
from portrait.transfer.api.streams import StreamedAnswer
from portrait.transfer.models import FileStatus, Import, ImportFile
from portrait.transfer.names import parse_root
from portrait.transfer.selectors import Progress
from portrait.transfer.services.imports import start_import
from portrait.transfer.tables import FORMULA

CSV_COLUMNS = ("file", "status", "code", "message", "identity", "portrait")
CSV_BATCH = 2000


class ImportRequestSerializer(StrictSerializer):
    """A zip of `<person>/<photo>`, with `people.csv` if there is more to say of the people."""

    file = serializers.FileField(
        allow_empty_file=True,
        help_text="The zip: `<person>/<photo>`, and optionally people.csv with name, external_id, metadata (JSON) ...",
    )
    collection = serializers.CharField(required=False, allow_null=True, help_text="Name or id")
    face = serializers.ChoiceField(
        choices=["", LARGEST],
        default="",
        help_text="`largest`: of photos with several faces; empty: those are rejected",
    )
    force = serializers.BooleanField(default=False, help_text="Faces of poor quality too")
    root = serializers.CharField(  # type: ignore[assignment]  # (a name of Serializer itself, which hides it)
        default="", allow_blank=True, max_length=1000, help_text="The folder in the zip that holds the people's"
    )

    def validate_root(self, root: str) -> str:
        try:
            return parse_root(root)
        except ValueError as error:
            raise serializers.ValidationError(str(error)) from None


class ImportSerializer(serializers.ModelSerializer[Import]):
    """An import. Its results are at `/imports/{id}/results`; it is cancelled and retried as its job."""

    collection = serializers.CharField(source="collection.name")
    job = serializers.UUIDField(source="job_id", allow_null=True)
    state = serializers.SerializerMethodField(help_text="waiting, running, stopped (retry its job), cancelled, done")
    progress = serializers.SerializerMethodField(help_text="Files by what became of them; `planned`: all are known")
    files_per_s = serializers.SerializerMethodField()

    class Meta:
        model = Import
        fields = [
            "id",
            "job",
            "collection",
            "state",
            "progress",
            "files_per_s",
            "face",
            "force",
            "root",
            "created_at",
            "finished_at",
        ]

    def to_representation(self, instance: Import) -> dict[str, Any]:
        counts = self.context.get("counts", {}).get(instance.pk)
        self._progress: Progress = selectors.progress_of(instance, counts)
        return super().to_representation(instance)

    def get_state(self, run: Import) -> str:
        return self._progress.state

    @extend_schema_field(
        {"type": "object", "additionalProperties": {"oneOf": [{"type": "integer"}, {"type": "boolean"}]}}
    )
    def get_progress(self, run: Import) -> dict[str, Any]:
        told = self._progress
        return {"planned": told.planned, "total": told.total, "done": told.done, **told.counts}

    @extend_schema_field({"type": "number", "nullable": True})
    def get_files_per_s(self, run: Import) -> float | None:
        return self._progress.files_per_s


class ImportsView(generics.ListAPIView[Import]):
    """Imports within the key's reach, newest first."""

    queryset = Import.objects.none()
    serializer_class = ImportSerializer
    pagination_class = NewestFirstPagination
    parser_classes = [MultiPartParser]
    required_scopes = {"GET": Scope.READ, "HEAD": Scope.READ, "OPTIONS": Scope.READ, "POST": Scope.ENROL}

    def get_queryset(self) -> "QuerySet[Import]":
        return selectors.visible_imports(principal_of(self.request))

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        page = self.paginate_queryset(self.get_queryset()) or []
        counts = selectors.counts_of([run.pk for run in page])
        return self.get_paginated_response(ImportSerializer(page, many=True, context={"counts": counts}).data)

    @extend_schema(request={"multipart/form-data": ImportRequestSerializer}, responses={202: ImportSerializer})
    def post(self, request: Request) -> Response:
        """Import the people and photos of a zip through the queue; a result a file.

        A zip above the limit of other requests (128 MB) needs a key that may enrol and a `Content-Length`.
        """
        serializer = ImportRequestSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        asked, principal = serializer.validated_data, principal_of(request)
        collection = find_collection(principal, asked.pop("collection", None))
        run = start_import(collection=collection, principal=principal, **asked)
        headers = {"Location": f"/api/v1/imports/{run.pk}"}
        return Response(ImportSerializer(run).data, status=202, headers=headers)


class ImportView(generics.RetrieveAPIView[Import]):
    """One import: progress, and its files by what became of them."""

    queryset = Import.objects.none()
    serializer_class = ImportSerializer
    required_scope = Scope.READ

    def get_object(self) -> Import:
        return selectors.find_import(principal_of(self.request), self.kwargs["id"])


class ImportResultSerializer(serializers.ModelSerializer[ImportFile]):
    """What became of a file. An accepted one may have a code too: a warning to look at."""

    file = serializers.CharField(source="path")
    identity = serializers.UUIDField(source="identity_id", allow_null=True)
    portrait = serializers.UUIDField(source="portrait_id", allow_null=True)

    class Meta:
        model = ImportFile
        fields = CSV_COLUMNS


class ResultsPagination(CursorPagination):
    """In the zip's order, 200 rows a page, `?page_size=` up to 2,000."""

    ordering = ("id",)
    page_size = 200
    page_size_query_param = "page_size"
    max_page_size = 2000


class ResultFilterSerializer(StrictFilterSerializer):
    status = serializers.ChoiceField(choices=FileStatus.choices, required=False)


class ImportResultsView(generics.ListAPIView[ImportFile]):
    """The files of an import, each with what became of it."""

    queryset = ImportFile.objects.none()
    serializer_class = ImportResultSerializer
    pagination_class = ResultsPagination
    required_scope = Scope.READ

    def get_queryset(self) -> "QuerySet[ImportFile]":
        run = selectors.find_import(principal_of(self.request), self.kwargs["id"])
        asked = ResultFilterSerializer(data=self.request.query_params)
        asked.is_valid(raise_exception=True)
        return selectors.results_of(run, **asked.validated_data)

    @extend_schema(operation_id="import_results", parameters=[ResultFilterSerializer])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The files of an import, each with what became of it; cursor pages in the zip's order."""
        return super().get(request, *args, **kwargs)


class ImportResultsCsvView(generics.GenericAPIView[ImportFile]):
    """The same as one CSV file."""

    queryset = ImportFile.objects.none()
    required_scope = Scope.READ

    @extend_schema(
        operation_id="import_results_csv",
        parameters=[ResultFilterSerializer],
        responses={(200, "text/csv"): OpenApiTypes.BINARY},
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> StreamedAnswer:
        """The files of an import, each with what became of it, as one CSV file."""
        run = selectors.find_import(principal_of(request), kwargs["id"])
        asked = ResultFilterSerializer(data=request.query_params)
        asked.is_valid(raise_exception=True)
        headers = {
            "Content-Disposition": f'attachment; filename="import-{run.pk}.csv"',
            "Cache-Control": "private, no-store",
        }
        files = selectors.results_of(run, **asked.validated_data)
        return StreamedAnswer(_csv(files), content_type="text/csv; charset=utf-8", headers=headers)


def _csv(files: "QuerySet[ImportFile]") -> Iterator[bytes]:
    fields = ("pk", "path", "status", "code", "message", "identity_id", "portrait_id")
    yield (",".join(CSV_COLUMNS) + "\n").encode()
    after = 0
    while rows := list(files.filter(pk__gt=after).values_list(*fields)[:CSV_BATCH]):
        release_connection()  # whoever reads slowly holds none
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([_cell(value) for value in row[1:]] for row in rows)
        yield text.getvalue().encode()
        after = rows[-1][0]


def _cell(value: Any) -> str:
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(FORMULA) else text
