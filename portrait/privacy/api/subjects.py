"""A person's own data: exports, and erasure with its proof."""

from collections.abc import Iterator
from typing import Any

from django.core.files.base import File
from django.db.models import QuerySet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema, extend_schema_view
from rest_framework import mixins, serializers, viewsets
from rest_framework.decorators import action
from rest_framework.generics import get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from portrait.core.auth import principal_of
from portrait.core.models import Scope
from portrait.core.strict import StrictSerializer
from portrait.jobs.tasks import enqueue_job
from portrait.privacy import signing
from portrait.privacy.models import ErasureProof, SubjectExport
from portrait.privacy.selectors import find_subject, visible_exports, visible_proofs
from portrait.privacy.services.erasing import erase_by_id, proof_json
from portrait.privacy.services.exporting import open_zip, request_export
from portrait.transfer.api.streams import StreamedAnswer

UUIDS = r"[0-9a-fA-F-]{36}"


class SubjectExportSerializer(serializers.ModelSerializer[SubjectExport]):
    """All about one person, as a zip. `job`: tells how far it is. `url`: where the zip is, once it is `ready`."""

    job = serializers.UUIDField(source="job_id", allow_null=True)
    identity = serializers.UUIDField(source="identity_id")
    collection = serializers.CharField(source="collection.name")
    ready = serializers.SerializerMethodField()
    url = serializers.SerializerMethodField()

    class Meta:
        model = SubjectExport
        fields = [
            "id",
            "identity",
            "collection",
            "job",
            "ready",
            "url",
            "size_bytes",
            "sha256",
            "created_at",
            "expires_at",
            "downloads",
        ]

    def get_ready(self, export: SubjectExport) -> bool:
        return export.ready_at is not None

    def get_url(self, export: SubjectExport) -> str:
        return f"/api/v1/subject-exports/{export.pk}/file"


class EraseRequestSerializer(StrictSerializer):
    """How the caller knows the request to erase: the proof shows it. No name, for the proof is kept."""

    reference = serializers.CharField(required=False, allow_blank=True, max_length=200, default="")


class ProofSerializer(serializers.Serializer[Any]):
    """A signed proof. `statement`: what was removed, in numbers and hashes of file names; `signature`: Ed25519 over its
    canonical JSON (sorted keys, no white space, UTF-8), base64; the key is at `/api/v1/privacy/key`."""

    statement = serializers.DictField()
    signature = serializers.CharField()


class ExportSubjectView(APIView):
    """A person's right to what is known of them."""

    required_scope = Scope.ADMIN

    @extend_schema(operation_id="identity_export", request=None, responses={202: SubjectExportSerializer})
    def post(self, request: Request, identity: str) -> Response:
        """Put together all about one person as a zip: a job makes it, and it is kept for a day."""
        principal = principal_of(request)
        export, job = request_export(identity=find_subject(principal, identity), principal=principal)
        enqueue_job(job)
        return Response(SubjectExportSerializer(export).data, status=202)


class EraseView(APIView):
    """A person's right to be forgotten."""

    required_scope = Scope.ADMIN

    @extend_schema(operation_id="identity_erase", request=EraseRequestSerializer, responses=ProofSerializer)
    def post(self, request: Request, identity: str) -> Response:
        """Erase a person for good, with everything that is kept of them; answers the signed proof.

        Nobody can undo it. Who may have to come back is deleted by `DELETE /api/v1/identities/{id}` instead.
        """
        serializer = EraseRequestSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        reference = serializer.validated_data["reference"]
        proof = erase_by_id(wanted=identity, principal=principal_of(request), reference=reference)
        return Response(proof_json(proof))


class SubjectExportViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet[SubjectExport]):
    """Zips of people's own data, each for a day."""

    queryset = SubjectExport.objects.none()
    serializer_class = SubjectExportSerializer
    required_scope = Scope.ADMIN
    lookup_value_regex = UUIDS

    def get_queryset(self) -> "QuerySet[SubjectExport]":
        return visible_exports(principal_of(self.request))

    @extend_schema(responses={(200, "application/zip"): OpenApiTypes.BINARY, 409: OpenApiResponse(), 410: None})
    @action(detail=True, methods=["get"])
    def file(self, request: Request, pk: str) -> StreamedAnswer:
        """Download the zip; that is logged."""
        export = get_object_or_404(self.get_queryset(), pk=pk)
        opened = open_zip(export=export, principal=principal_of(request))
        headers = {
            "Content-Disposition": f'attachment; filename="subject-{export.pk}.zip"',
            "Content-Length": str(opened.size),
            "Cache-Control": "no-store",
        }
        return StreamedAnswer(_chunks(opened), content_type="application/zip", headers=headers)


def _chunks(file: "File[bytes]") -> Iterator[bytes]:
    with file:
        yield from file.chunks()


class ErasureProofSerializer(serializers.ModelSerializer[ErasureProof]):
    """A proof of erasure. `finished_at` null: it is under way, or was cut off; then it goes on within the
    hour, or at once where the person is erased again."""

    class Meta:
        model = ErasureProof
        fields = ["id", "reference", "requested_by", "created_at", "finished_at", "statement", "signature"]


@extend_schema_view(
    list=extend_schema(operation_id="erasure_proofs_list"), retrieve=extend_schema(operation_id="erasure_proof")
)
class ErasureProofViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet[ErasureProof]):
    """That people were erased, and what went; it tells nobody who they were."""

    queryset = ErasureProof.objects.none()
    serializer_class = ErasureProofSerializer
    required_scope = Scope.ADMIN
    lookup_value_regex = UUIDS

    def get_queryset(self) -> "QuerySet[ErasureProof]":
        return visible_proofs(principal_of(self.request))


class KeySerializer(serializers.Serializer[Any]):
    algorithm = serializers.CharField()
    key = serializers.CharField(help_text="32 bytes, base64")
    pem = serializers.CharField()


class KeyView(APIView):
    """The public key that proofs of erasure are checked with."""

    required_scope = Scope.READ

    @extend_schema(operation_id="privacy_key", responses=KeySerializer)
    def get(self, request: Request) -> Response:
        """The public key that proofs of erasure are checked with."""
        told = {"algorithm": signing.ALGORITHM, "key": signing.public_key(), "pem": signing.public_key_pem()}
        return Response(told)
