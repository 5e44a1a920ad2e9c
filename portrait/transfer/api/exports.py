"""`/api/v1/collections/{name}/export`: a collection leaves the house."""

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.views import APIView

from portrait.audit.models import Action
from portrait.audit.services import record
from portrait.core.auth import principal_of
from portrait.core.models import Scope
from portrait.gallery.selectors import find_collection
from portrait.transfer.api.streams import StreamedAnswer
from portrait.transfer.services.exporting import export_collection


class ExportView(APIView):
    """All people and portraits of a collection, in the format that an import reads."""

    required_scope = Scope.ADMIN

    @extend_schema(operation_id="export_collection", responses={(200, "application/zip"): OpenApiTypes.BINARY})
    def get(self, request: Request, name: str) -> StreamedAnswer:
        """All people and portraits of a collection as a zip, in the format that an import reads.

        It is made while it is sent: nothing of it is kept here. Cut off, it is no zip; ask again.
        """
        principal = principal_of(request)
        collection = find_collection(principal, name)
        record(principal=principal, action=Action.EXPORT, collection_id=collection.pk)
        headers = {
            "Content-Disposition": f'attachment; filename="{collection.name}.zip"',
            "Cache-Control": "private, no-store",
        }
        return StreamedAnswer(export_collection(collection=collection), content_type="application/zip", headers=headers)
